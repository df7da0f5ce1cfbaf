//! Models with experts, and with latents: what is missing or misshapen is named, and what no token picks is not touched.

use std::{collections::HashMap, fs, path::Path};

use attnscope::{
    analysis::check::{Finding, Verdict, experts},
    checkpoint::progress::Nobody,
    engine::open::{Model, OpenRequest},
    model::decoder::{Control, Pass},
};
use candle_core::{DType, Device, Tensor, safetensors};

type Tensors = HashMap<String, Tensor>;

/// A copy of a fixture with other tensors, opened.
fn opened(fixture: &str, change: impl FnOnce(&mut Tensors)) -> anyhow::Result<Model> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
    let folder = tempfile::tempdir().unwrap();
    fs::copy(from.join("config.json"), folder.path().join("config.json")).unwrap();
    let mut tensors = safetensors::load(from.join("model.safetensors"), &Device::Cpu).unwrap();
    change(&mut tensors);
    safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    let model = Some(folder.path().display().to_string());
    Model::open(&OpenRequest { model, ..OpenRequest::default() }, &Nobody)
}

fn logits(model: &Model) -> Vec<f32> {
    let mut trace = model.decoder.trace();
    model.decoder.extend(&mut trace, &[3, 9, 27, 5, 11], &Pass::FREE).unwrap();
    let logits = model.decoder.logits(&trace.last.view().unwrap()).unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn what_is_missing_or_misshapen_is_named() {
    let cases = [
        ("glm4_moe-groups", "model.layers.1.mlp.gate.weight"),
        ("glm4_moe-groups", "model.layers.1.mlp.gate.e_score_correction_bias"),
        ("glm4_moe-groups", "model.layers.1.mlp.experts.7.down_proj.weight"),
        ("glm4_moe-groups", "model.layers.1.mlp.shared_experts.up_proj.weight"),
        ("qwen2_moe", "model.layers.0.mlp.shared_expert_gate.weight"),
        ("llama4_text", "model.layers.1.feed_forward.experts.gate_up_proj"),
        ("llama4_text", "model.layers.3.feed_forward.experts.down_proj"),
        ("deepseek_v3", "model.layers.0.self_attn.q_a_layernorm.weight"),
        ("deepseek_v3", "model.layers.0.self_attn.kv_a_proj_with_mqa.weight"),
        ("deepseek_v3", "model.layers.1.self_attn.kv_b_proj.weight"),
    ];
    for (fixture, name) in cases {
        let missing = opened(fixture, |tensors| drop(tensors.remove(name).unwrap()));
        let said = format!("{:#}", missing.err().unwrap_or_else(|| panic!("{name} is not missed")));
        assert!(said.contains(&format!("no tensor `{name}`")), "{said}");
        let misshapen = opened(fixture, |tensors| {
            let tensor = &tensors[name];
            let last = tensor.rank() - 1;
            let less = tensor.narrow(last, 0, tensor.dim(last).unwrap() - 1).unwrap().contiguous().unwrap();
            tensors.insert(name.into(), less);
        });
        let said = format!("{:#}", misshapen.err().unwrap_or_else(|| panic!("{name} may have any shape")));
        assert!(said.contains(name) && said.contains("asks for"), "{said}");
    }
    // Two experts for four.
    let name = "model.layers.1.feed_forward.experts.down_proj";
    let fewer = opened("llama4_text", |tensors| {
        tensors.insert(name.into(), tensors[name].narrow(0, 0, 2).unwrap().contiguous().unwrap());
    });
    let said = format!("{:#}", fewer.err().unwrap());
    assert!(said.contains(name) && said.contains("asks for 4 experts"), "{said}");
}

#[test]
fn an_expert_that_no_token_picks_is_not_touched() {
    let layer = "model.layers.1.mlp";
    let with = |number: Option<f64>| {
        let model = opened("glm4_moe-groups", |tensors| {
            let name = format!("{layer}.gate.e_score_correction_bias");
            let old = &tensors[&name];
            let mut numbers = old.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
            numbers[2] = -100.0;
            let new = Tensor::new(numbers, &Device::Cpu).unwrap().to_dtype(old.dtype()).unwrap();
            tensors.insert(name, new);
            for (_, tensor) in tensors.iter_mut().filter(|(name, _)| name.contains(".experts.2.")) {
                if let Some(number) = number {
                    *tensor = tensor.affine(0.0, number).unwrap();
                }
            }
        });
        logits(&model.unwrap())
    };
    let plain = with(None);
    assert!(plain.iter().all(|logit| logit.is_finite()));
    assert_eq!(plain, with(Some(f64::NAN)));
}

/// What a run tells of where its tokens go, and how many experts the first layer has and uses for a token.
fn told(model: &Model) -> (Vec<Finding>, usize, usize) {
    let mut trace = model.decoder.trace();
    model.decoder.extend(&mut trace, &[5, 9, 17, 5, 9, 33, 2, 17, 5, 40, 41, 42], &Pass::FREE).unwrap();
    let (experts, picked) = model.decoder.picked(&trace, 0).unwrap().unwrap();
    assert_eq!(picked.len(), trace.len());
    (experts::findings(&model.decoder, &trace, &Control::FREE).unwrap(), experts, picked[0].len())
}

#[test]
fn a_router_that_picks_always_the_same_is_told() {
    // A router of zeros has no reason to pick others than the first.
    let blank = |tensors: &mut Tensors| {
        let routers: Vec<String> =
            tensors.keys().filter(|name| name.ends_with("gate.weight")).cloned().collect();
        assert!(!routers.is_empty(), "{:?}", tensors.keys());
        for router in routers {
            let none = tensors[&router].zeros_like().unwrap();
            tensors.insert(router, none);
        }
    };
    for name in ["mixtral", "qwen3_moe"] {
        let (sound, ..) = told(&opened(name, |_| ()).unwrap());
        assert!(sound.len() == 1 && sound[0].verdict < Verdict::Warn, "{name}: {sound:?}");
        let (blank, all, top) = told(&opened(name, blank).unwrap());
        let idle = (all - top) as f64 / all as f64;
        assert_eq!((blank[0].value, blank[0].verdict), (Some(idle), Verdict::Note), "{name}: {blank:?}");
    }
}
