//! Weight circuits against dense float64 computations of the same formulas (`tests/reference/circuits.py`), and what the
//! shipped model's weights say.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
};

use attnscope::{
    analysis::{
        benchmark::{Kind as Sequence, RankSettings},
        circuits::{
            bigram,
            composition::{Composition, Kind},
            corner,
            factors::Embedding,
            position::{self, Average},
            spectrum::{self, Ends},
            terms,
            trigram::{self, Expanded},
        },
        rank,
        score::Score,
    },
    checkpoint::progress::Nobody,
    engine::open::{Model, OpenRequest},
    head::{Head, PerHead},
    model::decoder::{Control, Pass},
};
use candle_core::{DType, Device, Tensor};

const CASES: [&str; 3] = ["attn-only", "gpt2", "llama-gqa"];
/// As in the script.
const TOKENS: usize = 14;
const TOKEN: u32 = 5;
const SOURCE: u32 = 7;
const HEADS: [Head; 2] = [Head::new(0, 1), Head::new(1, 2)];
const FREE: Control<'_> = Control::FREE;

struct Case {
    name: &'static str,
    model: Model,
    tensors: HashMap<String, Tensor>,
}

impl Case {
    fn numbers(&self, name: &str) -> Vec<f32> {
        self.tensors[name].flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
    }

    /// Checks numbers against those of the reference, up to `bound` of their scale; those that are no number must be none
    /// in both.
    fn check(&self, what: &str, got: &[f32], bound: f32) {
        let expected = self.numbers(what);
        assert_eq!(got.len(), expected.len(), "{} {what}", self.name);
        let scale = expected
            .iter()
            .filter(|number| !number.is_nan())
            .fold(0.0f32, |most, number| most.max(number.abs()));
        for (at, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let close = (got - expected).abs() <= bound * scale || got.is_nan() && expected.is_nan();
            assert!(close, "{} {what}[{at}]: {got} for {expected}", self.name);
        }
    }

    fn heads(&self) -> Vec<Head> {
        let heads = self.model.info.heads;
        (0..self.model.info.layers * heads).map(|index| Head::new(index / heads, index % heads)).collect()
    }
}

fn cases() -> impl Iterator<Item = Case> {
    CASES.into_iter().map(|name| {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        let request = OpenRequest { model: Some(folder.display().to_string()), ..OpenRequest::default() };
        let model = Model::open(&request, &Nobody).unwrap();
        let tensors =
            candle_core::safetensors::load(folder.join("circuits.safetensors"), &Device::Cpu).unwrap();
        Case { name, model, tensors }
    })
}

#[test]
fn eigenvalues_and_copying_are_those_of_the_expanded_circuit() {
    for case in cases() {
        let decoder = &case.model.decoder;
        let ends = Ends::of(decoder, Embedding::Effective, &FREE).unwrap();
        let spectra = spectrum::ov_spectra(decoder, &ends, &FREE).unwrap();
        let copying: Vec<f32> =
            spectra.values().iter().map(|spectrum| spectrum.positivity() as f32).collect();
        case.check("copying", &copying, 1e-4);
        let sizes = |spectrum: &spectrum::Spectrum| -> Vec<f32> {
            spectrum.0.iter().map(|value| value.re.hypot(value.im) as f32).collect()
        };
        case.check("eigenvalues", &spectra.values().iter().flat_map(sizes).collect::<Vec<_>>(), 1e-4);
    }
}

#[test]
fn composition_is_that_of_whole_matrices() {
    for case in cases() {
        let composition = Composition::of(&case.model.decoder, 0, 4, &FREE).unwrap();
        let heads = case.heads();
        let mut scores = Vec::new();
        for kind in Kind::ALL {
            for &later in &heads {
                let of = |&earlier: &Head| composition.score(kind, earlier, later).unwrap_or(f32::NAN);
                scores.extend(heads.iter().map(of));
            }
        }
        case.check("composition", &scores, 1e-5);
        for kind in Kind::ALL {
            let edges = composition.edges(kind, None, usize::MAX);
            assert!(edges.is_sorted_by(|a, b| a.score >= b.score), "{}", case.name);
            let (layers, heads) = (case.model.info.layers, case.model.info.heads);
            assert_eq!(edges.len(), layers * (layers - 1) / 2 * heads * heads, "{}", case.name);
        }
    }
}

