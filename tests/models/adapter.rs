//! Adapters of peft (`tests/reference/adapters.py`): merged into their base, they compute what peft's merged model does.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ::safetensors::{Dtype, serialize, tensor::TensorView};
use attnscope::{
    checkpoint::{
        Checkpoint, Description, Wanted,
        progress::Nobody,
        safetensors,
        weights::{StoredTensor, WeightType, Weights},
    },
    engine::open::{Model, OpenRequest},
    head::Head,
    model::decoder::Pass,
};
use serde_json::{Value, json};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn adapter(name: &str) -> PathBuf {
    fixture("adapters").join(name)
}

/// A copy of an adapter whose description has other values.
fn changed(name: &str, keys: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(adapter(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.path().join("adapter_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    keys.as_object().unwrap().iter().for_each(|(key, value)| config[key] = value.clone());
    fs::write(path, config.to_string()).unwrap();
    folder
}

fn open(adapter: &Path, base: Option<&str>) -> Result<Checkpoint, String> {
    let base = base.map(fixture);
    let base = base.as_ref().and_then(|base| base.to_str());
    let wanted = Wanted { model: adapter.to_str(), base, ..Wanted::default() };
    Checkpoint::open(&wanted, &Nobody).map_err(|error| format!("{error:#}"))
}

#[track_caller]
fn refused(adapter: &Path, base: Option<&str>, expected: &[&str]) {
    let error = open(adapter, base).err().unwrap();
    for part in expected {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
    assert!(!error.contains('\n'), "{error}");
}

#[track_caller]
fn assert_close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let far = found.iter().zip(expected).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
    assert!(far < 2e-4, "{what}: {far}");
}

#[test]
fn a_merged_model_computes_what_pefts_does() {
    let tied = "llama-tied-mqa";
    for (name, reference, base) in [
        ("plain", "plain", "gpt2"),
        ("older", "plain", "gpt2"),
        ("everything", "everything", "gpt2"),
        ("dora", "dora", "gpt2"),
        ("biased", "biased", "gpt2"),
        ("unturned", "unturned", "gpt2"),
        ("turned", "turned", "gpt_neox"),
        ("renamed", "renamed", "gpt_neox"),
        ("patterns", "patterns", "llama-gqa"),
        ("magnitudes", "magnitudes", "llama-gqa"),
        ("tokens", "tokens", "llama-gqa"),
        ("resized", "resized", "llama-gqa"),
        ("tied-wte", "tied-wte", "gpt2"),
        ("tied-embedding", "tied-embedding", tied),
        ("tied-head", "tied-head", tied),
        ("tied-both", "tied-both", tied),
        ("tied-ensured", "tied-ensured", tied),
        ("tied-embedding-saved", "tied-embedding-saved", tied),
        ("tied-head-saved", "tied-head-saved", tied),
        ("tied-both-saved", "tied-both-saved", tied),
        ("tied-ensured-saved", "tied-ensured-saved", tied),
        ("tied-tokens", "tied-tokens", tied),
        ("tied-tokens-apart", "tied-tokens-apart", tied),
        ("tied-resized", "tied-resized", tied),
        ("tied-resized-embedding", "tied-resized-embedding", tied),
        ("tied-resized-tokens", "tied-resized-tokens", tied),
    ] {
        let request = OpenRequest {
            model: Some(adapter(name).display().to_string()),
            base: Some(fixture(base).display().to_string()),
            ..OpenRequest::default()
        };
        let model = Model::open(&request, &Nobody).unwrap();
        assert_eq!(model.info.name, format!("{name} + {base}"));
        let apart =
            ["everything", "tied-wte", "tied-embedding", "tied-head", "tied-both", "tied-embedding-saved"];
        let apart = apart.contains(&name)
            || ["tied-head-saved", "tied-both-saved", "tied-tokens-apart", "tied-resized-embedding"]
                .contains(&name);
        let told = model.remarks().iter().filter(|remark| remark.contains("two with the adapter")).count();
        assert_eq!(told, usize::from(apart), "{name}: {:?}", model.remarks());
        assert!(!model.remarks().iter().any(|remark| remark.contains("is stored")), "{:?}", model.remarks());
        let mut expected = Weights::default();
        safetensors::read_file(&adapter(reference).join("reference.safetensors"), &mut expected).unwrap();
        let expected = |tensor: &str| expected.get(tensor).unwrap().to_f32();

        let ids = [5, 9, 60, 5, 9, 33].map(|id| id % model.info.vocabulary as u32);
        let mut trace = model.decoder.trace();
        model.decoder.extend(&mut trace, &ids, &Pass::FREE).unwrap();
        let logits = model.decoder.logits(&trace.last.view().unwrap()).unwrap();
        let logits: Vec<f32> = logits.flatten_all().unwrap().to_vec1().unwrap();
        for layer in 0..model.info.layers {
            let heads = (0..model.info.heads).map(|head| Head::new(layer, head));
            let pattern: Vec<f32> = heads.flat_map(|head| trace.matrix(head).unwrap()).collect();
            assert_close(&format!("{name}: layer {layer}"), &pattern, &expected(&format!("pattern.{layer}")));
        }
        let last = &logits[logits.len() - model.info.vocabulary..];
        assert_close(&format!("{name}: logits"), last, &expected("logits"));
    }
}

/// Of a base that stores the matrix of both ends under the name of the unembedding.
#[test]
fn the_embedding_of_a_base_may_be_called_its_unembedding() {
    let base = tempfile::tempdir().unwrap();
    let from = fixture("llama-tied-mqa");
    fs::copy(from.join("config.json"), base.path().join("config.json")).unwrap();
    let mut tensors = Weights::default();
    safetensors::read_file(&from.join("model.safetensors"), &mut tensors).unwrap();
    let embedding = tensors.remove("model.embed_tokens.weight").unwrap();
    tensors.insert(embedding.named("lm_head.weight".into()));
    let path = base.path().join("model.safetensors");
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), tensor.bytes());
        (&tensor.name, view.unwrap())
    });
    fs::write(path, serialize(views, None).unwrap()).unwrap();
    let ends = ["model.embed_tokens.weight", "lm_head.weight"];
    for name in ["tied-embedding", "tied-both", "tied-tokens"] {
        let read = |base: &str| {
            let weights = open(&adapter(name), Some(base)).unwrap().weights;
            ends.map(|end| weights.get(end).map(StoredTensor::to_f32).ok())
        };
        assert!(read(base.path().to_str().unwrap()) == read("llama-tied-mqa"), "{name}");
    }
    refused(&adapter("tied-head"), base.path().to_str(), &["stores `lm_head.weight` and no embedding"]);
    refused(&adapter("tokens"), Some("llama-other-head"), &["key `tie_word_embeddings`", "differ: rows of"]);
}

