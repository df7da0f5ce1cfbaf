//! The Circuits screen's work in the background: one step at a time, so that whoever steps through the prompt never waits
//! for it, and nothing twice that is long and serves several views.

use std::{ops::Range, sync::Arc};

use anyhow::{Error, Result, anyhow, bail};

use super::{
    desk::Desk,
    job::Job,
    open::Model,
    protocol::{
        Candidate, Event, RankSettings, Request, Token,
        circuits::{Ask, Bug, Circuit, Facts, News, Role, Steps, Trigram},
    },
};
use crate::{
    analysis::{
        benchmark::{Benchmark, Kind as Sequence},
        circuits::{
            self, bigram,
            composition::{Composing, DRAWS, Kind},
            corner::{self, Plotting},
            factors::{self, Embedding},
            position::{self, Average, Averaging, POSITIONS},
            spectrum::{self, Ends, EndsSum, Spectrum},
            trigram::{self, CANDIDATES, Expanded, Expanding, SkipTrigrams},
        },
        rank::{self, Tally},
    },
    error::told,
    head::{Head, PerHead},
    model::{
        decoder::{Control, Decoder},
        spec::Positions,
    },
};

/// Next tokens that are told.
const NEXT: usize = 64;
/// Skip-trigrams, and bugs, that are told.
const TRIGRAMS: usize = 24;
/// Edges of each kind that are told.
const EDGES: usize = 500;
/// Seed of the random matrices and of the benchmark that previous-token scores are measured on; `attnscope circuits`
/// takes the same unless told otherwise.
const SEED: u64 = 0;
/// What stands for a token.
const EMBEDDING: Embedding = Embedding::Effective;

/// What is being computed and what was, of one model.
#[derive(Default)]
pub struct Circuits {
    view: Option<View>,
    /// Views of the whole model that were left before they were done; they go on where they were.
    left: Vec<View>,
    ends: Option<Ends>,
    /// The previous-token score of every head.
    previous: Option<PerHead<f32>>,
    /// The head that was expanded last.
    expanded: Option<(Head, Expanded)>,
}

/// What a view needs, and how far it is.
struct View {
    ask: Ask,
    stage: Stretch,
    /// Steps taken of the stage.
    at: usize,
}

/// A stretch of work in steps of one kind.
enum Stretch {
    /// The stages that this view needs have not been looked up.
    Begun,
    /// Done at once.
    Bigram,
    Terms,
    Ends(EndsSum),
    Spectra(Vec<Spectrum>),
    Previous(Benchmark, Vec<(Sequence, usize)>, Tally),
    Corner(Plotting),
    /// The averages that are taken, for the first layer and for later ones.
    Average(Averaging, Vec<Average>),
    Profiles(Vec<Average>, Vec<Vec<f32>>),
    Composition(Composing),
    Expand(Expanding),
    Strengths(Vec<Range<usize>>, Vec<f32>),
    Found,
    Bugs(Vec<SkipTrigrams>, Vec<Trigram>, Vec<trigram::Bug>),
}

impl Stretch {
    /// What it does, its steps and what a step is.
    fn describe(&self, decoder: &Decoder) -> (&'static str, usize, &'static str) {
        let layers = decoder.spec.layers;
        match self {
            Self::Begun | Self::Bigram | Self::Found => ("looking up", 1, "tokens"),
            Self::Terms => ("expanding the prompt's paths", 1, "prompts"),
            Self::Ends(sums) => ("summing over the vocabulary", sums.steps(), "tiles"),
            Self::Spectra(_) => ("eigenvalues", layers, "layers"),
            Self::Previous(_, draws, _) => ("previous-token scores", draws.len(), "sequences"),
            Self::Corner(_) => ("eigenvalues", layers, "layers"),
            Self::Average(averaging, _) => ("averaging over the vocabulary", averaging.steps(), "tiles"),
            Self::Profiles(..) => ("positional profiles", layers, "layers"),
            Self::Composition(_) => ("composing heads", layers, "layers"),
            Self::Expand(expanding) => ("expanding the head", expanding.steps(), "tiles"),
            Self::Strengths(tiles, _) => ("searching for large entries", tiles.len(), "tiles"),
            Self::Bugs(found, ..) => ("looking for bugs", found.len(), "sources"),
        }
    }
}

