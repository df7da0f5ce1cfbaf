//! What lies open before whoever explores: a model, the run of a prompt on it, the run of training that it belongs to; and the
//! answers about them.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};
use crossbeam_channel::Sender;

use super::{
    open::{Model, OpenRequest},
    protocol::{
        Bos, Candidate, Event, Explanation, HeadView, Influence, Look, PatternMap, Progress, PromptInput,
        Role, Token,
    },
    run::Run,
    training::Training,
};
use crate::{
    analysis::{
        circuits::terms::{Expansion, Terms},
        explain, map,
    },
    error::told,
    head::Head,
    model::{decoder::Control, edit::Edit},
};

/// How many next tokens are told.
const CANDIDATES: usize = 32;

/// A model and what was run on it.
pub struct Desk {
    /// How the first model was asked for; others are opened in the same way.
    pub open: OpenRequest,
    /// The model.
    pub model: Arc<Model>,
    /// The run of training that it belongs to.
    pub training: Training,
    events: Sender<Event>,
    /// The epoch that was told last.
    pub epoch: u64,
    run: Run,
    /// Whether it was told that numbers of the prompt are not finite.
    broken: bool,
    /// The query for which `AtQuery` and `Candidates` were told last.
    told: Option<(u64, usize)>,
    /// The map that was made last, and for what.
    map: Option<(u64, Look, PatternMap)>,
}

impl Desk {
    /// A desk with a model that was opened as `open` says; it answers through `events`.
    pub fn new(open: OpenRequest, model: Model, events: Sender<Event>) -> Self {
        let model = Arc::new(model);
        let mut desk = Self {
            run: Run::new(model.clone()),
            model,
            training: Training::default(),
            events,
            epoch: 0,
            broken: false,
            told: None,
            map: None,
            open,
        };
        desk.tell_opened(desk.open.model.clone().as_deref());
        desk
    }

    /// Puts another model, `name` of the command line, in the place of this one.
    pub fn replace(&mut self, name: Option<&str>, model: Model) {
        self.model = Arc::new(model);
        self.run = Run::new(self.model.clone());
        (self.epoch, self.broken, self.told, self.map) = (0, false, None, None);
        self.tell_opened(name);
    }

    fn tell_opened(&mut self, name: Option<&str>) {
        self.model.remarks().into_iter().for_each(|remark| self.tell(Event::Note(remark)));
        self.tell(Event::Opened(Arc::new(self.model.info.clone())));
        self.training.opened(name, &self.model.info);
        self.tell_training();
    }

    /// Tells what is known of the run of training.
    pub fn tell_training(&self) {
        self.tell(self.training.event());
    }

    /// Sends an event; an app that is gone hears nothing.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Tells that a request failed.
    pub fn fail(&self, error: &anyhow::Error) {
        self.tell(Event::Failed { message: told(error) });
    }

    /// The tokens of the prompt, and those generated after it.
    pub fn ids(&self) -> &[u32] {
        &self.run.clean().ids
    }