/// Whatever `fan_in_fan_out` says, it is the base that tells how its layers are stored.
#[test]
fn the_base_tells_which_layers_are_turned() {
    for (name, base, is_turned) in [("unturned", "gpt2", true), ("turned", "gpt_neox", false)] {
        let read = |said: Value| {
            let folder = changed(name, &json!({"fan_in_fan_out": said}));
            let checkpoint = open(folder.path(), Some(base)).unwrap();
            let weights: Vec<f32> = checkpoint.weights.iter().flat_map(StoredTensor::to_f32).collect();
            (weights, checkpoint.remarks)
        };
        let (expected, none) = read(json!(is_turned));
        assert!(none.is_empty(), "{none:?}");
        for (said, remarks) in [(json!(!is_turned), 1), (json!(null), 0)] {
            let (weights, told) = read(said.clone());
            assert!(weights == expected, "{name}: {said}");
            assert!(
                told.len() == remarks && told.iter().all(|told| told.contains("`fan_in_fan_out`")),
                "{told:?}"
            );
        }
    }
}

#[test]
fn only_what_changes_is_made_anew() {
    let checkpoint = open(&adapter("plain"), Some("gpt2")).unwrap();
    let base = open(&fixture("gpt2"), None).unwrap();
    let name = "transformer.h.0.mlp.c_fc.weight";
    let [merged, plain] = [&checkpoint.weights, &base.weights].map(|weights| weights.get(name).unwrap());
    assert_eq!(merged.to_f32(), plain.to_f32());
    let name = "transformer.h.0.attn.c_attn.weight";
    let [merged, plain] = [&checkpoint.weights, &base.weights].map(|weights| weights.get(name).unwrap());
    assert_ne!(merged.to_f32(), plain.to_f32());
    assert_eq!((merged.kind, &merged.shape), (WeightType::F32, &plain.shape));
    let [folder, base] = [adapter("plain"), fixture("gpt2")].map(|path| path.display().to_string());
    assert_eq!(checkpoint.source, format!("{folder} + {base}"));
    assert!(checkpoint.tokenizer.is_ok(), "the base's");
}

