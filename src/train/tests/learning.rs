//! Gradients, and that they teach.

use candle_core::{Device, Var};

use super::*;
use crate::train::{angles::Angles, elementary, ops};

/// A small model of each kind.
fn kinds() -> Vec<(&'static str, Config)> {
    let of = |layers| Config::new(11, 12, layers, 3, 9).unwrap();
    vec![
        ("no layers", of(0)),
        ("attention", of(2)),
        ("MLPs", of(2).with_mlp(1.5).unwrap()),
        ("smeared keys", of(2).with_smeared_keys().unwrap()),
    ]
}

fn untrained(config: Config) -> Model {
    Model::new(config, DType::F64, &Device::Cpu, &mut rng()).unwrap()
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    let sequences: Vec<Vec<u32>> =
        vec![vec![0, 3, 5, 3, 5, 10, 2, 3, 5, 1], vec![0, 9, 8, 7, 9, 8, 7, 9, 8, 4]];
    let batch = Batch::new(&sequences, &Device::Cpu).unwrap();
    for (kind, config) in kinds() {
        let model = untrained(config);
        let gradients = mean_loss(&model, &batch).unwrap().backward().unwrap();
        let loss_with = |var: &Var, values: &[f64]| -> f64 {
            var.set(&Tensor::from_slice(values, var.dims(), &Device::Cpu).unwrap()).unwrap();
            mean_loss(&model, &batch).unwrap().to_scalar().unwrap()
        };
        for (name, var) in model.weights() {
            let gradient = gradients.get(var).expect(name).flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let values = var.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            assert!(gradient.iter().any(|g| g.abs() > 1e-9), "{kind}: {name} has no gradient");
            for place in (0..values.len()).step_by(values.len().div_ceil(17)) {
                let mut moved = values.clone();
                moved[place] += 1e-5;
                let above = loss_with(var, &moved);
                moved[place] -= 2e-5;
                let below = loss_with(var, &moved);
                let slope = (above - below) / 2e-5;
                let difference = (slope - gradient[place]).abs();
                assert!(
                    difference < 1e-8 + 1e-5 * slope.abs(),
                    "{kind}: {name}[{place}]: {slope} but {}",
                    gradient[place]
                );
            }
            loss_with(var, &values);
        }
    }
}

#[test]
fn attention_is_causal_and_sums_to_one() {
    for (kind, config) in kinds() {
        let layers = config.num_hidden_layers;
        let model = untrained(config);
        let ids = Tensor::new(&[[0u32, 3, 5, 3, 5, 10], [0, 1, 2, 3, 4, 5]], &Device::Cpu).unwrap();
        let pass = model.forward(&ids).unwrap();
        assert_eq!(pass.patterns.len(), layers, "{kind}");
        for pattern in &pass.patterns {
            assert_eq!(pattern.dims(), [2, 3, 6, 6]);
            let rows = pattern.flatten_to(2).unwrap().to_vec2::<f64>().unwrap();
            for (row, attention) in rows.iter().enumerate() {
                let query = row % 6;
                assert!((attention.iter().sum::<f64>() - 1.).abs() < 1e-12, "{kind}");
                assert!(attention[query + 1..].iter().all(|&a| a == 0.), "{kind}");
            }
        }
        let shorter = model.forward(&ids.narrow(1, 0, 4).unwrap()).unwrap().logits;
        assert!(apart(&shorter, &pass.logits.narrow(1, 0, 4).unwrap()) < 1e-12, "{kind}");
    }
}

#[test]
fn a_model_without_layers_is_a_bigram_table() {
    let model = untrained(Config::new(11, 12, 0, 3, 9).unwrap());
    let ids = Tensor::new(&[[0u32, 3, 5, 3]], &Device::Cpu).unwrap();
    let logits = model.forward(&ids).unwrap().logits.squeeze(0).unwrap().to_vec2::<f64>().unwrap();
    assert_eq!(logits[1], logits[3]);
}

