//! What the explorer asks of the engine and what the engine answers: plain data, no tensors, no colours.
//!
//! Every change of the prompt or of the ablated heads begins a new `epoch`; an answer names the epoch it belongs to,
//! and whoever receives it drops the ones from an epoch that is over.

pub mod circuits;

use std::{collections::BTreeSet, sync::Arc};

pub use crate::{
    analysis::{
        benchmark::{Bos, RankSettings},
        explain::Role,
        loss::{Change, Icl},
        map::{PatternMap, Pool},
    },
    checkpoint::progress::{Download, Progress, Transfer, TransferState},
    run::{Measured, Source},
};
use crate::{
    analysis::{check::Finding, doubt::Doubt, score::HeadScores},
    head::{Head, PerHead},
};

/// A token of the prompt: its id and the exact bytes it stands for (perhaps half a character, never cleaned).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Index in the vocabulary.
    pub id: u32,
    /// What the token stands for; empty where the checkpoint has no tokenizer.
    pub bytes: Vec<u8>,
}

/// What was opened, for the title line and the reports.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// Short name, such as `attn-2l` or the last part of a path.
    pub name: String,
    /// Where it came from: `embedded`, or a path.
    pub source: String,
    /// Family, as `config.json` calls it (`llama`, `gpt2`).
    pub family: String,
    /// Number of layers.
    pub layers: usize,
    /// Query heads in each layer.
    pub heads: usize,
    /// Key/value heads in each layer; fewer than `heads` under grouped-query attention.
    pub kv_heads: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Number of token ids.
    pub vocabulary: usize,
    /// Longest prompt, in tokens.
    pub context: usize,
    /// Number of parameters.
    pub parameters: u64,
    /// The type most weights are held in, such as `bf16` or `Q4_1`.
    pub dtype: String,
    /// Where it runs: `cpu`, `cuda:0`.
    pub device: String,
    /// Whether text can be typed; without a tokenizer a prompt is a list of ids.
    pub has_tokenizer: bool,
    /// The BOS token, where the vocabulary has one.
    pub bos: Option<u32>,
    /// Tokens in a benchmark block: the usual number, or as many as fit in the context and the vocabulary.
    pub block: usize,
}

impl ModelInfo {
    /// Whether it has the head.
    pub fn has(&self, head: Head) -> bool {
        head.layer < self.layers && head.head < self.heads
    }
}

/// What the screen shows of one head; the engine answers with a [`HeadView`], and a newer one replaces one that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The head.
    pub head: Head,
    /// The query token.
    pub query: usize,
    /// Columns and rows of the map that fit on the screen, in values (not terminal cells).
    pub fits: (usize, usize),
    /// How the map is pooled where the matrix does not fit.
    pub pool: Pool,
}

/// The answer to a [`Look`].
#[derive(Clone, Debug, PartialEq)]
pub struct HeadView {
    /// What was asked.
    pub look: Look,
    /// Attention of the query over keys `0..=query`.
    pub row: Vec<f32>,
    /// What the query gives to the head's sink, which is no token; `None` in models without sinks.
    pub sink: Option<f32>,
    /// How many keys a query of the head sees at most; `None` where it sees all before it.
    pub window: Option<usize>,
    /// Attention that later queries `query..tokens` give to this token, as a key: `column[i] = A[query + i, query]`.
    pub column: Vec<f32>,
    /// The whole pattern.
    pub map: PatternMap,
}

/// What one head does at one token; every number is computed from this prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The head.
    pub head: Head,
    /// The query token.
    pub query: usize,
    /// The key it attends to most, and how much.
    pub strongest: (usize, f32),
    /// What it gives to its sink, which is no token; `None` in models without sinks.
    pub sink: Option<f32>,
    /// What that key is to the query.
    pub role: Role,
    /// What it does to the next token; `None` where the model has no output head to tell one.
    pub influence: Option<Influence>,
}

