//! Weights that quantisers pack into integers, known by the tensors that they leave.

use anyhow::{Result, bail};

use crate::checkpoint::weights::Weights;

/// How a tool packs the weights of a module.
struct Packing {
    tool: &'static str,
    /// How the name ends of the tensor that holds the numbers; its type is none that weights are read in.
    packed: &'static str,
    /// How the names end of what must stand beside it.
    beside: &'static [&'static str],
}

const fn packing(tool: &'static str, packed: &'static str, beside: &'static [&'static str]) -> Packing {
    Packing { tool, packed, beside }
}

/// The packings that are known; the first that fits is meant.
const PACKINGS: [Packing; 16] = [
    packing("bitsandbytes in 4 bits", ".weight", &[".weight.absmax"]),
    packing("bitsandbytes in 8 bits", ".weight", &[".SCB"]),
    packing("GPTQ", ".qweight", &[".scales", ".g_idx"]),
    packing("AWQ or an early GPTQ", ".qweight", &[".scales", ".qzeros"]),
    packing("MLX", ".weight", &[".scales"]),
    packing("ModelOpt in NVFP4", ".weight", &[".weight_scale", ".weight_scale_2"]),
    packing("compressed-tensors in NVFP4", ".weight_packed", &[".weight_global_scale"]),
    packing("compressed-tensors", ".weight_packed", &[".weight_scale"]),
    packing("compressed-tensors in int8 or BitNet", ".weight", &[".weight_scale"]),
    packing("EETQ", ".weight", &[".weight_scales"]),
    packing("quanto", ".weight._data", &[".weight._scale"]),
    packing("HQQ", ".W_q", &[]),
    packing("AQLM", ".codes", &[".codebooks"]),
    packing("QuIP#", ".Qidxs", &[]),
    packing("ExLlamaV2", ".q_weight", &[]),
    packing("ExLlamaV3", ".trellis", &[]),
];

/// Refuses weights that are packed in a way that is known.
///
/// # Errors
/// When they are; the message names the tool.
pub fn refuse(weights: &Weights) -> Result<()> {
    let holds = |name: String| weights.contains(&name) || weights.is_unread(&name);
    let found = PACKINGS.iter().find_map(|packing| {
        weights.unread().find_map(|name| {
            let module = name.strip_suffix(packing.packed)?;
            let fits = packing.beside.iter().all(|end| holds(format!("{module}{end}")));
            fits.then_some((packing.tool, name))
        })
    });
    match found {
        Some((tool, name)) => bail!(
            "tensor `{}` was packed by {tool}, which is not read: open the model that is not quantised, or a \
             GGUF file of it",
            name.escape_debug()
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::weights::{StoredTensor, WeightType};

    /// What is said of a module `a.b` with tensors that are read and others.
    fn told(unread: &[&str], read: &[&str]) -> Option<String> {
        let mut weights = Weights::default();
        for end in read {
            let name = format!("a.b.{end}");
            weights.insert(StoredTensor::owned(name, WeightType::F32, vec![1], vec![0; 4]).unwrap());
        }
        unread.iter().for_each(|end| weights.leave_unread(format!("a.b.{end}")));
        refuse(&weights).err().map(|error| error.to_string())
    }

    #[test]
    fn the_tool_is_known_by_what_it_leaves() {
        for (unread, read, tool) in [
            (&["weight", "weight.quant_map"][..], &["weight.absmax"][..], "bitsandbytes in 4 bits"),
            (&["weight", "weight.absmax", "weight.quant_state.bitsandbytes__nf4"], &[], "bitsandbytes in 4"),
            (&["weight", "weight_format"], &["SCB"], "bitsandbytes in 8 bits"),
            (&["qweight", "qzeros", "g_idx"], &["scales", "bias"], "by GPTQ,"),
            (&["qweight", "qzeros"], &["scales"], "AWQ"),
            (&["weight"], &["scales", "biases"], "MLX"),
            (&["weight"], &["weight_scale", "weight_scale_2", "input_scale"], "ModelOpt in NVFP4"),
            (&["weight_packed"], &["weight_scale", "weight_global_scale"], "compressed-tensors in NVFP4"),
            (&["weight_packed", "weight_shape"], &["weight_scale"], "by compressed-tensors,"),
            (&["weight"], &["weight_scale"], "compressed-tensors in int8"),
            (&["weight"], &["weight_scales"], "EETQ"),
            (&["weight._data"], &["weight._scale"], "quanto"),
            (&["W_q"], &["scale"], "HQQ"),
            (&["codes"], &["codebooks", "scales"], "AQLM"),
            (&["Qidxs"], &["SU"], "QuIP#"),
            (&["q_weight", "q_scale"], &[], "ExLlamaV2"),
            (&["trellis"], &["suh"], "ExLlamaV3"),
        ] {
            let told = told(unread, read).unwrap();
            assert!(told.contains("`a.b.") && told.contains(tool) && told.contains("GGUF"), "{told}");
        }
        // Masks and position ids, and weights that are read.
        assert_eq!(told(&["bias", "position_ids"], &["weight", "weight_scale"]), None);
    }
}
