//! `config.json` of a trained model.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// The sizes and settings of a model, as they stand in `config.json`.
///
/// A model with MLPs is an ordinary Llama, which other programs open as such; one without is of our own `attn-only`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// `attn-only`, or `llama` with MLPs.
    pub model_type: String,
    /// `AttnOnlyForCausalLM`, or `LlamaForCausalLM` with MLPs.
    pub architectures: Vec<String>,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Numbers in the residual stream.
    pub hidden_size: usize,
    /// Numbers in the hidden layer of each layer's MLP; absent without MLPs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intermediate_size: Option<usize>,
    /// The MLP's nonlinearity, always `silu`; absent without MLPs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden_act: Option<String>,
    /// Layers; none leaves the bigram table.
    pub num_hidden_layers: usize,
    /// Heads of each layer.
    pub num_attention_heads: usize,
    /// Numbers in a head's queries, keys and values.
    pub head_dim: usize,
    /// Whether keys are mixed with the key before; see
    /// [`Attention::smeared_keys`](crate::model::spec::Attention::smeared_keys).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub smeared_keys: bool,
    /// Tokens in the longest sequence trained on.
    pub max_position_embeddings: usize,
    /// Base of the rotary angles.
    pub rope_theta: f64,
    /// Added to the mean square before the root.
    pub rms_norm_eps: f64,
    /// Always false: the read-out has its own weights.
    pub tie_word_embeddings: bool,
    /// The token that starts every sequence.
    pub bos_token_id: u32,
    /// With MLPs BOS again, which no text holds: a Llama's own default would end what is generated at some token. Absent
    /// without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eos_token_id: Option<u32>,
    /// The type that the weights are stored in.
    pub torch_dtype: String,
}

impl Config {
    /// An attention-only model of these sizes; refuses sizes that cannot be divided into heads.
    pub fn new(vocab: usize, width: usize, layers: usize, heads: usize, context: usize) -> Result<Self> {
        ensure!(
            vocab > 1 && width > 0 && heads > 0 && context > 1,
            "--width, --heads, --vocab and --context must be above zero"
        );
        ensure!(
            width.is_multiple_of(2 * heads),
            "--width {width} does not divide into {heads} heads of even size: \
             make it a multiple of {}",
            2 * heads
        );
        Ok(Self {
            model_type: "attn-only".into(),
            architectures: vec!["AttnOnlyForCausalLM".into()],
            vocab_size: vocab,
            hidden_size: width,
            intermediate_size: None,
            hidden_act: None,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            head_dim: width / heads,
            smeared_keys: false,
            max_position_embeddings: context,
            rope_theta: 10_000.,
            rms_norm_eps: 1e-5,
            tie_word_embeddings: false,
            bos_token_id: super::vocabulary::BOS_ID,
            eos_token_id: None,
            torch_dtype: "float16".into(),
        })
    }

    /// Numbers in all weights together; a floating-point number, which no size makes overflow.
    pub fn parameters(&self) -> f64 {
        let [vocab, width, heads] =
            [self.vocab_size, self.hidden_size, self.num_attention_heads].map(|size| size as f64);
        let mlp = self.intermediate_size.map_or(0., |inner| 3. * inner as f64 * width + width);
        let smear = if self.smeared_keys { heads } else { 0. };
        2. * vocab * width
            + width
            + self.num_hidden_layers as f64 * (width + 4. * width * width + mlp + smear)
    }

    /// The same with a gated MLP of `multiple` times the width in every layer: a Llama.
    pub fn with_mlp(self, multiple: f64) -> Result<Self> {
        let inner = (multiple * self.hidden_size as f64).round();
        ensure!(
            (1. ..=1e6).contains(&inner),
            "--mlp {multiple} gives an MLP of {inner} numbers: use about 4"
        );
        ensure!(self.num_hidden_layers > 0, "--mlp needs layers to stand in: use --layers 1 or more");
        ensure!(
            !self.smeared_keys,
            "--mlp and --smeared-keys exclude each other: a Llama with smeared keys would be opened without them \
             elsewhere"
        );
        Ok(Self {
            model_type: "llama".into(),
            architectures: vec!["LlamaForCausalLM".into()],
            intermediate_size: Some(inner as usize),
            hidden_act: Some("silu".into()),
            eos_token_id: Some(self.bos_token_id),
            ..self
        })
    }

    /// The same with smeared keys.
    pub fn with_smeared_keys(self) -> Result<Self> {
        ensure!(self.num_hidden_layers > 0, "--smeared-keys needs layers: use --layers 1 or more");
        Ok(Self { smeared_keys: true, ..self })
    }
}
