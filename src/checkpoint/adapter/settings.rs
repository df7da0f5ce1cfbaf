//! `adapter_config.json`.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, bail};
use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Keys of what changes more than matrices by a product of two others; empty where it is not used.
const REFUSED: [&str; 8] = [
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "monteclora_config",
    "target_parameters",
    "use_bdlora",
    "use_qalora",
];
/// How the ways of starting an adapter begin that change the base too.
const CHANGING_STARTS: [&str; 5] = ["corda", "loftq", "lora_ga", "olora", "pissa"];

/// What an adapter says of itself.
pub struct Settings {
    /// The model that it was trained on.
    pub base: Option<String>,
    /// Whether it says that matrices of the base are stored `[in, out]`, where it says anything.
    pub turned: Option<bool>,
    rank: usize,
    /// Ranks of modules whose names a pattern matches.
    ranks: Vec<(Regex, usize)>,
    alpha: f64,
    /// Factors of modules whose names a pattern matches.
    alphas: Vec<(Regex, f64)>,
    by_root: bool,
    /// Modules that are saved as a whole, by the end of their names.
    saved: Vec<String>,
    tokens: Option<Tokens>,
}

/// Tokens whose rows are trained.
#[derive(Deserialize)]
#[serde(untagged)]
enum Tokens {
    /// Of the embedding.
    OfEmbedding(Vec<usize>),
    /// Of modules, by the end of their names.
    Of(BTreeMap<String, Vec<usize>>),
}

/// The keys that are read.
#[derive(Deserialize)]
struct Keys {
    base_model_name_or_path: Option<String>,
    r: usize,
    rank_pattern: Option<BTreeMap<String, usize>>,
    lora_alpha: f64,
    alpha_pattern: Option<BTreeMap<String, f64>>,
    use_rslora: Option<bool>,
    fan_in_fan_out: Option<bool>,
    modules_to_save: Option<Vec<String>>,
    trainable_token_indices: Option<Tokens>,
}

impl Settings {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it is of another kind of adapter than LoRA, or of one that does more than add to matrices.
    pub fn read(path: &Path) -> Result<Self> {
        let origin = || path.display().to_string();
        let text = std::fs::read(path).with_context(|| format!("{} cannot be read", origin()))?;
        let values: Map<String, Value> =
            serde_json::from_slice(&text).with_context(|| format!("{} is no JSON object", origin()))?;
        Self::of(values).with_context(origin)
    }

    fn of(values: Map<String, Value>) -> Result<Self> {
        let kind = values.get("peft_type").and_then(Value::as_str).unwrap_or_default();
        if kind != "LORA" {
            bail!(
                "key `peft_type` is `{}`, and only `LORA` is read: merge the adapter with peft and open what it saves",
                kind.escape_debug()
            );
        }
        if let Some(key) = REFUSED.into_iter().find(|key| values.get(*key).is_some_and(is_used)) {
            bail!(
                "key `{key}` is set, which is not read: merge the adapter with peft and open what it saves"
            );
        }
        let start = values.get("init_lora_weights").and_then(Value::as_str).unwrap_or_default();
        if CHANGING_STARTS.iter().any(|begin| start.starts_with(begin)) {
            bail!(
                "key `init_lora_weights` is `{}`, which changes the base too: merge the adapter with peft and open what \
                 it saves",
                start.escape_debug()
            );
        }
        let keys: Keys = serde_json::from_value(values.into())?;
        Ok(Self {
            base: keys.base_model_name_or_path.filter(|base| !base.is_empty()),
            turned: keys.fan_in_fan_out,
            rank: keys.r,
            ranks: patterns("rank_pattern", keys.rank_pattern)?,
            alpha: keys.lora_alpha,
            alphas: patterns("alpha_pattern", keys.alpha_pattern)?,
            by_root: keys.use_rslora.unwrap_or_default(),
            saved: keys.modules_to_save.unwrap_or_default(),
            tokens: keys.trainable_token_indices,
        })
    }

    /// The rank of a module's two matrices.
    pub fn rank(&self, module: &str) -> usize {
        let own = self.ranks.iter().find(|(pattern, _)| pattern.is_match(module));
        own.map_or(self.rank, |&(_, rank)| rank)
    }

    /// Whether a module is trained as a whole, apart from that of the base.
    pub fn is_saved(&self, module: &str) -> bool {
        self.saved.iter().any(|name| module.ends_with(name))
    }

    /// The tokens whose rows of a module are trained; none where the settings name none.
    pub fn tokens(&self, module: &str) -> &[usize] {
        match &self.tokens {
            Some(Tokens::OfEmbedding(tokens)) => tokens,
            Some(Tokens::Of(modules)) => {
                modules.iter().find(|(name, _)| module.ends_with(*name)).map_or(&[], |(_, tokens)| tokens)
            }
            None => &[],
        }
    }

    /// What the product of the two matrices of rank `rank` of a module is multiplied by.
    pub fn scale(&self, module: &str, rank: usize) -> f32 {
        let own = self.alphas.iter().find(|(pattern, _)| pattern.is_match(module));
        let alpha = own.map_or(self.alpha, |&(_, alpha)| alpha);
        let rank = rank.max(1) as f64;
        (alpha / if self.by_root { rank.sqrt() } else { rank }) as f32
    }
}

/// What modules have of their own whose names end as a pattern says.
fn patterns<T>(key: &str, values: Option<BTreeMap<String, T>>) -> Result<Vec<(Regex, T)>> {
    let pattern = |(pattern, value): (String, T)| {
        let Ok(whole) = Regex::new(&format!(r"^(.*\.)?({pattern})$")) else {
            bail!("key `{key}.{}` is no pattern that is read", pattern.escape_debug());
        };
        Ok((whole, value))
    };
    values.unwrap_or_default().into_iter().map(pattern).collect()
}

/// Whether a key asks for anything.
fn is_used(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(parts) => !parts.is_empty(),
        Value::Object(parts) => !parts.is_empty(),
        _ => true,
    }
}