impl Job for Circuits {
    fn take(&mut self, request: Request, desk: &mut Desk) -> Result<Option<Request>> {
        match request {
            Request::Circuits(ask) => self.ask(ask),
            Request::StopCircuits => self.stop(desk),
            other => return Ok(Some(other)),
        }
        Ok(None)
    }

    fn is_working(&self, _: &Desk) -> bool {
        self.view.is_some()
    }

    fn step(&mut self, desk: &mut Desk, cancelled: &dyn Fn() -> bool) -> Result<()> {
        let Some(view) = &mut self.view else { return Ok(()) };
        if let Ask::Terms { epoch, .. } = view.ask
            && epoch != desk.epoch
        {
            // The prompt is another one by now.
            self.stop(desk);
            return Ok(());
        }
        let model = &desk.model;
        let (stage, total, unit) = view.stage.describe(&model.decoder);
        if view.at < total {
            if total > 1 {
                tell(desk, view.ask.clone(), News::Working(Steps { stage, done: view.at, total, unit }));
            }
            let control = Control { progress: &|_, _| (), cancelled };
            control.check()?;
            let shared = Shared { ends: &self.ends, previous: &self.previous, expanded: &self.expanded };
            shared.step(model, view, &control)?;
            view.at += 1;
        }
        if view.at >= total {
            self.finish_stage(desk, cancelled)?;
        }
        Ok(())
    }

    fn fail(&mut self, desk: &mut Desk, error: &Error) {
        if let Some(view) = self.view.take() {
            tell(desk, view.ask, News::Answer(Err(told(error))));
        }
    }

    fn reopened(&mut self) {
        *self = Self::default();
    }
}

impl Circuits {
    /// Begins a view in the place of the one under way, or goes on with one that was left.
    fn ask(&mut self, ask: Ask) {
        self.leave();
        let begun = self.left.iter().position(|view| view.ask == ask);
        let view = begun.map(|index| self.left.swap_remove(index));
        self.view = Some(view.unwrap_or(View { ask, stage: Stretch::Begun, at: 0 }));
    }

    /// Stops what is under way; asked again, it goes on.
    fn stop(&mut self, desk: &Desk) {
        if let Some(ask) = self.leave() {
            tell(desk, ask, News::Stopped);
        }
    }

    fn leave(&mut self) -> Option<Ask> {
        let view = self.view.take()?;
        let ask = view.ask.clone();
        if ask.is_whole() {
            self.left.push(view);
        }
        Some(ask)
    }

