//! Every way that a pass can be made, for every family: stepped, truncated, streamed, run again from a layer, rounded. What
//! `attnscope trace` gives is compared with the reference tensors in `families.rs`.

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use attnscope::{
    checkpoint::progress::Nobody,
    engine::open::{Model, OpenRequest},
    head::Head,
    model::{
        decoder::{Control, Pass},
        edit::Edit,
        place::DtypeChoice,
        trace::Trace,
    },
};
use candle_core::{Device, Tensor};

/// Every folder of the fixtures with a reference in it that tells logits.
static CASES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let folders = std::fs::read_dir(fixture("")).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = folders
        .filter(|folder| tells_logits(folder))
        .map(|folder| folder.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(names.len() >= 7, "{names:?}");
    names
});

fn tells_logits(folder: &Path) -> bool {
    let tensors = candle_core::safetensors::load(folder.join("reference.safetensors"), &Device::Cpu);
    tensors.is_ok_and(|tensors| tensors.contains_key("logits"))
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The path of a case's checkpoint: its folder, or a file that describes itself.
fn checkpoint(name: &str) -> String {
    let files = ["model.gguf", "model_final.pth", "ckpt.pt"].map(|file| fixture(name).join(file));
    let file = files.into_iter().find(|file| file.is_file());
    file.unwrap_or_else(|| fixture(name)).display().to_string()
}

fn open(name: &str) -> Model {
    let model = Some(checkpoint(name));
    Model::open(&OpenRequest { model, ..OpenRequest::default() }, &Nobody).unwrap()
}

struct Reference {
    ids: Vec<u32>,
    logits: Vec<f32>,
}

fn reference(name: &str) -> Reference {
    let path = fixture(name).join("reference.safetensors");
    let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let numbers = |name: &str| tensors[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    Reference {
        ids: tensors["ids"].to_vec1::<i64>().unwrap().into_iter().map(|id| id as u32).collect(),
        logits: numbers("logits"),
    }
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn run(model: &Model, ids: &[u32]) -> Trace {
    let mut trace = model.decoder.trace();
    model.decoder.extend(&mut trace, ids, &Pass::FREE).unwrap();
    trace
}

fn logits(model: &Model, trace: &Trace) -> Vec<f32> {
    let logits: Tensor = model.decoder.logits(&trace.last.view().unwrap()).unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

fn patterns(model: &Model, trace: &Trace) -> Vec<Vec<f32>> {
    let layer = |layer| {
        let heads = (0..model.info.heads).flat_map(|head| trace.matrix(Head::new(layer, head)).unwrap());
        heads.collect()
    };
    (0..model.info.layers).map(layer).collect()
}

#[test]
fn stepping_with_the_cache_equals_the_whole_pass() {
    for name in CASES.iter() {
        let model = open(name);
        let ids = reference(name).ids;
        let whole = run(&model, &ids);
        let mut stepped = run(&model, &ids[..5]);
        for id in &ids[5..] {
            model.decoder.extend(&mut stepped, &[*id], &Pass::FREE).unwrap();
        }
        // Back three tokens and on again: as the explorer does when somebody changes their mind.
        stepped.truncate(ids.len() - 3);
        model.decoder.extend(&mut stepped, &ids[ids.len() - 3..], &Pass::FREE).unwrap();
        for (whole, stepped) in patterns(&model, &whole).iter().zip(patterns(&model, &stepped)) {
            let difference = largest_difference(whole, &stepped);
            assert!(difference < 3e-5, "{name}: patterns differ by {difference}");
        }
        assert!(largest_difference(&logits(&model, &whole), &logits(&model, &stepped)) < 1e-3, "{name}");
        // To the first tokens alone, which some rotations turn otherwise than as the beginning of the whole.
        model.decoder.shorten(&mut stepped, 5, &Pass::FREE).unwrap();
        let short = run(&model, &ids[..5]);
        for (short, stepped) in patterns(&model, &short).iter().zip(patterns(&model, &stepped)) {
            assert!(largest_difference(short, &stepped) < 3e-5, "{name}: a shortened text differs");
        }
    }
}

#[test]
fn a_streamed_batch_shows_the_same_rows() {
    for name in CASES.iter() {
        let model = open(name);
        let ids = reference(name).ids;
        let other: Vec<u32> = ids.iter().rev().copied().collect();
        let expected = [patterns(&model, &run(&model, &ids)), patterns(&model, &run(&model, &other))];
        let seen = std::sync::Mutex::new(0);
        let watch = |place: attnscope::model::attention::Place,
                     rows: &attnscope::model::attention::Rows<'_>| {
            let tokens = ids.len();
            let head =
                &expected[place.sequence][place.layer][place.head * tokens * tokens..][..tokens * tokens];
            for (query, row) in rows.iter() {
                // A product of more rows is summed in another order, which depends on the processor.
                let difference = largest_difference(row, &head[query * tokens..][..row.len()]);
                assert!(difference < 3e-5, "{name} {place:?}: off by {difference}");
                *seen.lock().unwrap() += 1;
            }
        };
        model
            .decoder
            .stream(&[ids.clone(), other.clone()], &Pass { watch: Some(&watch), ..Pass::FREE })
            .unwrap();
        let rows = 2 * model.info.layers * model.info.heads * ids.len();
        assert_eq!(*seen.lock().unwrap(), rows, "{name}: a row was not shown");
    }
}

#[test]
fn rerunning_from_a_layer_and_dropping_a_head_agree() {
    for name in CASES.iter() {
        let model = open(name);
        let ids = reference(name).ids;
        let intact = run(&model, &ids);
        let head = Head::new(model.info.layers - 1, model.info.heads - 1);
        let edits = model.decoder.edits(&[Edit::ablation(head)], &intact, ids.len()).unwrap();
        let pass = Pass::edited(&edits, &Control::FREE);
        // Ablated from the embedding on, from the cached residual stream on, and for one token alone.
        let mut from_start = model.decoder.trace();
        model.decoder.extend(&mut from_start, &ids, &pass).unwrap();
        let mut from_layer = model.decoder.trace();
        model.decoder.follow(&mut from_layer, &intact, head.layer, &pass).unwrap();
        let one = model.decoder.last_of(&intact, head.layer, ids.len() - 1, &pass).unwrap();
        let one: Vec<f32> = model.decoder.logits(&one).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let expected = logits(&model, &from_start);
        assert!(largest_difference(&expected, &logits(&model, &from_layer)) < 1e-4, "{name}");
        assert!(largest_difference(&expected[expected.len() - one.len()..], &one) < 1e-4, "{name}");
        assert!(
            largest_difference(&expected, &logits(&model, &intact)) > 1e-3,
            "{name}: ablation changed nothing"
        );
    }
}

#[test]
fn half_types_stay_near_the_reference() {
    for name in CASES.iter() {
        for (dtype, bound) in [(DtypeChoice::F32, 2e-4), (DtypeChoice::F16, 5e-3), (DtypeChoice::Bf16, 5e-2)]
        {
            let model = Some(checkpoint(name));
            let request = OpenRequest { model, dtype, ..OpenRequest::default() };
            let model = Model::open(&request, &Nobody).unwrap();
            let expected = reference(name);
            let scale = expected.logits.iter().fold(0.0f32, |scale, logit| scale.max(logit.abs()));
            let difference =
                largest_difference(&logits(&model, &run(&model, &expected.ids)), &expected.logits);
            // A router's scores may be so near each other that rounding picks another expert.
            let routed = model.decoder.spec.mlp.iter().any(|mlp| mlp.experts.is_some());
            let bound = if routed && dtype != DtypeChoice::F32 { 2.0 * bound } else { bound };
            assert!(difference < bound * scale, "{name} in {dtype:?}: off by {difference} of {scale}");
        }
    }
}

#[test]
fn a_cancelled_pass_leaves_the_trace_as_it_was() {
    let model = open("llama-gqa");
    let ids = reference("llama-gqa").ids;
    let mut trace = run(&model, &ids[..6]);
    let before = logits(&model, &trace);
    let layers = std::cell::Cell::new(0);
    let cancelled = || {
        layers.set(layers.get() + 1);
        layers.get() > 1
    };
    let control = Control { progress: &|_, _| (), cancelled: &cancelled };
    let error = model.decoder.extend(&mut trace, &ids[6..], &Pass::plain(&control)).unwrap_err();
    assert!(attnscope::error::is_interrupted(&error));
    assert_eq!(trace.len(), 6);
    assert_eq!(before, logits(&model, &trace));
    model.decoder.extend(&mut trace, &ids[6..], &Pass::FREE).unwrap();
    assert!(largest_difference(&logits(&model, &run(&model, &ids)), &logits(&model, &trace)) < 1e-3);
}

#[test]
fn block_types_widen_as_the_reference_does() {
    let (_, weights) = attnscope::checkpoint::gguf::read_file(&fixture("gguf/blocks.gguf")).unwrap();
    let path = fixture("gguf/blocks.reference.safetensors");
    let expected = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    assert!(expected.len() >= 11, "{} block types", expected.len());
    for (name, expected) in &expected {
        let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
        let numbers = weights.get(name).unwrap().to_f32();
        let scale = expected.iter().fold(0.0f32, |scale, number| scale.max(number.abs()));
        let difference = largest_difference(&numbers, &expected);
        assert!(difference <= 1e-6 * scale, "{name}: off by {difference} of {scale}");
    }
}
