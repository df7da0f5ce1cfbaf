//! An engine without a model: attention is made up, so that what the app shows is known beforehand.

use std::{collections::BTreeSet, sync::Arc};

use attnscope::{
    analysis::{
        doubt::{Doubt, Ranks},
        loss::Icl,
        score::{HeadScores, Score},
    },
    engine::protocol::{
        Bos, Candidate, Change, Comparison, Event, Explanation, HeadView, Influence, Look, Measured,
        ModelInfo, Pair, PatternMap, Pool, PromptInput, Request, Role, RunView, SnapshotView, Token,
    },
    head::{Head, PerHead},
};

use super::health;

/// An engine with two layers of eight heads whose attention is made up: some do what their name says, others nothing.
pub struct Engine {
    pub info: ModelInfo,
    /// Fails the next change.
    pub fail: bool,
    /// What every head gives to its sink, where heads have one.
    pub sink: Option<f32>,
    /// How many keys a query of every head sees.
    pub window: Option<usize>,
    /// Cannot open the snapshot that counts as before.
    pub broken_before: bool,
    /// The run that the model is a snapshot of.
    pub run: Option<RunView>,
    vocabulary: Vec<Vec<u8>>,
    pub(super) tokens: Vec<u32>,
    prompt: usize,
    epoch: u64,
    ablated: BTreeSet<Head>,
}

impl Engine {
    pub fn new(layers: usize, heads: usize, has_tokenizer: bool) -> Self {
        let info = ModelInfo {
            name: "attn-2l".into(),
            source: "embedded".into(),
            family: "gpt2".into(),
            layers,
            heads,
            kv_heads: heads,
            width: 256,
            vocabulary: 5000,
            context: 1024,
            parameters: 3_000_000,
            dtype: "f16".into(),
            device: "cpu".into(),
            has_tokenizer,
            bos: Some(0),
            block: 50,
        };
        let (fail, broken_before, tokens) = (false, false, Vec::new());
        let vocabulary = vec![b"<bos>".to_vec()];
        Self {
            info,
            fail,
            broken_before,
            sink: None,
            window: None,
            run: None,
            vocabulary,
            tokens,
            prompt: 0,
            epoch: 0,
            ablated: BTreeSet::new(),
        }
    }

    pub(super) fn id(&mut self, bytes: &[u8]) -> u32 {
        let known = self.vocabulary.iter().position(|word| word == bytes);
        known.unwrap_or_else(|| {
            self.vocabulary.push(bytes.to_vec());
            self.vocabulary.len() - 1
        }) as u32
    }

    pub(super) fn token(&self, id: u32) -> Token {
        let bytes = if self.info.has_tokenizer { self.vocabulary.get(id as usize).cloned() } else { None };
        Token { id, bytes: bytes.unwrap_or_default() }
    }

    fn encode(&mut self, text: &str, bos: Bos) -> Vec<u32> {
        let mut ids = if bos == Bos::Off { vec![] } else { vec![0] };
        // A first word begins with a space, written or not.
        for word in text.trim_start_matches(' ').split_inclusive(|char: char| char.is_whitespace()) {
            // A space belongs to the word after it, and the first word has one too.
            let bare = word.trim_end_matches(' ');
            let spaced = format!(" {bare}");
            let parts: &[&str] =
                if spaced.trim_start() == "Gigamuru" { &[" Gig", "am", "uru"] } else { &[&spaced] };
            for part in parts {
                ids.push(self.id(part.as_bytes()));
            }
        }
        ids
    }

    /// Position of the earlier copy of the token at `query`.
    fn earlier(&self, query: usize) -> Option<usize> {
        (0..query).rev().find(|&key| self.tokens[key] == self.tokens[query])
    }

    /// Attention of a head from `query`: most of it where the head's kind looks, the rest spread evenly.
    pub fn row(&self, head: Head, query: usize) -> Vec<f32> {
        let flat = head.layer * self.info.heads + head.head;
        let (target, weight) = match flat {
            11 => (self.earlier(query).map_or(0, |key| key + 1), 0.91),
            13 => (self.earlier(query).map_or(0, |key| key + 1), 0.55),
            1 => (query.saturating_sub(1), 0.88),
            4 => (self.earlier(query).unwrap_or(query), 0.7),
            6 => (query, 0.6),
            flat => (0, 0.05 * (flat % 7) as f32),
        };
        let mut row = vec![(1.0 - weight) / (query + 1) as f32; query + 1];
        row[target.min(query)] += weight;
        row
    }

