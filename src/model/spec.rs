//! What there is to say about a decoder before its weights are read: independent settings that together describe any family.

use super::rotary::Rotary;

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
    /// Numbers in one head's query and key.
    pub head_size: usize,
    /// Numbers in one head's value, and in what it puts out.
    pub value_size: usize,
    /// Number of token ids.
    pub vocabulary: usize,
    /// Longest sequence, in tokens.
    pub context: usize,
    /// From token ids to the residual stream.
    pub embedding: Embedding,
    /// How a token's position is told.
    pub positions: Positions,
    /// How the residual stream is normalised.
    pub norm: Norm,
    /// What attention does in every layer.
    pub attention: Attention,
    /// Whether attention and MLP of a layer read the same residual stream, and both are added to it at once.
    pub parallel: bool,
    /// Factor on what attention and MLP add to the residual stream.
    pub residual_scale: f32,
    /// The MLP of each layer; empty in attention-only models.
    pub mlp: Vec<Mlp>,
    /// From the residual stream to logits.
    pub logits: Logits,
}

impl Spec {
    /// A decoder of the plainest kind: learned positions, LayerNorm before attention, before the MLP and at the end, the
    /// usual scale, no MLP. Pages change what their family does otherwise.
    pub fn plain(shape: Shape) -> Self {
        let Shape { layers, width, heads, kv_heads, head_size, vocabulary, context } = shape;
        Self {
            layers,
            width,
            heads,
            kv_heads,
            head_size,
            value_size: head_size,
            vocabulary,
            context,
            embedding: Embedding { width, scale: 1.0, norm: false },
            positions: Positions::Learned { offset: 0, read_by: ReadBy::Everything },
            norm: Norm {
                kind: NormKind::Layer,
                epsilon: 1e-5,
                gain_offset: 0.0,
                place: NormPlace::Before,
                last: true,
                last_kind: None,
            },
            attention: Attention {
                scale: vec![1.0 / (head_size as f32).sqrt(); layers],
                windows: vec![None; layers],
                chunked: false,
                cap: None,
                clip: None,
                query_key_norm: None,
                latent: None,
                temperature: None,
                output_norm: None,
                sinks: false,
                gated: false,
                smeared_keys: false,
            },
            parallel: false,
            residual_scale: 1.0,
            mlp: Vec::new(),
            logits: Logits { scale: 1.0, cap: None, missing: None },
        }
    }

    /// Query heads that share a key/value head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The rotation of queries and keys in a layer, where there is one.
    pub fn rotary(&self, layer: usize) -> Option<&Rotary> {
        match &self.positions {
            Positions::Rotary { tables, of_layer } => of_layer[layer].map(|table| &tables[table]),
            _ => None,
        }
    }

    /// Whether `tokens` tokens are rotated as `others` are: some rotations depend on the length of the whole sequence.
    pub fn rotates_alike(&self, tokens: usize, others: usize) -> bool {
        match &self.positions {
            Positions::Rotary { tables, .. } => {
                tables.iter().all(|table| table.rotates_alike(tokens, others))
            }
            _ => true,
        }
    }
}

/// The sizes of a decoder; see the fields of the same names in [`Spec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Shape {
    pub layers: usize,
    pub width: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_size: usize,
    pub vocabulary: usize,
    pub context: usize,
}

/// From token ids to the residual stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Embedding {
    /// Numbers of a token's embedding; where they are not as many as the residual stream has, they are projected into it
    /// at the beginning and out of it at the end.
    pub width: usize,
    /// Factor on the embedding.
    pub scale: f32,
    /// Whether the embedding is normalised.
    pub norm: bool,
}

