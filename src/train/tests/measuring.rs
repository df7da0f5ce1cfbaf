//! What is measured while a model trains.

use tempfile::tempdir;

use super::*;
use crate::{
    analysis::{benchmark::RankSettings, loss, score::Score},
    checkpoint::progress::Nobody,
    engine::open::{self, OpenRequest},
    model::decoder::Control,
    run::Measured,
};

/// Opens a model as every command but `train` does.
fn open(name: &str) -> open::Model {
    open::Model::open(&OpenRequest { model: Some(name.into()), ..OpenRequest::default() }, &Nobody).unwrap()
}

fn lengths(report: &Report) -> Vec<usize> {
    report.shorter.iter().chain([&report.measured]).filter_map(|measured| measured.length).collect()
}

#[test]
fn an_untrained_model_has_no_induction_head() {
    let folder = tempdir().unwrap();
    let settings = Settings { context: 64, ..small() };
    let stop = |_: Event<'_>| ControlFlow::Break(());
    let report = train(&settings, &corpus(), folder.path(), &Device::Cpu, stop).unwrap().report.unwrap();
    assert_eq!(report.step, 0);
    assert_eq!(lengths(&report), [10, 25, 31], "a context of 64 has no room for 101 tokens");
    let Measured { scores, repeat, gain, .. } = &report.measured;
    assert_eq!(scores.len(), 4);
    assert!(scores.values().iter().all(|head| head.get(Score::Induction) < 0.2), "{scores:?}");
    assert!((repeat.unwrap().second - 300f32.ln()).abs() < 2., "{repeat:?}");
    assert!(gain.unwrap().abs() < 0.5, "{gain:?}");
}

#[test]
fn the_loss_of_a_text_is_the_mean_over_its_tokens() {
    let config = Config::new(60, 16, 1, 2, 64).unwrap();
    let model = Model::new(config, DType::F32, &Device::Cpu, &mut rng()).unwrap();
    let folder = tempdir().unwrap();
    model.save(folder.path()).unwrap();
    let tokens: Vec<u32> = (0..200).map(|place| 1 + place * 7 % 59).collect();
    // Three windows of 64 tokens fit.
    let windows = tokens.chunks_exact(64).map(|window| [&[0], window].concat()).collect::<Vec<_>>();
    let opened = open(folder.path().to_str().unwrap());
    let loss = loss::text(&opened.decoder, &windows, &Control::FREE).unwrap().unwrap();
    let trained = load(folder.path());
    let whole = mean_loss(&trained, &Batch::new(&windows, &Device::Cpu).unwrap()).unwrap();
    assert!((loss.mean() - f64::from(whole.to_scalar::<f32>().unwrap())).abs() < 1e-5);
    assert_eq!((loss.icl.early, loss.icl.late), (7, 63), "an eighth of 50 and of 500, rounded up");
}

#[test]
fn the_shipped_model_has_its_circuit() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints/attn-2l");
    let shipped = open("attn-2l");
    for length in [10, 25, 50] {
        let benchmark = shipped.benchmark(RankSettings { length, ..RankSettings::default() }).unwrap();
        let measured =
            Measured::measure(7000, &shipped.decoder, &benchmark, Score::Induction, &Control::FREE).unwrap();
        let best = |layer: usize, score: Score| {
            let heads = measured.scores.iter().filter(|(head, _)| head.layer == layer);
            heads.map(|(_, scores)| scores.get(score)).fold(0., f32::max)
        };
        assert!(best(0, Score::Previous) > 0.6, "previous-token head in layer 0: {measured:?}");
        assert!(best(1, Score::Induction) > 0.6, "induction head in layer 1: {measured:?}");
        assert!(measured.gain.unwrap() > 3., "{measured:?}");
    }
    let (model, tokenizer) = (load(&folder), vocabulary::load(&folder.join("tokenizer.json")).unwrap());
    let varied = names::name_guesses(&model, &tokenizer, &names::VARIED_NAME_PROMPTS).unwrap();
    println!(
        "{} of {} right\n{varied:#?}",
        varied.iter().filter(|guess| guess.right()).count(),
        varied.len()
    );
    let guesses = names::name_guesses(&model, &tokenizer, &names::NAME_PROMPTS).unwrap();
    println!("{guesses:#?}");
    assert_eq!(guesses.len(), 10);
    assert!(guesses.iter().filter(|guess| guess.right()).count() >= 8, "{guesses:#?}");
}
