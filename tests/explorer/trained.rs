//! A run of training, made for a test.

use std::ops::ControlFlow;

use attnscope::train::{self, Settings, text::Corpus};
use candle_core::Device;
use tempfile::TempDir;

/// A run of a small model with these settings.
pub fn trained(settings: Settings) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let day = |day: usize| {
        format!("On day {day} the baker of street {} sold {} loaves.\n\n", day % 7, day * 31 % 50)
    };
    let corpus = Corpus::from_texts(&[(0..400).map(day).collect::<String>()]).unwrap();
    let settings = Settings { heads: 2, width: 16, vocab: 300, ..settings };
    train::train(&settings, &corpus, folder.path(), &Device::Cpu, |_| ControlFlow::Continue(())).unwrap();
    folder
}
