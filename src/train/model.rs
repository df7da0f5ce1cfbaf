//! The model that is trained, with gradients: a decoder of attention layers, with MLPs or without.
//!
//! Tokens are embedded, each layer adds what its heads read from the RMS-normalised residual stream, then what its
//! gated MLP makes of it (where there is one), and the normalised result is read out by an untied head. No biases;
//! rotary positions in Llama's half-split layout. This is the model of the two papers with the position and norm that
//! today's models use. Without layers it is embedding, norm and read-out: the bigram table.

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{D, DType, Device, Tensor, Var};
use rand::Rng;

use super::{
    angles::Angles,
    config::Config,
    files::write_whole,
    ops::{causal_softmax, rotate},
};

struct Layer {
    norm: Var,
    query: Var,
    key: Var,
    /// `alpha` of the smeared keys, `[heads]`.
    key_smear: Option<Var>,
    value: Var,
    output: Var,
    mlp: Option<Mlp>,
}

struct Mlp {
    norm: Var,
    gate: Var,
    up: Var,
    down: Var,
}

/// The model and its weights. Weight matrices are `[out, in]`.
pub struct Model {
    config: Config,
    embed: Var,
    layers: Vec<Layer>,
    norm: Var,
    unembed: Var,
    angles: Angles,
    /// All of them, by the names they are stored under.
    weights: Vec<(String, Var)>,
}

/// What a pass over sequences leaves.
pub struct Pass {
    /// `[batch, T, vocab]`.
    pub logits: Tensor,
    /// Per layer, attention after softmax: `[batch, heads, query, key]`.
    pub patterns: Vec<Tensor>,
}

impl Model {
    /// A model before training: embedding normal with deviation 0.1, every matrix with deviation `1/sqrt(inputs)`, those
    /// that write to the residual stream smaller by `sqrt(2 layers)`; gains 1, smeared keys half their own.
    pub fn new(config: Config, dtype: DType, device: &Device, rng: &mut impl Rng) -> Result<Self> {
        let narrower = (2. * config.num_hidden_layers.max(1) as f64).sqrt();
        let mut weights = |name: &str, shape: &[usize]| -> Result<Var> {
            let deviation = match shape {
                [_] if name.ends_with(SMEAR) => return Ok(Var::zeros(shape, dtype, device)?),
                [_, inputs] if name != EMBED => (*inputs as f64).powf(-0.5),
                [_, _] => 0.1,
                _ => return Ok(Var::ones(shape, dtype, device)?),
            };
            let writes = name.ends_with(OUTPUT) || name.ends_with(DOWN);
            let deviation = if writes { deviation / narrower } else { deviation };
            let numbers: Vec<f64> = (0..shape.iter().product()).map(|_| deviation * normal(rng)).collect();
            let tensor = Tensor::from_vec(numbers, shape, &Device::Cpu)?.to_dtype(dtype)?;
            Ok(Var::from_tensor(&tensor.to_device(device)?)?)
        };
        Self::build(config, &mut weights)
    }

    /// Reads the weights of a snapshot, widened to `dtype`.
    pub fn load(folder: &Path, dtype: DType, device: &Device) -> Result<Self> {
        let path = folder.join("config.json");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let config: Config = serde_json::from_str(&text)
            .with_context(|| format!("{} is no config of a model trained here", path.display()))?;
        let ours = config.model_type == "attn-only"
            || (config.model_type == "llama" && config.intermediate_size.is_some());
        ensure!(ours, "{} is no model trained here", folder.display());
        let path = folder.join("model.safetensors");
        let stored = candle_core::safetensors::load(&path, &Device::Cpu)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::build(config, &mut |name, shape| take(&stored, &path, name, shape, dtype, device))
    }

