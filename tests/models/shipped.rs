//! What the shipped models are shipped to show, measured on them: the claims of `checkpoints/README.md`.

use std::collections::BTreeSet;

use attnscope::{
    analysis::{
        benchmark::{Kind as Sequence, RankSettings},
        circuits::{
            bigram::direct_log_probabilities,
            composition::{Composition, Kind},
            factors::Embedding,
            spectrum::{self, Ends},
        },
        explain,
        rank::{self, Tally},
        score::{HeadScores, Score},
    },
    checkpoint::{embedded, progress::Nobody},
    engine::{
        open::{Model, OpenRequest},
        protocol::{Bos, PromptInput},
    },
    head::{Head, PerHead},
    model::{
        decoder::{Control, Pass},
        edit::Edit,
    },
    run::TrainingRun,
    train::names::NAME_PROMPTS,
};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

/// Lengths of the repeated block.
const LENGTHS: [usize; 4] = [10, 16, 25, 50];

fn open(name: &str) -> Model {
    Model::open(&OpenRequest { model: Some(name.into()), ..OpenRequest::default() }, &Nobody).unwrap()
}

fn scores(model: &Model, length: usize) -> PerHead<HeadScores> {
    let benchmark = model.benchmark(RankSettings { length, batch: 8, ..RankSettings::default() }).unwrap();
    let draws: Vec<_> = (0..8).map(|draw| (Sequence::Repeat, draw)).collect();
    let mut tally = Tally::new(model.info.layers, model.info.heads);
    tally.merge(rank::measure(&model.decoder, &benchmark, &draws, &Control::FREE).unwrap());
    tally.scores()
}

/// The head of a layer that scores best, and how much.
fn best(layer: usize, scores: &PerHead<HeadScores>, by: Score) -> (Head, f32) {
    let heads = scores.iter().filter(|(head, _)| head.layer == layer);
    heads.map(|(head, scores)| (head, scores.get(by))).max_by(|one, other| one.1.total_cmp(&other.1)).unwrap()
}

/// The most probable token after a prompt, and the probability of each.
fn next(model: &Model, prompt: &str, ablated: &BTreeSet<Head>) -> (u32, Vec<f32>) {
    let ids = model.encode(&PromptInput::Text(prompt.into()), Bos::Auto).unwrap();
    let mut clean = model.decoder.trace();
    model.decoder.extend(&mut clean, &ids, &Pass::FREE).unwrap();
    let ablations: Vec<Edit> = ablated.iter().copied().map(Edit::ablation).collect();
    let edits = model.decoder.edits(&ablations, &clean, ids.len()).unwrap();
    let mut trace = model.decoder.trace();
    model.decoder.extend(&mut trace, &ids, &Pass::edited(&edits, &Control::FREE)).unwrap();
    let last = trace.last.view().unwrap();
    let logits = model.decoder.logits(&last.narrow(0, ids.len() - 1, 1).unwrap()).unwrap();
    let probabilities = explain::probabilities(&logits.flatten_all().unwrap().to_vec1().unwrap());
    (explain::strongest(&probabilities).0 as u32, probabilities)
}

/// Of the ten prompts with made-up names, those whose name begins the prediction, and the name's mean probability.
fn names(model: &Model, ablated: &BTreeSet<Head>) -> (usize, f32) {
    let (mut right, mut sum) = (0, 0.0);
    for (name, rest) in NAME_PROMPTS {
        let title = name.split(' ').next().unwrap();
        let titled = model.encode(&PromptInput::Text(title.into()), Bos::Auto).unwrap();
        let wanted = model.encode(&PromptInput::Text(name.into()), Bos::Auto).unwrap()[titled.len()];
        let (top, probabilities) = next(model, &format!("{name} {rest} {title}"), ablated);
        right += usize::from(top == wanted);
        sum += probabilities[wanted as usize];
    }
    (right, sum / NAME_PROMPTS.len() as f32)
}

