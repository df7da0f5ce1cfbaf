//! Changes of a pass, on every family: what they leave alone, what they add up to, and that they are the same wherever the
//! pass begins.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use attnscope::{
    checkpoint::progress::Nobody,
    engine::open::{Model, OpenRequest},
    head::Head,
    model::{
        decoder::{Control, Pass},
        edit::{Edit, Part, Site, Value},
        spec::NormPlace,
        trace::Trace,
    },
};
use candle_core::Tensor;

const IDS: [u32; 9] = [5, 9, 17, 5, 9, 33, 2, 17, 5];
const OTHER: [u32; 9] = [5, 9, 17, 40, 9, 33, 2, 17, 5];

/// Serial and parallel blocks, norms before, after and on the sum, shared keys and values, experts, ALiBi, sinks, a rotation
/// that depends on the length.
const MODELS: [&str; 12] = [
    "attn-only",
    "attn-only-smeared",
    "bloom",
    "gemma2",
    "gpt2",
    "gpt_neox",
    "gpt_oss",
    "llama-dynamic",
    "llama-gqa",
    "mixtral",
    "olmo2",
    "opt-350m",
];

fn each(test: impl Fn(&str, &Model)) {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for name in MODELS {
        let file = fixtures.join(name).join("model_final.pth");
        let path = if Path::new(&file).is_file() { file } else { fixtures.join(name) };
        let model = Some(path.display().to_string());
        test(name, &Model::open(&OpenRequest { model, ..OpenRequest::default() }, &Nobody).unwrap());
    }
}

fn run(model: &Model, ids: &[u32]) -> Trace {
    let mut trace = model.decoder.trace();
    model.decoder.extend(&mut trace, ids, &Pass::FREE).unwrap();
    trace
}