    fn view(&self, look: Look) -> HeadView {
        let tokens = self.tokens.len();
        let most = look.fits.0.min(look.fits.1).max(1);
        let pooled = tokens.div_ceil(most).max(1);
        let side = tokens.div_ceil(pooled);
        let mut values = vec![0.0_f32; side * side];
        for query in 0..tokens {
            for (key, value) in self.row(look.head, query).into_iter().enumerate() {
                let cell = &mut values[query / pooled * side + key / pooled];
                *cell = match look.pool {
                    Pool::Max => cell.max(value),
                    Pool::Mean => *cell + value / (pooled * pooled) as f32,
                };
            }
        }
        let row = self.row(look.head, look.query);
        let column = (look.query..tokens).map(|query| self.row(look.head, query)[look.query]).collect();
        HeadView {
            look,
            row,
            sink: self.sink,
            window: self.window,
            column,
            map: PatternMap { tokens, pooled, side, values },
        }
    }

    fn scores(&self, flat: usize) -> HeadScores {
        let mut scores = HeadScores::default();
        for (index, score) in Score::ALL.into_iter().enumerate() {
            scores.set(score, ((flat * 7 + index * 5) % 11) as f32 / 60.0);
        }
        match flat {
            11 => scores.set(Score::Induction, 0.91),
            13 => scores.set(Score::Induction, 0.55),
            1 => scores.set(Score::Previous, 0.88),
            4 => scores.set(Score::Duplicate, 0.7),
            6 => scores.set(Score::Itself, 0.6),
            _ => {}
        }
        scores.chance = 0.02;
        scores
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Head> {
        let heads = self.info.heads;
        (0..self.info.layers * heads).map(move |flat| Head::new(flat / heads, flat % heads))
    }

    fn next(&self, query: usize) -> Vec<(u32, f32)> {
        let induction = Head::new(1, 3);
        let copied = self.earlier(query).map(|key| self.tokens[key + 1]).filter(|&id| id != 0);
        let strong = if self.ablated.contains(&induction) { 0.07 } else { 0.61 };
        let others = self.tokens.iter().copied().filter(|&id| id != 0 && Some(id) != copied);
        let mut seen = BTreeSet::new();
        let others = others.filter(move |&id| seen.insert(id)).enumerate();
        let others = others.map(|(rank, id)| (id, 0.2 / (rank + 2) as f32));
        let mut all: Vec<(u32, f32)> =
            copied.map(|id| (id, strong)).into_iter().chain(others).take(8).collect();
        all.sort_by(|one, other| other.1.total_cmp(&one.1));
        all
    }

    fn candidates(&self, query: usize) -> Arc<[Candidate]> {
        let one =
            |(id, probability): (u32, f32)| Candidate { token: self.token(id), probability, logit: 1.0 };
        self.next(query).into_iter().map(one).collect()
    }

    fn explain(&self, look: Look) -> Explanation {
        let row = self.row(look.head, look.query);
        let strongest =
            row.iter().copied().enumerate().max_by(|one, other| one.1.total_cmp(&other.1)).unwrap();
        let earlier = self.earlier(look.query);
        let role = match strongest.0 {
            key if earlier.is_some_and(|earlier| earlier + 1 == key) => {
                Role::Induction { earlier: earlier.unwrap() }
            }
            key if key == look.query => Role::Itself,
            0 => Role::Sink,
            key if Some(key) == earlier => Role::Duplicate,
            key if key + 1 == look.query => Role::Previous,
            _ => Role::Other,
        };
        let (id, probability) = self.next(look.query).first().copied().unwrap_or((0, 0.0));
        Explanation {
            head: look.head,
            query: look.query,
            strongest,
            sink: self.sink,
            role,
            influence: Some(Influence {
                target: self.token(id),
                attribution: Some(3.1),
                probability,
                without: probability / 9.0,
            }),
        }
    }

    fn tokens(&self) -> Event {
        let tokens = self.tokens.iter().map(|&id| self.token(id)).collect();
        Event::Tokens { epoch: self.epoch, tokens, prompt: self.prompt }
    }

    pub fn serve(&mut self, request: Request) -> Vec<Event> {
        let aside = matches!(
            request,
            Request::Rank(_)
                | Request::StopRanking
                | Request::Check(_)
                | Request::StopChecking
                | Request::Circuits(_)
                | Request::StopCircuits
                | Request::Watch(_)
                | Request::Measure(_)
                | Request::Compare(_)
        );
        let change = !aside && !matches!(request, Request::Look { .. });
        if change && std::mem::take(&mut self.fail) {
            return vec![Event::Failed {
                message: "the prompt has 2000 tokens, the model reads 1024".into(),
            }];
        }
        match request {
            Request::Open { model } => {
                let name = model.unwrap_or_default();
                (self.info.layers, self.info.heads) = match name.as_str() {
                    "bigram" => (0, 8),
                    "small" => (1, 4),
                    _ => (2, 8),
                };
                self.info.kv_heads = self.info.heads;
                self.info.name = name;
                (self.tokens, self.prompt, self.ablated) = (Vec::new(), 0, BTreeSet::new());
                if let Some(run) = &mut self.run {
                    run.open = run.snapshots.iter().position(|snapshot| snapshot.model == self.info.name);
                }
                return vec![Event::Opened(Arc::new(self.info.clone())), self.run()];
            }
            Request::Prompt { epoch, input, bos } => {
                self.tokens = match input {
                    PromptInput::Text(text) => self.encode(&text, bos),
                    PromptInput::Ids(ids) => ids,
                };
                (self.epoch, self.prompt) = (epoch, self.tokens.len());
            }
            Request::Append { epoch, token } => {
                self.epoch = epoch;
                let id = token
                    .unwrap_or_else(|| self.next(self.tokens.len() - 1).first().map_or(0, |next| next.0));
                self.tokens.push(id);
            }
            Request::Truncate { epoch, length } => {
                self.epoch = epoch;
                self.tokens.truncate(length);
            }
            Request::Ablate { epoch, heads } => (self.epoch, self.ablated) = (epoch, heads),
            Request::Look { epoch, look } if epoch == self.epoch => return self.look(epoch, look),
            Request::Look { .. } => return Vec::new(),
            Request::Rank(settings) => {
                let all = (0..self.info.layers * self.info.heads).map(|flat| self.scores(flat));
                let scores = PerHead::new(self.info.heads, all.collect());
                let total = settings.batch;
                return (1..=total)
                    .map(|done| {
                        let (scores, doubts) = (scores.clone(), self.doubts());
                        Event::Ranking { settings, done, total, scores, doubts }
                    })
                    .collect();
            }
            Request::StopRanking => return vec![Event::RankingStopped],
            Request::Check(only) => return health::check(&only),
            Request::StopChecking => return vec![health::stopped()],
            Request::Circuits(ask) => return self.circuits(ask),
            Request::Watch(_) => return vec![self.run()],
            Request::Measure(all) => {
                let run = self.run.as_mut().unwrap();
                run.measuring = all.then_some((1, run.snapshots.len()));
                return vec![self.run()];
            }
            Request::Compare(Some(pair)) if pair.epoch == self.epoch => return vec![self.compare(pair)],
            Request::Compare(_) | Request::StopCircuits | Request::Answer(_) => return Vec::new(),
        }
        vec![self.tokens()]
    }

    pub fn run(&self) -> Event {
        Event::Run(self.run.clone().map(Arc::new))
    }

    /// Losses fall with the step where a token came before, rise a little on the third token, and stay elsewhere.
    fn compare(&self, pair: Pair) -> Event {
        let open =
            self.run.as_ref().and_then(|run| run.snapshots.get(run.open?)).map(|snapshot| snapshot.step);
        let loss = |at: usize, step: u64| match at {
            at if self.earlier(at).is_some() => 9.0 - step.min(700) as f32 / 100.0,
            3 => 4.0 + step as f32 / 1000.0,
            at => 5.0 + at as f32 / 10.0,
        };
        let change = |at| Change { before: loss(at, pair.before), after: loss(at, open.unwrap_or(0)) };
        let changes = (1..self.tokens.len()).map(change).collect();
        let result = match self.broken_before {
            true => Err(format!("step-{:06}/model.safetensors: it ends\x1b[2J too early", pair.before)),
            false => Ok(Arc::new(Comparison { before: pair.before, after: open, changes })),
        };
        Event::Compared { pair, result }
    }

    /// By induction the third and the fourth head cannot be told apart.
    fn doubts(&self) -> PerHead<Doubt> {
        let all = 0..self.info.layers * self.info.heads;
        let doubt = |flat| {
            let mut doubt = Doubt::default();
            doubt.errors.set(Score::Induction, 0.001 * (flat + 1) as f32);
            let tied = matches!(flat, 3 | 14) && self.info.layers == 2;
            doubt.set_ranks(Score::Induction, tied.then_some(Ranks { low: 3, high: 4 }));
            doubt
        };
        PerHead::new(self.info.heads, all.map(doubt).collect())
    }

    fn look(&self, epoch: u64, look: Look) -> Vec<Event> {
        let query = look.query;
        if self.info.layers == 0 {
            let top = self.candidates(query);
            return vec![Event::Candidates { epoch, query, top, unablated: None }];
        }
        let scores = PerHead::from_fn(self.info.layers, self.info.heads, |head| {
            let row = self.row(head, query);
            let mut scores = HeadScores::default();
            scores.set(Score::Sink, row[0]);
            scores.set(Score::Itself, row[query]);
            scores.set(Score::Previous, query.checked_sub(1).map_or(0.0, |key| row[key]));
            scores.set(Score::Induction, self.earlier(query).map_or(0.0, |key| row[key + 1]));
            scores
        });
        let unablated = (!self.ablated.is_empty()).then(|| {
            let whole = Self { ablated: BTreeSet::new(), ..self.copy() };
            whole.candidates(query)
        });
        vec![
            Event::Head { epoch, view: Arc::new(self.view(look)) },
            Event::AtQuery { epoch, query, scores },
            Event::Candidates { epoch, query, top: self.candidates(query), unablated },
            Event::Explanation { epoch, explanation: Arc::new(self.explain(look)) },
        ]
    }

    fn copy(&self) -> Self {
        Self {
            info: self.info.clone(),
            fail: false,
            sink: self.sink,
            window: self.window,
            broken_before: false,
            run: None,
            vocabulary: self.vocabulary.clone(),
            tokens: self.tokens.clone(),
            prompt: self.prompt,
            epoch: self.epoch,
            ablated: self.ablated.clone(),
        }
    }
}

/// A run of a model with two layers of eight heads, a snapshot every hundred steps: 1.3 and 1.5 begin around step 500,
/// 0.1 attends to the previous token from 400 on. Nothing is logged but at the steps of snapshots.
pub fn run(snapshots: u64) -> RunView {
    let rise = |step: u64, middle: f32, top: f32| top / (1.0 + (-(step as f32 - middle) / 30.0).exp());
    let point = |step: u64| {
        let scores = (0..16).map(|flat| {
            let mut scores = HeadScores::default();
            let quiet = 0.01 + 0.001 * flat as f32;
            let (induction, previous) = match flat {
                11 => (rise(step, 500.0, 0.91), quiet),
                13 => (rise(step, 530.0, 0.55), quiet),
                1 => (quiet, rise(step, 400.0, 0.88)),
                _ => (quiet, quiet),
            };
            scores.set(Score::Induction, induction);
            scores.set(Score::Previous, previous);
            scores
        });
        let icl = Icl { early: 13, late: 125, score: f64::from(-rise(step, 500.0, 0.4)) };
        Measured {
            step,
            scores: PerHead::new(8, scores.collect()),
            gain: Some(rise(step, 500.0, 7.5)),
            held_out: Some(8.0 - rise(step, 600.0, 4.0)),
            icl: Some(icl),
            ..Measured::default()
        }
    };
    let steps = (0..snapshots).map(|number| number * 100);
    let snapshot =
        |step: u64| SnapshotView { step, model: format!("runs/small/step-{step:06}"), problem: None };
    RunView {
        name: "small".into(),
        source: "runs/small".into(),
        snapshots: steps.clone().map(snapshot).collect(),
        open: snapshots.checked_sub(1).map(|last| last as usize),
        points: steps.map(point).collect(),
        logged: true,
        measuring: None,
        troubles: Vec::new(),
    }
}
