//! Adds to the matrices of a base what an adapter has learnt.
//!
//! A module with weights W, `[out, in]`, becomes W + s B A with A: `[r, in]`, B: `[out, r]` and the scale s of the settings;
//! DoRA then makes every output's row as long as its magnitude says. Of an embedding, rows of some tokens may be others.
//!
//! Where one matrix of the base is both embedding and unembedding, peft changes that end alone which an adapter is on; what
//! takes the place of the base's own weights, and rows of tokens, are of both.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde_json::{Map, Value};

use super::{
    ends::{self, ROWS, Tied},
    settings::Settings,
};
use crate::{
    checkpoint::weights::{StoredTensor, WeightType, Weights},
    text::list,
};

/// What peft puts before the names of the base's modules.
const PREFIX: &str = "base_model.model.";

/// `model_type` of the models whose layers of these names are Conv1D and stored `[in, out]`, in transformers and so in peft.
const TURNED: (&str, [&str; 4]) = ("gpt2", ["c_attn", "q_attn", "c_fc", "c_proj"]);

/// What an adapter has for a module.
#[derive(Default)]
struct Change {
    down: Option<StoredTensor>,
    up: Option<StoredTensor>,
    /// Added to the module's bias, scaled as the product is.
    bias: Option<StoredTensor>,
    magnitude: Option<StoredTensor>,
    /// Whether the module is an embedding, which is stored `[in, out]`.
    embedding: bool,
}

/// Merges the tensors of an adapter into those of the base, which `values` of `config.json` describe; returns what is to be
/// said of it.
///
/// # Errors
/// When a tensor fits none of the base's.
pub fn merge(
    adapter: Weights,
    settings: &Settings,
    base: &mut Weights,
    values: &mut Map<String, Value>,
) -> Result<Vec<String>> {
    let tied = Tied::name(base, values, &Vec::from_iter(adapter.iter().map(in_base)))?;
    let (mut changes, mut rows): (BTreeMap<&str, Change>, Vec<(&str, &StoredTensor)>) = Default::default();
    for tensor in adapter.iter() {
        let name = in_base(tensor);
        let Some((module, what, rest)) = learnt(name) else {
            // What was trained as a whole, with its state before that; a module that is changed besides is changed from
            // there on.
            if name.contains(".original_module.") {
                continue;
            }
            replace(name, tensor, settings, base, values)?;
            continue;
        };
        if what == ROWS {
            rows.push((module.trim_end_matches(".token_adapter"), tensor));
            continue;
        }
        let change = changes.entry(module).or_default();
        let place = match what {
            "lora_B" if rest.ends_with("bias") => &mut change.bias,
            "lora_A" => &mut change.down,
            "lora_B" => &mut change.up,
            "lora_embedding_A" => &mut change.down,
            "lora_embedding_B" => &mut change.up,
            _ => &mut change.magnitude,
        };
        *place = Some(tensor.clone());
        change.embedding |= what.starts_with("lora_embedding");
    }
    if changes.is_empty() && rows.is_empty() {
        bail!("it holds no lora_A and lora_B: it is no LoRA adapter");
    }
    // Those of an embedding alone are of both ends.
    let of_both = tied.as_ref().filter(|_| rows.len() == 1).map(|tied| &*tied.embedding);
    let named = |module: &str| format!("`{}`", module.escape_debug());
    for (module, rows) in rows {
        write_rows(module, rows, settings, base, of_both).with_context(|| named(module))?;
    }
    let mut odd = Vec::new();
    for (module, change) in &changes {
        let is_turned = is_turned(module, values);
        change.apply(module, is_turned, settings, base).with_context(|| named(module))?;
        if !change.embedding && settings.turned.is_some_and(|said| said != is_turned) {
            odd.push(named(module));
        }
    }
    let remark = list(odd, 3).map(|modules| {
        format!(
            "key `fan_in_fan_out` is not as the base stores {modules}: they are merged as they are stored, which peft does \
             too"
        )
    });
    Ok(remark.into_iter().chain(tied.and_then(|tied| tied.settle(base, values))).collect())
}

/// The name of an adapter's tensor as the base's begin, whatever a training stack put before peft's part of it.
fn in_base(tensor: &StoredTensor) -> &str {
    tensor.name.split_once(PREFIX).map_or(&*tensor.name, |(_, name)| name)
}

/// The module, the part of its change and what is behind that in a name such as `h.0.attn.c_attn.lora_A.weight`; older
/// releases have the adapter's own name before `weight`.
fn learnt(name: &str) -> Option<(&str, &str, &str)> {
    const PARTS: [&str; 6] =
        ["lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector", ROWS];
    let mut start = 0;
    for piece in name.split('.') {
        if PARTS.contains(&piece) {
            let module = name[..start].trim_end_matches('.');
            return Some((module, piece, &name[start + piece.len()..]));
        }
        start += piece.len() + 1;
    }
    None
}

