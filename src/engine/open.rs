//! Opening a model: checkpoint, family, memory, decoder, tokenizer.

use std::{borrow::Cow, fmt};

use anyhow::{Context, Result, bail};

use super::{
    protocol::{Bos, ModelInfo, PromptInput, RankSettings, Token},
    read_as::{KeyValue, read_as},
};
use crate::{
    analysis::{benchmark::Benchmark, loss},
    checkpoint::{
        Checkpoint, Description, Wanted,
        progress::{Progress, Watcher},
        tokenizer::Tokenizer,
        weights::Weights,
    },
    model::{
        decoder::Decoder,
        families::{self, Reading},
        load,
        place::{DeviceChoice, DtypeChoice, Need, Placement},
        slot::Plan,
        stored::Stored,
    },
    text::clean,
};

/// What to open, and where.
#[derive(Clone, Debug, Default)]
pub struct OpenRequest {
    /// `MODEL` of the command line; without it, the shipped default.
    pub model: Option<String>,
    /// `--file`: the weight file to take where there are several.
    pub file: Option<String>,
    /// `--base`: the model that an adapter is merged into.
    pub base: Option<String>,
    /// `--tokenizer`: where to take the tokenizer from.
    pub tokenizer: Option<String>,
    /// `--as`: keys of the configuration that are read with other values.
    pub read_as: Vec<KeyValue>,
    /// `--update`: ask the hub for a newer commit of a model that is in the cache.
    pub update: bool,
    /// `--device`.
    pub device: DeviceChoice,
    /// `--dtype`.
    pub dtype: DtypeChoice,
}

/// A model that is open.
pub struct Model {
    /// What it is.
    pub info: ModelInfo,
    /// Its decoder.
    pub decoder: Decoder,
    /// Its tokenizer, or why it has none.
    pub tokenizer: Result<Tokenizer, String>,
    /// What it takes in memory with prompts of [`Model::USUAL_PROMPT`] tokens.
    pub need: Need,
    /// Whether its weights were rounded to another type than they are stored in.
    pub is_rounded: bool,
    /// What is to be said of its configuration.
    pub(super) of_config: Vec<String>,
    bos: Option<u32>,
    placement: Placement,
    /// Its weights as they are stored.
    pub(super) stored: Stored,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info.fmt(f)
    }
}

impl Model {
    /// Prompt length for which memory is reckoned when a model is opened.
    pub const USUAL_PROMPT: usize = 512;

    /// Opens a model while `watcher` follows.
    pub fn open(request: &OpenRequest, watcher: &dyn Watcher) -> Result<Self> {
        let placement = Placement { device: request.device.open()?, dtype: request.dtype };
        let wanted = Wanted {
            model: request.model.as_deref(),
            file: request.file.as_deref(),
            base: request.base.as_deref(),
            tokenizer: request.tokenizer.as_deref(),
            update: request.update,
            memory: placement.free_memory(),
        };
        let mut checkpoint = Checkpoint::open(&wanted, watcher)?;
        read_as(&mut checkpoint, &request.read_as)?;
        let Described { family, plan, weights, bos, remarks } = describe(&checkpoint)?;
        let weights = &*weights;
        let spec = &plan.spec;
        let need = Need::of(spec, weights, &placement, Self::USUAL_PROMPT.min(spec.context));
        need.check(&placement).with_context(|| checkpoint.source.clone())?;
        let decoder = load::load(&plan, weights, &placement, &|done, total| {
            watcher.progress(Progress {
                stage: "reading weights",
                done: done as u64,
                total: total as u64,
                bytes: false,
            })
        })
        .with_context(|| checkpoint.source.clone())?;
        let bos = checkpoint.tokenizer.as_ref().ok().and_then(Tokenizer::bos).or(bos);
        let info = ModelInfo {
            name: checkpoint.name.clone(),
            source: checkpoint.source.clone(),
            family: family.into(),
            layers: spec.layers,
            heads: spec.heads,
            kv_heads: spec.kv_heads,
            width: spec.width,
            vocabulary: spec.vocabulary,
            context: spec.context,
            parameters: weights.parameters(),
            dtype: placement.dtype_name(weights),
            device: placement.device_name(),
            has_tokenizer: checkpoint.tokenizer.is_ok(),
            bos,
            block: 0,
        };
        let is_rounded = placement.loses(weights);
        let stored = Stored { source: plan.source, weights: weights.clone() };
        let mut model = Self {
            info,
            decoder,
            tokenizer: checkpoint.tokenizer,
            need,
            is_rounded,
            of_config: remarks,
            bos,
            placement,
            stored,
        };
        let most = (model.ordinary().len() / 2).min((model.info.context - 1) / 2);
        model.info.block = RankSettings::default().length.min(most);
        Ok(model)
    }