    /// Runs a prompt in the place of the one before.
    pub fn prompt(
        &mut self,
        epoch: u64,
        input: &PromptInput,
        bos: Bos,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<()> {
        let ids = self.model.encode(input, bos)?;
        if let Some(remark) = self.model.remark_on(input, &ids) {
            self.tell(Event::Note(remark));
        }
        let progress = self.progress("running the prompt");
        let control = Control { progress: &progress, cancelled };
        let run = self.run.of(&ids, &control)?;
        drop(progress);
        self.run = run;
        let broken = self.model.where_it_breaks(self.run.shown())?;
        self.broken = broken.is_some();
        broken.into_iter().for_each(|broken| self.tell(Event::Note(broken)));
        self.tell_tokens(epoch);
        Ok(())
    }

    /// Adds a token, or the most probable one.
    pub fn append(&mut self, epoch: u64, token: Option<u32>, cancelled: &dyn Fn() -> bool) -> Result<()> {
        let shown = self.run.shown();
        if shown.is_empty() {
            bail!("there is no prompt yet to go on from");
        }
        let token = match token {
            Some(token) => token,
            None => self.candidates(&shown.last.view()?, shown.len() - 1)?[0].token.id,
        };
        self.run.append(token, &Control { progress: &|_, _| (), cancelled })?;
        self.tell_tokens(epoch);
        Ok(())
    }

    /// Keeps the first `length` tokens.
    pub fn truncate(&mut self, epoch: u64, length: usize, cancelled: &dyn Fn() -> bool) -> Result<()> {
        self.run.shorten(length, &Control { progress: &|_, _| (), cancelled })?;
        self.tell_tokens(epoch);
        Ok(())
    }

    /// Ablates these heads and no others.
    pub fn ablate(&mut self, epoch: u64, heads: BTreeSet<Head>, cancelled: &dyn Fn() -> bool) -> Result<()> {
        let progress = self.progress("running the prompt without the ablated heads");
        let edits = heads.into_iter().map(Edit::ablation).collect();
        self.run.edit(edits, &Control { progress: &progress, cancelled })?;
        self.tell_tokens(epoch);
        Ok(())
    }

    /// Answers what a screen shows of a head, the quick parts first.
    pub fn look(&mut self, epoch: u64, look: Look, cancelled: &dyn Fn() -> bool) -> Result<()> {
        let info = &self.model.info;
        if self.run.clean().is_empty() {
            return Ok(());
        }
        if look.query >= self.run.clean().len() {
            bail!("there is no token {} to look at", look.query);
        }
        let control = Control { progress: &|_, _| (), cancelled };
        if info.layers == 0 {
            return self.tell_at_query(epoch, look.query, &control);
        }
        if !info.has(look.head) {
            bail!("there is no head {} to look at", look.head);
        }
        let row = self.run.shown().row(look.head, look.query)?;
        let (column, map) = self.column_and_map(epoch, look)?;
        let window = self.model.decoder.rules[look.head.layer].window;
        self.tell(Event::Head {
            epoch,
            view: Arc::new(HeadView { look, row: row.clone(), sink: self.sink(&row), window, column, map }),
        });
        control.check()?;
        self.tell_at_query(epoch, look.query, &control)?;
        control.check()?;
        let explanation = self.explain(look, &row, &control)?;
        self.tell(Event::Explanation { epoch, explanation: Arc::new(explanation) });
        Ok(())
    }

    /// Answers what does not depend on the head, unless it was the last to be told.
    fn tell_at_query(&mut self, epoch: u64, query: usize, control: &Control<'_>) -> Result<()> {
        if self.told == Some((epoch, query)) {
            return Ok(());
        }
        let has_head = self.model.decoder.has_unembedding();
        let shown = self.run.shown();
        let top = if has_head { self.candidates(&shown.last.view()?, query)? } else { Vec::new() };
        if !self.broken && top.iter().any(|candidate| !candidate.logit.is_finite()) {
            self.broken = true;
            // A token that was added, or what an ablation changed, may break earlier than the logits do.
            let broken = match self.model.where_it_breaks(shown)? {
                Some(broken) => broken,
                None => self.model.where_logits_break(&shown.last.view()?.narrow(0, query, 1)?)?,
            };
            self.tell(Event::Note(broken));
        }
        let unablated = match self.run.is_edited() && has_head {
            true => Some(self.candidates(&self.run.clean().last.view()?, query)?.into()),
            false => None,
        };
        self.tell(Event::Candidates { epoch, query, top: top.into(), unablated });
        let scores = explain::at_query(&self.model.decoder, self.run.shown(), query, control)?;
        self.tell(Event::AtQuery { epoch, query, scores });
        self.told = Some((epoch, query));
        Ok(())
    }

    /// How much each order of terms lowers the loss at a token, no head ablated: the token, its target and the losses.
    pub fn terms(&self, query: usize, control: &Control<'_>) -> Result<(Token, Token, Terms)> {
        let decoder = &self.model.decoder;
        let trace = self.run.clean();
        let expansion = Expansion::of(decoder, trace, control)?;
        let Some(&token) = trace.ids.get(query) else { bail!("there is no token {query} to look at") };
        let target = match trace.ids.get(query + 1) {
            Some(&next) => next,
            None => explain::strongest(&self.logits(&trace.last.view()?, query)?).0 as u32,
        };
        let terms = expansion.over(query..query + 1, &[target])?;
        Ok((self.model.token(token), self.model.token(target), terms))
    }

    fn explain(&self, look: Look, row: &[f32], control: &Control<'_>) -> Result<Explanation> {
        let decoder = &self.model.decoder;
        let strongest = explain::strongest(row);
        let role = explain::role(self.ids(), look.query, strongest.0);
        let influence = match decoder.has_unembedding() {
            true => Some(self.influence(look, role, strongest.0, control)?),
            false => None,
        };
        Ok(Explanation {
            head: look.head,
            query: look.query,
            strongest,
            sink: self.sink(row),
            role,
            influence,
        })
    }

    /// What a head does to the prediction of the token at `attended` where it is an induction head's, else of the top one.
    fn influence(&self, look: Look, role: Role, attended: usize, control: &Control<'_>) -> Result<Influence> {
        let (decoder, trace) = (&self.model.decoder, self.run.shown());
        let probabilities = self.probabilities(&trace.last.view()?, look.query)?;
        let target = match role {
            Role::Induction { .. } => trace.ids[attended],
            _ => explain::strongest(&probabilities).0 as u32,
        };
        let attribution = explain::attribution(decoder, trace, look.head, look.query, target)?;
        let last = self.run.last_without(look.head, look.query, control)?;
        let without = self.probabilities(&last, 0)?;
        Ok(Influence {
            target: self.model.token(target),
            attribution,
            probability: probabilities[target as usize],
            without: without[target as usize],
        })
    }

    /// What a row gives to its head's sink, where heads have one.
    fn sink(&self, row: &[f32]) -> Option<f32> {
        self.model.decoder.spec.attention.has_sinks_in_rows().then(|| explain::sink_share(row))
    }

    /// Attention to the query token from itself and later ones, and the whole pattern pooled. The map is kept for the
    /// next query of the same head.
    fn column_and_map(&mut self, epoch: u64, look: Look) -> Result<(Vec<f32>, PatternMap)> {
        let shown = self.run.shown();
        let mut column = Vec::with_capacity(shown.len() - look.query);
        shown.rows(look.head, look.query..shown.len(), |rows| {
            column.extend(rows.iter().map(|(_, row)| row[look.query]));
        })?;
        if let Some((made_in, made_for, map)) = &self.map
            && *made_in == epoch
            && (made_for.head, made_for.fits, made_for.pool) == (look.head, look.fits, look.pool)
        {
            return Ok((column, map.clone()));
        }
        let map = map::pattern_map(shown, look.head, look.fits, look.pool)?;
        self.map = Some((epoch, look, map.clone()));
        Ok((column, map))
    }

    /// Logits after token `query` of a residual stream `[tokens, width]`.
    fn logits(&self, last: &Tensor, query: usize) -> Result<Vec<f32>> {
        let logits = self.model.decoder.logits(&last.narrow(0, query, 1)?)?;
        Ok(logits.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?)
    }

    fn probabilities(&self, last: &Tensor, query: usize) -> Result<Vec<f32>> {
        Ok(explain::probabilities(&self.logits(last, query)?))
    }

    /// The most probable next tokens, best first.
    fn candidates(&self, last: &Tensor, query: usize) -> Result<Vec<Candidate>> {
        let logits = self.logits(last, query)?;
        let probabilities = explain::probabilities(&logits);
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let count = CANDIDATES.min(order.len());
        let better = |&a: &u32, &b: &u32| logits[b as usize].total_cmp(&logits[a as usize]);
        order.select_nth_unstable_by(count - 1, better);
        order.truncate(count);
        order.sort_by(better);
        let candidate = |id: u32| Candidate {
            token: self.model.token(id),
            probability: probabilities[id as usize],
            logit: logits[id as usize],
        };
        Ok(order.into_iter().map(candidate).collect())
    }

    fn tell_tokens(&mut self, epoch: u64) {
        self.told = None;
        self.map = None;
        self.epoch = epoch;
        let tokens = self.model.tokens(self.ids()).into();
        self.tell(Event::Tokens { epoch, tokens, prompt: self.run.prompt() });
    }

    /// Tells the layers done of a pass.
    fn progress(&self, stage: &'static str) -> impl Fn(usize, usize) + use<> {
        let events = self.events.clone();
        move |done, total| {
            let progress = Progress { stage, done: done as u64, total: total as u64, bytes: false };
            // An app that is gone hears nothing.
            let _ = events.send(Event::Progress(progress));
        }
    }
}
