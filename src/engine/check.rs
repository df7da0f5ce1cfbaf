//! The check of a model after training: its parts one after the other, the cheap ones first.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use anyhow::{Result, bail};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use super::{
    against::{self, Against},
    open::{LEAST, Model, beginning},
};
use crate::{
    analysis::{
        benchmark::Kind,
        check::{
            Finding, Verdict, catalogue, channels, experts, inside,
            readings::{self, Gain, Reading, Text},
            repeats, text, vocabulary,
            weights::{self, Survey},
            written,
        },
        explain,
        loss::{self, Repeat},
        rank::{self, Tally},
        score::Score,
    },
    error::is_interrupted,
    model::decoder::{Control, Pass},
    text::{count, line},
};

/// Tokens of a text that are read at most.
const MOST: usize = 512;
/// Tokens that a greedy continuation has, and that it goes on from.
const CONTINUED: usize = 64;
/// How vocabularies call the token for text that they do not know.
const UNKNOWN: [&[u8]; 4] = [b"<unk>", b"[UNK]", b"<|unk|>", b"<unknown>"];

/// What is checked, and on what.
#[derive(Clone, Debug)]
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
        Self { only: catalogue::ids(), texts: texts.into() }
    }

    fn wants(&self, group: &str) -> bool {
        self.only.iter().any(|id| id.split('.').next() == Some(group))
    }
}

/// A check under way, a step at a time: a step that is cancelled is taken again.
pub struct Checking {
    plan: Plan,
    /// Steps still to take.
    left: VecDeque<Step>,
    /// The shares of the steps taken, see [`Step::share`].
    done: usize,
    surveys: Vec<Survey>,
    ids: Vec<Vec<u32>>,
    texts: Vec<Text>,
    /// What the model made of repeated tokens.
    repeat: Option<Repeat>,
    tally: Tally,
    /// The model that it is set against.
    against: Option<Against>,
    tried: Vec<(Reading, Option<Vec<Gain>>)>,
    found: Vec<Finding>,
}

/// A step of a check.
enum Step {
    /// Looks through a tensor.
    Survey(String),
    /// Makes tokens of the texts.
    Encode,
    /// Reads a text.
    Read(usize),
    /// Judges what the weights are.
    Weights,
    /// Looks for rows of the embedding that were not trained.
    Rows,
    Channels,
    /// Judges the losses.
    Losses,
    Shuffled,
    Bos,
    Shifted,
    Continued,
    RepeatGain,
    Score(Kind, usize),
    Heads,
    Inside,
    /// Finds out which other readings there are, about as many as this.
    Readings(usize),
    Probe(Box<Reading>),
    Accuse,
    Against(against::Step),
}

impl Step {
    /// What it does.
    fn name(&self) -> &'static str {
        match self {
            Self::Survey(_) | Self::Weights | Self::Rows => "looking through the weights",
            Self::Channels => "comparing channels",
            Self::Encode | Self::Read(_) | Self::Losses => "reading texts",
            Self::Shuffled => "reading a text with its words shuffled",
            Self::Bos => "reading a text with and without BOS",
            Self::Shifted => "reading a text shifted",
            Self::Continued => "going on with a text",
            Self::RepeatGain => "repeating random tokens",
            Self::Score(..) | Self::Heads => "scoring heads",
            Self::Inside => "looking inside",
            Self::Readings(_) | Self::Probe(_) | Self::Accuse => "trying other readings",
            Self::Against(_) => "comparing with the other model",
        }
    }

    /// About how long it takes beside the others: a text is read in the time of so many tensors.
    fn share(&self) -> usize {
        const READ: usize = 20;
        match self {
            Self::Survey(_) | Self::Weights | Self::Losses | Self::Heads | Self::Accuse => 1,
            Self::Against(against::Step::Tensor(_) | against::Step::Weights | against::Step::Heads) => 1,
            Self::Readings(expected) => READ * expected,
            _ => READ,
        }
    }
}