#[test]
fn an_adapter_is_its_file_its_folder_or_the_last_of_a_run() {
    let run = tempfile::tempdir().unwrap();
    for (step, name) in [("checkpoint-10", "dora"), ("checkpoint-20", "plain")] {
        let folder = run.path().join(step);
        fs::create_dir(&folder).unwrap();
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            fs::copy(adapter(name).join(file), folder.join(file)).unwrap();
        }
        fs::write(folder.join("optimizer.pt"), "").unwrap();
        fs::write(folder.join("training_args.bin"), "").unwrap();
    }
    fs::write(run.path().join("checkpoint-20/tokenizer.json"), "{").unwrap();
    let name = "transformer.h.1.attn.c_attn.weight";
    let numbers = |path: &Path| {
        let checkpoint = open(path, Some("gpt2")).unwrap();
        (checkpoint.weights.get(name).unwrap().to_f32(), checkpoint.tokenizer.err().unwrap_or_default())
    };
    let (expected, _) = numbers(&adapter("plain"));
    for path in [run.path().to_path_buf(), run.path().join("checkpoint-20/adapter_model.safetensors")] {
        let (found, tokenizer) = numbers(&path);
        assert!(found == expected, "{}", path.display());
        assert!(tokenizer.contains("checkpoint-20/tokenizer.json"), "the adapter's own: {tokenizer}");
    }
    // A whole model beside it is what the folder is opened for.
    let whole = changed("plain", &json!({}));
    for file in ["config.json", "model.safetensors"] {
        fs::copy(fixture("gpt2").join(file), whole.path().join(file)).unwrap();
    }
    assert!(open(whole.path(), None).unwrap().origin.ends_with("/config.json"));
}

#[test]
fn new_tokens_make_the_vocabulary_larger() {
    let folder = changed("plain", &json!({}));
    let mut tensors = Weights::default();
    let path = folder.path().join("adapter_model.safetensors");
    safetensors::read_file(&path, &mut tensors).unwrap();
    let base = open(&fixture("gpt2"), None).unwrap();
    let embedding = base.weights.get("transformer.wte.weight").unwrap();
    let (rows, width) = (embedding.shape[0] + 2, embedding.shape[1]);
    let bytes = vec![0; rows * width * 4];
    let larger = StoredTensor::owned(
        "base_model.model.transformer.wte.weight".into(),
        WeightType::F32,
        vec![rows, width],
        bytes,
    );
    tensors.insert(larger.unwrap());
    let views = tensors.iter().map(|tensor| {
        let view = ::safetensors::tensor::TensorView::new(
            ::safetensors::Dtype::F32,
            tensor.shape.clone(),
            tensor.bytes(),
        );
        (tensor.name.clone(), view.unwrap())
    });
    fs::write(&path, ::safetensors::serialize(views, None).unwrap()).unwrap();
    let checkpoint = open(folder.path(), Some("gpt2")).unwrap();
    let Description::Hub(values) = checkpoint.description else { panic!("it is no GGUF file") };
    assert_eq!(values["vocab_size"], rows);
}