    /// Keeps what a stage has made and begins the next, or answers.
    fn finish_stage(&mut self, desk: &Desk, cancelled: &dyn Fn() -> bool) -> Result<()> {
        let model = &desk.model;
        let Some(view) = &mut self.view else { return Ok(()) };
        let ask = view.ask.clone();
        let facts = match std::mem::replace(&mut view.stage, Stretch::Begun) {
            Stretch::Begun => None,
            Stretch::Bigram => Some(bigram_facts(model, &ask)?),
            Stretch::Terms => {
                let Ask::Terms { query, .. } = ask else { bail!("no terms were asked for") };
                let control = Control { progress: &|_, _| (), cancelled };
                // Cancelled, it begins again.
                view.at = 0;
                let (token, target, terms) = desk.terms(query, &control)?;
                Some(Facts::Terms { token, target, terms })
            }
            Stretch::Ends(sums) => {
                self.ends = Some(sums.finish()?);
                None
            }
            Stretch::Previous(_, _, tally) => {
                self.previous = Some(corner::previous(&tally));
                None
            }
            Stretch::Spectra(spectra) => {
                let spectra = PerHead::new(model.info.heads, spectra);
                Some(Facts::Copying { order: spectrum::order(&spectra), spectra })
            }
            Stretch::Corner(plot) => {
                let mut points = plot.points;
                corner::sort(&mut points);
                Some(Facts::Corner { points })
            }
            Stretch::Average(averaging, mut averages) => {
                averages.push(averaging.finish(&model.decoder)?);
                view.stage = averaged(&model.decoder, averages);
                None
            }
            Stretch::Profiles(_, profiles) => {
                let profiles = PerHead::new(model.info.heads, profiles);
                Some(Facts::Positions { peaks: position::peaks(&profiles), profiles })
            }
            Stretch::Composition(composing) => {
                let scores = composing.finish();
                let edges = Kind::ALL.map(|kind| scores.edges(kind, None, EDGES));
                Some(Facts::Composition { scores, edges })
            }
            Stretch::Expand(expanding) => {
                let Ask::Trigrams { head, .. } = ask else { bail!("no skip-trigrams were asked for") };
                self.expanded = Some((head, expanding.finish()?));
                None
            }
            Stretch::Strengths(_, strengths) => {
                let found = self.expanded()?.of_strengths(&strengths, TRIGRAMS, 1)?;
                return self.found(desk, None, found);
            }
            Stretch::Found => {
                let Ask::Trigrams { token: Some((input, role)), .. } = &ask else {
                    bail!("no token was asked about")
                };
                let id = model.single(input)?;
                let found = self.expanded()?.with(*role, id, TRIGRAMS)?;
                return self.found(desk, Some(id), found);
            }
            Stretch::Bugs(found, rows, mut bugs) => {
                bugs.sort_by(|a, b| b.margin.total_cmp(&a.margin));
                let bugs = bugs.iter().take(TRIGRAMS).map(|bug| bug_of(model, bug)).collect();
                let token = asked_token(model, &ask, &found)?;
                Some(Facts::Trigrams { token, rows, bugs: Some(bugs) })
            }
        };
        if let Some(facts) = facts {
            self.view = None;
            answer(desk, ask, facts);
            return Ok(());
        }
        let begun = match self.view.as_ref().map(|view| &view.stage) {
            Some(Stretch::Begun) => {
                let begun = if self.needs_ends(&ask) { self.summing() } else { None };
                Some(begun.map_or_else(|| Ok((self.next_stage(model, &ask)?, 0)), Ok::<_, anyhow::Error>)?)
            }
            _ => None,
        };
        if let Some(view) = &mut self.view {
            view.at = 0;
            if let Some(begun) = begun {
                (view.stage, view.at) = begun;
            }
        }
        Ok(())
    }

    fn needs_ends(&self, ask: &Ask) -> bool {
        matches!(ask, Ask::Copying | Ask::Corner) && self.ends.is_none()
    }

    /// The sums that another view was left at, to go on with; that view will find them done.
    fn summing(&mut self) -> Option<(Stretch, usize)> {
        let view = self.left.iter_mut().find(|view| matches!(view.stage, Stretch::Ends(_)))?;
        Some((std::mem::replace(&mut view.stage, Stretch::Begun), std::mem::take(&mut view.at)))
    }

