//! The bigram table beside the bigrams of text files.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{super::note, Work};
use crate::{
    analysis::circuits::corpus::{self, Pairs},
    report::circuits::{Cell, List},
    train::text::{Corpus, read_text},
};

/// Times that a pair must occur to be compared by itself.
const LEAST: usize = 5;
/// A text of fewer tokens has few pairs that often.
const SHORT: usize = 1000;

impl Work<'_> {
    /// How the bigram table agrees with the bigrams of the files of `--text`.
    pub(super) fn agreement(&mut self, files: &[PathBuf]) -> Result<Vec<List>> {
        let ids = self.ids(&self.texts(files)?)?;
        if ids.len() < 2 {
            bail!("the text of --text has {} tokens, and a pair takes two: give more text", ids.len());
        }
        if ids.len() < SHORT && !self.quiet {
            note(&format!("the text has only {} tokens: what its bigrams say is mostly chance", ids.len()));
        }
        let pairs = Pairs::count(&ids);
        let table = self.shown("bigrams", |control| {
            corpus::direct_path(&self.model.decoder, self.args.embedding, &pairs, control)
        })?;
        let found = corpus::agreement(&pairs, &table, LEAST, self.args.top);
        self.settings.text = Some(files.iter().map(|file| file.display().to_string()).collect());
        self.settings.invent_names = self.args.invent_names;
        self.settings.least = Some(LEAST);
        self.settings.seed = self.args.invent_names.map(|_| self.args.seed);
        let row = vec![
            Cell::Count(ids.len()),
            Cell::Count(pairs.distinct()),
            Cell::Count(found.frequent),
            found.covered.into(),
            found.correlation.into(),
            found.weighted.into(),
            found.loss.into(),
            pairs.bigram_loss().into(),
            pairs.unigram_loss().into(),
        ];
        let difference = |found: &corpus::Difference| {
            vec![
                self.token(found.pair.current),
                self.token(found.pair.next),
                Cell::Count(found.pair.count),
                found.text.into(),
                found.table.into(),
                (1000.0 * found.nats).into(),
            ]
        };
        Ok(vec![
            List {
                name: "agreement",
                note: format!(
                    "of W_U W_E with a text; log-probabilities of pairs seen {LEAST} times or more correlate, each pair \
                     once and weighed by its count; loss in nats a token, that of the text's own bigrams and of its \
                     unigrams beside it"
                ),
                columns: &[
                    "tokens",
                    "pairs",
                    "frequent",
                    "covered",
                    "correlation",
                    "weighted",
                    "loss",
                    "bigram",
                    "unigram",
                ],
                rows: vec![row],
            },
            List {
                name: "differences",
                note: "frequent pairs with the largest part in the loss above that of the text's own bigrams: log-probability \
                       in the text and in the table, and the part, in thousandths of a nat a token"
                    .into(),
                columns: &["token", "next", "count", "text", "table", "millinats"],
                rows: found.differences.iter().map(difference).collect(),
            },
        ])
    }

    /// The texts of the files: each as it is, or as `train` takes them.
    fn texts(&self, files: &[PathBuf]) -> Result<Vec<String>> {
        let how = self.args.invent_names;
        if how.is_none() && !self.args.tidy {
            return files.iter().map(|file| read_text(file)).collect();
        }
        let corpus = Corpus::read(files)?;
        let corpus = match how {
            Some(how) => corpus.inventing(how, self.args.seed),
            None => corpus,
        };
        Ok(corpus.training(&mut ChaCha8Rng::seed_from_u64(self.args.seed)))
    }

    /// The tokens of texts in a row, with no BOS.
    fn ids(&self, texts: &[String]) -> Result<Vec<u32>> {
        let tokenizer = self.model.tokenizer.as_ref().map_err(|reason| {
            anyhow!("--text needs a tokenizer, and there is none ({reason}): put tokenizer.json beside the weights")
        })?;
        let ids = texts.iter().map(|text| tokenizer.encode(text)).collect::<Result<Vec<_>>>();
        Ok(ids.context("the text of --text")?.concat())
    }
}