/// The base's name of a tensor that is saved whole.
fn plain(name: &str) -> String {
    const WRAPPERS: [&str; 2] = ["base_layer", "token_adapter"];
    let mut pieces: Vec<&str> = name.split('.').filter(|piece| !WRAPPERS.contains(piece)).collect();
    if let Some(at) = pieces.iter().position(|piece| *piece == "modules_to_save") {
        // The adapter's own name stands between, but for the last releases.
        let last = pieces.len() - 1;
        pieces.drain(at..last.max(at + 1));
    }
    pieces.join(".")
}

/// Puts a tensor in the place of the base's; where it has rows for more tokens, the vocabulary has them too.
fn replace(
    name: &str,
    tensor: &StoredTensor,
    settings: &Settings,
    base: &mut Weights,
    values: &mut Map<String, Value>,
) -> Result<()> {
    let plain = plain(name);
    let before = find(base, &plain)?.clone();
    let sizes = [&before, tensor].map(|tensor| tensor.shape.first().copied());
    if sizes[0] != sizes[1]
        && before.shape.len() == 2
        && let Some(size) = values.get_mut("vocab_size")
        && size.as_u64() == sizes[0].map(|size| size as u64)
    {
        *size = sizes[1].into();
    }
    let module = plain.rsplit_once('.').map_or(&*plain, |(module, _)| module);
    let is_apart = name.contains("modules_to_save") || settings.is_saved(module);
    put(base, &before, tensor.clone(), is_apart);
    Ok(())
}

/// Puts a tensor in the place of `before` and, unless it stands `apart` from them, of all that share its bytes, as tied
/// embeddings do.
fn put(base: &mut Weights, before: &StoredTensor, tensor: StoredTensor, apart: bool) {
    let place = before.bytes().as_ptr_range();
    let is_meant =
        |other: &StoredTensor| other.name == before.name || !apart && other.bytes().as_ptr_range() == place;
    let names: Vec<String> =
        base.iter().filter(|other| is_meant(other)).map(|other| other.name.clone()).collect();
    for name in names {
        base.insert(tensor.clone().named(name));
    }
}

/// Puts `rows`, `[tokens, width]`, in the place of those that the weights of a module have for the tokens of the settings;
/// those of the tensor `of_both` are the other end's too.
fn write_rows(
    module: &str,
    rows: &StoredTensor,
    settings: &Settings,
    base: &mut Weights,
    of_both: Option<&str>,
) -> Result<()> {
    let before = find(base, &format!("{module}.weight"))?.clone();
    let (tokens, name) = (settings.tokens(module), before.name.escape_debug());
    let [all, width] = before.shape[..] else { bail!("`{name}` is {:?} and has no rows", before.shape) };
    if rows.shape != [tokens.len(), width] {
        bail!(
            "trainable_tokens_delta is {:?}, but adapter_config.json names {} tokens and `{name}` is {:?}: they are of \
             different models",
            rows.shape,
            tokens.len(),
            before.shape
        );
    }
    if let Some(token) = tokens.iter().find(|&&token| token >= all) {
        bail!("key `trainable_token_indices` names token {token}, and `{name}` has {all} rows");
    }
    let mut numbers = before.to_f32();
    for (&token, row) in tokens.iter().zip(rows.to_f32().chunks_exact(width.max(1))) {
        numbers[token * width..][..width].copy_from_slice(row);
    }
    put(base, &before, owned(&before, &numbers)?, of_both != Some(&before.name));
    Ok(())
}

/// The base's tensor of a name; some bases lack the first part of all names, some adapters do.
fn find<'w>(base: &'w Weights, name: &str) -> Result<&'w StoredTensor> {
    let shorter = name.split_once('.').and_then(|(_, rest)| base.get(rest).ok());
    let longer = || {
        let mut found =
            base.iter().filter(|tensor| tensor.name.split_once('.').is_some_and(|(_, rest)| rest == name));
        found.next().filter(|_| found.next().is_none())
    };
    let renamed = || base.get(&ends::in_files(name)?).ok();
    match base.get(name) {
        Err(missing) => shorter.or_else(longer).or_else(renamed).ok_or(missing),
        found => found,
    }
}

/// Whether the layer of that name in a base that `values` of `config.json` describe is stored `[in, out]`.
fn is_turned(module: &str, values: &Map<String, Value>) -> bool {
    let (family, layers) = TURNED;
    let layer = module.rsplit('.').next().unwrap_or(module);
    values.get("model_type").is_some_and(|name| name == family) && layers.contains(&layer)
}

