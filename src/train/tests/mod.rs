#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashSet;

use candle_core::{Device, Var};
use tempfile::tempdir;

use super::*;

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

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    let config = Config::new(11, 12, 2, 3, 9).unwrap();
    let model = Model::new(config, DType::F64, &mut rng()).unwrap();
    let sequences: Vec<Vec<u32>> =
        vec![vec![0, 3, 5, 3, 5, 10, 2, 3, 5, 1], vec![0, 9, 8, 7, 9, 8, 7, 9, 8, 4]];
    let batch = Batch::new(&sequences).unwrap();
    let gradients = mean_loss(&model, &batch).unwrap().backward().unwrap();
    let loss_with = |var: &Var, values: &[f64]| -> f64 {
        var.set(&Tensor::from_slice(values, var.dims(), &Device::Cpu).unwrap()).unwrap();
        mean_loss(&model, &batch).unwrap().to_scalar().unwrap()
    };
    for (name, var) in model.weights() {
        let gradient = gradients.get(&var).expect(&name).flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let values = var.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert!(gradient.iter().any(|g| g.abs() > 1e-9), "{name} has no gradient");
        for place in (0..values.len()).step_by(values.len().div_ceil(17)) {
            let mut moved = values.clone();
            moved[place] += 1e-5;
            let above = loss_with(&var, &moved);
            moved[place] -= 2e-5;
            let below = loss_with(&var, &moved);
            let slope = (above - below) / 2e-5;
            let difference = (slope - gradient[place]).abs();
            assert!(
                difference < 1e-8 + 1e-5 * slope.abs(),
                "{name}[{place}]: {slope} but {}",
                gradient[place]
            );
        }
        loss_with(&var, &values);
    }
}

#[test]
fn attention_is_causal_and_sums_to_one() {
    let model = Model::new(Config::new(11, 12, 2, 3, 9).unwrap(), DType::F64, &mut rng()).unwrap();
    let ids = Tensor::new(&[[0u32, 3, 5, 3, 5, 10], [0, 1, 2, 3, 4, 5]], &Device::Cpu).unwrap();
    let pass = model.forward(&ids).unwrap();
    assert_eq!(pass.patterns.len(), 2);
    for pattern in &pass.patterns {
        assert_eq!(pattern.dims(), [2, 3, 6, 6]);
        for (row, attention) in pattern.flatten_to(2).unwrap().to_vec2::<f64>().unwrap().iter().enumerate() {
            let query = row % 6;
            assert!((attention.iter().sum::<f64>() - 1.).abs() < 1e-12);
            assert!(attention[query + 1..].iter().all(|&a| a == 0.));
        }
    }
    let shorter = model.forward(&ids.narrow(1, 0, 4).unwrap()).unwrap().logits;
    let difference = (shorter - pass.logits.narrow(1, 0, 4).unwrap()).unwrap().abs().unwrap();
    assert!(difference.max_all().unwrap().to_scalar::<f64>().unwrap() < 1e-12);
}

#[test]
fn a_model_without_layers_is_a_bigram_table() {
    let model = Model::new(Config::new(11, 12, 0, 3, 9).unwrap(), DType::F64, &mut rng()).unwrap();
    let ids = Tensor::new(&[[0u32, 3, 5, 3]], &Device::Cpu).unwrap();
    let logits = model.forward(&ids).unwrap().logits.squeeze(0).unwrap().to_vec2::<f64>().unwrap();
    assert_eq!(logits[1], logits[3]);
}

