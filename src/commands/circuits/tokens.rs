//! Lists of tokens: bigrams, skip-trigrams and their bugs, a prompt's terms.

use anyhow::{Context, Result, bail};

use super::Work;
use crate::{
    analysis::circuits::{
        bigram, terms,
        trigram::{self, CANDIDATES, Expanded, SkipTrigrams},
    },
    commands::open,
    engine::protocol::{Bos, PromptInput},
    head::Head,
    model::decoder::Pass,
    report::circuits::{Cell, List},
};

impl Work<'_> {
    pub(super) fn bigram(&mut self) -> Result<Vec<List>> {
        // Of a model without layers, which has nothing else to show, what begins a text.
        let info = &self.model.info;
        let begins = info.bos.filter(|_| info.layers == 0).map(|bos| vec![bos]);
        let ids = self
            .tokens()?
            .or(begins)
            .context("--what bigram needs a token or a text: give --token, --ids or --text")?;
        let mut rows = Vec::new();
        for &id in &ids {
            let next = bigram::bigram(&self.model.decoder, self.args.embedding, id, self.args.top)?;
            rows.extend(next.into_iter().map(|next| {
                vec![self.token(id), self.token(next.id), next.logit.into(), next.probability.into()]
            }));
        }
        self.settings.ids = Some(ids);
        Ok(vec![List {
            name: "bigram",
            note: "next tokens of a model whose layers add nothing, W_U W_E".into(),
            columns: &["token", "next", "logit", "probability"],
            rows,
        }])
    }

    pub(super) fn expanded(&self, head: Head) -> Result<Expanded> {
        self.shown("expanding the head", |control| {
            Expanded::of(&self.model.decoder, head, self.args.embedding, control)
        })
    }

    /// The rows of a source.
    pub(super) fn trigram_rows(&self, head: Head, found: &SkipTrigrams) -> Vec<Vec<Cell>> {
        found
            .pairs()
            .map(|(destination, out)| {
                vec![
                    head.into(),
                    self.token(found.source),
                    self.token(destination.id),
                    destination.value.into(),
                    self.token(out.id),
                    out.value.into(),
                ]
            })
            .collect()
    }

    pub(super) fn trigrams(&mut self) -> Result<Vec<List>> {
        let head = match self.args.head {
            Some(head) => head,
            None => self.copiers(&self.spectra()?, 1)[0].0,
        };
        self.settings.head = Some(head);
        let top = self.args.top;
        let token = self.named().map(|input| self.model.single(&input)).transpose()?;
        let expanded = self.expanded(head)?;
        let found = match token {
            None => self.shown("skip-trigrams", |control| expanded.strongest(top, 1, control))?,
            Some(id) => expanded.with(self.args.role, id, top)?,
        };
        if let Some(id) = token {
            self.settings.ids = Some(vec![id]);
            self.settings.role = Some(self.args.role.name().into());
        }
        let rows = found.iter().flat_map(|found| self.trigram_rows(head, found)).collect();
        Ok(vec![List { rows, ..trigram_list() }, self.bugs(&expanded, &found)?])
    }

    fn bugs(&self, expanded: &Expanded, found: &[SkipTrigrams]) -> Result<List> {
        let direct = |id| bigram::direct_log_probabilities(&self.model.decoder, self.args.embedding, id);
        // Of one source several, of many the clearest of each.
        let each = if found.len() == 1 { self.args.top } else { 1 };
        let mut bugs = Vec::new();
        for (done, found) in found.iter().enumerate() {
            self.bar.borrow_mut().show("skip-trigram bugs", done, self.args.top);
            bugs.extend(trigram::bugs(&expanded.by_source(found.source, CANDIDATES)?, each, direct)?);
        }
        bugs.sort_by(|a, b| b.margin.total_cmp(&a.margin));
        let row = |bug: trigram::Bug| {
            let [b, b2] = bug.destinations.map(|id| self.token(id));
            let [c, c2] = bug.outs.map(|id| self.token(id));
            vec![self.token(bug.source), b, c, b2, c2, bug.margin.into()]
        };
        Ok(List {
            name: "bugs",
            note: "A ... B -> C and A ... B' -> C' fit, so A ... B -> C' and A ... B' -> C rise too; margin in nats of \
                   the direct path"
                .into(),
            columns: &["source", "destination", "out", "destination2", "out2", "margin"],
            rows: bugs.into_iter().map(row).collect(),
        })
    }

    pub(super) fn terms(&mut self) -> Result<Vec<List>> {
        let input = match (&self.args.prompt, &self.args.ids) {
            (Some(text), _) => PromptInput::Text(open::prompt(text)?),
            (None, Some(ids)) => PromptInput::Ids(ids.clone()),
            (None, None) => bail!("--what terms needs a prompt: give --prompt or --ids"),
        };
        let model = self.model;
        let ids = open::ids(model, &input, Bos::Auto, self.quiet)?;
        let mut trace = model.decoder.trace();
        self.shown("running the prompt", |control| {
            model.decoder.extend(&mut trace, &ids, &Pass::plain(control))
        })?;
        let terms = self.shown("terms", |control| terms::terms(&model.decoder, &trace, control))?;
        self.settings.ids = Some(ids);
        let order = |(order, &loss): (usize, &f64)| {
            vec![Cell::Count(order), terms.reduction(order).into(), loss.into()]
        };
        let layer = |(layer, (&alone, &without)): (usize, (&f64, &f64))| {
            let (direct, singles) = (terms.losses[0], terms.losses[1]);
            vec![Cell::Count(layer), (direct - alone).into(), (without - singles).into()]
        };
        Ok(vec![
            List {
                name: "terms",
                note: format!(
                    "loss in nats a token, from {:.3} of a guess; order 0 is the direct path, 1 single heads",
                    terms.uniform
                ),
                columns: &["order", "reduction", "loss"],
                rows: terms.losses.iter().enumerate().map(order).collect(),
            },
            List {
                name: "layers",
                note: "by how much single heads of a layer lower the loss, alone and beside the others"
                    .into(),
                columns: &["layer", "alone", "marginal"],
                rows: terms.alone.iter().zip(&terms.without).enumerate().map(layer).collect(),
            },
        ])
    }

    /// The tokens that `--token` or `--ids` names.
    fn tokens(&self) -> Result<Option<Vec<u32>>> {
        self.named().map(|input| self.model.encode(&input, Bos::Off)).transpose()
    }

    fn named(&self) -> Option<PromptInput> {
        match (&self.args.token, &self.args.ids) {
            (Some(text), _) => Some(PromptInput::Text(text.clone())),
            (None, Some(ids)) => Some(PromptInput::Ids(ids.clone())),
            (None, None) => None,
        }
    }
}

/// Skip-trigrams, none yet.
pub(super) fn trigram_list() -> List {
    List {
        name: "trigrams",
        note: "[source] ... [destination] -> [out] of a head that reads tokens alone: QK entry above the destination's \
               mean, OV entry above the source's"
            .into(),
        columns: &["head", "source", "destination", "attention", "out", "logit"],
        rows: Vec::new(),
    }
}