impl Change {
    /// Changes the weights of a module; `turned` says whether they are stored `[in, out]`, as those of embeddings are.
    fn apply(&self, module: &str, turned: bool, settings: &Settings, base: &mut Weights) -> Result<()> {
        let (Some(down), Some(up)) = (&self.down, &self.up) else {
            bail!("its lora_A or its lora_B is missing: fetch the adapter again");
        };
        let before = find(base, &format!("{module}.weight"))?.clone();
        let ([rank, inputs], [outputs, other]) = (&down.shape[..], &up.shape[..]) else {
            bail!("only changes of matrices are merged, and this is one of shape {:?}", down.shape);
        };
        let turned = self.embedding || turned;
        let wanted = if turned { [*inputs, *outputs] } else { [*outputs, *inputs] };
        if rank != other || before.shape != wanted {
            bail!(
                "lora_A {:?} and lora_B {:?} do not go with `{}` {:?}: is this the base that the adapter was trained on?",
                down.shape,
                up.shape,
                before.name.escape_debug(),
                before.shape
            );
        }
        if settings.rank(module) != *rank {
            bail!(
                "lora_A is {:?}, but adapter_config.json asks for the rank {}: the two are of different adapters",
                down.shape,
                settings.rank(module)
            );
        }
        let scale = settings.scale(module, *rank);
        let (left, right) = match turned {
            true => (transposed(down), transposed(up)),
            false => (up.to_f32(), down.to_f32()),
        };
        let mut weights = before.to_f32();
        add_product(&mut weights, &left, &right, *rank, scale);
        if let Some(magnitude) = &self.magnitude {
            if magnitude.count() != *outputs {
                bail!("lora_magnitude_vector has {} numbers for {outputs} outputs", magnitude.count());
            }
            resize(&mut weights, &magnitude.to_f32(), turned);
        }
        put(base, &before, owned(&before, &weights)?, true);
        match &self.bias {
            Some(bias) => add_bias(base, &format!("{module}.bias"), bias, scale),
            None => Ok(()),
        }
    }
}

/// `weights += scale left right`, for `left`: `[rows, rank]` and `right`: `[rank, columns]`.
fn add_product(weights: &mut [f32], left: &[f32], right: &[f32], rank: usize, scale: f32) {
    let columns = right.len() / rank.max(1);
    if columns == 0 {
        return;
    }
    weights.par_chunks_mut(columns).zip(left.par_chunks(rank)).for_each(|(row, factors)| {
        for (factor, right) in factors.iter().zip(right.chunks_exact(columns)) {
            row.iter_mut().zip(right).for_each(|(weight, number)| *weight += scale * factor * number);
        }
    });
}

/// Gives the weights of every output the length that `lengths` says, `[outputs]`: the rows, or where the matrix is turned
/// the columns.
fn resize(weights: &mut [f32], lengths: &[f32], turned: bool) {
    let square = |number: &f32| f64::from(*number).powi(2);
    let factor = |length: &f32, squares: f64| (f64::from(*length) / squares.sqrt()) as f32;
    if !turned {
        for (row, length) in weights.chunks_exact_mut(weights.len() / lengths.len().max(1)).zip(lengths) {
            let factor = factor(length, row.iter().map(square).sum());
            row.iter_mut().for_each(|weight| *weight *= factor);
        }
        return;
    }
    let mut squares = vec![0.0; lengths.len()];
    for row in weights.chunks_exact(lengths.len()) {
        squares.iter_mut().zip(row).for_each(|(sum, weight)| *sum += square(weight));
    }
    let factors: Vec<f32> = lengths.iter().zip(squares).map(|(length, sum)| factor(length, sum)).collect();
    for row in weights.chunks_exact_mut(lengths.len()) {
        row.iter_mut().zip(&factors).for_each(|(weight, factor)| *weight *= factor);
    }
}

fn add_bias(base: &mut Weights, name: &str, bias: &StoredTensor, scale: f32) -> Result<()> {
    let before = find(base, name)?.clone();
    if before.shape != bias.shape {
        bail!("lora_B.bias {:?} does not go with `{name}` {:?}", bias.shape, before.shape);
    }
    let mut numbers = before.to_f32();
    numbers.iter_mut().zip(bias.to_f32()).for_each(|(number, bias)| *number += scale * bias);
    put(base, &before, owned(&before, &numbers)?, true);
    Ok(())
}

/// A tensor like `before` with other numbers.
fn owned(before: &StoredTensor, numbers: &[f32]) -> Result<StoredTensor> {
    let bytes = WeightType::F32.narrow(numbers).context("f32 is not rounded")?;
    StoredTensor::owned(before.name.clone(), WeightType::F32, before.shape.clone(), bytes)
}

/// A matrix turned round, as f32.
fn transposed(matrix: &StoredTensor) -> Vec<f32> {
    let (numbers, columns) = (matrix.to_f32(), matrix.shape[1]);
    (0..columns).flat_map(|column| numbers.iter().skip(column).step_by(columns).copied()).collect()
}
