//! What pages of families share: keys that many configurations have, and tables of tensor names.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::rotary;
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Part, Plan, Slot, Source},
        spec::{Activation, Mlp, NormKind, Positions, Shape, Spec},
    },
    text::excerpt,
};

/// Names of a family's tensors, without `.weight` and `.bias`.
pub struct Names {
    /// The token embedding.
    pub embedding: &'static str,
    /// The learned positions; empty where there are none.
    pub positions: &'static str,
    /// What comes before a layer's number.
    pub layers: &'static str,
    /// What comes after it, for each place that the family has. Places that share a tensor name it more than once. Those of
    /// experts are named for expert 0, with `#` for its number.
    pub places: &'static [(LayerSlot, &'static str)],
    /// The same of places that a family calls otherwise than the one whose names it has taken over: these go before.
    pub instead: &'static [(LayerSlot, &'static str)],
    /// The last normalisation.
    pub last_norm: &'static str,
    /// The unembedding.
    pub unembedding: &'static str,
}

impl Names {
    /// The tensor of each slot. `biased` says which places of a layer have a bias; the last normalisation has one where that
    /// before attention has. With `tied`, the unembedding is the embedding.
    ///
    /// Some files name tensors without the first part, which belongs to the model with its unembedding: `wte.weight` for
    /// `transformer.wte.weight`. The weights tell.
    pub fn sources(
        &'static self,
        weights: &Weights,
        biased: impl Fn(LayerSlot) -> bool + Send + Sync + 'static,
        tied: bool,
    ) -> impl Fn(Slot) -> Option<Source> + Send + Sync + 'static {
        let first = self.embedding.find('.').map_or(0, |dot| dot + 1);
        let has = |name: &str| weights.contains(&format!("{name}.weight"));
        let skipped = if !has(self.embedding) && has(&self.embedding[first..]) { first } else { 0 };
        move |slot| {
            let (name, part) = match slot {
                Slot::Embedding => (self.embedding[skipped..].to_string(), Part::Weight),
                Slot::Positions if self.positions.is_empty() => return None,
                Slot::Positions => (self.positions[skipped..].to_string(), Part::Weight),
                Slot::FinalNorm(Part::Bias) if !biased(LayerSlot::AttentionNorm) => return None,
                Slot::FinalNorm(part) => (self.last_norm[skipped..].to_string(), part),
                Slot::Unembedding(Part::Weight) if !tied => (self.unembedding.to_string(), Part::Weight),
                Slot::Layer(_, place, Part::Bias) if !biased(place) => return None,
                Slot::Layer(layer, place, part) => {
                    let (place, expert) = match place {
                        LayerSlot::Expert(expert, place) => (LayerSlot::Expert(0, place), expert),
                        place => (place, 0),
                    };
                    let (_, name) =
                        self.instead.iter().chain(self.places).find(|(known, _)| *known == place)?;
                    let name = name.replace('#', &expert.to_string());
                    (format!("{}.{layer}.{name}", &self.layers[skipped..]), part)
                }
                _ => return None,
            };
            Some(Source::whole(format!("{name}.{}", part.name())))
        }
    }
}

/// [`Plan::unused`](crate::model::slot::Plan::unused) of families that may be tied: files may hold the matrix all the same.
pub const TIED: &[&str] = &["lm_head.weight"];

/// The plan of a decoder that is `spec` and has these names; whether its unembedding is the embedding the configuration says, or
/// `tied` where it says nothing. Nothing is read of it after this.
///
/// # Errors
/// When the configuration has a key that was not read and counts.
pub fn named(
    config: &Config,
    weights: &Weights,
    spec: Spec,
    names: &'static Names,
    biased: impl Fn(LayerSlot) -> bool + Send + Sync + 'static,
    tied: bool,
) -> Result<Plan> {
    let tied = config.flag("tie_word_embeddings", tied)?;
    config.finish()?;
    let mut plan = Plan::new(spec, names.sources(weights, biased, tied));
    plan.unused = TIED;
    Ok(plan)
}

/// The same plan with a bias beside the unembedding, be that the embedding or not.
pub fn with_biased_head(mut plan: Plan) -> Plan {
    let named = plan.source;
    plan.source = Box::new(move |slot| match slot {
        Slot::Unembedding(Part::Weight) => named(slot).or_else(|| named(Slot::Embedding)),
        Slot::Unembedding(Part::Bias) => Some(Source::whole("lm_head.bias")),
        slot => named(slot),
    });
    plan
}

/// The first of `keys` that the configuration has, or the first of all: transformers reads some under several names.
pub fn present<'a, const N: usize>(config: &Config, keys: [&'a str; N]) -> &'a str {
    keys.into_iter().find(|key| config.get(key).is_some()).unwrap_or(keys[0])
}

