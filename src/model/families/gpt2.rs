//! GPT-2: layer normalisation, learned positions, one tensor for queries, keys and values, plain MLP, tied head.
//!
//! Quirks: projections are stored `[inputs, outputs]`; some files name tensors without the `transformer.` prefix; some
//! models divide the scores by the layer's number as well (`scale_attn_by_inverse_layer_idx`).

use anyhow::{Context, Result, bail};

use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Layout, Part, Plan, Share, Slot, Source},
        spec::{Activation, Mlp, Norm, NormKind, Positions, Spec},
    },
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let (layers, width, heads) = (config.count("n_layer")?, config.count("n_embd")?, config.count("n_head")?);
    if width % heads != 0 {
        bail!("{}: a width of {width} cannot be divided among {heads} heads", config.origin());
    }
    let head_size = width / heads;
    let name = config.text("activation_function", "gelu_new")?;
    let activation = Activation::from_name(name).with_context(|| {
        format!("{}: `activation_function` = `{}` is not known", config.origin(), name.escape_debug())
    })?;
    let mut scale = match config.flag("scale_attn_weights", true)? {
        true => Spec::usual_scale(layers, head_size),
        false => vec![1.0; layers],
    };
    if config.flag("scale_attn_by_inverse_layer_idx", false)? {
        scale.iter_mut().enumerate().for_each(|(layer, scale)| *scale /= (layer + 1) as f32);
    }
    // Only the type of an intermediate, which is f32 here anyway.
    config.flag("reorder_and_upcast_attn", false)?;
    if config.flag("add_cross_attention", false)? {
        bail!(
            "{}: key `add_cross_attention` = true: decoders that read an encoder are not handled",
            config.origin()
        );
    }
    let spec = Spec {
        layers,
        width,
        heads,
        kv_heads: heads,
        head_size,
        vocabulary: config.count("vocab_size")?,
        context: config.optional_count("n_positions")?.unwrap_or(1024),
        positions: Positions::Learned,
        norm: Norm { kind: NormKind::Layer, epsilon: config.number("layer_norm_epsilon", 1e-5)? as f32 },
        scale,
        mlp: Some(Mlp {
            inner: config.optional_count("n_inner")?.unwrap_or(4 * width),
            activation,
            gated: false,
        }),
        smeared_keys: false,
    };
    let tied = config.flag("tie_word_embeddings", true)?;
    config.finish()?;
    let prefix = if weights.contains("wte.weight") { "" } else { "transformer." };
    let source = move |slot| source(slot, width, tied).map(|source| source.prefixed(prefix));
    Ok(Plan { spec, source: Box::new(source) })
}

fn source(slot: Slot, width: usize, tied: bool) -> Option<Source> {
    let suffix = |part| match part {
        Part::Weight => "weight",
        Part::Bias => "bias",
    };
    let (layer, place, part) = match slot {
        Slot::Embedding => return Some(Source::whole("wte.weight")),
        Slot::Positions => return Some(Source::whole("wpe.weight")),
        Slot::FinalNorm(part) => return Some(Source::whole(format!("ln_f.{}", suffix(part)))),
        Slot::Unembedding if tied => return None,
        Slot::Unembedding => return Some(Source::unprefixed("lm_head.weight")),
        Slot::Layer(layer, place, part) => (layer, place, part),
    };
    let (name, layout, third) = match place {
        LayerSlot::AttentionNorm => ("ln_1", Layout::OutIn, None),
        LayerSlot::Query => ("attn.c_attn", Layout::InOut, Some(0)),
        LayerSlot::Key => ("attn.c_attn", Layout::InOut, Some(1)),
        LayerSlot::Value => ("attn.c_attn", Layout::InOut, Some(2)),
        LayerSlot::Output => ("attn.c_proj", Layout::InOut, None),
        LayerSlot::MlpNorm => ("ln_2", Layout::OutIn, None),
        LayerSlot::Up => ("mlp.c_fc", Layout::InOut, None),
        LayerSlot::Down => ("mlp.c_proj", Layout::InOut, None),
        LayerSlot::Gate | LayerSlot::KeySmear => return None,
    };
    let mut source = Source::whole(format!("h.{layer}.{name}.{}", suffix(part)));
    source.layout = layout;
    source.share = third.map(|third| Share { outputs: third * width..(third + 1) * width, total: 3 * width });
    Some(source)
}