impl Checking {
    /// A check of a model that has not begun, perhaps against `base`.
    pub fn new(model: &Model, plan: Plan, base: Option<Arc<Model>>) -> Self {
        let mut left = VecDeque::new();
        let remarks = model.of_config.iter().filter(|_| plan.only.contains("config.remark"));
        let remark =
            |text: &String| Finding::new("config.remark", Verdict::Note, f64::NAN, "none", text.clone());
        let found = remarks.map(remark).collect();
        let against = base.filter(|_| plan.wants("against")).map(Against::new);
        let wants = |groups: &[&str]| {
            let mut groups = groups.iter();
            groups.any(|&group| plan.wants(group) && (group != "against" || against.is_some()))
        };
        if wants(&["weights", "probe"]) {
            let used = model.stored.used(&model.decoder.spec);
            left.extend(used.into_iter().map(|tensor| Step::Survey(tensor.name.clone())));
        }
        if wants(&["text", "vocabulary", "probe", "inside", "weights", "against"]) {
            left.push_back(Step::Encode);
        }
        if wants(&["weights"]) {
            left.extend([Step::Weights, Step::Channels]);
        }
        if wants(&["vocabulary"]) {
            left.push_back(Step::Rows);
        }
        if wants(&["repeats", "vocabulary", "against"]) && model.info.layers > 0 {
            left.extend([Step::RepeatGain, Step::Heads]);
        }
        if wants(&["inside"]) {
            left.push_back(Step::Inside);
        }
        if wants(&["probe"]) {
            left.extend([Step::Shifted, Step::Readings(readings::all(&model.decoder).len())]);
        }
        let steps = against.iter().flat_map(|against| against.steps(model, plan.texts.len()));
        left.extend(steps.map(Step::Against));
        let tally = Tally::new(model.info.layers, model.info.heads);
        Self {
            plan,
            left,
            done: 0,
            surveys: Vec::new(),
            ids: Vec::new(),
            texts: Vec::new(),
            repeat: None,
            tally,
            against,
            tried: Vec::new(),
            found,
        }
    }

    /// What was found so far, in the order in which it was.
    pub fn found(&self) -> &[Finding] {
        &self.found
    }

    /// What is done next, and about how much of the check is done, in hundredths; `None` once all is.
    pub fn progress(&self) -> Option<(&'static str, usize)> {
        let left: usize = self.left.iter().map(Step::share).sum();
        self.left.front().map(|step| (step.name(), self.done * 100 / (self.done + left).max(1)))
    }

    /// Takes the next step.
    pub fn step(&mut self, model: &Model, cancelled: &dyn Fn() -> bool) -> Result<()> {
        let Some(step) = self.left.pop_front() else { return Ok(()) };
        let control = Control { progress: &|_, _| (), cancelled };
        let result = control.check().and_then(|()| self.take(&step, model, &control));
        match &result {
            Err(error) if is_interrupted(error) => self.left.push_front(step),
            // What it stood for comes after it.
            _ if matches!(step, Step::Readings(_)) => {}
            _ => self.done += step.share(),
        }
        result
    }

    fn take(&mut self, step: &Step, model: &Model, control: &Control<'_>) -> Result<()> {
        let decoder = &model.decoder;
        match step {
            Step::Survey(name) => self.surveys.push(Survey::of(model.stored.weights.get(name)?)),
            Step::Encode => self.encode(model)?,
            Step::Read(at) => self.texts.push(Text::read(decoder, self.ids[*at].clone(), control)?),
            Step::Weights => {
                // Families that store what differs from one leave everything as it is at zero.
                let gain = 1.0 - decoder.spec.norm.gain_offset;
                self.add(weights::findings(&self.surveys, self.trained(model), gain));
            }
            Step::Rows => self.rows(model),
            Step::Channels => self.add(channels::findings(decoder, control)?),
            Step::Losses => {
                let found = text::losses(&self.losses(), model.info.vocabulary);
                self.add(found);
                let found = text::by_position(&self.losses(), self.is_trained(model));
                self.add(found);
            }
            Step::Shuffled => self.shuffled(model, control)?,
            Step::Bos => self.bos(model, control)?,
            Step::Shifted => self.shifted(model, control)?,
            Step::Continued => {
                if let Some(text) = self.texts.first() {
                    let continued = continuation(model, &text.ids, control)?;
                    self.add(vec![text::continuation(&continued, self.is_trained(model))]);
                }
            }
            Step::RepeatGain | Step::Score(..) | Step::Heads => self.repeats(step, model, control)?,
            Step::Inside => {
                if let Some(text) = self.texts.first() {
                    let mut found = inside::look(decoder, &text.trace, control)?;
                    found.extend(written::findings(decoder, &text.trace, control)?);
                    found.extend(experts::findings(decoder, &text.trace, control)?);
                    self.add(found);
                }
            }
            Step::Readings(_) => {
                if self.trained(model).is_some() && self.are_finite() {
                    let mut readings = readings::all(decoder);
                    readings.extend(readings::order(decoder, &weights::exchanged(&self.surveys)));
                    readings.retain(|reading| self.plan.only.contains(reading.check));
                    self.left.extend(readings.into_iter().map(|reading| Step::Probe(Box::new(reading))));
                    self.left.push_back(Step::Accuse);
                }
            }
            Step::Probe(reading) => {
                let gains = readings::gains(reading, decoder, &self.texts, control)?;
                self.tried.push(((**reading).clone(), gains));
            }
            Step::Against(step) => {
                let Some(mut against) = self.against.take() else { return Ok(()) };
                let taken = against.take(step, &self.measured(model), control);
                self.against = Some(against);
                let (found, next) = taken?;
                self.add(found);
                next.into_iter().rev().for_each(|step| self.left.push_front(Step::Against(step)));
            }
            Step::Accuse => self.add(readings::findings(&self.tried, decoder, &self.texts, control)?),
        }
        Ok(())
    }