#[test]
fn names_are_invented_and_stay_the_same_in_a_stretch() {
    let corpus = corpus();
    assert_eq!(corpus.names().0, 2, "Darcy and Elizabeth");
    let stretches = corpus.training(&mut rng());
    let mut seen = HashSet::new();
    for stretch in &stretches {
        assert!(!stretch.contains("Darcy") && !stretch.contains("Elizabeth") && !stretch.contains("Mr."));
        let after = |words: &str, place: usize| {
            let names: HashSet<&str> = stretch
                .split(words)
                .skip(1)
                .filter_map(|rest| rest.split([' ', ',', ';', '.']).nth(place))
                .collect();
            names
        };
        assert_eq!(after("baker told ", 0).len(), 1, "{stretch}");
        assert_eq!(after("she told ", 0), after(" and there ", 1));
        assert_eq!(after(" and there ", 0).len(), 1, "one title");
        seen.extend(after("she told ", 0).into_iter().map(str::to_string));
    }
    assert_eq!(seen.len(), stretches.len(), "another name in every stretch");
    assert_ne!(stretches, corpus.training(&mut ChaCha8Rng::seed_from_u64(8)));
    assert_eq!(stretches, corpus.training(&mut rng()));
    assert!(!corpus.held_out(&mut rng()).is_empty());
}

#[test]
fn words_that_are_also_written_small_are_no_names() {
    let text =
        "Then, The house, in The end, the cat of Bath saw the bath of the house; so Bath it was. ".repeat(60);
    let corpus = Corpus::from_texts(&[text]).unwrap().with_invented_names();
    assert_eq!(corpus.names(), (0, 0));
    assert!(!corpus.changes());
}

#[test]
fn bos_comes_first_and_a_word_is_one_token_everywhere() {
    let folder = tempdir().unwrap();
    vocabulary::save(&tokenizer(), folder.path()).unwrap();
    let tokenizer = vocabulary::load(folder.path()).unwrap();
    let ids = vocabulary::prompt_ids(&tokenizer, "Darcy told Darcy").unwrap();
    let name = vocabulary::plain_ids(&tokenizer, "Darcy").unwrap();
    assert_eq!(ids[0], vocabulary::BOS_ID);
    assert!(ids[1..].starts_with(&name) && ids.ends_with(&name));
    assert_eq!(tokenizer.decode(&ids, true).unwrap().trim_start(), "Darcy told Darcy");
    assert_eq!(tokenizer.get_vocab_size(true), 300);
    let odd = vocabulary::plain_ids(&tokenizer, "ž\u{1F600}").unwrap();
    assert!(odd.len() > 4, "bytes stand in for what the text lacks: {odd:?}");
}

#[test]
fn sequences_are_what_they_are_said_to_be() {
    let (corpus, tokenizer) = (corpus(), tokenizer());
    let mut source = Source::new(&corpus, &tokenizer, 128, 1).unwrap();
    let (mut tiled, mut framed, mut sizes) = (0, 0, HashSet::new());
    for _ in 0..400 {
        let sequence = source.repeat_sequence().unwrap();
        assert_eq!((sequence.len(), sequence[0]), (129, vocabulary::BOS_ID));
        let tokens = &sequence[1..];
        assert!(!tokens.contains(&vocabulary::BOS_ID));
        let distinct = |block: &[u32]| block.iter().collect::<HashSet<_>>().len() == block.len();
        let period = (6..=59).find(|&p| tokens[p..] == tokens[..128 - p] && distinct(&tokens[..p]));
        let size = (6..=59).rev().find(|&size| {
            let block = &tokens[128 - size..];
            distinct(block) && tokens[..128 - size].windows(size).any(|window| window == block)
        });
        sizes.extend(period.or(size));
        match period {
            Some(_) => tiled += 1,
            None => framed += usize::from(size.is_some()),
        }
    }
    assert_eq!(tiled + framed, 400);
    assert!((150..250).contains(&tiled), "{tiled} tiled");
    assert!(sizes.len() > 45 && sizes.contains(&6) && sizes.contains(&59));
    let text = source.text_sequence().unwrap();
    assert_eq!((text.len(), text[0]), (129, vocabulary::BOS_ID));
    let batch = Batch::new(&source.sequences(3, 0.5).unwrap()).unwrap();
    assert_eq!((batch.inputs.dims(), batch.targets.dims()), (&[3, 128][..], &[384][..]));
}