/// Sentences that mention `T N`, some of them `U M` too, and end on the title `T`.
const SENTENCES: [&str; 10] = [
    "T N went to the store because T",
    "T N came home late, and so we waited for T",
    "T N had never seen the sea before. I told T",
    "In the morning T N wrote a long letter to her brother, and in the evening T",
    "We dined with T N on the first day, and on the next with U M, but not with T",
    "U M met T N in the garden, and there T",
    "T N and U M were to be married in spring. Every body was happy for T",
    "I have heard of T N only what U M has told us, that T",
    "\"It is raining,\" said T N; and nothing more was heard of T",
    "The house belongs to T N, who lives in London with his sister and U M. Nobody has ever seen T",
];
/// What stands for `T` and `U`.
const OPENERS: [&str; 10] =
    ["Doctor", "Professor", "Captain", "Mister", "Miss", "Lady", "Sir", "Mrs", "Colonel", "Cousin"];
/// Beginnings, middles, vowels and ends of names that are not made as the trainer makes its own.
const BEGIN: &str = "B C D F G H J K L M N P R S T V W Y Z Br Ch Cl Cr Dr Fl Gr Kl Pr Qu Sh Sk St Th Tr Wh";
const MIDDLE: &str = "b c d f g h j k l m n p r s t v w x z bb ch ck dr ff gl ld ll lm mb nd ng nn nt rk rl rn rs rt \
                      sh sk sl ss st th tt";
const VOWELS: &str = "a e i o u a e i o ai au ea ee ie oo ou y";
const END: &str = "n r l s t m x k th ck ld ng nd rd rn ss w";

/// A name of one to three syllables.
fn fresh_name(rng: &mut impl Rng) -> String {
    let mut part = |of: &str| (*of.split_whitespace().collect::<Vec<_>>().choose(rng).unwrap()).to_string();
    let mut name = part(BEGIN) + &part(VOWELS);
    for _ in 0..part("0 1 1 2 2").parse().unwrap() {
        name += &part(MIDDLE);
        name += &part(VOWELS);
    }
    match part("open closed").as_str() {
        "open" => name,
        _ => name + &part(END),
    }
}

/// Of `count` prompts about people made up here, with names of two to five tokens, the number of those after which the
/// name comes, and the name's mean probability.
fn fresh_names(model: &Model, count: usize) -> (usize, f32) {
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let tokens = |text: &str| model.encode(&PromptInput::Text(text.into()), Bos::Auto).unwrap();
    let mut known = BTreeSet::new();
    let mut name = |title: &str, rng: &mut ChaCha8Rng| loop {
        let (name, start) = (fresh_name(rng), tokens(title).len());
        let ids = tokens(&format!("{title} {name}"));
        if (2..=5).contains(&(ids.len() - start)) && known.insert(name.clone()) {
            return (name, ids[start]);
        }
    };
    let (mut right, mut sum) = (0, 0.0);
    for sentence in SENTENCES.iter().cycle().take(count) {
        let titles: Vec<&str> = OPENERS.choose_multiple(&mut rng, 2).copied().collect();
        let ((one, wanted), (other, _)) = (name(titles[0], &mut rng), name(titles[1], &mut rng));
        let word = |word: &str| -> String {
            let (letters, rest) = word.split_at(word.find([',', '.', ';']).unwrap_or(word.len()));
            let letters = match letters {
                "T" => titles[0],
                "U" => titles[1],
                "N" => &one,
                "M" => &other,
                letters => letters,
            };
            format!("{letters}{rest}")
        };
        let prompt = sentence.split(' ').map(word).collect::<Vec<_>>().join(" ");
        let (top, probabilities) = next(model, &prompt, &BTreeSet::new());
        right += usize::from(top == wanted);
        sum += probabilities[wanted as usize];
    }
    (right, sum / count as f32)
}