    /// The first stage of a view whose work is not done yet.
    fn next_stage(&self, model: &Model, ask: &Ask) -> Result<Stretch> {
        let decoder = &model.decoder;
        if !matches!(ask, Ask::Bigram { .. } | Ask::Terms { .. }) {
            model.has_heads()?;
        }
        Ok(match ask {
            Ask::Bigram { .. } => Stretch::Bigram,
            Ask::Terms { .. } => Stretch::Terms,
            _ if self.needs_ends(ask) => Stretch::Ends(EndsSum::new(decoder, EMBEDDING)?),
            Ask::Copying => Stretch::Spectra(Vec::new()),
            Ask::Corner if self.previous.is_none() => {
                let settings =
                    RankSettings { length: model.info.block, seed: SEED, ..RankSettings::default() };
                let benchmark = model.benchmark(settings)?;
                let draws = corner::draws(&benchmark);
                Stretch::Previous(benchmark, draws, Tally::new(model.info.layers, model.info.heads))
            }
            Ask::Corner => Stretch::Corner(Plotting::new(decoder)?),
            Ask::Positions => Stretch::Average(Averaging::new(decoder, EMBEDDING.of_layer(0)), Vec::new()),
            Ask::Composition => Stretch::Composition(Composing::new(decoder, SEED, DRAWS)?),
            Ask::Trigrams { head, token } => match (&self.expanded, token) {
                (Some((expanded, _)), None) if expanded == head => {
                    Stretch::Strengths(factors::tiles(decoder.spec.vocabulary).collect(), Vec::new())
                }
                (Some((expanded, _)), Some(_)) if expanded == head => Stretch::Found,
                _ => Stretch::Expand(Expanding::new(decoder, *head, EMBEDDING)?),
            },
        })
    }

    fn expanded(&self) -> Result<&Expanded> {
        self.expanded.as_ref().map(|pair| &pair.1).ok_or_else(|| anyhow!("the head is not expanded"))
    }

    /// Answers with the skip-trigrams and goes on to their bugs.
    fn found(&mut self, desk: &Desk, token: Option<u32>, found: Vec<SkipTrigrams>) -> Result<()> {
        let model = &desk.model;
        let rows: Vec<Trigram> = found.iter().flat_map(|found| rows(model, found)).collect();
        let token = token.map(|id| model.token(id));
        if let Some(view) = &mut self.view {
            answer(desk, view.ask.clone(), Facts::Trigrams { token, rows: rows.clone(), bugs: None });
            (view.stage, view.at) = (Stretch::Bugs(found, rows, Vec::new()), 0);
        }
        Ok(())
    }
}

/// What several views share, while a step of one is taken.
struct Shared<'a> {
    ends: &'a Option<Ends>,
    previous: &'a Option<PerHead<f32>>,
    expanded: &'a Option<(Head, Expanded)>,
}

impl Shared<'_> {
    /// Takes a step of the view's stage.
    fn step(&self, model: &Model, view: &mut View, control: &Control<'_>) -> Result<()> {
        let (decoder, at) = (&model.decoder, view.at);
        let missing = || anyhow!("a stage of the work was left out");
        match &mut view.stage {
            Stretch::Begun | Stretch::Bigram | Stretch::Terms | Stretch::Found => {}
            Stretch::Ends(sums) => sums.step(decoder, at)?,
            Stretch::Spectra(spectra) => {
                spectra.extend(spectrum::ov_layer(decoder, self.ends.as_ref().ok_or_else(missing)?, at)?);
            }
            Stretch::Previous(benchmark, draws, tally) => {
                tally.merge(rank::measure(decoder, benchmark, &draws[at..=at], control)?);
            }
            Stretch::Corner(plot) => {
                let ends = self.ends.as_ref().ok_or_else(missing)?;
                plot.step(decoder, ends, self.previous.as_ref().ok_or_else(missing)?, at)?;
            }
            Stretch::Average(averaging, _) => averaging.step(decoder, at)?,
            Stretch::Profiles(averages, profiles) => {
                let average = &averages[at.min(averages.len() - 1)];
                let tokens = POSITIONS.min(model.info.context);
                profiles.extend(position::profiles(decoder, average, at, tokens)?);
            }
            Stretch::Composition(composing) => composing.step(decoder, at)?,
            Stretch::Expand(expanding) => expanding.step(decoder, at)?,
            Stretch::Strengths(tiles, strengths) => {
                let (_, expanded) = self.expanded.as_ref().ok_or_else(missing)?;
                strengths.extend(expanded.strengths(tiles[at].clone())?);
            }
            Stretch::Bugs(found, _, bugs) => {
                let (_, expanded) = self.expanded.as_ref().ok_or_else(missing)?;
                // Of one source several, of many the clearest of each.
                let each = if found.len() == 1 { TRIGRAMS } else { 1 };
                let candidates = expanded.by_source(found[at].source, CANDIDATES)?;
                let direct = |id| {
                    control.check()?;
                    bigram::direct_log_probabilities(decoder, EMBEDDING, id)
                };
                bugs.extend(trigram::bugs(&candidates, each, direct)?);
            }
        }
        Ok(())
    }
}

