//! What can be changed in a pass: where, at which tokens, and what comes in its place.

use std::{ops::Range, sync::Arc};

use anyhow::{Result, bail};
use candle_core::Tensor;

use super::{
    attention::{Cut, Rule},
    spec::Spec,
    trace::{Grow, Trace},
};
use crate::head::Head;

/// Where something can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// What a head puts out: its weighted sum of values, before the output projection.
    Head(Head),
    /// What all heads of a group put out that share keys and values, [`Head::head`] being the group.
    KvHead(Head),
    /// What a layer's attention adds to the residual stream.
    Attention(usize),
    /// What a layer's MLP adds to the residual stream.
    Mlp(usize),
    /// The residual stream before a layer; as many as there are layers is after the last.
    Residual(usize),
    /// An edge of a head's pattern, or with no query the whole column of a key.
    Edge {
        /// The head.
        head: Head,
        /// The position that attends.
        query: Option<usize>,
        /// The position that is attended to.
        key: usize,
    },
}

/// The values on the way through a layer that a site is among.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The residual stream that the layer begins with, `width` numbers a token.
    Residual,
    /// What the heads put out, side by side, `heads * head_size` numbers a token.
    Heads,
    /// What attention adds to the residual stream, `width` numbers a token.
    Attention,
    /// What the MLP adds to it, `width` numbers a token.
    Mlp,
}

impl Site {
    /// The layer it belongs to, where a pass that it is changed in begins.
    pub fn layer(self) -> usize {
        match self {
            Self::Head(head) | Self::KvHead(head) | Self::Edge { head, .. } => head.layer,
            Self::Attention(layer) | Self::Mlp(layer) | Self::Residual(layer) => layer,
        }
    }

    /// The values that it is among, and its numbers among those; none of an edge, which is no value but a rule for them.
    pub fn columns(self, spec: &Spec) -> Option<(Part, Range<usize>)> {
        let heads = |first: usize, count: usize| {
            (Part::Heads, first * spec.value_size..(first + count) * spec.value_size)
        };
        match self {
            Self::Head(head) => Some(heads(head.head, 1)),
            Self::KvHead(group) => Some(heads(group.head * spec.group(), spec.group())),
            Self::Attention(_) => Some((Part::Attention, 0..spec.width)),
            Self::Mlp(_) => Some((Part::Mlp, 0..spec.width)),
            Self::Residual(_) => Some((Part::Residual, 0..spec.width)),
            Self::Edge { .. } => None,
        }
    }

    /// Refuses a site that a model does not have.
    pub fn check(self, spec: &Spec) -> Result<()> {
        let Spec { layers, heads, kv_heads, .. } = *spec;
        match self {
            Self::Head(head) | Self::Edge { head, .. } if head.layer >= layers || head.head >= heads => {
                bail!("there is no head {head}: the model has {layers} layers of {heads} heads")
            }
            Self::Edge { query: Some(query), key, .. } if key > query => {
                bail!("token {query} does not see token {key}, which comes after it")
            }
            Self::KvHead(group) if group.layer >= layers || group.head >= kv_heads => {
                bail!("there are no KV heads {group}: the model has {layers} layers of {kv_heads}")
            }
            Self::Attention(layer) | Self::Mlp(layer) if layer >= layers => {
                bail!("there is no layer {layer}: the model has {layers}")
            }
            Self::Mlp(layer) if spec.mlp.get(layer).is_none() => {
                bail!("layer {layer} has no MLP")
            }
            Self::Residual(layer) if layer > layers => {
                bail!("there is no residual stream before layer {layer}: the model has {layers}")
            }
            _ => Ok(()),
        }
    }
}