#[test]
fn every_shipped_model_opens_with_its_tokenizer() {
    for name in embedded::NAMES {
        let model = open(name);
        assert!(model.info.has_tokenizer, "{name}");
        assert_eq!((model.info.name.as_str(), model.info.source.as_str()), (name, "embedded"));
        let (_, probabilities) =
            next(&model, "Doctor Smith went to the store because Doctor", &BTreeSet::new());
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-4, "{name}");
    }
}

#[test]
fn the_run_of_the_two_layer_model_is_shipped() {
    let run = TrainingRun::of("attn-2l").unwrap();
    assert_eq!(run.snapshots.len(), 16);
    let before = scores(&open(&run.snapshots[5].model), 25);
    assert!(
        before.values().iter().all(|scores| scores.get(Score::Induction) < 0.1),
        "{}",
        run.snapshots[5].model
    );
    assert!(
        scores(&open("attn-2l@2000"), 25).values().iter().any(|scores| scores.get(Score::Induction) > 0.2)
    );
    assert_eq!(open("attn-2l@step-007000").info.name, "attn-2l@step-007000");
    for (name, said) in [("attn-2l@step7", "0, 200, 500"), ("bigram@main", "at steps 3000")] {
        let error = embedded::open(name).err().unwrap().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn the_bigram_table_agrees_with_counts_of_the_text() {
    let model = open("bigram");
    assert_eq!(model.info.layers, 0);
    // first, second, how often they follow each other, how often the first stands: written by tests/reference/pairs.py.
    let pairs = include_str!("../fixtures/austen-pairs.tsv");
    let mut points = Vec::new();
    let mut row: Option<(u32, Vec<f32>)> = None;
    for line in pairs.lines().skip(1) {
        let numbers: Vec<u32> = line.split('\t').map(|number| number.parse().unwrap()).collect();
        let [first, second, together, alone] = numbers[..] else { panic!("{line}") };
        if row.as_ref().is_none_or(|row| row.0 != first) {
            row = Some((first, direct_log_probabilities(&model.decoder, Embedding::Raw, first).unwrap()));
        }
        let predicted = f64::from(row.as_ref().unwrap().1[second as usize]);
        points.push((predicted, (f64::from(together) / f64::from(alone)).ln()));
    }
    assert!(points.len() > 1000);
    let correlation = correlation(&points);
    assert!(correlation > 0.9, "{correlation}");
}

fn correlation(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(&|point| point.0), mean(&|point| point.1));
    let covariance = mean(&|point| (point.0 - x) * (point.1 - y));
    let deviation = |of: &dyn Fn(&(f64, f64)) -> f64| mean(of).sqrt();
    covariance / (deviation(&|point| (point.0 - x).powi(2)) * deviation(&|point| (point.1 - y).powi(2)))
}

#[test]
fn one_layer_only_remembers() {
    let model = open("attn-1l");
    assert_eq!(model.info.layers, 1);
    for length in LENGTHS {
        let (head, induction) = best(0, &scores(&model, length), Score::Induction);
        assert!(induction < 0.1, "{head} at {length}: {induction}");
    }
    let (right, _) = names(&model, &BTreeSet::new());
    assert!(right <= 2, "{right} of 10 made-up names");
    let (right, probability) = fresh_names(&model, 30);
    assert!(right <= 3, "{right} of 30 fresh names, mean probability {probability}");
    let ends = Ends::of(&model.decoder, Embedding::Effective, &Control::FREE).unwrap();
    let spectra = spectrum::ov_spectra(&model.decoder, &ends, &Control::FREE).unwrap();
    let copying = spectra.values().iter().filter(|spectrum| spectrum.positivity() > 0.5).count();
    assert!(copying > 0, "no head copies");
}

#[test]
fn two_layers_do_induction_at_every_length_and_copy_made_up_names() {
    let model = open("attn-2l");
    for length in LENGTHS {
        let scores = scores(&model, length);
        let (head, previous) = best(0, &scores, Score::Previous);
        assert!(previous > 0.6, "{head} at {length}: {previous}");
        let (head, induction) = best(1, &scores, Score::Induction);
        assert!(induction > 0.6, "{head} at {length}: {induction}");
        let (head, induction) = best(0, &scores, Score::Induction);
        assert!(induction < 0.1, "{head} at {length}: {induction}");
    }
    let (right, probability) = names(&model, &BTreeSet::new());
    assert!(right >= 8, "{right} of 10 made-up names, mean probability {probability}");
}

#[test]
fn two_layers_copy_names_that_nobody_tried_before() {
    let model = open("attn-2l");
    let (right, probability) = fresh_names(&model, 30);
    assert!(right >= 27, "{right} of 30 fresh names, mean probability {probability}");
    let (right, probability) = fresh_names(&model, 300);
    assert!(right >= 270, "{right} of 300 fresh names, mean probability {probability}");
}

#[test]
fn without_the_previous_token_head_the_names_are_gone() {
    let model = open("attn-2l");
    let scores = scores(&model, 25);
    let (previous, _) = best(0, &scores, Score::Previous);
    let (_, whole) = names(&model, &BTreeSet::new());
    let (right, left) = names(&model, &BTreeSet::from([previous]));
    assert!(right <= 2 && left < whole / 2.0, "{right} of 10, mean probability {whole} -> {left}");
    // No other head of the layer matters as much, and most of them matter little.
    let others = (0..model.info.heads).map(|head| Head::new(0, head)).filter(|&head| head != previous);
    let others: Vec<usize> = others.map(|head| names(&model, &BTreeSet::from([head])).0).collect();
    assert!(others.iter().all(|&other| other > right), "{right} without {previous}, else {others:?}");
    assert!(others.iter().filter(|&&other| other >= 8).count() >= 5, "{others:?}");
    // And so are they without the heads that look for what the previous-token head wrote.
    let induction: BTreeSet<Head> = (0..model.info.heads)
        .map(|head| Head::new(1, head))
        .filter(|head| scores[*head].get(Score::Induction) > 0.3)
        .collect();
    let (right, left) = names(&model, &induction);
    assert!(right <= 3 && left < whole / 4.0, "without {induction:?}: {right} of 10, {whole} -> {left}");
}

#[test]
fn the_previous_token_head_and_the_induction_heads_compose_through_keys() {
    let model = open("attn-2l");
    let scores = scores(&model, 25);
    let (previous, _) = best(0, &scores, Score::Previous);
    let (induction, _) = best(1, &scores, Score::Induction);
    let composition = Composition::of(&model.decoder, 0, 8, &Control::FREE).unwrap();
    let strongest = &composition.edges(Kind::Key, None, 1)[0];
    let strong: Vec<Head> = (0..model.info.heads)
        .map(|head| Head::new(1, head))
        .filter(|head| scores[*head].get(Score::Induction) > 0.3)
        .collect();
    assert_eq!(strongest.earlier, previous);
    assert!(strong.contains(&strongest.later), "{:?} is not among {strong:?}", strongest.later);
    let between = composition.above_random(Kind::Key, previous, induction).unwrap();
    assert!(between > 0.05, "{previous} -> {induction}: {between}");
    for head in (0..model.info.heads).map(|head| Head::new(0, head)).filter(|&head| head != previous) {
        let other = composition.above_random(Kind::Key, head, induction).unwrap();
        assert!(other < between / 2.0, "{head} -> {induction}: {other}, and {previous}: {between}");
    }
}

#[test]
fn smeared_keys_let_one_layer_do_induction() {
    let model = open("attn-1l-smeared");
    assert_eq!(model.info.layers, 1);
    for length in LENGTHS {
        let (head, induction) = best(0, &scores(&model, length), Score::Induction);
        assert!(induction > 0.5, "{head} at {length}: {induction}");
    }
    let (right, _) = names(&model, &BTreeSet::new());
    assert!(right >= 8, "{right} of 10 made-up names");
}