/// What follows an average: that for later layers, where it differs, or the profiles.
fn averaged(decoder: &Decoder, averages: Vec<Average>) -> Stretch {
    let differ = !decoder.spec.mlp.is_empty() && decoder.spec.layers > 1;
    if differ && averages.len() < 2 {
        Stretch::Average(Averaging::new(decoder, EMBEDDING.of_layer(1)), averages)
    } else {
        Stretch::Profiles(averages, Vec::new())
    }
}

fn bigram_facts(model: &Model, ask: &Ask) -> Result<Facts> {
    let Ask::Bigram { token } = ask else { bail!("no token was asked about") };
    let id = model.single(token)?;
    let next = bigram::bigram(&model.decoder, EMBEDDING, id, NEXT)?.into_iter();
    let next = next.map(|next| Candidate {
        token: model.token(next.id),
        probability: next.probability,
        logit: next.logit,
    });
    Ok(Facts::Bigram { token: model.token(id), next: next.collect() })
}

fn asked_token(model: &Model, ask: &Ask, found: &[SkipTrigrams]) -> Result<Option<Token>> {
    Ok(match ask {
        Ask::Trigrams { token: Some((_, Role::Source)), .. } => {
            found.first().map(|found| model.token(found.source))
        }
        Ask::Trigrams { token: Some((input, _)), .. } => Some(model.token(model.single(input)?)),
        _ => None,
    })
}

fn rows<'a>(model: &'a Model, found: &'a SkipTrigrams) -> impl Iterator<Item = Trigram> + 'a {
    found.pairs().map(|(destination, out)| Trigram {
        source: model.token(found.source),
        destination: model.token(destination.id),
        attention: destination.value,
        out: model.token(out.id),
        logit: out.value,
    })
}

fn bug_of(model: &Model, bug: &trigram::Bug) -> Bug {
    Bug {
        source: model.token(bug.source),
        destinations: bug.destinations.map(|id| model.token(id)),
        outs: bug.outs.map(|id| model.token(id)),
        margin: bug.margin,
    }
}

fn answer(desk: &Desk, ask: Ask, facts: Facts) {
    let decoder = &desk.model.decoder;
    let left_out = left_out(decoder, &facts);
    let effective = !decoder.spec.mlp.is_empty() && !matches!(facts, Facts::Composition { .. });
    tell(desk, ask, News::Answer(Ok(Arc::new(Circuit { effective, left_out, facts }))));
}

/// What the model has and the numbers leave out. Profiles and terms leave out nothing but tokens, which they say.
fn left_out(decoder: &Decoder, facts: &Facts) -> Vec<&'static str> {
    match facts {
        Facts::Positions { .. } | Facts::Terms { .. } => Vec::new(),
        Facts::Bigram { .. } if matches!(decoder.spec.positions, Positions::Learned { .. }) => {
            vec!["learned positions"]
        }
        Facts::Bigram { .. } if matches!(decoder.spec.positions, Positions::Sinusoidal { .. }) => {
            vec!["vectors of positions"]
        }
        Facts::Bigram { .. } => Vec::new(),
        _ => circuits::left_out(decoder),
    }
}

fn tell(desk: &Desk, ask: Ask, news: News) {
    desk.tell(Event::Circuits { ask, news });
}