/// How a token's position enters the computation.
#[derive(Clone, Debug, PartialEq)]
pub enum Positions {
    /// A learned vector for each position.
    Learned {
        /// Rows of the table before that of position 0.
        offset: usize,
        /// What reads it.
        read_by: ReadBy,
    },
    /// Queries and keys are rotated.
    Rotary {
        /// The rotations there are.
        tables: Vec<Rotary>,
        /// Which of them a layer uses; `None` in layers without positions.
        of_layer: Vec<Option<usize>>,
    },
    /// Scores fall with the distance of the key: ALiBi (Press et al. 2021).
    Alibi {
        /// The slope of each head.
        slopes: Vec<f32>,
        /// Whether it is Falcon's; see [`Rule::rounded`](super::attention::Rule::rounded).
        rounded: bool,
    },
    /// A vector for each position that is added to the embedding and not learned, in Tensor2Tensor's order: for `half` the
    /// width and number `i` below it, `sin((offset + position) 10000^(-i / (half - 1)))`, then as many cosines.
    Sinusoidal {
        /// The number of the first position.
        offset: usize,
        /// The number, counted so, whose vector is zero: a padding token's, by mistake.
        zero: Option<usize>,
    },
}

impl Positions {
    /// The same rotation in every layer.
    pub fn rotary(table: Rotary, layers: usize) -> Self {
        Self::Rotary { tables: vec![table], of_layer: vec![Some(0); layers] }
    }

    /// Takes the rotation away in the other layers than those that `rotates` names.
    pub fn only_where(&mut self, rotates: impl Fn(usize) -> bool) {
        if let Self::Rotary { of_layer, .. } = self {
            let others = of_layer.iter_mut().enumerate().filter(|&(layer, _)| !rotates(layer));
            others.for_each(|(_, table)| *table = None);
        }
    }
}

/// What reads learned positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBy {
    /// They are added to the embedding.
    Everything,
    /// They are added to what queries and keys are made of, in every layer: shortformer (Press et al. 2020).
    QueriesAndKeys,
}

/// Normalisation of the residual stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// Its kind.
    pub kind: NormKind,
    /// Added to the variance.
    pub epsilon: f32,
    /// Added to the stored gain; 1 where the file has what differs from 1.
    pub gain_offset: f32,
    /// Where a layer normalises.
    pub place: NormPlace,
    /// Whether there is one before the unembedding.
    pub last: bool,
    /// The kind of that one, where it is another than that of the layers.
    pub last_kind: Option<NormKind>,
}

/// Kinds of normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `x / rms(x) * gain`.
    Rms,
    /// `(x - mean) / deviation * gain + bias`.
    Layer,
    /// `x`.
    None,
}

/// Where a layer normalises; `f` is its attention or its MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlace {
    /// `x + f(norm(x))`.
    Before,
    /// `x + norm(f(x))`.
    After,
    /// `x + norm(f(norm(x)))`.
    Around,
    /// `norm(x + f(x))`.
    Sum,
}

impl NormPlace {
    /// Whether attention and MLP read a normalised residual stream.
    pub fn is_before(self) -> bool {
        matches!(self, Self::Before | Self::Around)
    }

    /// Whether what they write is normalised before it is added.
    pub fn is_after(self) -> bool {
        matches!(self, Self::After | Self::Around)
    }
}

/// What attention does.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Factor on query . key, for each layer.
    pub scale: Vec<f32>,
    /// How many keys, its own among them, a query of each layer sees at most.
    pub windows: Vec<Option<usize>>,
    /// Whether a window does not slide: it begins anew after as many tokens, and a query sees what came since.
    pub chunked: bool,
    /// Scores are bent to stay below: `cap * tanh(score / cap)`.
    pub cap: Option<f32>,
    /// How numbers of queries, keys and values are cut off.
    pub clip: Option<Clip>,
    /// Normalisation of queries and keys.
    pub query_key_norm: Option<QueryKeyNorm>,
    /// What queries, keys and values are made of, where it is not the residual stream.
    pub latent: Option<Latent>,
    /// By how much queries grow with their position.
    pub temperature: Option<Temperature>,
    /// Normalisation of what all heads put out, `[heads * head_size]`, before the output projection (sub-LN of Wang et al.
    /// 2022, in BitNet).
    pub output_norm: Option<NormKind>,
    /// Whether each head has one more score that belongs to no key: a row sums to less than one.
    pub sinks: bool,
    /// Whether rows are told without sinks all the same, and these are gates: a head's output is multiplied by
    /// `sigmoid(logsumexp(scores) - sink)`, which is the share that keys would have (GraniteSWA as transformers shows it).
    pub gated: bool,
    /// Whether a key is mixed with the one before it (Olsson et al. 2022, Argument 2): after rotation, so that like in
    /// the paper a key brings its position along, `k[j] <- s k[j] + (1 - s) k[j-1]` with `s = sigmoid(alpha)` of the
    /// key's head. The first key stays as it is.
    pub smeared_keys: bool,
}