    /// The largest number that weights are held in.
    pub(super) fn most(&self) -> f32 {
        self.placement.most()
    }

    /// What is worth a line each: of the configuration, and that there is no tokenizer, or that it may be another model's.
    pub fn remarks(&self) -> Vec<String> {
        let tokenizer = match &self.tokenizer {
            Err(reason) => vec![format!("no text can be read, prompts are token ids: {reason}")],
            Ok(tokenizer) if tokenizer.len() > self.info.vocabulary => vec![format!(
                "the tokenizer has {} tokens and the model {}: it may be another model's",
                tokenizer.len(),
                self.info.vocabulary
            )],
            Ok(tokenizer) => tokenizer.remarks().to_vec(),
        };
        self.of_config.iter().cloned().chain(tokenizer).collect()
    }

    /// Refuses a model without layers, for work that is about heads.
    pub fn has_heads(&self) -> Result<()> {
        if self.info.layers == 0 {
            bail!(
                "{}: the model has no layers and so no heads to look at; `attnscope circuits` prints its bigram table",
                self.info.name
            );
        }
        Ok(())
    }

    /// The tokens that benchmark sequences are drawn from.
    fn ordinary(&self) -> Vec<u32> {
        let all = 0..self.info.vocabulary as u32;
        match &self.tokenizer {
            Ok(tokenizer) => all.filter(|&id| tokenizer.is_ordinary(id)).collect(),
            Err(_) => all.filter(|&id| Some(id) != self.bos).collect(),
        }
    }

    /// The ids of a prompt.
    ///
    /// # Errors
    /// When it is empty, does not fit in the context or in memory, or is text and there is no tokenizer.
    pub fn encode(&self, input: &PromptInput, bos: Bos) -> Result<Vec<u32>> {
        let ids = match input {
            PromptInput::Ids(ids) => ids.clone(),
            PromptInput::Text(text) => {
                let tokenizer = match &self.tokenizer {
                    Ok(tokenizer) => tokenizer,
                    Err(reason) => {
                        bail!("text needs a tokenizer, and there is none ({reason}): give token ids")
                    }
                };
                if text.is_empty() {
                    bail!("the prompt is empty: give it some text");
                }
                let first = match (bos, self.bos) {
                    (Bos::On, None) => bail!("--bos on: the vocabulary names no BOS token; use --bos off"),
                    (Bos::On, bos) => bos,
                    (Bos::Auto, _) => self.opening(),
                    (Bos::Off, _) => None,
                };
                first.into_iter().chain(tokenizer.encode(text)?).collect()
            }
        };
        if ids.is_empty() {
            bail!("the prompt is empty: give at least one token");
        }
        self.decoder.check_ids(&ids, 0)?;
        Need::of_prompt(&self.decoder.spec, ids.len()).check(&self.placement)?;
        Ok(ids)
    }

    /// What is worth a line about the ids of a text: that BOS opens it twice, once put there and once written in it. The
    /// reference runs it so too.
    pub fn remark_on(&self, input: &PromptInput, ids: &[u32]) -> Option<String> {
        let twice = matches!(input, PromptInput::Text(_)) && ids.len() > 1 && ids[0] == ids[1];
        let bos = self.bos.filter(|&bos| twice && ids[0] == bos)?;
        Some(format!(
            "the prompt begins with \"{}\" twice, as the tokenizer puts it before the one that is written: leave that out of \
             the text, or use --bos off",
            clean(&self.token(bos).bytes)
        ))
    }

    /// The usual random tokens that are repeated; a vocabulary or a context may be too small for any.
    pub fn repeats(&self) -> Option<Benchmark> {
        self.benchmark(RankSettings { length: self.info.block, ..RankSettings::default() }).ok()
    }

    /// The one token that an input is: that which stands for exactly this text, else what the tokenizer makes of it. No BOS
    /// goes before it.
    ///
    /// # Errors
    /// Those of [`Self::encode`], and when it is several tokens.
    pub fn single(&self, input: &PromptInput) -> Result<u32> {
        if let (PromptInput::Text(text), Ok(tokenizer)) = (input, &self.tokenizer) {
            let exact = |id: &u32| tokenizer.is_ordinary(*id) && tokenizer.piece(*id) == text.as_bytes();
            if let Some(id) = (0..self.info.vocabulary as u32).find(exact) {
                return Ok(id);
            }
        }
        let ids = self.encode(input, Bos::Off)?;
        if let [id] = ids[..] {
            return Ok(id);
        }
        let mut pieces: Vec<String> = self
            .tokens(&ids[..ids.len().min(8)])
            .iter()
            .map(|token| format!("\"{}\"", clean(&token.bytes)))
            .collect();
        pieces.extend((ids.len() > 8).then(|| "...".into()));
        bail!("one token is wanted, and these are {}: {}", ids.len(), pieces.join(" "))
    }