#[test]
fn the_same_seed_gives_the_same_weights() {
    let folder = tempdir().unwrap();
    let weights = |settings: &Settings, name: &str| {
        let out = folder.path().join(name);
        train(settings, &corpus(), &out, |_| ()).unwrap();
        fs::read(out.join("step-000003/model.safetensors")).unwrap()
    };
    let first = weights(&small(), "a");
    assert_eq!(first, weights(&small(), "b"));
    assert_ne!(first, weights(&Settings { seed: 1, ..small() }, "c"));
}

#[test]
fn a_snapshot_gives_the_same_logits_when_loaded() {
    let folder = tempdir().unwrap();
    let mut steps = Vec::new();
    let (model, report) = train(&small(), &corpus(), folder.path(), |event| {
        if let Event::Snapshot(report) = event {
            steps.push(report.step);
        }
    })
    .unwrap();
    assert_eq!(steps, [0, 3]);
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert!(report.folder.join(file).is_file(), "{file}");
    }
    let ids = Tensor::new(&[[0u32, 3, 5, 3, 5, 10]], &Device::Cpu).unwrap();
    let logits = |model: &Model| model.forward(&ids).unwrap().logits.flatten_all().unwrap();
    let loaded = Model::load(&report.folder, DType::F32).unwrap();
    assert_eq!(loaded.config(), model.config());
    // The file holds halves: once they are loaded and saved again nothing changes any more.
    let difference = (logits(&loaded) - logits(&model)).unwrap().abs().unwrap().max_all().unwrap();
    assert!(difference.to_scalar::<f32>().unwrap() < 5e-3);
    let again = tempdir().unwrap();
    loaded.save(again.path()).unwrap();
    let again = Model::load(again.path(), DType::F32).unwrap();
    assert_eq!(logits(&again).to_vec1::<f32>().unwrap(), logits(&loaded).to_vec1::<f32>().unwrap());
}

#[test]
fn training_goes_on_from_a_snapshot() {
    let folder = tempdir().unwrap();
    let (_, first) = train(&small(), &corpus(), &folder.path().join("first"), |_| ()).unwrap();
    let onward = Settings { from: Some(first.folder.clone()), seed: 1, ..small() };
    train(&onward, &corpus(), &folder.path().join("second"), |_| ()).unwrap();
    for file in ["model.safetensors", "tokenizer.json", "config.json"] {
        let start = fs::read(folder.path().join("second/step-000000").join(file)).unwrap();
        assert_eq!(start, fs::read(first.folder.join(file)).unwrap(), "{file}");
    }
    let wider = Settings { width: 32, ..onward };
    let error = train(&wider, &corpus(), &folder.path().join("third"), |_| ()).err().unwrap().to_string();
    assert!(error.contains("step-000003 holds a model of other sizes"), "{error}");
}

#[test]
fn weights_beyond_f16_are_refused() {
    let folder = tempdir().unwrap();
    let model = Model::new(Config::new(11, 12, 1, 3, 9).unwrap(), DType::F32, &mut rng()).unwrap();
    for bad in [1e6, f32::NAN] {
        let (_, var) = model.weights().remove(3);
        let (first, second) = var.dims2().unwrap();
        var.set(&Tensor::full(bad, (first, second), &Device::Cpu).unwrap()).unwrap();
        let error = model.save(folder.path()).unwrap_err().to_string();
        assert!(error.contains("k_proj") && error.contains("--lr"), "{error}");
    }
}

#[test]
fn a_planted_head_is_found() {
    // Head 1 of 3 looks two tokens back with all its attention, the others at the first token.
    let planted = |head: usize, query: usize, key: usize| match head {
        1 => f64::from(u8::from(key == query.saturating_sub(2))),
        _ => f64::from(u8::from(key == 0)),
    };
    let places = (0..2 * 3 * 6 * 6).map(|place| planted(place / 36 % 3, place / 6 % 6, place % 6)).collect();
    let pattern = Tensor::from_vec(places, (2, 3, 6, 6), &Device::Cpu).unwrap();
    assert_eq!(eval::best(&pattern, 3..6, 2).unwrap(), eval::Best { head: 1, score: 1. });
    assert_eq!(eval::best(&pattern, 1..6, 1).unwrap().score, 0.2);
}

