//! The places in the decoder that hold weights, and where a family keeps what belongs there.

use std::ops::Range;

use super::spec::Spec;

/// A place in the decoder that a tensor fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Token embedding, `[vocabulary, embedding width]`.
    Embedding,
    /// From the embedding's width to the residual stream's, `[width, embedding width]`.
    ProjectionIn,
    /// Normalisation of the embedding.
    EmbeddingNorm(Part),
    /// Learned positions, `[offset + context, width]`.
    Positions,
    /// A weight of a layer.
    Layer(usize, LayerSlot, Part),
    /// The last normalisation, `[width]`.
    FinalNorm(Part),
    /// From the residual stream's width to the embedding's, `[embedding width, width]`.
    ProjectionOut,
    /// The unembedding, `[vocabulary, embedding width]`, and its bias; absent where it is the embedding.
    Unembedding(Part),
}

/// A place within a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerSlot {
    /// Normalisation before attention.
    AttentionNorm,
    /// Normalisation of what attention writes, or of the residual stream after it.
    AttentionPostNorm,
    /// Query projection, `[heads * head_size, width or latent]`.
    Query,
    /// Key projection, `[kv_heads * head_size, width]`; of a latent, `[kv_heads * (head_size - rotated), latent]`.
    Key,
    /// Value projection, `[kv_heads * value_size, width or latent]`.
    Value,
    /// From the residual stream to what queries are made of, `[latent, width]`.
    QueryLatent,
    /// Normalisation of that.
    QueryLatentNorm,
    /// From the residual stream to what keys and values are made of, `[latent, width]`.
    KeyLatent,
    /// Normalisation of that.
    KeyLatentNorm,
    /// From the residual stream to the part of keys that is the same for all heads, `[rotated, width]`.
    RotatedKey,
    /// Normalisation of queries.
    QueryNorm,
    /// Normalisation of keys.
    KeyNorm,
    /// How much of a key is its own, for each head: `[kv_heads]`, in models with smeared keys.
    KeySmear,
    /// The score of each head that belongs to no key, `[heads]`.
    Sinks,
    /// Normalisation of what all heads put out, `[heads * head_size]`.
    OutputNorm,
    /// Output projection, `[width, heads * value_size]`.
    Output,
    /// Normalisation before the MLP.
    MlpNorm,
    /// Normalisation of what the MLP writes, or of the residual stream after it.
    MlpPostNorm,
    /// The MLP.
    Mlp(MlpSlot),
    /// What picks experts, `[experts, width]`.
    Router,
    /// What is added to each expert's share for the choice, `[experts]`.
    RouterCorrection,
    /// The MLP beside the experts.
    Shared(MlpSlot),
    /// How much of it counts, `[1, width]`.
    SharedGate,
    /// One expert's MLP.
    Expert(usize, MlpSlot),
}

/// A place within an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MlpSlot {
    /// Gate, `[inner, width]`.
    Gate,
    /// Way in, `[inner, width]`.
    Up,
    /// What its nonlinearity has learned, `[4]`; see [`Activation::xielu`](super::spec::Activation::xielu).
    Curve,
    /// Normalisation of the hidden layer, `[inner]`.
    InnerNorm,
    /// Way out, `[width, inner]`.
    Down,
}

/// Weight or bias of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The matrix, or the gain of a normalisation.
    Weight,
    /// What is added.
    Bias,
}

impl Part {
    /// `weight` or `bias`, as names of tensors end.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
        }
    }
}

/// Order of the two sides of a stored matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[outputs, inputs]`, as linear layers are stored.
    OutIn,
    /// `[inputs, outputs]`, as GPT-2's are.
    InOut,
}

/// The part of a shared tensor that belongs to one slot: of every `stride` outputs from `start` on, the first `block`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its first output.
    pub start: usize,
    /// How many of its outputs lie together.
    pub block: usize,
    /// Outputs from the beginning of one block to that of the next.
    pub stride: usize,
    /// Outputs of the whole tensor.
    pub total: usize,
}

impl Share {
    /// All outputs in `range`.
    pub fn range(range: Range<usize>, total: usize) -> Self {
        let length = range.len().max(1);
        Self { start: range.start, block: length, stride: length, total }
    }

    /// Where output `index` of the share is in the whole tensor.
    pub fn stored(&self, index: usize) -> usize {
        self.start + index / self.block * self.stride + index % self.block
    }
}

/// Where a family keeps the tensor of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name of the tensor.
    pub tensor: String,
    /// Order of its sides.
    pub layout: Layout,
    /// Which of its outputs belong here, where several slots share a tensor.
    pub share: Option<Share>,
    /// Which matrix of a stack it is, where the tensor is one: of experts, `[experts, ..]`.
    pub entry: Option<usize>,
    /// Whether each head's part is a matrix of its own, with the sides in the order of `layout`, or a row: `[heads, ..]`.
    pub by_head: bool,
    /// Tensors whose numbers follow, where a vector is stored in pieces.
    pub more: Vec<String>,
}

impl Source {
    /// A whole tensor in the usual order.
    pub fn whole(tensor: impl Into<String>) -> Self {
        Self {
            tensor: tensor.into(),
            layout: Layout::OutIn,
            share: None,
            entry: None,
            by_head: false,
            more: Vec::new(),
        }
    }

    /// The same in another order.
    pub fn stored(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    /// The same, of which a part belongs here.
    pub fn shared(self, share: Share) -> Self {
        Self { share: Some(share), ..self }
    }

    /// The same, of whose stack of matrices one belongs here.
    pub fn entry(self, entry: usize) -> Self {
        Self { entry: Some(entry), ..self }
    }

    /// The same, as parameters are named that belong to no module of their own: `sinks` for `sinks.weight`, `down_proj_bias` for
    /// `down_proj.bias`.
    pub fn bare(self) -> Self {
        let tensor = match self.tensor.strip_suffix(".bias") {
            Some(name) => format!("{name}_bias"),
            None => self.tensor.trim_end_matches(".weight").to_owned(),
        };
        Self { tensor, ..self }
    }

    /// The same, stored head by head.
    pub fn by_head(self) -> Self {
        Self { by_head: true, ..self }
    }
}

/// The tensor of a slot; `None` where the model has none.
pub type SourceOf = Box<dyn Fn(Slot) -> Option<Source> + Send + Sync>;

/// A model that can be loaded: what it is, and where each of its weights is.
pub struct Plan {
    /// The decoder.
    pub spec: Spec,
    /// The tensor of a slot.
    pub source: SourceOf,
    /// How names end of tensors that the decoder has no use for: buffers that can be computed, weights of other heads.
    pub unused: &'static [&'static str],
    /// How names begin of tensors of another model in the same files: of what reads images, say.
    pub beside: Vec<String>,
}

impl Plan {
    /// A plan without unused tensors.
    pub fn new(spec: Spec, source: impl Fn(Slot) -> Option<Source> + Send + Sync + 'static) -> Self {
        Self { spec, source: Box::new(source), unused: &[], beside: Vec::new() }
    }
}
