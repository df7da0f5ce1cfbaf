//! The model that is trained: a decoder of attention layers only, with gradients.
//!
//! Tokens are embedded, each layer adds what its heads read from the RMS-normalised residual stream, and the
//! normalised result is read out by an untied head. No MLP, no biases; rotary positions in Llama's half-split layout.
//! This is the model of the two papers with the position and norm that today's models use.

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{D, DType, Device, Tensor, Var};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::ops::{Angles, causal_softmax, rotate};

/// The sizes of a model, as they stand in `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Always `attn-only`.
    pub model_type: String,
    /// Always `AttnOnlyForCausalLM`.
    pub architectures: Vec<String>,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Numbers in the residual stream.
    pub hidden_size: usize,
    /// Attention layers; none leaves the bigram table.
    pub num_hidden_layers: usize,
    /// Heads of each layer.
    pub num_attention_heads: usize,
    /// Numbers in a head's queries, keys and values.
    pub head_dim: usize,
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
    /// The type that the weights are stored in.
    pub torch_dtype: String,
}

impl Config {
    /// A model of these sizes; refuses sizes that cannot be divided into heads.
    pub fn new(vocab: usize, width: usize, layers: usize, heads: usize, context: usize) -> Result<Self> {
        ensure!(vocab > 1 && width > 0 && heads > 0 && context > 1, "a model cannot have a size of zero");
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
            num_hidden_layers: layers,
            num_attention_heads: heads,
            head_dim: width / heads,
            max_position_embeddings: context,
            rope_theta: 10_000.,
            rms_norm_eps: 1e-5,
            tie_word_embeddings: false,
            bos_token_id: 0,
            torch_dtype: "float16".into(),
        })
    }
}

struct Layer {
    norm: Var,
    query: Var,
    key: Var,
    value: Var,
    output: Var,
}

/// The model and its weights. Weight matrices are `[out, in]`.
pub struct Model {
    config: Config,
    embed: Var,
    layers: Vec<Layer>,
    norm: Var,
    unembed: Var,
    angles: Angles,
}

/// What a pass over sequences leaves.
pub struct Pass {
    /// `[batch, T, vocab]`.
    pub logits: Tensor,
    /// Per layer, attention after softmax: `[batch, heads, query, key]`.
    pub patterns: Vec<Tensor>,
}

impl Model {
    /// A model before training: embedding normal with deviation 0.1, every matrix that reads the residual stream
    /// with deviation `1/sqrt(width)`, and every layer's output smaller by `sqrt(2 layers)`.
    pub fn new(config: Config, dtype: DType, rng: &mut impl Rng) -> Result<Self> {
        let (width, layers) = (config.hidden_size, config.num_hidden_layers);
        let inner = config.num_attention_heads * config.head_dim;
        let read = (width as f64).powf(-0.5);
        let write = read / (2. * layers.max(1) as f64).sqrt();
        let mut weights = |name: &str, shape: &[usize]| -> Result<Var> {
            let deviation = match name {
                _ if shape.len() == 1 => return Ok(Var::ones(shape, dtype, &Device::Cpu)?),
                EMBED => 0.1,
                _ if name.ends_with("o_proj.weight") => write,
                _ => read,
            };
            let numbers: Vec<f64> = (0..shape.iter().product()).map(|_| deviation * normal(rng)).collect();
            Ok(Var::from_tensor(&Tensor::from_vec(numbers, shape, &Device::Cpu)?.to_dtype(dtype)?)?)
        };
        Self::build(config, inner, &mut weights)
    }

    /// Reads the weights of a snapshot, widened to `dtype`.
    pub fn load(folder: &Path, dtype: DType) -> Result<Self> {
        let path = folder.join("config.json");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let config: Config = serde_json::from_str(&text)
            .with_context(|| format!("{} is no config of ours", path.display()))?;
        ensure!(config.model_type == "attn-only", "{} is no attn-only model", folder.display());
        let path = folder.join("model.safetensors");
        let mut stored = candle_core::safetensors::load(&path, &Device::Cpu)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let inner = config.num_attention_heads * config.head_dim;
        let mut weights = |name: &str, shape: &[usize]| -> Result<Var> {
            let tensor = stored.remove(name).with_context(|| format!("{} lacks {name}", path.display()))?;
            if tensor.dims() != shape {
                bail!("{}: {name} is {:?}, config.json says {shape:?}", path.display(), tensor.dims());
            }
            Ok(Var::from_tensor(&tensor.to_dtype(dtype)?)?)
        };
        Self::build(config, inner, &mut weights)
    }