#[test]
fn a_smeared_key_that_is_all_its_own_changes_nothing() {
    let ids = Tensor::new(&[[0u32, 3, 5, 3, 5, 10]], &Device::Cpu).unwrap();
    let plain = untrained(Config::new(11, 12, 2, 3, 9).unwrap()).forward(&ids).unwrap();
    let smeared = untrained(Config::new(11, 12, 2, 3, 9).unwrap().with_smeared_keys().unwrap());
    let half = smeared.forward(&ids).unwrap();
    assert!(apart(&plain.logits, &half.logits) > 1e-3, "half of the key before changes something");
    for (name, alpha) in smeared.weights() {
        if name.ends_with("k_smear") {
            alpha.set(&Tensor::full(60f64, 3, &Device::Cpu).unwrap()).unwrap();
        }
    }
    assert!(apart(&plain.logits, &smeared.forward(&ids).unwrap().logits) < 1e-12);
}

/// What an accelerator computes with is what the CPU does, and so are its gradients.
#[test]
fn the_elementary_operations_are_the_fused_ones() {
    let numbers = |count: usize| (0..count).map(|n| (n as f64 * 1.7).sin() * 3.).collect::<Vec<_>>();
    let var = |shape: &[usize]| {
        let tensor = Tensor::from_vec(numbers(shape.iter().product()), shape, &Device::Cpu).unwrap();
        Var::from_tensor(&tensor).unwrap()
    };
    let (scores, vectors, logits) = (var(&[2, 3, 5, 5]), var(&[2, 5, 4]), var(&[6, 7]));
    let targets = Tensor::new(&[0u32, 6, 2, 2, 5, 1], &Device::Cpu).unwrap();
    let angles = Angles::new(8, 4, 100.);
    let cases = [
        (&scores, ops::causal_softmax(&scores, 0.4), elementary::causal_softmax(&scores, 0.4)),
        (&vectors, ops::rotate(&vectors, &angles), elementary::rotate(&vectors, &angles)),
        (&logits, ops::token_losses(&logits, &targets), elementary::token_losses(&logits, &targets)),
    ];
    for (input, fused, elementary) in cases {
        let (fused, elementary) = (fused.unwrap(), elementary.unwrap());
        assert!(apart(&fused, &elementary) < 1e-12);
        let weights = Tensor::from_vec(numbers(fused.elem_count()), fused.dims(), &Device::Cpu).unwrap();
        let gradient = |out: &Tensor| {
            let gradients = (out * &weights).unwrap().sum_all().unwrap().backward().unwrap();
            gradients.get(input).unwrap().clone()
        };
        assert!(apart(&gradient(&fused), &gradient(&elementary)) < 1e-12);
    }
}

/// Trains on what `draw` makes and returns the last loss.
fn taught(config: Config, steps: usize, rate: f64, mut draw: impl FnMut(&mut ChaCha8Rng) -> Vec<u32>) -> f64 {
    let model = Model::new(config, DType::F32, &Device::Cpu, &mut rng()).unwrap();
    let (mut learner, mut rng) = (Learner::new(&model).unwrap(), rng());
    let mut loss = f64::NAN;
    for step in 0..steps {
        let batch: Vec<Vec<u32>> = (0..16).map(|_| draw(&mut rng)).collect();
        loss = learner.step(&model, &batch, rate * ((step + 1) as f64 / 20.).min(1.)).unwrap();
    }
    loss
}

#[test]
fn no_layers_learn_what_follows_a_token_and_no_more() {
    // Each token is followed by one token: all there is to know.
    let follows = |rng: &mut ChaCha8Rng| {
        let first = rng.random_range(1..12u32);
        (0..9).fold(vec![0, first], |mut all, _| {
            all.push(1 + all[all.len() - 1] * 5 % 11);
            all
        })
    };
    let loss = taught(Config::new(12, 16, 0, 2, 10).unwrap(), 150, 2e-2, follows);
    // The first token is drawn anew each time: ln 11 nats on one of ten.
    assert!((loss - 0.24).abs() < 0.06, "{loss}");
}

#[test]
fn one_layer_with_smeared_keys_learns_to_go_on_as_before() {
    // Blocks of random length over and over: induction, which one layer learns with smeared keys only.
    let repeats = |rng: &mut ChaCha8Rng| {
        let size = rng.random_range(4..=8);
        let block = crate::train::data::distinct(rng, 24, size);
        std::iter::once(0).chain(block.iter().copied().cycle().take(24)).collect()
    };
    let config = || Config::new(24, 32, 1, 2, 24).unwrap();
    let smeared = taught(config().with_smeared_keys().unwrap(), 400, 5e-3, repeats);
    let plain = taught(config(), 400, 5e-3, repeats);
    assert!(smeared < plain - 0.5, "{smeared} with smeared keys, {plain} without");
}
