//! `circuits`: what the weights of a model say.

mod corpus;
mod heads;
mod tokens;

use std::cell::RefCell;

use anyhow::{Result, bail};
use clap::ValueEnum;

use super::{open, progress::Bar};
use crate::{
    analysis::circuits::spectrum::Ends,
    cli::{
        Common, TableFormat,
        circuits::{CircuitsArgs, What},
    },
    engine::open::Model,
    memory,
    model::decoder::Control,
    report::circuits::{Cell, Circuits, List, Settings},
};

/// Heads whose skip-trigrams the summary has, and how many of each.
const SUMMARY: (usize, usize) = (3, 4);

/// Runs the command.
pub fn run(args: &CircuitsArgs, common: &Common) -> Result<()> {
    if args.what.is_none() && args.format == TableFormat::Csv {
        bail!("--format csv prints one list, and the summary has several: say --what");
    }
    memory::keep_freed();
    let model = open::model(args.model.as_ref(), common)?;
    // Without heads there is the bigram table alone.
    let what = if model.info.layers == 0 { args.what.or(Some(What::Bigram)) } else { args.what };
    if what != Some(What::Bigram) || args.head.is_some() {
        model.has_heads()?;
    }
    if let Some(head) = args.head {
        open::check_head(&model.info, head)?;
    }
    if args.text.is_some() && what != Some(What::Bigram) {
        bail!("--text is what the bigram table is compared with: say --what bigram");
    }
    let mut work = Work {
        args,
        quiet: common.quiet,
        model: &model,
        bar: RefCell::new(Bar::new(common)),
        settings: Settings {
            what: "summary".into(),
            embedding: args.embedding,
            top: args.top,
            ..Settings::default()
        },
    };
    let lists = work.lists(what);
    work.bar.borrow_mut().clear();
    let circuits = Circuits { model: &model.info, settings: work.settings.clone(), lists: lists? };
    super::print(&match args.format {
        TableFormat::Table => circuits.table(),
        TableFormat::Json => circuits.json()?,
        TableFormat::Csv => circuits.csv(),
    })
}

/// What is computed, and the settings that turn out to bear on it.
struct Work<'a> {
    args: &'a CircuitsArgs,
    /// Whether notes are unwanted.
    quiet: bool,
    model: &'a Model,
    bar: RefCell<Bar>,
    settings: Settings,
}

impl Work<'_> {
    fn lists(&mut self, what: Option<What>) -> Result<Vec<List>> {
        let Some(what) = what else { return self.summary() };
        self.settings.what = name(what);
        self.settings.head = self.args.head;
        match what {
            What::Copying => self.copying(),
            What::Composition => Ok(vec![self.composition(self.args.top)?]),
            What::Bigram => match &self.args.text {
                Some(files) => self.agreement(files),
                None => self.bigram(),
            },
            What::Trigrams => self.trigrams(),
            What::Positions => self.positions(),
            What::Corner => self.corner(),
            What::Terms => self.terms(),
        }
    }

    /// Runs a piece of work whose progress is shown under the name of its stage.
    fn shown<R>(&self, stage: &'static str, work: impl FnOnce(&Control<'_>) -> Result<R>) -> Result<R> {
        let progress = |done, total| self.bar.borrow_mut().show(stage, done, total);
        work(&Control { progress: &progress, cancelled: &|| false })
    }

    fn ends(&self) -> Result<Ends> {
        self.shown("summing over the vocabulary", |control| {
            Ends::of(&self.model.decoder, self.args.embedding, control)
        })
    }

    fn summary(&mut self) -> Result<Vec<List>> {
        let spectra = self.spectra()?;
        let copiers = self.copiers(&spectra, self.args.top);
        let (most, each) = SUMMARY;
        let mut rows = Vec::new();
        for &(head, _) in copiers.iter().take(most) {
            let expanded = self.expanded(head)?;
            let found = self.shown("skip-trigrams", |control| expanded.strongest(each, 1, control))?;
            rows.extend(found.iter().flat_map(|found| self.trigram_rows(head, found)));
        }
        let trigrams =
            List { note: "the strongest of the heads that copy most".into(), rows, ..tokens::trigram_list() };
        Ok(vec![heads::copying_list(&copiers), self.composition(self.args.top.div_ceil(2))?, trigrams])
    }

    fn token(&self, id: u32) -> Cell {
        Cell::Token(self.model.token(id))
    }
}

/// The name of a choice on the command line.
fn name(choice: impl ValueEnum) -> String {
    choice.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
