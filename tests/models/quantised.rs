//! Weights of eight and four bits (`tests/reference/quantised.py`): each number as transformers widens it, and one line for
//! those that are packed in another way.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ::safetensors::{Dtype, serialize, tensor::TensorView};
use attnscope::checkpoint::{
    Checkpoint, Wanted,
    progress::Nobody,
    safetensors,
    weights::{StoredTensor, WeightType, Weights},
};
use serde_json::json;
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/quantised").join(name)
}

fn opened(folder: &Path) -> Result<Checkpoint, String> {
    let checkpoint = Checkpoint::open(&Wanted { model: folder.to_str(), ..Wanted::default() }, &Nobody);
    checkpoint.map_err(|error| format!("{error:#}"))
}

fn open(folder: &Path) -> Result<Weights, String> {
    opened(folder).map(|checkpoint| checkpoint.weights)
}

/// A copy of a checkpoint with another `config.json`.
fn described(name: &str, config: &serde_json::Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixture(name).join("model.safetensors"), folder.path().join("model.safetensors")).unwrap();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

fn bits(tensor: &StoredTensor) -> Vec<u32> {
    let number = |number: f32| if number.is_nan() { f32::NAN.to_bits() } else { number.to_bits() };
    tensor.to_f32().into_iter().map(number).collect()
}

#[test]
fn every_number_is_what_transformers_makes_of_it() {
    for (name, count) in [
        ("numbers", 3),
        ("fp8", 5),
        ("rows", 2),
        ("mxfp4", 1),
        ("static/fp8", 1),
        ("static/modelopt", 1),
        ("static/compressed", 1),
    ] {
        let weights = open(&fixture(name)).unwrap();
        let mut twin = Weights::default();
        safetensors::read_file(&fixture(name).join("widened.safetensors"), &mut twin).unwrap();
        assert_eq!((weights.iter().count(), twin.iter().count()), (count, count), "{name}");
        assert_eq!(weights.parameters(), twin.parameters(), "{name}: scales are no parameters");
        for (tensor, twin) in weights.iter().zip(twin.iter()) {
            assert_eq!((&tensor.name, &tensor.shape), (&twin.name, &twin.shape));
            assert_eq!(bits(tensor), bits(twin), "{}", tensor.name);
        }
    }
}

#[test]
fn scales_of_activations_are_left_out_and_told() {
    for (name, more) in [("static/fp8", 1), ("static/modelopt", 2), ("static/compressed", 3)] {
        let remarks = opened(&fixture(name)).unwrap().remarks;
        let told = format!("_scale` and {more} more: activations, keys and values are not rounded");
        assert!(matches!(&remarks[..], [one] if one.contains(&told)), "{name}: {remarks:?}");
    }
    assert!(opened(&fixture("fp8")).unwrap().remarks.is_empty());
    // Without the key too, as early releases of ModelOpt left it out.
    let plain = described("static/fp8", &json!({}));
    assert_eq!(open(plain.path()).unwrap().iter().count(), 1);
}

#[test]
fn each_expert_is_read_where_it_lies() {
    for (folder, name, row) in
        [("mxfp4", "model.layers.0.mlp.experts.gate_up_proj", 64), ("fp8", "experts.up", 48)]
    {
        let weights = open(&fixture(folder)).unwrap();
        let stack = weights.get(name).unwrap();
        let (whole, rows) = (stack.to_f32(), stack.shape[1]);
        for expert in 0..stack.shape[0] {
            let part = stack.part(expert).unwrap();
            assert_eq!(part.shape, stack.shape[1..]);
            assert!(stack.bytes().as_ptr_range().contains(&part.bytes().as_ptr()), "it is no copy");
            let mut last = vec![0.0; row];
            part.widen_from((rows - 1) * row, &mut last);
            assert_eq!(last, whole[((expert + 1) * rows - 1) * row..][..row], "{name} {expert}");
        }
    }
    assert_eq!(open(&fixture("mxfp4")).unwrap().main_type(), Some(WeightType::E2M1));
}