/// Refuses a flag that is not as a family knows it.
pub fn always(config: &Config, key: &str, known: bool) -> Result<()> {
    if config.flag(key, known)? != known {
        bail!("{}: key `{key}` = {} is not handled for this family", config.origin(), !known);
    }
    Ok(())
}

/// The tensor of the module `name` beside that of a source: `model.norm.weight` beside `model.embed.weight`.
pub fn beside(source: &Source, name: &str, part: Part) -> Source {
    let parent = source.tensor.rmatch_indices('.').nth(1).map_or("", |(dot, _)| &source.tensor[..=dot]);
    Source::whole(format!("{parent}{name}.{}", part.name()))
}

/// Whether a place of a layer is a normalisation of the residual stream.
pub fn is_norm(place: LayerSlot) -> bool {
    use LayerSlot::{AttentionNorm, AttentionPostNorm, MlpNorm, MlpPostNorm};
    matches!(place, AttentionNorm | AttentionPostNorm | MlpNorm | MlpPostNorm)
}

/// Whether a place of a layer makes queries, keys or values.
pub fn is_read(place: LayerSlot) -> bool {
    matches!(place, LayerSlot::Query | LayerSlot::Key | LayerSlot::Value)
}

/// Whether a place of a layer is a projection of attention.
pub fn is_attention(place: LayerSlot) -> bool {
    matches!(place, LayerSlot::Query | LayerSlot::Key | LayerSlot::Value | LayerSlot::Output)
}

/// Sizes under the names that Llama's configuration and most after it have.
pub fn shape(config: &Config) -> Result<Shape> {
    shape_of(config, config.count("num_hidden_layers")?)
}

/// The same of a model with so many layers.
pub fn shape_of(config: &Config, layers: usize) -> Result<Shape> {
    let (width, heads) = (config.count("hidden_size")?, config.count("num_attention_heads")?);
    let shape = Shape {
        layers,
        width,
        heads,
        kv_heads: config.optional_count("num_key_value_heads")?.unwrap_or(heads),
        head_size: match config.optional_count("head_dim")? {
            Some(size) => size,
            None => head_size(config, width, heads)?,
        },
        vocabulary: config.count("vocab_size")?,
        context: config.optional_length("max_position_embeddings")?.unwrap_or(2048),
    };
    checked(config, shape)
}

/// Sizes under the names that GPT-2's configuration and some after it have; the context is under a key of its own.
pub fn gpt2_shape(config: &Config, context: &str, usual: usize) -> Result<Shape> {
    let (width, heads) = (config.count("n_embd")?, config.count("n_head")?);
    let shape = Shape {
        layers: config.count("n_layer")?,
        width,
        heads,
        kv_heads: heads,
        head_size: head_size(config, width, heads)?,
        vocabulary: config.count("vocab_size")?,
        context: config.optional_length(context)?.unwrap_or(usual),
    };
    checked(config, shape)
}

/// Refuses sizes that no decoder can have.
pub fn checked(config: &Config, shape: Shape) -> Result<Shape> {
    let Shape { width, heads, kv_heads, head_size, vocabulary, context, .. } = shape;
    if kv_heads == 0 || heads % kv_heads != 0 {
        bail!("{}: {heads} query heads cannot share {kv_heads} key/value heads", config.origin());
    }
    if head_size == 0 || context == 0 {
        bail!(
            "{}: a head size of {head_size} and a context of {context} leave nothing to attend",
            config.origin()
        );
    }
    config.has_room("embeddings", &[vocabulary])?;
    config.has_room("projections", &[width])?;
    config.has_room("heads", &[heads, head_size])?;
    Ok(shape)
}

/// The size of heads that divide the width among them.
pub fn head_size(config: &Config, width: usize, heads: usize) -> Result<usize> {
    if !width.is_multiple_of(heads) {
        bail!("{}: a width of {width} cannot be divided among {heads} heads", config.origin());
    }
    Ok(width / heads)
}

/// The activation that `key` names.
pub fn activation(config: &Config, key: &str, default: &str) -> Result<Activation> {
    let name = config.text(key, default)?;
    Activation::from_name(name)
        .with_context(|| format!("{}: `{key}` = `{}` is not known", config.origin(), excerpt(name)))
}

/// A decoder of Llama's kind under the names that Llama's configuration has: RMS normalisation before each block,
/// rotary positions, gated MLP. Pages change what their family does otherwise.
pub fn llama_like(config: &Config, defaults: rotary::Defaults) -> Result<Spec> {
    llama_like_of(config, defaults, "intermediate_size")
}

