//! What there is to say about a decoder before its weights are read: independent settings that together describe any family.

/// Everything that tells one decoder from another.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Number of layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Query heads per layer.
    pub heads: usize,
    /// Key/value heads per layer; divides `heads`.
    pub kv_heads: usize,
    /// Numbers in one head's query, key and value.
    pub head_size: usize,
    /// Number of token ids.
    pub vocabulary: usize,
    /// Longest sequence, in tokens.
    pub context: usize,
    /// How a token's place is told.
    pub positions: Positions,
    /// Normalisation before attention, before the MLP and at the end.
    pub norm: Norm,
    /// Factor on query . key before the softmax, for each layer.
    pub scale: Vec<f32>,
    /// The MLP of every layer; `None` in attention-only models.
    pub mlp: Option<Mlp>,
    /// Whether a key is mixed with the one before it (Olsson et al. 2022, Argument 2): after rotation, so that like in
    /// the paper a key brings its position along, `k[j] <- s k[j] + (1 - s) k[j-1]` with `s = sigmoid(alpha)` of the
    /// key's head. The first key stays as it is.
    pub smeared_keys: bool,
}

impl Spec {
    /// Query heads that share a key/value head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The usual scale, `1 / sqrt(head_size)`, in every layer.
    pub fn usual_scale(layers: usize, head_size: usize) -> Vec<f32> {
        vec![1.0 / (head_size as f32).sqrt(); layers]
    }
}

/// How a token's place enters the computation.
#[derive(Clone, Debug, PartialEq)]
pub enum Positions {
    /// A learned vector for each position, added to the embedding.
    Learned,
    /// Queries and keys are rotated.
    Rotary(Rotary),
}

/// Rotary position embedding (Su et al. 2021).
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    /// Which numbers of a head are rotated together.
    pub pairing: Pairing,
    /// Angle per position of each pair, `[head_size / 2]`, in radians.
    pub frequencies: Vec<f32>,
}

impl Rotary {
    /// The angles of the original paper: `theta^(-2i / size)`.
    pub fn frequencies(theta: f64, size: usize) -> Vec<f32> {
        (0..size / 2).map(|pair| theta.powf(-2.0 * pair as f64 / size as f64) as f32).collect()
    }
}

/// Which numbers of a head rotary embedding rotates together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Number `i` with `i + head_size / 2`.
    Halves,
    /// Number `2i` with `2i + 1`.
    Neighbours,
}

/// A normalisation of the residual stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// Its kind.
    pub kind: NormKind,
    /// Added to the variance.
    pub epsilon: f32,
}

/// Kinds of normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `x / rms(x) * gain`.
    Rms,
    /// `(x - mean) / deviation * gain + bias`.
    Layer,
}

/// The MLP of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mlp {
    /// Width of its hidden layer.
    pub inner: usize,
    /// Its nonlinearity.
    pub activation: Activation,
    /// Whether a gate multiplies the hidden layer: `down(activation(gate(x)) * up(x))`.
    pub gated: bool,
}

/// Nonlinearities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// Gaussian error linear unit, exact.
    Gelu,
    /// Its approximation by a hyperbolic tangent.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// The activation that configurations call `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "silu" | "swish" => Self::Silu,
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" => Self::GeluTanh,
            "relu" => Self::Relu,
            _ => return None,
        })
    }
}