    /// Adds the findings that are wanted.
    fn add(&mut self, found: Vec<Finding>) {
        debug_assert!(
            found.iter().all(|finding| catalogue::find(finding.check).is_some()),
            "all are told of"
        );
        self.found.extend(found.into_iter().filter(|finding| self.plan.only.contains(finding.check)));
    }

    /// What the other model is compared with.
    fn measured<'a>(&'a self, model: &'a Model) -> against::Measured<'a> {
        let names = self.plan.texts.iter().map(|(name, _)| &**name);
        against::Measured {
            model,
            texts: names.zip(&self.texts).collect(),
            repeat: self.repeat,
            tally: &self.tally,
        }
    }

    fn losses(&self) -> Vec<text::Loss<'_>> {
        let read = self.plan.texts.iter().zip(&self.texts);
        read.map(|((name, _), text)| text::Loss { name, ids: &text.ids, losses: &text.losses }).collect()
    }

    /// Whether the model has learnt something, where texts were read.
    fn trained(&self, model: &Model) -> Option<bool> {
        (!self.texts.is_empty()).then(|| text::is_trained(&self.losses(), model.info.vocabulary))
    }

    fn is_trained(&self, model: &Model) -> bool {
        self.trained(model).unwrap_or(true)
    }

    fn are_finite(&self) -> bool {
        self.losses().iter().all(|of| of.mean().is_finite())
    }

    /// Makes tokens of the texts, and queues what can be asked of them: nothing where the model cannot read or tells no next
    /// tokens.
    fn encode(&mut self, model: &Model) -> Result<()> {
        let tokenizer = match &model.tokenizer {
            Ok(tokenizer) => tokenizer,
            Err(reason) => {
                let text =
                    format!("no text can be read, so that only weights and repeats are checked: {reason}");
                self.add(vec![Finding::new("text.tokenizer", Verdict::Warn, f64::NAN, "a tokenizer", text)]);
                return Ok(());
            }
        };
        let mut encoding = text::Encoding::default();
        let mut all = Vec::new();
        for (name, text) in &self.plan.texts {
            let text = beginning(text, most(model));
            let ids = tokenizer.encode(text)?;
            if ids.len() < LEAST {
                let tokens = count(ids.len(), "token");
                bail!("the text {} has {tokens}, too few to check on: give {LEAST} or more", line(name));
            }
            let pieces: Vec<Vec<u8>> = ids.iter().map(|&id| tokenizer.piece(id)).collect();
            encoding.bytes += text.len();
            encoding.tokens += ids.len();
            encoding.unknown += pieces.iter().filter(|piece| UNKNOWN.contains(&piece.as_slice())).count();
            encoding.partial += pieces.iter().filter(|piece| std::str::from_utf8(piece).is_err()).count();
            // Some tokenizers put a space before a text.
            encoding.changed |= pieces.concat().trim_ascii_start() != text.as_bytes().trim_ascii_start();
            encoding.outside += ids.iter().filter(|&&id| id as usize >= model.info.vocabulary).count();
            all.push(ids);
        }
        self.add(text::tokenizer(encoding, tokenizer.len(), model.info.vocabulary));
        if encoding.outside > 0 || !model.decoder.has_unembedding() {
            return Ok(());
        }
        let opened = |ids| model.opening().into_iter().chain(ids).take(most(model)).collect();
        self.ids = all.into_iter().map(opened).collect();
        if self.plan.wants("text") {
            let steps = [Step::Losses, Step::Shuffled, Step::Bos, Step::Continued];
            steps.into_iter().rev().for_each(|step| self.left.push_front(step));
        }
        (0..self.ids.len()).rev().for_each(|at| self.left.push_front(Step::Read(at)));
        Ok(())
    }

    /// Rows of the embedding that were not trained, in a model that was.
    fn rows(&mut self, model: &Model) {
        let table = model.stored.table();
        let (Some(table), Some(true)) = (table, self.trained(model)) else { return };
        let tokenizer = model.tokenizer.as_ref().ok();
        let piece = |id: u32| {
            let bytes = tokenizer.filter(|tokenizer| (id as usize) < tokenizer.len())?.piece(id);
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let matters = |id: u32| model.opening() == Some(id) || self.ids.iter().any(|ids| ids.contains(&id));
        let found = vocabulary::rows(&vocabulary::untrained(table), model.info.vocabulary, &piece, &matters);
        self.add(vec![found]);
    }

    fn shuffled(&mut self, model: &Model, control: &Control<'_>) -> Result<()> {
        let (Ok(tokenizer), Some((_, words))) = (&model.tokenizer, self.plan.texts.first()) else {
            return Ok(());
        };
        if !self.are_finite() {
            return Ok(());
        }
        let Some(text) = self.texts.first() else { return Ok(()) };
        let mixed = tokenizer.encode(&shuffled(beginning(words, most(model))))?;
        let ids: Vec<u32> = model.opening().into_iter().chain(mixed).take(most(model)).collect();
        let mixed = loss::mean(&loss::per_token(&model.decoder, &ids, control)?);
        self.add(vec![text::order(mixed, loss::mean(&text.losses), self.is_trained(model))]);
        Ok(())
    }

    fn bos(&mut self, model: &Model, control: &Control<'_>) -> Result<()> {
        let (Some(bos), Some(text)) = (model.info.bos, self.texts.first()) else { return Ok(()) };
        if !self.are_finite() {
            return Ok(());
        }
        let adds = model.opening().is_some();
        let bare = &text.ids[usize::from(adds)..];
        let other: Vec<u32> = match adds {
            true => bare.to_vec(),
            false => [&[bos], bare].concat().into_iter().take(most(model)).collect(),
        };
        let other = loss::per_token(&model.decoder, &other, control)?;
        // Of the tokens that both predict, all but the very first.
        let (with, without) = match adds {
            true => (&text.losses[1..], &other[..]),
            false => (&other[1..], &text.losses[..]),
        };
        let same = with.len().min(without.len());
        let found = text::bos(Gain::of(&without[..same], &with[..same]), adds);
        let verdict = if self.is_trained(model) { found.verdict } else { Verdict::Note };
        self.add(vec![Finding { verdict, ..found }]);
        Ok(())
    }

    fn shifted(&mut self, model: &Model, control: &Control<'_>) -> Result<()> {
        let Some(text) = self.texts.first() else { return Ok(()) };
        let read = text.ids.len() - 2;
        let at =
            |from: usize| loss::of_trace(&model.decoder, &text.trace, &text.ids[from..from + read], control);
        let (same, after) = (loss::mean(&at(0)?), loss::mean(&at(2)?));
        let next = loss::mean(&text.losses[..read]);
        self.add(vec![text::shifted(next, same, after, model.info.vocabulary)]);
        Ok(())
    }

    fn repeats(&mut self, step: &Step, model: &Model, control: &Control<'_>) -> Result<()> {
        let Some(benchmark) = model.repeats() else { return Ok(()) };
        match step {
            Step::Score(kind, draw) => {
                self.tally.merge(rank::measure(&model.decoder, &benchmark, &[(*kind, *draw)], control)?);
            }
            Step::RepeatGain => {
                let draws = benchmark.draws(Kind::Repeat);
                if model.decoder.has_unembedding() {
                    let repeat = loss::repeat(&model.decoder, &benchmark, draws, control)?;
                    self.repeat = Some(repeat);
                    self.add(vec![repeats::gain(repeat, self.is_trained(model))]);
                    if !self.texts.is_empty() {
                        let fit = repeats::fit(repeat, text::is_read(&self.losses()));
                        self.add(fit.into_iter().collect());
                    }
                }
                for kind in [Kind::Control, Kind::Repeat] {
                    (0..benchmark.draws(kind))
                        .rev()
                        .for_each(|draw| self.left.push_front(Step::Score(kind, draw)));
                }
            }
            _ => {
                let (scores, doubts) = (self.tally.scores(), self.tally.doubts(&[]));
                let of = |score| repeats::best(score, &scores, &doubts);
                let best = [Score::Induction, Score::Previous, Score::Duplicate].into_iter().filter_map(of);
                let best = best.collect();
                self.add(best);
            }
        }
        Ok(())
    }
}

/// Tokens of a text that are read at most.
fn most(model: &Model) -> usize {
    MOST.min(model.info.context)
}

/// The most probable tokens after the beginning of a text.
fn continuation(model: &Model, ids: &[u32], control: &Control<'_>) -> Result<Vec<u32>> {
    let decoder = &model.decoder;
    let given = CONTINUED.min(ids.len() / 2);
    let mut trace = decoder.trace();
    decoder.extend(&mut trace, &ids[..given], &Pass::plain(control))?;
    let mut continued = Vec::new();
    for _ in 0..CONTINUED.min(decoder.spec.context - given) {
        let logits = decoder.logits(&trace.last.view()?.narrow(0, trace.len() - 1, 1)?)?;
        let logits = logits.flatten_all()?.to_device(&candle_core::Device::Cpu)?.to_vec1::<f32>()?;
        let next = explain::strongest(&logits).0 as u32;
        continued.push(next);
        decoder.extend(&mut trace, &[next], &Pass::plain(control))?;
    }
    Ok(continued)
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