/// What one head does to the prediction of a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Influence {
    /// The token whose logit is followed: the attended one for an induction head, else the model's top prediction.
    pub target: Token,
    /// What the head's output writes directly to the target's logit, less its mean over the vocabulary; `None` in models
    /// that normalise the residual stream after every block.
    pub attribution: Option<f32>,
    /// Probability of the target as next token.
    pub probability: f32,
    /// The same when the head's output is replaced by its mean over the prompt.
    pub without: f32,
}

/// The run that the open model belongs to, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunView {
    /// Short name.
    pub name: String,
    /// What names it on the command line.
    pub source: String,
    /// Its snapshots, in the order of their steps, one a step.
    pub snapshots: Vec<SnapshotView>,
    /// Which of them is open; none where the model is of the run and no snapshot.
    pub open: Option<usize>,
    /// What is known of its steps, in their order: of snapshots, and of steps that were logged and left none.
    pub points: Vec<Measured>,
    /// Whether it has a log.
    pub logged: bool,
    /// Snapshots that are still to be measured, and how many are or will be.
    pub measuring: Option<(usize, usize)>,
    /// What is wrong with it, a line each.
    pub troubles: Vec<String>,
}

/// A snapshot of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotView {
    /// The training step it was taken at.
    pub step: u64,
    /// What opens it.
    pub model: String,
    /// Why it could not be measured, in a line.
    pub problem: Option<String>,
}

/// A snapshot of the run, to be set against the open one on the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The epoch of the prompt.
    pub epoch: u64,
    /// The step of the snapshot that counts as before.
    pub before: u64,
}

/// Losses of two snapshots on the tokens of a prompt, no head ablated.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The step of the one before.
    pub before: u64,
    /// The step of the open one; none where it is of the run and no snapshot.
    pub after: Option<u64>,
    /// Losses on each token but the first, which nothing predicts: `[tokens - 1]`.
    pub changes: Vec<Change>,
}

/// How far a check of the model is, and what it has found so far.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckView {
    /// In the order in which it was found.
    pub found: Arc<[Finding]>,
    /// What is done next, and about how much is done, in hundredths; `None` once all is.
    pub doing: Option<(&'static str, usize)>,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

/// A possible next token.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: Token,
    /// Its probability.
    pub probability: f32,
    /// Its logit.
    pub logit: f32,
}

/// A prompt as it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptInput {
    /// Text, to be encoded; BOS is added as [`Bos`] says.
    Text(String),
    /// Token ids, taken exactly as they are.
    Ids(Vec<u32>),
}

/// What the app asks for. Requests are served in order; of several waiting [`Request::Look`] only the last is.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Open another model in the place of this one, with the device and the type that this one was asked for; answered by
    /// `Opened`, or by `Failed`, and then this one stays.
    Open {
        /// `MODEL` of the command line; `None` is the shipped default.
        model: Option<String>,
    },
    /// Run a prompt; answered by `Tokens`, and it ends every earlier epoch.
    Prompt {
        /// The epoch that begins.
        epoch: u64,
        /// What to run.
        input: PromptInput,
        /// Whether BOS goes first.
        bos: Bos,
    },
    /// Add the next token: `Some(id)`, or the most probable one; answered by `Tokens`.
    Append {
        /// The epoch that begins.
        epoch: u64,
        /// The token to add.
        token: Option<u32>,
    },
    /// Keep the first `length` tokens; answered by `Tokens`.
    Truncate {
        /// The epoch that begins.
        epoch: u64,
        /// How many stay.
        length: usize,
    },
    /// Replace the outputs of these heads by their mean over the prompt, and of no others; answered by `Tokens`.
    Ablate {
        /// The epoch that begins.
        epoch: u64,
        /// The heads; empty restores the model.
        heads: BTreeSet<Head>,
    },
    /// Show a head at a token; answered by `Head`, `AtQuery`, `Candidates` and `Explanation`.
    Look {
        /// The epoch it belongs to.
        epoch: u64,
        /// What to show.
        look: Look,
    },
    /// Score every head in the background; answered by `Ranking`, several times.
    Rank(RankSettings),
    /// Stop the ranking; answered by `RankingStopped`, also when it has just ended.
    StopRanking,
    /// Check the model for what is named so in [`catalogue`](crate::analysis::check::catalogue), in the background; answered
    /// by `Check`, several times. A newer one takes the place of one that is under way.
    Check(BTreeSet<&'static str>),
    /// Stop the check; answered by `Check` where one was under way.
    StopChecking,
    /// Show circuits; answered by `Circuits`, several times. A newer one takes the place of one that is under way.
    Circuits(circuits::Ask),
    /// Stop what a `Circuits` asked for; answered by `Circuits` where something was under way.
    StopCircuits,
    /// Follow the model's run from now on: measure its snapshots where nothing is logged, and look for new ones again and
    /// again; or no longer. Answered by `Run` whenever something has changed.
    Watch(bool),
    /// Measure every snapshot of the run, also those that something is logged of; or none of them.
    Measure(bool),
    /// Compare the open snapshot with another on the prompt, answered by `Compared`; or no longer. A newer one takes the
    /// place of one that is under way.
    Compare(Option<Pair>),
    /// The answer to [`Event::Question`].
    Answer(bool),
}