impl Attention {
    /// Whether what a row lacks to one is its sink's.
    pub fn has_sinks_in_rows(&self) -> bool {
        self.sinks && !self.gated
    }
}

/// Numbers of queries, keys and values that are beyond a size are cut off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// The size.
    pub most: f32,
    /// Whether it is normalised queries and keys that are cut off, and not what is normalised.
    pub after_norm: bool,
}

/// Normalisation of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryKeyNorm {
    /// Its kind.
    pub kind: NormKind,
    /// What is normalised together.
    pub over: NormOver,
    /// Whether it is the rotated that is normalised, and not what is rotated; layers that do not rotate have none then.
    pub after_rotation: bool,
}

/// Vectors smaller than the residual stream that queries, keys and values are made of: multi-head latent attention (DeepSeek-AI
/// 2024). Each is projected from the residual stream and normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latent {
    /// Numbers of that of queries, where they have one.
    pub queries: Option<usize>,
    /// Numbers of that of keys and values.
    pub keys: usize,
    /// Numbers of a key, its last, that are made of the residual stream itself, the same for all heads: those that are rotated.
    pub rotated: usize,
    /// Added to the variance in their normalisation.
    pub epsilon: f32,
}

/// A factor on rotated queries that grows with their position, so that attention over long texts stays as sharp:
/// `1 + growth ln(1 + floor((position + first) / period))`. Llama 4 has it where it does not rotate, with `first` 1, and Ministral 3
/// everywhere, with `first` 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Temperature {
    /// How fast it grows.
    pub growth: f32,
    /// From how many tokens on.
    pub period: usize,
    /// The number of the first position.
    pub first: usize,
    /// In which layers.
    pub layers: Vec<bool>,
}

impl Temperature {
    /// The factor on a query.
    pub fn factor(&self, position: usize) -> f32 {
        1.0 + self.growth * (1.0 + ((position + self.first) / self.period) as f32).ln()
    }
}

/// What a normalisation of queries or keys takes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormOver {
    /// Each head, all with the same gains, `[head_size]`.
    Head,
    /// Each head, with gains of its own, `[heads, head_size]`.
    HeadWithItsGains,
    /// All heads of a token, `[heads * head_size]`.
    AllHeads,
}

/// The MLP of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mlp {
    /// Width of its hidden layer; of an expert's, where there are some.
    pub inner: usize,
    /// Its nonlinearity.
    pub activation: Activation,
    /// Whether a gate multiplies the hidden layer: `down(activation(gate(x)) * up(x))`.
    pub gated: bool,
    /// How the hidden layer is normalised on the way out, where it is.
    pub inner_norm: Option<NormKind>,
    /// The experts that share the work.
    pub experts: Option<Experts>,
}

impl Mlp {
    /// An MLP without experts.
    pub fn dense(inner: usize, activation: Activation, gated: bool) -> Self {
        Self { inner, activation, gated, inner_norm: None, experts: None }
    }
}

/// A mixture of experts: a router picks some for each token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Experts {
    /// How many there are.
    pub count: usize,
    /// How many work on a token.
    pub top: usize,
    /// How they are picked and weighed.
    pub router: Router,
    /// The MLP that works on every token beside them.
    pub shared: Option<Shared>,
}