#[test]
fn an_untrained_model_has_no_induction_head() {
    let model = Model::new(Config::new(60, 16, 2, 2, 64).unwrap(), DType::F32, &mut rng()).unwrap();
    let measured = eval::repeats(&model, 10, 0).unwrap().unwrap();
    assert_eq!((measured.induction.len(), measured.previous.len()), (2, 2));
    assert!(measured.induction.iter().all(|best| best.score < 0.2), "{measured:?}");
    assert!((measured.second_copy_loss - 60f64.ln()).abs() < 2., "{measured:?}");
    assert!(eval::repeats(&model, 50, 0).unwrap().is_none(), "a context of 64 has no room for 101 tokens");
}

#[test]
fn bad_input_gives_one_line_that_names_the_file() {
    let folder = tempdir().unwrap();
    let complaint = |name: &str, bytes: Option<&[u8]>| {
        let file = folder.path().join(name);
        if let Some(bytes) = bytes {
            fs::write(&file, bytes).unwrap();
        }
        let error = Corpus::read(&[file]).err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(!error.contains('\n'), "{error}");
        error
    };
    for (name, bytes, says) in [
        ("missing.txt", None, "plain text file"),
        ("empty.txt", Some(&b" \n\n"[..]), "is empty"),
        ("binary.bin", Some(&b"MZ\0\x01"[..]), "is a binary file"),
        ("latin.txt", Some(&b"caf\xe9 au lait"[..]), "is not UTF-8"),
    ] {
        let error = complaint(name, bytes);
        assert!(error.contains(name) && error.contains(says), "{error}");
    }
    assert!(complaint("short.txt", Some(b"One sentence.")).contains("give more"));
}

#[test]
fn settings_that_cannot_work_say_why() {
    let folder = tempdir().unwrap();
    let complaint = |settings: Settings| {
        let error = train(&settings, &corpus(), folder.path(), |_| ()).err();
        error.map(|error| format!("{error:#}")).unwrap_or_default()
    };
    for (settings, says) in [
        (Settings { vocab: 60_000, ..small() }, "lower --vocab"),
        (Settings { vocab: 10, ..small() }, "--vocab 10 is too small"),
        (Settings { width: 15, ..small() }, "--width 15"),
        (Settings { steps: 0, ..small() }, "--steps 0"),
        (Settings { batch: 0, ..small() }, "--batch 0"),
        (Settings { context: 5, ..small() }, "--context 5"),
        (Settings { context: 100_000, ..small() }, "--context 100000"),
        (Settings { learning_rate: 0., ..small() }, "--lr"),
    ] {
        let error = complaint(settings);
        assert!(error.contains(says) && !error.contains('\n'), "{error}");
    }
    fs::create_dir_all(folder.path().join("step-000000")).unwrap();
    assert!(complaint(small()).contains("another folder"));
}

#[test]
fn the_shipped_model_has_its_circuit() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints/attn-2l");
    let (model, tokenizer) = (Model::load(&folder, DType::F32).unwrap(), vocabulary::load(&folder).unwrap());
    for length in eval::LENGTHS {
        let measured = eval::repeats(&model, length, 0).unwrap().unwrap();
        println!("{measured:?}");
        assert!(measured.previous[0].score > 0.6, "previous-token head in layer 0: {measured:?}");
        assert!(measured.induction[1].score > 0.6, "induction head in layer 1: {measured:?}");
    }
    let varied = eval::name_guesses(&model, &tokenizer, &eval::VARIED_NAME_PROMPTS).unwrap();
    println!(
        "{} of {} right\n{varied:#?}",
        varied.iter().filter(|guess| guess.right()).count(),
        varied.len()
    );
    let guesses = eval::name_guesses(&model, &tokenizer, &eval::NAME_PROMPTS).unwrap();
    println!("{guesses:#?}");
    assert_eq!(guesses.len(), 10);
    assert!(guesses.iter().filter(|guess| guess.right()).count() >= 8, "{guesses:#?}");
}