/// What the engine answers.
#[derive(Clone, Debug)]
pub enum Event {
    /// The model is being opened, or a long prompt is being run.
    Progress(Progress),
    /// The model is being downloaded; told a few times a second.
    Download(Download),
    /// Something about the model being opened that is worth a line, such as what the download needs.
    Note(String),
    /// A question that only the user can answer: opening goes on with [`Request::Answer`].
    Question(String),
    /// A model is open; it has run no prompt and has no head ablated.
    Opened(Arc<ModelInfo>),
    /// The prompt has been run.
    Tokens {
        /// The epoch that it begins.
        epoch: u64,
        /// Every token, BOS and generated ones included.
        tokens: Arc<[Token]>,
        /// How many of them the prompt had; the others were generated.
        prompt: usize,
    },
    /// The answer to a look.
    Head {
        /// Its epoch.
        epoch: u64,
        /// The head.
        view: Arc<HeadView>,
    },
    /// What every head does at the query token, as scores of that one row.
    AtQuery {
        /// Its epoch.
        epoch: u64,
        /// The query token.
        query: usize,
        /// `induction`, `previous`, `duplicate`, `sink`, `self` are attention, `entropy` as ever.
        scores: PerHead<HeadScores>,
    },
    /// The most probable next tokens after the query token, best first.
    Candidates {
        /// Its epoch.
        epoch: u64,
        /// The query token.
        query: usize,
        /// The best of them; empty where the model has no output head.
        top: Arc<[Candidate]>,
        /// The same with no head ablated, where one is.
        unablated: Option<Arc<[Candidate]>>,
    },
    /// What the head does at the query token.
    Explanation {
        /// Its epoch.
        epoch: u64,
        /// The facts.
        explanation: Arc<Explanation>,
    },
    /// Scores of every head so far.
    Ranking {
        /// How they are measured.
        settings: RankSettings,
        /// Sequences measured.
        done: usize,
        /// Sequences in all.
        total: usize,
        /// Means over the sequences measured.
        scores: PerHead<HeadScores>,
        /// How far they can be trusted.
        doubts: PerHead<Doubt>,
    },
    /// No ranking runs any more.
    RankingStopped,
    /// What a check has found so far.
    Check(Arc<CheckView>),
    /// What was asked about circuits, and the news of it.
    Circuits {
        /// What was asked.
        ask: circuits::Ask,
        /// The news.
        news: circuits::News,
    },
    /// The run that the open model belongs to, or that it belongs to none; told when one has been opened, and when
    /// something of it has changed.
    Run(Option<Arc<RunView>>),
    /// Two snapshots on the prompt, or why they cannot be compared, in a line.
    Compared {
        /// What was asked.
        pair: Pair,
        /// The answer.
        result: Result<Arc<Comparison>, String>,
    },
    /// A request failed and changed nothing; a prompt that is too long, say.
    Failed {
        /// One line: what, where and what to do.
        message: String,
    },
    /// The engine cannot go on: the model could not be opened. It ends after this.
    Fatal {
        /// One line: what, where and what to do.
        message: String,
    },
}
