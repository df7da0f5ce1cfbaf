//! The part of a check that sets a model against another.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Result;

use super::open::Model;
use crate::{
    analysis::{
        benchmark::{Benchmark, Kind},
        check::{
            Finding, Verdict,
            against::{self, Moved},
            readings::{Gain, Text},
        },
        loss::{self, Repeat},
        rank::{self, Tally},
        score::Score,
    },
    model::decoder::Control,
};

/// The other model, and what was measured of it.
pub struct Against {
    base: Arc<Model>,
    moved: Vec<Moved>,
    /// What is repeated, where the model can be asked.
    benchmark: Option<Benchmark>,
    repeat: Option<Repeat>,
    tally: Tally,
}

/// A step of it.
pub enum Step {
    /// Compares a tensor.
    Tensor(String),
    /// Judges how the tensors compare.
    Weights,
    /// Reads a text.
    Text(usize),
    Repeat,
    Score(Kind, usize),
    Heads,
}

/// What the check has measured of the model itself.
pub struct Measured<'a> {
    pub model: &'a Model,
    /// The texts with their names.
    pub texts: Vec<(&'a str, &'a Text)>,
    pub repeat: Option<Repeat>,
    pub tally: &'a Tally,
}

impl Against {
    /// Against this model, of which nothing is measured yet.
    pub fn new(base: Arc<Model>) -> Self {
        let tally = Tally::new(base.info.layers, base.info.heads);
        Self { base, moved: Vec::new(), benchmark: None, repeat: None, tally }
    }

    /// The steps; there are as many `texts` at most.
    pub fn steps(&self, model: &Model, texts: usize) -> Vec<Step> {
        let has_same = |name: &str, shape: &[usize]| {
            self.base.stored.weights.get(name).is_ok_and(|before| before.shape == shape)
        };
        let used = model.stored.used(&model.decoder.spec);
        let same = used.into_iter().filter(|tensor| has_same(&tensor.name, &tensor.shape));
        let mut steps: Vec<Step> = same.map(|tensor| Step::Tensor(tensor.name.clone())).collect();
        steps.push(Step::Weights);
        steps.extend((0..texts).map(Step::Text));
        let shape = |model: &Model| (model.info.layers, model.info.heads, model.info.vocabulary);
        if shape(model) == shape(&self.base) && model.info.layers > 0 {
            steps.push(Step::Repeat);
        }
        steps
    }

    /// Takes a step: what it has found, and steps that are to be taken next.
    pub fn take(
        &mut self,
        step: &Step,
        of: &Measured<'_>,
        control: &Control<'_>,
    ) -> Result<(Vec<Finding>, Vec<Step>)> {
        let mut next = Vec::new();
        let found = match step {
            Step::Tensor(name) => {
                let tensors = [of.model, &*self.base].map(|model| model.stored.weights.get(name));
                let [tensor, before] = tensors;
                self.moved.push(Moved::of(tensor?, before?));
                Vec::new()
            }
            Step::Weights => against::weights(&self.base.info.name, &self.moved, &self.alone(of.model)),
            Step::Text(at) => self.text(of, *at, control)?.into_iter().collect(),
            Step::Repeat => {
                self.benchmark = of.model.repeats();
                let Some(benchmark) = &self.benchmark else { return Ok((Vec::new(), next)) };
                if self.base.decoder.has_unembedding() {
                    let draws = benchmark.draws(Kind::Repeat);
                    self.repeat = Some(loss::repeat(&self.base.decoder, benchmark, draws, control)?);
                }
                let draws = [Kind::Control, Kind::Repeat]
                    .into_iter()
                    .flat_map(|kind| (0..benchmark.draws(kind)).map(move |draw| Step::Score(kind, draw)));
                next.extend(draws.chain([Step::Heads]));
                let repeats = of.repeat.zip(self.repeat);
                repeats
                    .map(|(now, before)| against::repeats(&self.base.info.name, now, before))
                    .into_iter()
                    .collect()
            }
            Step::Score(kind, draw) => {
                if let Some(benchmark) = &self.benchmark {
                    let measured = rank::measure(&self.base.decoder, benchmark, &[(*kind, *draw)], control)?;
                    self.tally.merge(measured);
                }
                Vec::new()
            }
            Step::Heads => {
                let scored = |tally: &Tally| (tally.scores(), tally.doubts(&[]));
                let (now, before) = (scored(of.tally), scored(&self.tally));
                let scores = [Score::Induction, Score::Previous, Score::Duplicate];
                scores
                    .into_iter()
                    .filter_map(|score| against::heads(&self.base.info.name, score, &now, &before))
                    .collect()
            }
        };
        Ok((found, next))
    }

    /// Tensors that are computed with and that one of the two lacks, or has in another shape.
    fn alone(&self, model: &Model) -> Vec<String> {
        let missing = |one: &Model, other: &Model| {
            let used = one.stored.used(&one.decoder.spec).into_iter();
            let lacks = |name: &str, shape: &[usize]| {
                other.stored.weights.get(name).map_or(true, |tensor| tensor.shape != shape)
            };
            let names =
                used.filter(|tensor| lacks(&tensor.name, &tensor.shape)).map(|tensor| tensor.name.clone());
            names.collect::<BTreeSet<String>>()
        };
        let names = &missing(model, &self.base) | &missing(&self.base, model);
        names.into_iter().collect()
    }

    fn text(&self, of: &Measured<'_>, at: usize, control: &Control<'_>) -> Result<Option<Finding>> {
        let Some((name, text)) = of.texts.get(at) else { return Ok(None) };
        let pieces = |model: &Model| text.ids.iter().map(|&id| model.token(id).bytes).collect::<Vec<_>>();
        if text.ids.iter().any(|&id| id as usize >= self.base.info.vocabulary)
            || pieces(of.model) != pieces(&self.base)
        {
            let told = format!("{} has another vocabulary: losses are not compared", self.base.info.name);
            let found = Finding::new("against.loss", Verdict::Note, f64::NAN, "the same vocabulary", told);
            return Ok(Some(found.at(*name)));
        }
        if text.ids.len() > self.base.info.context || !self.base.decoder.has_unembedding() {
            return Ok(None);
        }
        let losses = loss::per_token(&self.base.decoder, &text.ids, control)?;
        Ok(Some(against::loss(&self.base.info.name, name, Gain::of(&losses, &text.losses))))
    }
}
