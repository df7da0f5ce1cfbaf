//! Activation patching: what a part of one run does in another, part by part.
//!
//! Meng et al. 2022, "Locating and Editing Factual Associations in GPT"; in both directions as Heimersheim and Nanda 2024 name
//! them, "How to use and interpret activation patching".

use anyhow::{Result, bail};
use candle_core::Tensor;

use crate::model::{
    decoder::{Control, Decoder, Pass},
    edit::{Change, Edits, Part},
    trace::Trace,
};

/// What is patched, a part at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Each head's output, at all tokens.
    Heads,
    /// What each MLP writes, at one token.
    Mlps,
    /// What each layer's attention writes, at one token.
    Attention,
    /// The residual stream before each layer, at one token.
    Residual,
}

impl Over {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Heads, Self::Mlps, Self::Attention, Self::Residual];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heads => "heads",
            Self::Mlps => "mlps",
            Self::Attention => "attn",
            Self::Residual => "resid",
        }
    }

    /// What it is, for the help.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Heads => "Each head's output, at all tokens",
            Self::Mlps => "What each MLP writes, token by token",
            Self::Attention => "What each layer's attention writes, token by token",
            Self::Residual => "The residual stream before each layer, token by token",
        }
    }

    fn part(self) -> Part {
        match self {
            Self::Heads => Part::Heads,
            Self::Mlps => Part::Mlp,
            Self::Attention => Part::Attention,
            Self::Residual => Part::Residual,
        }
    }
}

/// Which run parts go into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The corrupted one, from the clean one.
    Denoise,
    /// The clean one, from the corrupted one.
    Noise,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Denoise, Self::Noise];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Denoise => "denoise",
            Self::Noise => "noise",
        }
    }

    /// What it is, for the help.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Denoise => "From the clean run into the corrupted one: what is enough for the clean answer",
            Self::Noise => "From the corrupted run into the clean one: what the clean answer needs",
        }
    }
}

/// The difference of the logits of two tokens, of the residual stream after the last layer at one token, `[1, width]`.
pub fn difference(decoder: &Decoder, last: &Tensor, tokens: [u32; 2]) -> Result<f32> {
    let logits = decoder.logits_of(last, &tokens)?;
    Ok(logits[0] - logits[1])
}

/// The difference of two logits after the last token of `base` with each part in its turn from `source`, a run of as many
/// tokens: `[layers][heads]`, or `[layers][tokens]`.
///
/// # Errors
/// When the runs differ in length, or the model has no such part.
pub fn map(
    decoder: &Decoder,
    base: &Trace,
    source: &Trace,
    over: Over,
    tokens: [u32; 2],
    control: &Control<'_>,
) -> Result<Vec<Vec<f32>>> {
    let (layers, length) = (decoder.spec.layers, base.len());
    if source.len() != length {
        bail!("the prompts have {length} and {} tokens: give two of the same number", source.len());
    }
    if over == Over::Mlps && decoder.spec.mlp.is_empty() {
        bail!("the model has no MLPs: patch over heads, attn or resid");
    }
    let row = |layer: usize| -> Result<Vec<f32>> {
        control.check()?;
        (control.progress)(layer, layers);
        let values = decoder.values(source, layer, over.part(), 0..length)?.copy()?;
        let size = values.dim(1)?;
        let patches = if over == Over::Heads { decoder.spec.heads } else { length };
        let quiet = Control { progress: &|_, _| (), cancelled: control.cancelled };
        let patched = |at: usize| -> Result<f32> {
            let (columns, tokens_at) = match over {
                Over::Heads => (at * size / patches..(at + 1) * size / patches, 0..length),
                _ => (0..size, at..at + 1),
            };
            let rows = values.narrow(1, columns.start, columns.len())?.contiguous()?;
            let mut edits = Edits::default();
            edits.push(Change {
                layer,
                part: over.part(),
                columns,
                tokens: tokens_at,
                rows,
                constant: false,
            });
            let last = decoder.last_of(base, layer, length - 1, &Pass::edited(&edits, &quiet))?;
            difference(decoder, &last, tokens)
        };
        (0..patches).map(patched).collect()
    };
    (0..layers).map(row).collect()
}