#[test]
fn the_bigram_view_is_the_model_without_its_layers() {
    for case in cases() {
        for (name, which) in [("bigram.raw", Embedding::Raw), ("bigram.effective", Embedding::Effective)] {
            let logits = bigram::direct_logits(&case.model.decoder, which, TOKEN).unwrap();
            case.check(name, &logits, 1e-4);
            let best = bigram::bigram(&case.model.decoder, which, TOKEN, 3).unwrap();
            assert_eq!(best.len(), 3);
            assert_eq!(best[0].logit, logits.iter().copied().fold(f32::MIN, f32::max));
            let total: f32 = logits.iter().map(|logit| (logit - best[0].logit).exp()).sum();
            assert!((best[0].probability - 1.0 / total).abs() < 1e-5);
        }
    }
}

#[test]
fn skip_trigrams_are_entries_of_the_expanded_circuits() {
    for case in cases() {
        for head in HEADS {
            let expanded = Expanded::of(&case.model.decoder, head, Embedding::Effective, &FREE).unwrap();
            let attention = expanded.attention(SOURCE).unwrap();
            let writes = expanded.writes(SOURCE).unwrap();
            case.check(&format!("attention.{head}"), &attention, 1e-4);
            case.check(&format!("writes.{head}"), &writes, 1e-4);

            let by_source = expanded.by_source(SOURCE, 4).unwrap();
            let (destination, out) = (by_source.destinations[0], by_source.outs[0]);
            assert_eq!(destination.value, attention[destination.id as usize]);
            assert!(attention.iter().all(|entry| *entry <= destination.value));
            // The other two ways in find the same entries.
            let all = case.model.info.vocabulary;
            let from_destination = expanded.by_destination(destination.id, all, 1).unwrap();
            let found = from_destination.iter().find(|trigrams| trigrams.source == SOURCE).unwrap();
            assert!((found.destinations[0].value - destination.value).abs() < 1e-4);
            let from_out = expanded.by_out(out.id, all, 1).unwrap();
            let found = from_out.iter().find(|trigrams| trigrams.source == SOURCE).unwrap();
            assert!((found.outs[0].value - out.value).abs() < 1e-4);

            let strength = case.numbers(&format!("strength.{head}"));
            let strongest: Vec<f32> = expanded
                .strongest(5, 1, &FREE)
                .unwrap()
                .iter()
                .map(|trigrams| trigrams.destinations[0].value * trigrams.outs[0].value)
                .collect();
            let mut expected = strength;
            expected.sort_by(|a, b| b.total_cmp(a));
            for (got, expected) in strongest.iter().zip(&expected) {
                assert!(
                    (got - expected).abs() < 1e-3 * expected,
                    "{} {head}: {got} for {expected}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn a_bug_is_two_fitting_pairs_and_the_crossed_ones() {
    let entries =
        |ids: [u32; 3]| ids.map(|id| attnscope::analysis::circuits::Entry { id, value: 1.0 }).to_vec();
    let trigrams =
        trigram::SkipTrigrams { source: 9, destinations: entries([0, 1, 2]), outs: entries([0, 1, 2]) };
    // Out 2 fits destination 0, out 1 destination 1; what destination 2 has is no likelier than a guess.
    let direct = |destination: u32| {
        let fitting = [[-5.0, -6.0, -0.5], [-5.0, -1.0, -6.0], [-1.2, -4.0, -8.0]];
        Ok(fitting[destination as usize].to_vec())
    };
    let bugs = trigram::bugs(&trigrams, 9, direct).unwrap();
    assert_eq!(bugs.len(), 1);
    assert_eq!((bugs[0].destinations, bugs[0].outs, bugs[0].margin), ([0, 1], [2, 1], 5.0));
}

#[test]
fn positional_profiles_are_those_of_the_average_token() {
    for case in cases() {
        let decoder = &case.model.decoder;
        let mut profiles = Vec::new();
        for layer in 0..case.model.info.layers {
            let average = Average::of(decoder, Embedding::Effective.of_layer(layer), &FREE).unwrap();
            profiles.extend(position::profiles(decoder, &average, layer, TOKENS).unwrap().concat());
        }
        case.check("positions", &profiles, 1e-4);
    }
}

#[test]
fn the_corner_is_that_of_the_expanded_circuits() {
    for case in cases() {
        let ends = Ends::of(&case.model.decoder, Embedding::Effective, &FREE).unwrap();
        let previous = PerHead::new(case.model.info.heads, case.numbers("previous"));
        let points = corner::corner(&case.model.decoder, &ends, &previous, &FREE).unwrap();
        let matching: Vec<f32> = points.iter().map(|point| point.matching as f32).collect();
        let traces: Vec<f32> = points.iter().map(|point| point.trace as f32).collect();
        case.check("matching", &matching, 1e-3);
        case.check("trace", &traces, 1e-3);
        let copying = &case.numbers("copying")[case.model.info.heads..];
        for (point, copying) in points.iter().zip(copying) {
            assert!((point.copying as f32 - copying).abs() < 1e-4, "{}", case.name);
        }
    }
}

/// Head 0.3 of the shipped model attends to the previous token; its induction heads read their keys from it.
#[test]
fn the_shipped_model_composes_its_previous_token_head_into_its_induction_heads() {
    let model = Model::open(&OpenRequest::default(), &Nobody).unwrap();
    let (decoder, previous_token) = (&model.decoder, Head::new(0, 3));
    let settings = RankSettings { length: 50, ..RankSettings::default() };
    let benchmark = model.benchmark(settings).unwrap();
    let scores = rank::measure(decoder, &benchmark, &[(Sequence::Repeat, 0)], &FREE).unwrap().scores();
    let previous = scores.map(|head| head.get(Score::Previous));
    let induction: BTreeSet<Head> = rank::order(&scores, Score::Induction).into_iter().take(4).collect();

    let composition = Composition::of(decoder, 0, 8, &FREE).unwrap();
    let edges = composition.edges(Kind::Key, None, 4);
    assert!(edges.iter().all(|edge| edge.earlier == previous_token), "{edges:?}");
    assert_eq!(edges.iter().map(|edge| edge.later).collect::<BTreeSet<_>>(), induction);
    for edge in &edges {
        let above = |kind| composition.above_random(kind, edge.earlier, edge.later).unwrap();
        assert!(above(Kind::Key) > 0.15 && above(Kind::Query) < 0.0 && above(Kind::Value) < 0.0, "{edge:?}");
    }

    let ends = Ends::of(decoder, Embedding::Effective, &FREE).unwrap();
    for point in corner::corner(decoder, &ends, &previous, &FREE).unwrap() {
        assert_eq!(point.through, previous_token);
        let in_corner = point.matching > 0.9 && point.copying > 0.8;
        assert!(in_corner || !induction.contains(&point.head), "{point:?}");
    }
    let average = Average::of(decoder, Embedding::Raw, &FREE).unwrap();
    let profile = &position::profiles(decoder, &average, 0, 64).unwrap()[previous_token.head];
    assert!(profile[1] > 0.8, "{profile:?}");
}

#[test]
fn terms_are_those_of_the_path_expansion_multiplied_out() {
    for case in cases() {
        let decoder = &case.model.decoder;
        let ids: Vec<u32> = match case.tensors.get("terms.ids") {
            Some(ids) => ids.to_vec1::<i64>().unwrap().into_iter().map(|id| id as u32).collect(),
            None => vec![3, 4, 5],
        };
        let mut trace = decoder.trace();
        decoder.extend(&mut trace, &ids, &Pass::FREE).unwrap();
        let terms = terms::terms(decoder, &trace, &FREE);
        if case.name != "attn-only" {
            assert!(terms.unwrap_err().to_string().contains("attention-only"));
            continue;
        }
        let terms = terms.unwrap();
        let numbers = |losses: &[f64]| losses.iter().map(|loss| *loss as f32).collect::<Vec<_>>();
        case.check("terms.losses", &numbers(&terms.losses), 1e-4);
        case.check("terms.alone", &numbers(&terms.alone), 1e-4);
        case.check("terms.without", &numbers(&terms.without), 1e-4);
        let sum: f64 = (0..terms.losses.len()).map(|order| terms.reduction(order)).sum();
        assert!((terms.uniform - sum - terms.losses.last().unwrap()).abs() < 1e-9);
    }
}