/// The same of a family that calls the width of the hidden layer otherwise.
pub fn llama_like_of(config: &Config, defaults: rotary::Defaults, inner: &str) -> Result<Spec> {
    let shape = shape(config)?;
    let mut spec = llama_spec_of(config, shape, inner)?;
    let rotary = rotary::read(config, shape.head_size, shape.context, defaults)?;
    spec.context = rotary.reach(shape.context);
    spec.positions = Positions::rotary(rotary, shape.layers);
    Ok(spec)
}

/// The same without positions, for pages that read them in another way.
pub fn llama_spec(config: &Config, shape: Shape) -> Result<Spec> {
    llama_spec_of(config, shape, "intermediate_size")
}

fn llama_spec_of(config: &Config, shape: Shape, inner: &str) -> Result<Spec> {
    let mut spec = Spec::plain(shape);
    spec.norm.kind = NormKind::Rms;
    spec.norm.epsilon = config.number("rms_norm_eps", 1e-6)? as f32;
    let mlp = Mlp::dense(config.count(inner)?, activation(config, "hidden_act", "silu")?, true);
    spec.mlp = vec![mlp; shape.layers];
    Ok(spec)
}

/// The cap that `key` gives.
pub fn cap(config: &Config, key: &str) -> Result<Option<f32>> {
    Ok(Some(config.number(key, 0.0)? as f32).filter(|&cap| cap > 0.0))
}

/// `sliding_window`, where it is there.
pub fn window(config: &Config) -> Result<Option<usize>> {
    Ok(config.optional_length("sliding_window")?.filter(|&window| window > 0))
}

/// How many keys a query of each layer sees: `sliding_window` where `layer_types` says so, or, in configurations without
/// that list, where `slides` does.
pub fn windows(config: &Config, layers: usize, slides: impl Fn(usize) -> bool) -> Result<Vec<Option<usize>>> {
    let window = window(config)?;
    sliding(config, layers, slides)?
        .into_iter()
        .map(|slides| match (slides, window) {
            (false, _) => Ok(None),
            (true, Some(window)) => Ok(Some(window)),
            (true, None) if config.get("layer_types").is_some() => {
                bail!(
                    "{}: key `sliding_window` is missing or 0, and `layer_types` asks for it",
                    config.origin()
                )
            }
            (true, None) => Ok(None),
        })
        .collect()
}

/// The same in families that have windows only with `use_sliding_window`.
pub fn windows_if_used(
    config: &Config,
    layers: usize,
    slides: impl Fn(usize) -> bool,
) -> Result<Vec<Option<usize>>> {
    let windows = windows(config, layers, slides)?;
    if config.flag("use_sliding_window", false)? {
        return Ok(windows);
    }
    if of_kind(config, "layer_types", layers, SLIDING)?.is_some_and(|slides| slides.contains(&true)) {
        bail!(
            "{}: key `layer_types` asks for windows, but `use_sliding_window` is not true",
            config.origin()
        );
    }
    Ok(vec![None; layers])
}

/// Which layers slide: what `layer_types` says, or, in configurations without that list, `slides`.
pub fn sliding(config: &Config, layers: usize, slides: impl Fn(usize) -> bool) -> Result<Vec<bool>> {
    let listed = of_kind(config, "layer_types", layers, SLIDING)?;
    Ok(listed.unwrap_or_else(|| (0..layers).map(slides).collect()))
}

/// Which layers the list under `key` calls by the second of two kinds; `None` where there is no list.
pub fn of_kind(config: &Config, key: &str, layers: usize, kinds: [&str; 2]) -> Result<Option<Vec<bool>>> {
    let Some(value) = config.get(key) else { return Ok(None) };
    let named: Option<Vec<&str>> =
        value.as_array().and_then(|named| named.iter().map(Value::as_str).collect());
    let Some(named) = named else { bail!("{}: key `{key}` is no list of names", config.origin()) };
    if named.len() < layers {
        bail!("{}: key `{key}` has {} entries for {layers} layers", config.origin(), named.len());
    }
    match named.iter().find(|kind| !kinds.contains(kind)) {
        Some(kind) => bail!(
            "{}: key `{key}` has `{}`; only {} and {} are handled",
            config.origin(),
            excerpt(kind),
            kinds[0],
            kinds[1]
        ),
        None => Ok(Some(named.into_iter().take(layers).map(|kind| kind == kinds[1]).collect())),
    }
}

/// The layers in the list that is the value of `key`.
pub fn layers(config: &Config, key: &str, value: &Value) -> Result<Vec<usize>> {
    let layer = |value: &Value| value.as_u64().map(|layer| layer as usize);
    let layers = value.as_array().and_then(|layers| layers.iter().map(layer).collect());
    layers.with_context(|| format!("{}: key `{key}` is no list of layers", config.origin()))
}

/// The kinds of layers that may have a window.
const SLIDING: [&str; 2] = ["full_attention", "sliding_attention"];
