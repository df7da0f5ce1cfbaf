#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod data;
mod learning;
mod measuring;
mod run;

use candle_core::Tensor;
use rand::Rng;

use super::{
    config::Config,
    data::{Batch, Source},
    learner::mean_loss,
    *,
};

/// Sentences with two people in them, enough for a few stretches.
fn story() -> String {
    let mut text = String::new();
    for day in 0..120 {
        text += &format!(
            "On day {day} Mr. Darcy walked to the village with Miss Elizabeth, and there Mr. Darcy bought bread.\n\
             The baker told Elizabeth of the rain; she told Darcy, who laughed.\n\n"
        );
    }
    text
}

fn corpus() -> Corpus {
    Corpus::from_texts(&[story()]).unwrap().with_invented_names()
}

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(7)
}

fn small() -> Settings {
    Settings {
        heads: 2,
        width: 16,
        vocab: 300,
        context: 40,
        batch: 4,
        steps: 3,
        repeat_steps: 2,
        snapshot_every: 3,
        ..Settings::default()
    }
}

fn tokenizer() -> Tokenizer {
    vocabulary::learn(corpus().training(&mut rng()).iter().map(String::as_str), 300).unwrap()
}

fn load(folder: &Path) -> Model {
    Model::load(folder, DType::F32, &Device::Cpu).unwrap()
}

/// The largest difference of two tensors.
fn apart(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}
