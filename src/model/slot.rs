//! The places in the decoder that hold weights, and where a family keeps what belongs there.

use std::ops::Range;

use super::spec::Spec;

/// A place in the decoder that a tensor fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Token embedding, `[vocabulary, width]`.
    Embedding,
    /// Learned positions, `[context, width]`.
    Positions,
    /// A weight of a layer.
    Layer(usize, LayerSlot, Part),
    /// The last normalisation, `[width]`.
    FinalNorm(Part),
    /// The unembedding, `[vocabulary, width]`; absent where it is the embedding.
    Unembedding,
}

/// A place within a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerSlot {
    /// Normalisation before attention.
    AttentionNorm,
    /// Query projection, `[heads * head_size, width]`.
    Query,
    /// Key projection, `[kv_heads * head_size, width]`.
    Key,
    /// How much of a key is its own, for each head: `[kv_heads]`, in models with smeared keys.
    KeySmear,
    /// Value projection, `[kv_heads * head_size, width]`.
    Value,
    /// Output projection, `[width, heads * head_size]`.
    Output,
    /// Normalisation before the MLP.
    MlpNorm,
    /// Gate of the MLP, `[inner, width]`.
    Gate,
    /// Way into the MLP, `[inner, width]`.
    Up,
    /// Way out of the MLP, `[width, inner]`.
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

/// Order of the two sides of a stored matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[outputs, inputs]`, as linear layers are stored.
    OutIn,
    /// `[inputs, outputs]`, as GPT-2's are.
    InOut,
}

/// The part of a shared tensor that belongs to one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its outputs.
    pub outputs: Range<usize>,
    /// Outputs of the whole tensor.
    pub total: usize,
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
    /// Whether the name is the same with every prefix.
    fixed: bool,
}

impl Source {
    /// A whole tensor in the usual order.
    pub fn whole(tensor: impl Into<String>) -> Self {
        Self { tensor: tensor.into(), layout: Layout::OutIn, share: None, fixed: false }
    }

    /// A whole tensor whose name no prefix changes.
    pub fn unprefixed(tensor: impl Into<String>) -> Self {
        Self { fixed: true, ..Self::whole(tensor) }
    }

    /// The same in a file whose tensors carry `prefix` before the rest of their names.
    pub fn prefixed(mut self, prefix: &str) -> Self {
        if !self.fixed {
            self.tensor.insert_str(0, prefix);
        }
        self
    }
}

/// A model that can be loaded: what it is, and where each of its weights is.
pub struct Plan {
    /// The decoder.
    pub spec: Spec,
    /// The tensor of a slot; `None` where the model has none.
    pub source: Box<dyn Fn(Slot) -> Option<Source> + Send + Sync>,
}