#[test]
fn weights_that_are_packed_in_another_way_are_named() {
    for (config, key) in [
        (json!({"quant_method": "gptq", "bits": 4}), "`quantization_config.quant_method` is `gptq`"),
        (json!({"quant_method": "awq"}), "`quantization_config.quant_method` is `awq`"),
        (json!({"quant_method": "bitsandbytes", "load_in_4bit": true}), "is `bitsandbytes`"),
        (
            json!({"quant_method": "compressed-tensors", "format": "pack-quantized"}),
            "`quantization_config.format` is `pack-",
        ),
        (
            json!({"quant_method": "modelopt", "quant_algo": "NVFP4"}),
            "`quantization_config.quant_algo` is `NVFP4`",
        ),
        (json!({}), "`quantization_config.quant_method` is ``"),
    ] {
        let folder = described("rows", &json!({"quantization_config": config}));
        let error = open(folder.path()).err().unwrap();
        assert!(error.contains(key) && error.contains("config.json: ") && error.contains("GGUF"), "{error}");
    }
}

/// A folder with tensors of some names and types, and with `config.json` or without.
fn holding(tensors: &[(&str, Dtype)], config: Option<&serde_json::Value>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let views = tensors.iter().map(|&(name, kind)| {
        let bytes: &[u8] = &[0; 8][..kind.bitsize() / 8];
        (format!("model.layers.0.mlp.down_proj.{name}"), TensorView::new(kind, vec![1], bytes).unwrap())
    });
    fs::write(folder.path().join("model.safetensors"), serialize(views, None).unwrap()).unwrap();
    if let Some(config) = config {
        fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    }
    folder
}

#[test]
fn packed_weights_are_named_also_where_nothing_says_that_they_are() {
    use Dtype::{F8_E4M3, F16, F32, I32, U8, U32};
    // MLX says it under keys of its own.
    let mlx = json!({"model_type": "llama", "quantization_config": {"group_size": 64, "bits": 4}});
    let plain = json!({"model_type": "llama"});
    for (tensors, config, tool) in [
        (&[("weight", U32), ("scales", F16), ("biases", F16)][..], Some(&mlx), "MLX"),
        (&[("weight", U8), ("weight.absmax", F32), ("weight.quant_map", F32)], Some(&plain), "bitsandbytes"),
        (&[("qweight", I32), ("qzeros", I32), ("scales", F16), ("g_idx", I32)], Some(&plain), "GPTQ"),
        (&[("qweight", I32), ("qzeros", I32), ("scales", F16)], None, "AWQ"),
        (&[("weight", U8), ("weight_scale", F8_E4M3), ("weight_scale_2", F32)], None, "NVFP4"),
    ] {
        let error = open(holding(tensors, config).path()).err().unwrap();
        let expected = format!("tensor `model.layers.0.mlp.down_proj.{}` was packed by ", tensors[0].0);
        assert!(error.contains(&expected) && error.contains(tool), "{error}");
        assert!(error.contains("GGUF") && !error.contains("missing") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn scales_that_are_missing_or_odd_are_named() {
    let fp8 = |block: serde_json::Value| json!({"quantization_config": {"quant_method": "fp8", "weight_block_size": block}});
    let error = open(described("fp8", &fp8(json!(null))).path()).err().unwrap();
    assert!(
        error.contains("`a.weight_scale_inv` of shape [3, 2]") && error.contains("weight_block_size"),
        "{error}"
    );
    for block in [json!([8, 8]), json!([0, 16])] {
        let error = open(described("fp8", &fp8(block)).path()).err().unwrap();
        assert!(
            error.contains("tensor `a.weight`: scales `a.weight_scale_inv` of shape [3, 2] do not go"),
            "{error}"
        );
    }
    let error = open(described("numbers", &fp8(json!([8, 8]))).path()).err().unwrap();
    assert!(error.contains("tensor `e4m3` has no `e4m3_scale_inv`"), "{error}");
    // Without the key they are plain numbers of eight bits, as some publish theirs.
    assert!(open(described("numbers", &json!({})).path()).is_ok());
}