    /// Asks `weights` for each tensor by its stored name and shape.
    fn build(
        config: Config,
        inner: usize,
        weights: &mut dyn FnMut(&str, &[usize]) -> Result<Var>,
    ) -> Result<Self> {
        let (vocab, width) = (config.vocab_size, config.hidden_size);
        let embed = weights(EMBED, &[vocab, width])?;
        let mut layer = |index: usize| -> Result<Layer> {
            let mut part = |name: &str, shape: &[usize]| weights(&layer_name(index, name), shape);
            Ok(Layer {
                norm: part("input_layernorm", &[width])?,
                query: part("self_attn.q_proj", &[inner, width])?,
                key: part("self_attn.k_proj", &[inner, width])?,
                value: part("self_attn.v_proj", &[inner, width])?,
                output: part("self_attn.o_proj", &[width, inner])?,
            })
        };
        let layers = (0..config.num_hidden_layers).map(&mut layer).collect::<Result<_>>()?;
        let norm = weights(NORM, &[width])?;
        let unembed = weights(UNEMBED, &[vocab, width])?;
        let angles = Angles::new(config.max_position_embeddings, config.head_dim, config.rope_theta);
        Ok(Self { config, embed, layers, norm, unembed, angles })
    }

    /// The sizes of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Runs the model on token ids `[batch, T]` (u32).
    pub fn forward(&self, ids: &Tensor) -> Result<Pass> {
        let (batch, length) = ids.dims2()?;
        let (heads, size) = (self.config.num_attention_heads, self.config.head_dim);
        let longest = self.config.max_position_embeddings;
        ensure!(length <= longest, "{length} tokens do not fit: the model was trained for {longest}");
        let by_head = |x: Tensor| -> candle_core::Result<Tensor> {
            x.reshape((batch, length, heads, size))?.transpose(1, 2)?.contiguous()
        };
        let mut patterns = Vec::with_capacity(self.layers.len());
        // The residual stream, `[batch * T, width]`.
        let mut stream = self.embed.index_select(&ids.flatten_all()?, 0)?;
        for layer in &self.layers {
            let x = self.normalised(&stream, &layer.norm)?;
            let query = rotate(&by_head(x.matmul(&layer.query.t()?)?)?, &self.angles)?;
            let key = rotate(&by_head(x.matmul(&layer.key.t()?)?)?, &self.angles)?;
            let value = by_head(x.matmul(&layer.value.t()?)?)?;
            let pattern = causal_softmax(&query.matmul(&key.t()?)?, (size as f64).powf(-0.5))?;
            let read = pattern.matmul(&value)?.transpose(1, 2)?.reshape((batch * length, heads * size))?;
            stream = (stream + read.matmul(&layer.output.t()?)?)?;
            patterns.push(pattern);
        }
        let logits = self.normalised(&stream, &self.norm)?.matmul(&self.unembed.t()?)?;
        Ok(Pass { logits: logits.reshape((batch, length, self.config.vocab_size))?, patterns })
    }

    /// RMS norm of the last dimension.
    fn normalised(&self, x: &Tensor, gain: &Var) -> Result<Tensor> {
        let square = (x.sqr()?.mean_keepdim(D::Minus1)? + self.config.rms_norm_eps)?;
        Ok(x.broadcast_div(&square.sqrt()?)?.broadcast_mul(gain)?)
    }

    /// Every weight with the name that it is stored under, in a fixed order.
    pub fn weights(&self) -> Vec<(String, Var)> {
        let mut all = vec![(EMBED.to_string(), self.embed.clone())];
        for (index, layer) in self.layers.iter().enumerate() {
            let parts = [
                ("input_layernorm", &layer.norm),
                ("self_attn.q_proj", &layer.query),
                ("self_attn.k_proj", &layer.key),
                ("self_attn.v_proj", &layer.value),
                ("self_attn.o_proj", &layer.output),
            ];
            all.extend(parts.map(|(name, var)| (layer_name(index, name), var.clone())));
        }
        all.push((NORM.to_string(), self.norm.clone()));
        all.push((UNEMBED.to_string(), self.unembed.clone()));
        all
    }

    /// Writes `config.json` and `model.safetensors` (f16); refuses weights that f16 cannot hold.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let mut stored = HashMap::new();
        for (name, var) in self.weights() {
            let halves = var.as_tensor().to_dtype(DType::F16)?;
            let largest = halves.to_dtype(DType::F32)?.abs()?.max_all()?.to_scalar::<f32>()?;
            let sum = halves.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?;
            ensure!(
                largest.is_finite() && sum.is_finite(),
                "the weights {name} have left the range of f16: train again with a smaller --lr"
            );
            stored.insert(name, halves);
        }
        // Written here and not by candle, which would leave a file that only its owner can read.
        let path = folder.join("model.safetensors");
        let kind = HashMap::from([("format".to_string(), "pt".to_string())]);
        let bytes = safetensors::serialize(&stored, Some(kind)).context("cannot serialize the weights")?;
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        let path = folder.join("config.json");
        fs::write(&path, serde_json::to_string_pretty(&self.config)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

const EMBED: &str = "model.embed_tokens.weight";
const NORM: &str = "model.norm.weight";
const UNEMBED: &str = "lm_head.weight";

fn layer_name(index: usize, part: &str) -> String {
    format!("model.layers.{index}.{part}.weight")
}

/// A draw from the standard normal distribution (Box and Muller).
fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2. * (1. - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}
