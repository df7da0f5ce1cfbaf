//! What is measured while a model trains.

use candle_core::Device;

use super::*;

#[test]
fn a_planted_head_is_found() {
    // Sequences BOS r r with r of 3: head 1 of 3 looks two tokens back with all its attention, the others at BOS.
    let planted = |head: usize, query: usize, key: usize| match head {
        1 => f64::from(u8::from(key == query.saturating_sub(2))),
        _ => f64::from(u8::from(key == 0)),
    };
    let places = (0..2 * 3 * 7 * 7).map(|place| planted(place / 49 % 3, place / 7 % 7, place % 7)).collect();
    let pattern = Tensor::from_vec(places, (2, 3, 7, 7), &Device::Cpu).unwrap();
    let heads = eval::head_scores(5, &pattern, 3).unwrap();
    let scores: Vec<_> = heads.iter().map(|head| (head.layer, head.head, head.induction)).collect();
    assert_eq!(scores, [(5, 0, 0.), (5, 1, 1.), (5, 2, 0.)]);
    assert_eq!(
        (heads[1].previous, heads[1].duplicate),
        (1. / 6., 0.),
        "only position 1 has its previous at 0"
    );
    assert_eq!(heads[0].previous, 1. / 6.);
}

#[test]
fn an_untrained_model_has_no_induction_head() {
    let config = Config::new(60, 16, 2, 2, 64).unwrap();
    let model = Model::new(config, DType::F32, &Device::Cpu, &mut rng()).unwrap();
    let measured = eval::repeats(&model, 10, 0).unwrap().unwrap();
    assert_eq!(measured.heads.len(), 4);
    assert!(measured.heads.iter().all(|head| head.induction < 0.2), "{measured:?}");
    assert!((measured.second_copy_loss - 60f64.ln()).abs() < 2., "{measured:?}");
    assert!(measured.gain().abs() < 0.5, "{measured:?}");
    assert_eq!(eval::lengths(&model), [10, 25], "a context of 64 has no room for 101 tokens");
    assert!(eval::repeats(&model, 50, 0).unwrap().is_none());
}

#[test]
fn the_loss_of_a_text_is_the_mean_over_its_tokens() {
    let config = Config::new(60, 16, 1, 2, 64).unwrap();
    let model = Model::new(config, DType::F32, &Device::Cpu, &mut rng()).unwrap();
    let tokens: Vec<u32> = (0..200).map(|place| 1 + place * 7 % 59).collect();
    let loss = eval::text_loss(&model, &tokens).unwrap();
    // Three windows of 64 tokens fit.
    let windows = tokens.chunks_exact(64).map(|window| [&[0], window].concat()).collect::<Vec<_>>();
    let whole = mean_loss(&model, &Batch::new(&windows, &Device::Cpu).unwrap()).unwrap();
    assert!((loss.mean - f64::from(whole.to_scalar::<f32>().unwrap())).abs() < 1e-5);
    assert_eq!((loss.icl.early, loss.icl.late), (7, 63), "an eighth of 50 and of 500, rounded up");
    assert!(eval::text_loss(&model, &tokens[..63]).unwrap_err().to_string().contains("give more text"));
}

#[test]
fn the_shipped_model_has_its_circuit() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints/attn-2l");
    let (model, tokenizer) = (load(&folder), vocabulary::load(&folder.join("tokenizer.json")).unwrap());
    for length in eval::LENGTHS {
        let measured = eval::repeats(&model, length, 0).unwrap().unwrap();
        println!("{measured:?}");
        let previous = measured.best(0, |head| head.previous).unwrap();
        assert!(previous.previous > 0.6, "previous-token head in layer 0: {measured:?}");
        let induction = measured.best(1, |head| head.induction).unwrap();
        assert!(induction.induction > 0.6, "induction head in layer 1: {measured:?}");
        assert!(measured.gain() > 3., "{measured:?}");
    }
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