/// The run with edits, from the first layer that they change.
fn edited(model: &Model, clean: &Trace, edits: &[Edit]) -> Trace {
    let decoder = &model.decoder;
    let edits = decoder.edits(edits, clean, clean.len()).unwrap();
    let layer = edits.first_layer().unwrap_or(model.info.layers);
    let mut trace = decoder.trace();
    decoder.follow(&mut trace, clean, layer, &Pass::edited(&edits, &Control::FREE)).unwrap();
    trace
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn last(trace: &Trace) -> Vec<f32> {
    numbers(&trace.last.view().unwrap())
}

/// The largest difference, as a share of the largest number.
fn apart(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    let scale = one.iter().fold(f32::MIN_POSITIVE, |scale, number| scale.max(number.abs()));
    one.iter().zip(other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max) / scale
}

fn sites(model: &Model) -> Vec<Site> {
    let spec = &model.decoder.spec;
    let middle = spec.layers - 1;
    let all = [
        Site::Residual(0),
        Site::Head(Head::new(0, spec.heads - 1)),
        Site::KvHead(Head::new(middle, 0)),
        Site::Attention(0),
        Site::Mlp(middle),
        Site::Residual(middle),
        Site::Residual(spec.layers),
    ];
    all.into_iter().filter(|site| site.check(spec).is_ok()).collect()
}

fn edit(site: Site, value: Value) -> Edit {
    Edit { site, tokens: None, value }
}

#[test]
fn a_run_patched_with_itself_stays_as_it_is() {
    each(|name, model| {
        let clean = run(model, &IDS);
        for site in sites(model) {
            let patched = edited(model, &clean, &[edit(site, Value::From([clean.clone()].into()))]);
            let difference = apart(&last(&clean), &last(&patched));
            assert!(difference < 1e-5, "{name} {site:?}: off by {difference}");
        }
    });
}

#[test]
fn the_residual_stream_of_another_run_makes_it_that_run() {
    each(|name, model| {
        let (clean, other) = (run(model, &IDS), run(model, &OTHER));
        for layer in 0..=model.info.layers {
            let from = edit(Site::Residual(layer), Value::From([other.clone()].into()));
            let patched = edited(model, &clean, &[from]);
            assert!(apart(&last(&other), &last(&patched)) < 1e-5, "{name} before layer {layer}");
            assert_eq!(last(&run(model, &IDS)), last(&clean), "{name}: the clean run has changed");
        }
    });
}

#[test]
fn edits_are_the_same_wherever_the_pass_begins() {
    each(|name, model| {
        let decoder = &model.decoder;
        let (clean, other) = (run(model, &IDS), Arc::<[Trace]>::from([run(model, &OTHER)]));
        for site in sites(model) {
            for value in [Value::Zero, Value::Mean, Value::MeanSoFar, Value::From(other.clone())] {
                let edit = Edit { site, tokens: Some(2..7), value };
                let edits = decoder.edits(std::slice::from_ref(&edit), &clean, IDS.len()).unwrap();
                let pass = Pass::edited(&edits, &Control::FREE);
                let mut from_start = decoder.trace();
                decoder.extend(&mut from_start, &IDS, &pass).unwrap();
                let expected = last(&from_start);
                let changed = edited(model, &clean, std::slice::from_ref(&edit));
                assert!(apart(&expected, &last(&changed)) < 1e-5, "{name} {edit:?} from its layer");
                // Token by token, where the values are known beforehand.
                let mut stepped = decoder.trace();
                for token in IDS {
                    decoder.extend(&mut stepped, &[token], &pass).unwrap();
                }
                assert!(apart(&expected, &last(&stepped)) < 1e-4, "{name} {edit:?} by steps");
                let one = decoder.last_of(&clean, site.layer(), 5, &pass).unwrap();
                let width = decoder.spec.width;
                // A rotation that depends on the length is that of the whole prompt.
                assert!(
                    apart(&expected[5 * width..6 * width], &numbers(&one)) < 1e-4,
                    "{name} {edit:?}, one"
                );
                // Before the tokens that are edited nothing changes, from them on something does.
                assert!(apart(&last(&clean)[..2 * width], &expected[..2 * width]) < 1e-5, "{name} {edit:?}");
                assert!(apart(&last(&clean)[2 * width..], &expected[2 * width..]) > 1e-5, "{name} {edit:?}");
            }
        }
    });
}

#[test]
fn an_edge_that_is_cut_is_the_masked_softmax() {
    each(|name, model| {
        let (clean, spec) = (run(model, &IDS), &model.decoder.spec);
        let head = Head::new(spec.layers - 1, spec.heads - 1);
        let (before, sinks) = (clean.matrix(head).unwrap(), spec.attention.sinks);
        let cut = |query, key, value| {
            let trace = edited(model, &clean, &[edit(Site::Edge { head, query, key }, value)]);
            assert!(trace.len() == IDS.len());
            (trace.matrix(head).unwrap(), last(&trace))
        };
        let key = 3;
        let (after, changed) = cut(Some(6), key, Value::Knockout);
        let (zeroed, _) = cut(Some(6), key, Value::Zero);
        let (column, _) = cut(None, key, Value::Knockout);
        let sees = before[6 * IDS.len() + key] > 1e-6;
        assert_eq!(sees, apart(&last(&clean), &changed) > 1e-7, "{name}");
        for (query, row) in before.chunks(IDS.len()).enumerate() {
            let seen = row[..=query].iter().filter(|weight| **weight > 0.0).count();
            let of = |all: &[f32]| all[query * IDS.len()..][..IDS.len()].to_vec();
            let without = |renormalised: bool, cut: bool| -> Vec<f32> {
                let rest = if cut { 1.0 - row[key] } else { 1.0 };
                let weight = |(at, weight): (usize, &f32)| match (cut && at == key, renormalised) {
                    (true, _) => 0.0,
                    (false, true) => weight / rest,
                    (false, false) => *weight,
                };
                row.iter().enumerate().map(weight).collect()
            };
            // Of a row in which only the cut key is seen nothing is left, unless there is a sink.
            let is_alone = seen == 1 && query == key && !sinks;
            let close = |one: Vec<f32>, other: Vec<f32>| {
                one.iter().zip(&other).all(|(one, other)| (one - other).abs() < 1e-5)
            };
            assert!(close(of(&after), without(true, query == 6)), "{name} row {query}: {:?}", of(&after));
            assert!(close(of(&zeroed), without(false, query == 6)), "{name} row {query}: {:?}", of(&zeroed));
            match is_alone {
                true => assert_eq!(of(&column).iter().sum::<f32>(), 0.0, "{name} row {query}"),
                false => assert!(close(of(&column), without(true, query >= key)), "{name} row {query}"),
            }
        }
        // Of the first query nothing is left but what goes to a sink, and the pass stays finite.
        let first = edited(model, &clean, &[edit(Site::Edge { head, query: None, key: 0 }, Value::Knockout)]);
        assert!(last(&first).iter().all(|number| number.is_finite()), "{name}");
        // Token by token it is the same.
        let edits = [edit(Site::Edge { head, query: None, key }, Value::Knockout)];
        let edits = model.decoder.edits(&edits, &clean, IDS.len()).unwrap();
        let mut stepped = model.decoder.trace();
        for token in IDS {
            let pass = Pass::edited(&edits, &Control::FREE);
            model.decoder.extend(&mut stepped, &[token], &pass).unwrap();
        }
        let stepped = stepped.matrix(head).unwrap();
        assert!(apart(&column, &stepped) < 1e-4, "{name} by steps");
    });
}

#[test]
fn groups_and_layers_are_the_sum_of_their_heads() {
    each(|name, model| {
        let (clean, spec) = (run(model, &IDS), &model.decoder.spec);
        let layer = spec.layers - 1;
        let zero = |heads: std::ops::Range<usize>| -> Vec<f32> {
            let heads = heads.map(|head| edit(Site::Head(Head::new(layer, head)), Value::Zero));
            last(&edited(model, &clean, &heads.collect::<Vec<_>>()))
        };
        let group = edited(model, &clean, &[edit(Site::KvHead(Head::new(layer, 0)), Value::Zero)]);
        assert_eq!(zero(0..spec.group()), last(&group), "{name}");
        // Edits of different heads commute, and the last of one head holds.
        let one = edit(Site::Head(Head::new(layer, 0)), Value::Zero);
        let two = edit(Site::Head(Head::new(layer, 1)), Value::Mean);
        let both = |edits: &[Edit]| last(&edited(model, &clean, edits));
        assert_eq!(both(&[one.clone(), two.clone()]), both(&[two.clone(), one.clone()]), "{name}");
        let mean = edit(one.site, Value::Mean);
        assert_eq!(both(&[one.clone(), mean.clone()]), both(&[mean]), "{name}");
    });
}

#[test]
fn what_a_layer_writes_adds_up_to_the_residual_stream() {
    each(|name, model| {
        let (clean, decoder) = (run(model, &IDS), &model.decoder);
        if decoder.spec.norm.place == NormPlace::Sum {
            return;
        }
        for layer in 0..model.info.layers {
            for tokens in [0..IDS.len(), 4..6] {
                let of = |layer, part| decoder.values(&clean, layer, part, tokens.clone());
                let mut sum =
                    (of(layer, Part::Residual).unwrap() + of(layer, Part::Attention).unwrap()).unwrap();
                if let Ok(mlp) = of(layer, Part::Mlp) {
                    sum = (sum + mlp).unwrap();
                }
                let after = of(layer + 1, Part::Residual).unwrap();
                assert!(apart(&numbers(&after), &numbers(&sum)) < 1e-5, "{name} layer {layer} {tokens:?}");
            }
        }
    });
}

#[test]
fn a_site_that_a_model_lacks_is_named() {
    each(|_, model| {
        let clean = run(model, &IDS);
        let (layers, heads) = (model.info.layers, model.info.heads);
        for (site, named) in [
            (Site::Head(Head::new(layers, 0)), format!("no head {layers}.0")),
            (Site::Head(Head::new(0, heads)), format!("no head 0.{heads}")),
            (
                Site::KvHead(Head::new(0, model.info.kv_heads)),
                format!("no KV heads 0.{}", model.info.kv_heads),
            ),
            (Site::Attention(layers), format!("no layer {layers}")),
            (Site::Residual(layers + 1), format!("before layer {}", layers + 1)),
            (Site::Edge { head: Head::new(0, heads), query: None, key: 0 }, format!("no head 0.{heads}")),
            (
                Site::Edge { head: Head::new(0, 0), query: Some(1), key: 2 },
                "token 1 does not see token 2".to_owned(),
            ),
        ] {
            let error = model.decoder.edits(&[edit(site, Value::Zero)], &clean, 3).err().unwrap();
            assert!(error.to_string().contains(&named), "{error}");
        }
        let edge = Site::Edge { head: Head::new(0, 0), query: None, key: 0 };
        for (site, value, named) in
            [(edge, Value::Mean, "nothing else"), (Site::Attention(0), Value::Knockout, "edges alone")]
        {
            let error = model.decoder.edits(&[edit(site, value)], &clean, 3).err().unwrap();
            assert!(error.to_string().contains(named), "{error}");
        }
        if model.decoder.spec.mlp.is_empty() {
            let error = model.decoder.edits(&[edit(Site::Mlp(0), Value::Zero)], &clean, 3).err().unwrap();
            assert!(error.to_string().contains("layer 0 has no MLP"), "{error}");
        }
    });
}
