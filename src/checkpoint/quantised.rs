//! Weights of `config.json` checkpoints that are stored as quantised numbers beside their scales: each pair becomes one
//! tensor, whose numbers are scaled when they are read.
//!
//! FP8 checkpoints keep `X` with `X_scale_inv` or `X_scale`; both are what the numbers are multiplied by. The experts of
//! gpt-oss are MXFP4: `X_blocks`, `[experts, rows, blocks of 32, 16 bytes]`, with `X_scales`, a power of two for each block,
//! become `X`, `[experts, rows, columns]`.
//!
//! Beside FP8 weights may stand scales that servers round activations, keys and values with. They are left out: what is
//! computed is what the widened weights compute.

mod packings;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

pub use self::packings::refuse;
use super::weights::{StoredTensor, WeightType, Weights};
use crate::text::list;

/// The key of `config.json` that says how weights are quantised.
const KEY: &str = "quantization_config";
/// What is behind the name of a tensor of eight-bit numbers in that of its scales.
const SCALES: [&str; 2] = ["_scale_inv", "_scale"];
/// How names end of the scales of activations, keys and values.
const OF_ACTIVATIONS: [&str; 9] = [
    ".act_scale",
    ".activation_scale",
    ".input_scale",
    ".input_scale_ub",
    ".k_scale",
    ".kv_scale",
    ".output_scale",
    ".q_scale",
    ".v_scale",
];
/// Numbers of a row that share a scale in MX formats.
const MX_BLOCK: usize = 32;

/// Joins the quantised tensors of `weights` with their scales, as `values` of the file `origin` say; returns what is to be
/// said of it.
///
/// # Errors
/// When they are quantised in another way, or scales are missing or of an odd shape.
pub fn join(weights: &mut Weights, values: &Map<String, Value>, origin: &str) -> Result<Option<String>> {
    let quantisation = values.get(KEY).and_then(Value::as_object);
    let read = |weights: &mut Weights| -> Result<Option<String>> {
        if let Some(quantisation) = quantisation {
            check(quantisation)?;
        }
        let left_out = match quantisation.is_some() || weights.iter().any(is_eight_bits) {
            true => leave_out_activations(weights),
            false => None,
        };
        join_mx(weights)?;
        join_eight_bits(weights, quantisation)?;
        Ok(left_out.map(|left_out| format!("{origin}: {left_out}")))
    };
    read(weights).with_context(|| origin.to_owned())
}

/// Refuses what packs numbers into integers.
fn check(quantisation: &Map<String, Value>) -> Result<()> {
    let text = |key: &str| quantisation.get(key).and_then(Value::as_str).unwrap_or_default();
    let method = text("quant_method");
    let (key, value) = match method {
        "fp8" | "fbgemm_fp8" | "mxfp4" => return Ok(()),
        "compressed-tensors" if text("format") == "float-quantized" => return Ok(()),
        "compressed-tensors" => ("format", text("format")),
        "modelopt" if text("quant_algo") == "FP8" => return Ok(()),
        "modelopt" => ("quant_algo", text("quant_algo")),
        _ => ("quant_method", method),
    };
    bail!(
        "key `{KEY}.{key}` is `{}`, and weights that are packed so are not read: open the model that is not quantised, or a \
         GGUF file of it",
        value.escape_debug()
    )
}

fn is_eight_bits(tensor: &StoredTensor) -> bool {
    matches!(tensor.kind, WeightType::E4M3 | WeightType::E5M2)
}

/// Takes out the scales of activations; returns what is to be said of that.
fn leave_out_activations(weights: &mut Weights) -> Option<String> {
    let is_meant = |name: &&str| OF_ACTIVATIONS.iter().any(|end| name.ends_with(end));
    let names = weights.iter().map(|tensor| tensor.name.as_str()).filter(is_meant);
    let names: Vec<String> = names.map(str::to_owned).collect();
    names.iter().for_each(|name| drop(weights.remove(name)));
    let shown = list(names.iter().map(|name| format!("`{}`", name.escape_debug())), 1)?;
    Some(format!(
        "{shown}: activations, keys and values are not rounded to eight bits, as these scales are for; only the weights are \
         what the quantiser made of them"
    ))
}

fn join_mx(weights: &mut Weights) -> Result<()> {
    let blocks = weights.iter().filter(|tensor| tensor.kind == WeightType::E2M1);
    let names: Vec<String> =
        blocks.filter_map(|tensor| tensor.name.strip_suffix("_blocks").map(str::to_owned)).collect();
    for name in names {
        let Some(blocks) = weights.remove(&format!("{name}_blocks")) else { continue };
        let Some(scales) = weights.remove(&format!("{name}_scales")) else {
            bail!("tensor `{0}_blocks` has no `{0}_scales`: fetch the model again", name.escape_debug());
        };
        weights.insert(blocks.named(name).scaled(scales, [1, MX_BLOCK])?);
    }
    Ok(())
}

fn join_eight_bits(weights: &mut Weights, quantisation: Option<&Map<String, Value>>) -> Result<()> {
    let eight_bits = weights.iter().filter(|tensor| is_eight_bits(tensor));
    let names: Vec<String> = eight_bits.map(|tensor| tensor.name.clone()).collect();
    for name in names {
        let Some(scales) = SCALES.iter().find_map(|end| weights.remove(&format!("{name}{end}"))) else {
            if quantisation.is_some() {
                bail!(
                    "tensor `{0}` has no `{0}_scale_inv` or `{0}_scale`: fetch the model again",
                    name.escape_debug()
                );
            }
            continue;
        };
        let Some(tensor) = weights.remove(&name) else { continue };
        weights.insert(scaled(tensor, scales, quantisation.and_then(block))?);
    }
    Ok(())
}

/// Rows and columns that share a scale, where they are not all of a row, a column or the matrix.
fn block(quantisation: &Map<String, Value>) -> Option<[usize; 2]> {
    let of_group = |groups: &Value| {
        groups.as_object()?.values().find_map(|group| group.pointer("/weights/block_structure").cloned())
    };
    let block = quantisation.get("weight_block_size").cloned();
    let block =
        block.filter(|block| !block.is_null()).or_else(|| of_group(quantisation.get("config_groups")?))?;
    serde_json::from_value(block).ok()
}

/// A tensor with its scales, which may lack the last dimensions that they do not vary along.
fn scaled(tensor: StoredTensor, mut scales: StoredTensor, block: Option<[usize; 2]>) -> Result<StoredTensor> {
    while scales.shape.len() < tensor.shape.len() {
        scales.shape.push(1);
    }
    let tile = |axis: usize| {
        let at = tensor.shape.len().checked_sub(2)? + axis;
        match (*scales.shape.get(at)?, tensor.shape[at]) {
            (1, side) => Some(side),
            (count, side) if count == side => Some(1),
            _ => Some(block?[axis]),
        }
    };
    let tile = tile(0).zip(tile(1)).with_context(|| {
        format!(
            "`{}` of shape {:?} has a scale for each block, and key `{KEY}.weight_block_size` does not say of which size",
            scales.name.escape_debug(),
            scales.shape
        )
    })?;
    tensor.scaled(scales, [tile.0, tile.1])
}