    /// Asks `weights` for each tensor by its stored name and shape.
    fn build(config: Config, weights: &mut dyn FnMut(&str, &[usize]) -> Result<Var>) -> Result<Self> {
        let (vocab, width, heads) = (config.vocab_size, config.hidden_size, config.num_attention_heads);
        let inner = heads * config.head_dim;
        let mut named = Vec::new();
        let mut weight = |name: &str, shape: &[usize]| -> Result<Var> {
            let var = weights(name, shape)?;
            named.push((name.to_string(), var.clone()));
            Ok(var)
        };
        let embed = weight(EMBED, &[vocab, width])?;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for index in 0..config.num_hidden_layers {
            let mut part =
                |name: &str, shape: &[usize]| weight(&format!("model.layers.{index}.{name}"), shape);
            layers.push(Layer {
                norm: part("input_layernorm.weight", &[width])?,
                query: part("self_attn.q_proj.weight", &[inner, width])?,
                key: part("self_attn.k_proj.weight", &[inner, width])?,
                key_smear: if config.smeared_keys { Some(part(SMEAR, &[heads])?) } else { None },
                value: part("self_attn.v_proj.weight", &[inner, width])?,
                output: part(OUTPUT, &[width, inner])?,
                mlp: match config.intermediate_size {
                    None => None,
                    Some(hidden) => Some(Mlp {
                        norm: part("post_attention_layernorm.weight", &[width])?,
                        gate: part("mlp.gate_proj.weight", &[hidden, width])?,
                        up: part("mlp.up_proj.weight", &[hidden, width])?,
                        down: part(DOWN, &[width, hidden])?,
                    }),
                },
            });
        }
        let norm = weight("model.norm.weight", &[width])?;
        let unembed = weight("lm_head.weight", &[vocab, width])?;
        let angles = Angles::new(config.max_position_embeddings, config.head_dim, config.rope_theta);
        Ok(Self { config, embed, layers, norm, unembed, angles, weights: named })
    }

