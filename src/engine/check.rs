//! The check of a model after training: its parts one after the other, the cheap ones first.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use super::{
    open::Model,
    protocol::{Bos, RankSettings},
};
use crate::{
    analysis::{
        benchmark::Kind,
        check::{
            Finding, Verdict, catalogue, channels, inside,
            readings::{self, Gain, Text},
            repeats, text, weights,
        },
        explain, loss,
        rank::{self, Tally},
        score::Score,
    },
    model::decoder::{Control, Pass},
};

/// Tokens of a text that are read at most.
const MOST: usize = 512;
/// Tokens that a greedy continuation has, and that it goes on from.
const CONTINUED: usize = 64;
/// How vocabularies call the token for text that they do not know.
const UNKNOWN: [&[u8]; 4] = [b"<unk>", b"[UNK]", b"<|unk|>", b"<unknown>"];

/// What is checked, and on what.
pub struct Plan {
    /// The checks that are made.
    pub only: BTreeSet<&'static str>,
    /// The texts that are read, with their names.
    pub texts: Vec<(String, String)>,
}

impl Plan {
    /// Every check on the texts that are shipped.
    pub fn all() -> Self {
        let texts = text::SHIPPED.map(|(name, text)| (name.to_owned(), text.to_owned()));
        Self { only: catalogue::ALL.iter().map(|check| check.id).collect(), texts: texts.into() }
    }

    fn wants(&self, group: &str) -> bool {
        self.only.iter().any(|id| id.split('.').next() == Some(group))
    }
}

/// How a check tells what it is at, and hears that it is no longer wanted.
pub trait Follower {
    /// So much of a part is done.
    fn progress(&self, part: &'static str, done: usize, total: usize);
    /// These are the findings so far.
    fn found(&self, findings: &[Finding]) {
        let _ = findings;
    }
    /// Whether to stop.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Checks a model: the findings in the order in which they were made.
pub fn check(model: &Model, plan: &Plan, follower: &dyn Follower) -> Result<Vec<Finding>> {
    let mut checking = Checking { model, plan, follower, found: Vec::new() };
    checking.run()?;
    Ok(checking.found)
}

struct Checking<'a> {
    model: &'a Model,
    plan: &'a Plan,
    follower: &'a dyn Follower,
    found: Vec<Finding>,
}

impl Checking<'_> {
    fn run(&mut self) -> Result<()> {
        let surveys = match self.plan.wants("weights") {
            true => self.with("looking through the weights", |control| {
                weights::survey(&self.model.stored.weights, control)
            })?,
            false => Vec::new(),
        };
        let texts = self.texts()?;
        let vocabulary = self.model.info.vocabulary;
        let losses: Vec<text::Loss<'_>> = self
            .plan
            .texts
            .iter()
            .zip(&texts)
            .map(|((name, _), text)| text::Loss { name, ids: &text.ids, losses: &text.losses })
            .collect();
        let trained = (!losses.is_empty()).then(|| text::is_trained(&losses, vocabulary));
        if !surveys.is_empty() {
            // Families that store what differs from one leave everything as it is at zero.
            let gain = 1.0 - self.model.decoder.spec.norm.gain_offset;
            self.add(weights::findings(&surveys, trained, gain));
            let decoder = &self.model.decoder;
            let found = self.with("comparing channels", |control| channels::findings(decoder, control))?;
            self.add(found);
        }
        if let Some(trained) = trained {
            self.read(&texts, &losses, trained)?;
        }
        self.repeats(trained.unwrap_or(true))?;
        if let (Some(text), true) = (texts.first(), self.plan.wants("inside")) {
            let decoder = &self.model.decoder;
            let ids = &text.ids[..text.ids.len() - 1];
            let (_, found) = self.with("looking inside", |control| inside::look(decoder, ids, control))?;
            self.add(found);
        }
        let finite = losses.iter().all(|of| of.mean().is_finite());
        if trained.is_some() && finite {
            self.probe(&texts, &weights::exchanged(&surveys))?;
        }
        Ok(())
    }

    /// Adds the findings that are wanted.
    fn add(&mut self, found: Vec<Finding>) {
        self.found.extend(found.into_iter().filter(|finding| self.plan.only.contains(finding.check)));
        self.follower.found(&self.found);
    }