    /// The BOS token that the tokenizer puts before a text, where it puts one.
    pub fn opening(&self) -> Option<u32> {
        let adds = self.tokenizer.as_ref().is_ok_and(Tokenizer::adds_bos);
        self.bos.filter(|_| adds)
    }

    /// The first `most` windows of a text to measure losses on: BOS where the tokenizer adds one, and as many tokens as the
    /// context has, at most [`loss::WINDOW`]. A text that is shorter is one window.
    pub fn windows(&self, text: &str, most: usize) -> Result<Vec<Vec<u32>>> {
        let Ok(tokenizer) = &self.tokenizer else { bail!("a text needs a tokenizer, and there is none") };
        let size = loss::WINDOW.min(self.info.context);
        let ids = tokenizer.encode(beginning(text, most.saturating_mul(size)))?;
        let least = size.min(LEAST);
        if ids.len() < least {
            bail!("the text has {} tokens, too few to measure on: give {least} or more", ids.len());
        }
        let first = self.opening();
        let windows = ids.chunks_exact(size.min(ids.len())).take(most);
        Ok(windows.map(|window| first.into_iter().chain(window.iter().copied()).collect()).collect())
    }

    /// The token of an id.
    pub fn token(&self, id: u32) -> Token {
        let bytes = self.tokenizer.as_ref().map(|tokenizer| tokenizer.piece(id)).unwrap_or_default();
        Token { id, bytes }
    }

    /// The tokens of ids.
    pub fn tokens(&self, ids: &[u32]) -> Vec<Token> {
        ids.iter().map(|&id| self.token(id)).collect()
    }

    /// The benchmark sequences of this model.
    pub fn benchmark(&self, settings: RankSettings) -> Result<Benchmark> {
        Benchmark::new(self.ordinary(), self.bos, self.info.context, settings)
    }
}

/// Tokens that a text to measure on has to have.
pub(super) const LEAST: usize = 16;
/// More bytes than a token has on average.
const BYTES: usize = 16;

/// As much of a text as has so many tokens at least, where it has them: not all of a long one need be read.
pub(super) fn beginning(text: &str, tokens: usize) -> &str {
    let enough = tokens.saturating_mul(BYTES).min(text.len());
    let enough = (0..=enough).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..enough]
}

/// What a checkpoint's description says of the model.
struct Described<'c> {
    family: &'static str,
    plan: Plan,
    /// The weights under the names that the plan has for them.
    weights: Cow<'c, Weights>,
    /// The BOS token that the description names.
    bos: Option<u32>,
    /// What is to be said of it.
    remarks: Vec<String>,
}

fn describe(checkpoint: &Checkpoint) -> Result<Described<'_>> {
    let (origin, weights) = (&checkpoint.origin, &checkpoint.weights);
    let missing =
        |key| format!("{origin}: key `{key}` is missing: it says which family the model belongs to");
    let (family, reading, weights, bos) = match &checkpoint.description {
        Description::Hub(values) => {
            let name = families::name_of(values).with_context(|| missing("model_type"))?;
            let family = families::find(name, values, weights, origin)?;
            let (reading, weights) = family.read(values, weights, origin)?;
            let bos = values.get("bos_token_id").and_then(|id| u32::try_from(id.as_u64()?).ok());
            (family, reading, weights, bos)
        }
        Description::Gguf(metadata) => {
            let name = metadata.get("general.architecture").and_then(|name| name.to_string().ok());
            let name = name.with_context(|| missing("general.architecture"))?;
            let (family, architecture) = families::find_gguf(name, metadata, origin)?;
            let plan = families::gguf::plan(family, architecture, metadata, weights, origin)?;
            let bos = metadata.get("tokenizer.ggml.bos_token_id").and_then(|id| id.to_u32().ok());
            (family, Reading { plan, remarks: Vec::new() }, Cow::Borrowed(weights), bos)
        }
    };
    let Reading { plan, remarks: of_config } = reading;
    let remarks = [checkpoint.remarks.clone(), of_config].concat();
    // Before anything of that size is made.
    let (layers, tensors) = (plan.spec.layers, weights.iter().count());
    if layers > tensors {
        bail!("{origin}: {layers} layers are promised, but the checkpoint holds {tensors} tensors");
    }
    let bos = bos.filter(|&id| (id as usize) < plan.spec.vocabulary);
    Ok(Described { family: family.name, plan, weights, bos, remarks })
}