    /// The sizes of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.embed.device()
    }

    /// Every weight with the name that it is stored under, in a fixed order.
    pub fn weights(&self) -> &[(String, Var)] {
        &self.weights
    }

    /// Runs the model on token ids `[batch, T]` (u32).
    pub fn forward(&self, ids: &Tensor) -> Result<Pass> {
        let (batch, length) = ids.dims2()?;
        let longest = self.config.max_position_embeddings;
        ensure!(length <= longest, "{length} tokens do not fit: the model was trained for {longest}");
        let mut patterns = Vec::with_capacity(self.layers.len());
        // The residual stream, `[batch * T, width]`.
        let mut stream = self.embed.index_select(&ids.flatten_all()?, 0)?;
        for layer in &self.layers {
            let (written, pattern) = self.attend(layer, &stream, batch, length)?;
            stream = (stream + written)?;
            if let Some(mlp) = &layer.mlp {
                stream = (&stream + self.think(mlp, &stream)?)?;
            }
            patterns.push(pattern);
        }
        let logits = self.normalised(&stream, &self.norm)?.matmul(&self.unembed.t()?)?;
        Ok(Pass { logits: logits.reshape((batch, length, self.config.vocab_size))?, patterns })
    }

    /// What the heads of a layer write, `[batch * T, width]`, and their patterns, `[batch, heads, T, T]`.
    fn attend(
        &self,
        layer: &Layer,
        stream: &Tensor,
        batch: usize,
        length: usize,
    ) -> Result<(Tensor, Tensor)> {
        let (heads, size) = (self.config.num_attention_heads, self.config.head_dim);
        let x = self.normalised(stream, &layer.norm)?;
        let by_head = |weight: &Var| -> Result<Tensor> {
            let flat = x.matmul(&weight.t()?)?;
            Ok(flat.reshape((batch, length, heads, size))?.transpose(1, 2)?.contiguous()?)
        };
        let query = rotate(&by_head(&layer.query)?, &self.angles)?;
        let mut key = rotate(&by_head(&layer.key)?, &self.angles)?;
        if let Some(alpha) = &layer.key_smear {
            key = smear(&key, alpha)?;
        }
        let pattern = causal_softmax(&query.matmul(&key.t()?)?, (size as f64).powf(-0.5))?;
        let read = pattern.matmul(&by_head(&layer.value)?)?;
        let read = read.transpose(1, 2)?.reshape((batch * length, heads * size))?;
        Ok((read.matmul(&layer.output.t()?)?, pattern))
    }

    /// What the MLP writes: `down(silu(gate(x)) * up(x))`.
    fn think(&self, mlp: &Mlp, stream: &Tensor) -> Result<Tensor> {
        let x = self.normalised(stream, &mlp.norm)?;
        let hidden = (x.matmul(&mlp.gate.t()?)?.silu()? * x.matmul(&mlp.up.t()?)?)?;
        Ok(hidden.matmul(&mlp.down.t()?)?)
    }

    /// RMS norm of the last dimension.
    fn normalised(&self, x: &Tensor, gain: &Var) -> Result<Tensor> {
        let square = (x.sqr()?.mean_keepdim(D::Minus1)? + self.config.rms_norm_eps)?;
        Ok(x.broadcast_div(&square.sqrt()?)?.broadcast_mul(gain)?)
    }

    /// Writes `config.json` and `model.safetensors` (f16); refuses weights that f16 cannot hold.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let mut stored = HashMap::new();
        for (name, var) in &self.weights {
            let halves = var.as_tensor().to_device(&Device::Cpu)?.to_dtype(DType::F16)?;
            let largest = halves.to_dtype(DType::F32)?.abs()?.max_all()?.to_scalar::<f32>()?;
            let sum = halves.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?;
            ensure!(
                largest.is_finite() && sum.is_finite(),
                "the weights {name} have left the range of f16: train again with a smaller --lr"
            );
            stored.insert(name.clone(), halves);
        }
        // Written here and not by candle, which would leave a file that only its owner can read.
        let path = folder.join("model.safetensors");
        let kind = HashMap::from([("format".to_string(), "pt".to_string())]);
        let bytes = safetensors::serialize(&stored, Some(kind)).context("cannot serialize the weights")?;
        write_whole(&path, &bytes)?;
        let path = folder.join("config.json");
        write_whole(&path, (serde_json::to_string_pretty(&self.config)? + "\n").as_bytes())
    }
}

const EMBED: &str = "model.embed_tokens.weight";
const SMEAR: &str = "self_attn.k_smear";
const OUTPUT: &str = "self_attn.o_proj.weight";
const DOWN: &str = "mlp.down_proj.weight";

/// The tensor `name` of those that `path` holds, in `shape`.
fn take(
    stored: &HashMap<String, Tensor>,
    path: &Path,
    name: &str,
    shape: &[usize],
    dtype: DType,
    device: &Device,
) -> Result<Var> {
    let tensor = stored.get(name).with_context(|| format!("{} lacks {name}", path.display()))?;
    if tensor.dims() != shape {
        bail!("{}: {name} is {:?}, config.json says {shape:?}", path.display(), tensor.dims());
    }
    Ok(Var::from_tensor(&tensor.to_dtype(dtype)?.to_device(device)?)?)
}

/// Mixes each rotated key of `[batch, heads, T, size]` with the one before it, `k[j] <- s k[j] + (1 - s) k[j-1]` with
/// `s = sigmoid(alpha)` of its head; the first stays as it is (Olsson et al. 2022, Argument 2).
fn smear(key: &Tensor, alpha: &Var) -> Result<Tensor> {
    // The first stands before itself, which changes nothing.
    let before = Tensor::cat(&[key.narrow(2, 0, 1)?, key.narrow(2, 0, key.dim(2)? - 1)?], 2)?;
    let share = (alpha.exp()? + 1.)?.recip()?.reshape((1, (), 1, 1))?;
    Ok((key + (before - key)?.broadcast_mul(&share)?)?)
}

/// A draw from the standard normal distribution (Box and Muller).
fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (-2. * (1. - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}