/// What comes in the place of what is changed.
#[derive(Clone, Debug)]
pub enum Value {
    /// Zero.
    Zero,
    /// The mean over the prompt's tokens of the same thing in the unchanged run.
    Mean,
    /// The mean over the tokens up to its own of the same thing in the unchanged run.
    MeanSoFar,
    /// The same thing in another run, token by token, or its mean over several; tokens that one of them does not have stay as
    /// they are.
    From(Arc<[Trace]>),
    /// Of an edge: masked before the softmax, so that the rest of the row is renormalised; `Zero` is after it.
    Knockout,
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Zero, Self::Zero)
            | (Self::Mean, Self::Mean)
            | (Self::MeanSoFar, Self::MeanSoFar)
            | (Self::Knockout, Self::Knockout) => true,
            (Self::From(one), Self::From(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

/// A change of a pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// Where.
    pub site: Site,
    /// At which tokens; at all where there is none.
    pub tokens: Option<Range<usize>>,
    /// What comes there.
    pub value: Value,
}

impl Edit {
    /// The ablation of a head: its output becomes its mean over the prompt.
    pub fn ablation(head: Head) -> Self {
        Self { site: Site::Head(head), tokens: None, value: Value::Mean }
    }
}

/// The first layer at which two lists of edits change a pass differently; none where they do not.
pub fn first_difference(one: &[Edit], other: &[Edit]) -> Option<usize> {
    fn of(edits: &[Edit], layer: usize) -> impl Iterator<Item = &Edit> {
        edits.iter().filter(move |edit| edit.site.layer() == layer)
    }
    let layers = one.iter().chain(other).map(|edit| edit.site.layer());
    layers.filter(|&layer| of(one, layer).ne(of(other, layer))).min()
}

/// An edit whose value is known.
#[derive(Clone, Debug)]
pub struct Change {
    /// The layer.
    pub layer: usize,
    /// The values that it is among.
    pub part: Part,
    /// Its numbers among those of its part.
    pub columns: Range<usize>,
    /// At which tokens.
    pub tokens: Range<usize>,
    /// What comes there: one row for every token, `[1, size]`, or one for each from position 0 on, `[tokens, size]`.
    pub rows: Tensor,
    /// Whether it is one row for every token.
    pub constant: bool,
}

/// The edits of a pass, with the values that they put in place. Of several that change the same numbers the last holds.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    changes: Vec<Change>,
    /// Edges that are cut, by layer.
    cuts: Vec<(usize, Cut)>,
    /// The run whose queries and keys make the patterns.
    frozen: Option<Trace>,
}

/// No edits.
pub static NONE: Edits = Edits { changes: Vec::new(), cuts: Vec::new(), frozen: None };

impl Edits {
    /// Takes one more.
    pub fn push(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Takes an edge of a layer that is cut.
    pub fn cut(&mut self, layer: usize, cut: Cut) {
        self.cuts.push((layer, cut));
    }

    /// Has patterns stay those of a run of the same tokens, but for what is cut of them.
    pub fn freeze(&mut self, clean: Trace) {
        self.frozen = Some(clean);
    }

    /// The queries and keys of a layer at `tokens` that patterns are made of, each `[1, heads, tokens, head_size]`; none where
    /// they are the pass's own.
    pub(super) fn frozen(&self, layer: usize, tokens: Range<usize>) -> Result<Option<[Tensor; 2]>> {
        let Some(clean) = &self.frozen else { return Ok(None) };
        let kept = &clean.layers[layer];
        let at = |kept: &Grow| -> Result<Tensor> {
            Ok(kept.view()?.narrow(1, tokens.start, tokens.len())?.contiguous()?.unsqueeze(0)?)
        };
        Ok(Some([at(&kept.queries)?, at(&kept.keys)?]))
    }

    /// The first layer that is changed; none where nothing is.
    pub fn first_layer(&self) -> Option<usize> {
        let layers = self.changes.iter().map(|change| change.layer);
        layers.chain(self.cuts.iter().map(|(layer, _)| *layer)).min()
    }

    /// How scores become attention in each layer, where `rules` say how they do without edits.
    pub(super) fn rules(&self, rules: &Arc<[Rule]>) -> Arc<[Rule]> {
        if self.cuts.is_empty() {
            return rules.clone();
        }
        let mut rules = rules.to_vec();
        for (layer, cut) in &self.cuts {
            rules[*layer].cuts.push(*cut);
        }
        rules.into()
    }

    /// What becomes of the values of a part of a layer, `[sequences, tokens, size]`, whose first token is at position
    /// `start`.
    pub(super) fn apply(&self, layer: usize, part: Part, mut x: Tensor, start: usize) -> Result<Tensor> {
        for change in &self.changes {
            if (change.layer, change.part) == (layer, part) {
                x = change.apply(x, start)?;
            }
        }
        Ok(x)
    }
}

impl Change {
    fn apply(&self, x: Tensor, start: usize) -> Result<Tensor> {
        let (sequences, tokens, _) = x.dims3()?;
        let from = self.tokens.start.max(start);
        let to = self.tokens.end.min(start + tokens);
        if from >= to {
            return Ok(x);
        }
        let rows = match self.constant {
            true => self.rows.clone(),
            false => self.rows.narrow(0, from, to - from)?,
        };
        let rows = rows.to_dtype(x.dtype())?.broadcast_as((sequences, to - from, self.columns.len()))?;
        Ok(x.slice_assign(
            &[0..sequences, from - start..to - start, self.columns.clone()],
            &rows.contiguous()?,
        )?)
    }
}