#[test]
fn adapters_that_are_not_merged_say_why() {
    refused(&adapter("plain"), None, &["adapters/plain is an adapter of example/gpt2", "--base"]);
    refused(&adapter("plain"), Some("nowhere"), &["the base of", "nowhere does not exist"]);
    refused(&adapter("plain"), Some("adapters/dora"), &["adapters/dora is an adapter of example/gpt2"]);
    refused(
        &adapter("plain"),
        Some("llama-gqa"),
        &[
            "adapter_model.safetensors, an adapter of example/gpt2, with",
            "no tensor `transformer.h.0.attn.c_attn.weight`",
            "the nearest is `model.",
        ],
    );
    refused(
        &adapter("patterns"),
        Some("llama3-rope"),
        &["`model.layers.0.self_attn.q_proj`: lora_A ", "the base that the adapter was trained on"],
    );
    for (keys, expected) in [
        (json!({"peft_type": "IA3"}), "key `peft_type` is `IA3`"),
        (json!({"peft_type": null}), "key `peft_type` is ``"),
        (json!({"layer_replication": [[0, 1]]}), "key `layer_replication` is set"),
        (json!({"trainable_token_indices": 3}), "data did not match any variant"),
        (json!({"init_lora_weights": "pissa_niter_4"}), "key `init_lora_weights` is `pissa_niter_4`"),
        (json!({"lora_alpha": "x"}), "invalid type: string \"x\""),
        (json!({"alpha_pattern": {"(": 1}}), "key `alpha_pattern.(` is no pattern"),
        (json!({"rank_pattern": {"(": 1}}), "key `rank_pattern.(` is no pattern"),
    ] {
        let folder = changed("plain", &keys);
        refused(folder.path(), Some("gpt2"), &["adapter_config.json: ", expected]);
    }
    for (tokens, expected) in [
        (json!([5, 60, 96]), "token 96, and"),
        (json!([5]), "names 1 tokens"),
        (json!(null), "names 0 tokens"),
    ] {
        let folder = changed("tokens", &json!({"trainable_token_indices": tokens}));
        refused(
            folder.path(),
            Some("llama-gqa"),
            &["`model.embed_tokens`: ", expected, "embed_tokens.weight"],
        );
    }
    refused(changed("plain", &json!({"r": 6})).path(), Some("gpt2"), &["lora_A is [", "asks for the rank 6"]);
    let folder = changed("plain", &json!({}));
    fs::remove_file(folder.path().join("adapter_model.safetensors")).unwrap();
    refused(
        folder.path(),
        Some("gpt2"),
        &["adapter_config.json of an adapter and no adapter_model.safetensors"],
    );
    let folder = changed("plain", &json!({}));
    fs::write(folder.path().join("adapter_config.json"), "{").unwrap();
    refused(folder.path(), Some("gpt2"), &["adapter_config.json is no JSON object"]);
    fs::write(folder.path().join("adapter_model.safetensors"), "{").unwrap();
    fs::copy(adapter("plain").join("adapter_config.json"), folder.path().join("adapter_config.json"))
        .unwrap();
    refused(folder.path(), Some("gpt2"), &["adapter_model.safetensors is no whole safetensors file"]);
}

#[test]
fn names_that_a_training_stack_put_before_an_adapter_s_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let from = adapter("tied-embedding");
    std::fs::copy(from.join("adapter_config.json"), folder.path().join("adapter_config.json")).unwrap();
    let file = "adapter_model.safetensors";
    let tensors = candle_core::safetensors::load(from.join(file), &candle_core::Device::Cpu).unwrap();
    let wrapped = tensors.into_iter().map(|(name, tensor)| (format!("module.policy.{name}"), tensor));
    candle_core::safetensors::save(&wrapped.collect(), folder.path().join(file)).unwrap();
    let logits = |model: &std::path::Path| {
        let request = OpenRequest {
            model: Some(model.display().to_string()),
            base: Some(fixture("llama-tied-mqa").display().to_string()),
            ..OpenRequest::default()
        };
        let model = Model::open(&request, &Nobody).unwrap();
        let mut trace = model.decoder.trace();
        model.decoder.extend(&mut trace, &[5, 9, 60, 5], &Pass::FREE).unwrap();
        let logits = model.decoder.logits(&trace.last.view().unwrap()).unwrap();
        logits.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_eq!(logits(folder.path()), logits(&from));
}