/// How experts are picked by their scores, and what each one's share in the sum is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Router {
    /// From the scores of all experts to their shares.
    pub shares: Shares,
    /// Whether a number of each expert's own is added to its share for the choice alone, to spread the load (DeepSeek-AI 2024).
    pub corrected: bool,
    /// Groups of which some are picked before the experts in them.
    pub groups: Option<Groups>,
    /// Where the shares of those that work are divided by their sum: the least that they are divided by.
    pub divided: Option<f32>,
    /// Factor on shares.
    pub scale: f32,
    /// Whether it is what an expert reads that its share multiplies, and not what it writes.
    pub of_input: bool,
}

impl Router {
    /// A softmax over all experts, of which the largest shares stay as they are.
    pub const SOFTMAX: Self = Self {
        shares: Shares::Softmax,
        corrected: false,
        groups: None,
        divided: None,
        scale: 1.0,
        of_input: false,
    };

    /// The same with shares that sum to one, which is a softmax over those that are picked.
    pub const OF_PICKED: Self = Self { divided: Some(0.0), ..Self::SOFTMAX };
}

/// From the scores of experts to their shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shares {
    /// A softmax over all.
    Softmax,
    /// The sigmoid of each.
    Sigmoid,
    /// SparseMixer (Liu et al. 2023): each pick has its share in a softmax over those of the experts not yet picked that are near
    /// it: whose score is below by no more than `margin` times the larger of its own size and the best score.
    Mixer {
        /// How near they must be.
        margin: f32,
    },
}

/// Groups of experts that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// How many there are.
    pub count: usize,
    /// How many are picked.
    pub top: usize,
    /// How many of its best experts a group is picked by: by the sum of their shares.
    pub best: usize,
}

/// An MLP that works on every token beside the experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Width of its hidden layer.
    pub inner: usize,
    /// Whether what it writes is multiplied by the sigmoid of a score of the token.
    pub gated: bool,
}

/// From the residual stream to logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    /// Factor on the logits.
    pub scale: f32,
    /// Logits are bent to stay below: `cap * tanh(logit / cap)`.
    pub cap: Option<f32>,
    /// The unembedding that the model should have and its files do not hold, by name: there are no logits without it.
    pub missing: Option<String>,
}

/// Nonlinearities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// Gaussian error linear unit, exact.
    Gelu,
    /// Its approximation by a hyperbolic tangent.
    GeluTanh,
    /// Its approximation `x * sigmoid(1.702 x)`.
    GeluSigmoid,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)^2`.
    ReluSquared,
    /// xIELU (Huang and Schlag 2024), whose numbers are learned in each layer: `positive x^2 + linear x` above 0, and
    /// `negative (exp(min(x, edge)) - 1 - x) + linear x` elsewhere.
    Xielu {
        /// Curvature above 0.
        positive: f32,
        /// How fast it falls below 0.
        negative: f32,
        /// Its slope at 0.
        linear: f32,
        /// A number just below 0.
        edge: f32,
    },
    /// `x * softmax(x)` over the hidden layer (Elhage et al. 2022).
    Solu,
    /// gpt-oss's gate: `x` cut off above `limit`, `x * sigmoid(1.702 x)`, and the other factor cut off beyond `limit` on both
    /// sides and raised by one.
    ClippedGate {
        /// Where numbers are cut off.
        limit: f32,
    },
}

impl Activation {
    /// xIELU with the numbers that a checkpoint has: the two learned ones as what the softplus is taken of, the second less
    /// its slope at 0, which follows, and the edge.
    pub fn xielu([positive, negative, linear, edge]: [f32; 4]) -> Self {
        let softplus = |x: f32| x.max(0.0) + (-x.abs()).exp().ln_1p();
        Self::Xielu { positive: softplus(positive), negative: linear + softplus(negative), linear, edge }
    }

    /// The activation that configurations call `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "silu" | "swish" => Self::Silu,
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" => Self::GeluTanh,
            "quick_gelu" => Self::GeluSigmoid,
            "relu" => Self::Relu,
            "relu2" => Self::ReluSquared,
            // As it begins to learn.
            "xielu" => Self::Xielu { positive: 0.8, negative: 0.8, linear: 0.5, edge: -1e-6 },
            _ => return None,
        })
    }
}