    fn with<R>(&self, part: &'static str, work: impl FnOnce(&Control<'_>) -> Result<R>) -> Result<R> {
        let progress = |done, total| self.follower.progress(part, done, total);
        let cancelled = || self.follower.is_cancelled();
        work(&Control { progress: &progress, cancelled: &cancelled })
    }

    /// The texts as the model reads them; none where it cannot read or tells no next tokens.
    fn texts(&mut self) -> Result<Vec<Text>> {
        let model = self.model;
        let groups = ["text", "vocabulary", "probe", "inside", "weights"];
        if !groups.iter().any(|group| self.plan.wants(group)) {
            return Ok(Vec::new());
        }
        let tokenizer = match &model.tokenizer {
            Ok(tokenizer) => tokenizer,
            Err(reason) => {
                let text =
                    format!("no text can be read, so that only weights and repeats are checked: {reason}");
                self.add(vec![Finding::new("text.tokenizer", Verdict::Warn, f64::NAN, "a tokenizer", text)]);
                return Ok(Vec::new());
            }
        };
        let mut encoding =
            text::Encoding { bytes: 0, tokens: 0, unknown: 0, partial: 0, round_trip: true, outside: 0 };
        let mut all = Vec::new();
        for (_, text) in &self.plan.texts {
            let ids = tokenizer.encode(text)?;
            let pieces: Vec<Vec<u8>> = ids.iter().map(|&id| tokenizer.piece(id)).collect();
            encoding.bytes += text.len();
            encoding.tokens += ids.len();
            encoding.unknown += pieces.iter().filter(|piece| UNKNOWN.contains(&piece.as_slice())).count();
            encoding.partial += pieces.iter().filter(|piece| std::str::from_utf8(piece).is_err()).count();
            // Some tokenizers put a space before a text.
            encoding.round_trip &= pieces.concat().trim_ascii_start() == text.as_bytes().trim_ascii_start();
            encoding.outside += ids.iter().filter(|&&id| id as usize >= model.info.vocabulary).count();
            all.push(ids);
        }
        self.add(text::tokenizer(encoding, tokenizer.len(), model.info.vocabulary));
        if encoding.outside > 0 || !model.decoder.has_unembedding() {
            return Ok(Vec::new());
        }
        let most = MOST.min(model.info.context);
        let mut texts = Vec::new();
        for ids in all {
            let ids: Vec<u32> = self.first().into_iter().chain(ids).take(most).collect();
            if ids.len() < 16 {
                bail!("a text has {} tokens, too few to check on: give 16 or more", ids.len());
            }
            texts.push(self.with("reading a text", |control| Text::read(&model.decoder, ids, control))?);
        }
        Ok(texts)
    }

    /// The BOS token that the tokenizer puts before a text.
    fn first(&self) -> Option<u32> {
        let adds = self.model.tokenizer.as_ref().is_ok_and(|tokenizer| tokenizer.adds_bos());
        self.model.info.bos.filter(|_| adds)
    }

    fn read(&mut self, texts: &[Text], losses: &[text::Loss<'_>], trained: bool) -> Result<()> {
        if !self.plan.wants("text") {
            return Ok(());
        }
        let (model, decoder) = (self.model, &self.model.decoder);
        self.add(text::loss(losses, model.info.vocabulary));
        self.add(text::by_position(losses, trained));
        let (Some(first), Some((_, words))) = (texts.first(), self.plan.texts.first()) else { return Ok(()) };
        if !losses.iter().all(|of| of.mean().is_finite()) {
            return Ok(());
        }
        let mean =
            |losses: &[f32]| losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64;
        let most = MOST.min(model.info.context);
        let mixed = model.tokenizer.as_ref().ok().map(|tokenizer| tokenizer.encode(&shuffled(words)));
        if let Some(mixed) = mixed.transpose()? {
            let ids: Vec<u32> = self.first().into_iter().chain(mixed).take(most).collect();
            let mixed =
                self.with("reading it shuffled", |control| loss::per_token(decoder, &ids, control))?;
            self.add(text::shuffled(&losses[..1], &[mean(&mixed)], trained));
        }
        if let Some(bos) = model.info.bos {
            let bare = &first.ids[usize::from(self.first().is_some())..];
            let other: Vec<u32> = match self.first() {
                Some(_) => bare.to_vec(),
                None => [&[bos], bare].concat().into_iter().take(most).collect(),
            };
            let other = self.with("reading it with and without BOS", |control| {
                loss::per_token(decoder, &other, control)
            })?;
            // Of the tokens that both predict, all but the very first.
            let (with, without) = match self.first() {
                Some(_) => (&first.losses[1..], &other[..]),
                None => (&other[1..], &first.losses[..]),
            };
            let same = with.len().min(without.len());
            let found = text::bos(Gain::of(&without[..same], &with[..same]), self.first().is_some());
            self.add(vec![if trained { found } else { Finding { verdict: Verdict::Note, ..found } }]);
        }
        if trained {
            let read = first.ids.len() - 2;
            let at = |from: usize| {
                self.with("reading it shifted", |control| {
                    loss::of_trace(decoder, &first.trace, &first.ids[from..from + read], control)
                })
            };
            let (same, after) = (mean(&at(0)?), mean(&at(2)?));
            self.add(vec![text::shifted(mean(&first.losses[..read]), same, after)]);
        }
        let continued = self.with("continuing it", |control| self.continuation(&first.ids, control))?;
        self.add(vec![text::continuation(&continued, false, trained)]);
        Ok(())
    }

    /// The most probable tokens after the beginning of a text.
    fn continuation(&self, ids: &[u32], control: &Control<'_>) -> Result<Vec<u32>> {
        let decoder = &self.model.decoder;
        let given = CONTINUED.min(ids.len() / 2);
        let quiet = Control { progress: &|_, _| (), cancelled: control.cancelled };
        let mut trace = decoder.trace();
        decoder.extend(&mut trace, &ids[..given], &Pass::plain(&quiet))?;
        let mut continued = Vec::new();
        for done in 0..CONTINUED.min(decoder.spec.context - given) {
            control.check()?;
            (control.progress)(done, CONTINUED);
            let logits = decoder.logits(&trace.last.view()?.narrow(0, trace.len() - 1, 1)?)?;
            let logits = logits.flatten_all()?.to_device(&candle_core::Device::Cpu)?.to_vec1::<f32>()?;
            let next = explain::strongest(&logits).0 as u32;
            continued.push(next);
            decoder.extend(&mut trace, &[next], &Pass::plain(&quiet))?;
        }
        Ok(continued)
    }

    fn repeats(&mut self, trained: bool) -> Result<()> {
        let (model, decoder) = (self.model, &self.model.decoder);
        if !self.plan.wants("repeats") || model.info.layers == 0 {
            return Ok(());
        }
        let settings = RankSettings { length: model.info.block, bos: Bos::Auto, ..RankSettings::default() };
        let Ok(benchmark) = model.benchmark(settings) else { return Ok(()) };
        if decoder.has_unembedding() {
            let draws = benchmark.draws(Kind::Repeat);
            let repeat = self.with("repeating random tokens", |control| {
                loss::repeat(decoder, &benchmark, draws, control)
            })?;
            self.add(vec![repeats::gain(repeat, trained)]);
        }
        let mut tally = Tally::new(model.info.layers * model.info.heads);
        for kind in [Kind::Repeat, Kind::Control] {
            for draw in 0..benchmark.draws(kind) {
                let part = self.with("scoring heads", |control| {
                    rank::measure(decoder, &benchmark, &[(kind, draw)], control)
                })?;
                tally.merge(part);
            }
        }
        let (scores, doubts) = (tally.scores(), tally.doubts(&[]));
        let of = |score| repeats::best(score, &scores, &doubts, model.info.heads);
        let best = [Score::Induction, Score::Previous, Score::Duplicate].into_iter().filter_map(of).collect();
        self.add(best);
        Ok(())
    }

    fn probe(&mut self, texts: &[Text], exchanged: &[[usize; 2]]) -> Result<()> {
        let decoder = &self.model.decoder;
        let mut wanted = readings::all(decoder);
        wanted.extend(readings::order(decoder, exchanged));
        wanted.retain(|reading| self.plan.only.contains(reading.check));
        let total = wanted.len();
        let mut tried = Vec::new();
        for (at, reading) in wanted.into_iter().enumerate() {
            self.follower.progress("trying other readings", at, total);
            let cancelled = || self.follower.is_cancelled();
            let control = Control { progress: &|_, _| (), cancelled: &cancelled };
            let gains = readings::gains(&reading, decoder, texts, &control)?;
            tried.push((reading, gains));
        }
        self.add(readings::findings(&tried));
        Ok(())
    }
}

/// A text with its words in another order, always the same.
fn shuffled(text: &str) -> String {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let mut random = ChaCha8Rng::seed_from_u64(0);
    for last in (1..words.len()).rev() {
        words.swap(last, (random.next_u64() % (last as u64 + 1)) as usize);
    }
    words.join(" ")
}
