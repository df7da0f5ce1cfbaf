//! Circuits that are made up: layer 1 copies and matches, 0.1 writes what 1.3 reads.

use std::sync::Arc;

use attnscope::{
    engine::protocol::{
        Candidate, Event, PromptInput, Token,
        circuits::{
            Ask, Bug, Circuit, Composition, Edge, Eigenvalue, Facts, Kind, News, Point, Role, Spectrum,
            Steps, Terms, Trigram,
        },
    },
    head::{Head, PerHead},
};

use super::Engine;

impl Engine {
    pub fn circuits(&mut self, ask: Ask) -> Vec<Event> {
        let tell = |news| Event::Circuits { ask: ask.clone(), news };
        let working = News::Working(Steps { stage: "eigenvalues", done: 1, total: 2, unit: "layers" });
        let mut events = vec![tell(working)];
        let answer = |facts| {
            let left_out = vec!["biases", "rotation by position"];
            News::Answer(Ok(Arc::new(Circuit { effective: false, left_out, facts })))
        };
        match &ask {
            Ask::Bigram { token } => match self.single(token) {
                Ok(token) => events.push(tell(answer(self.bigram(token)))),
                Err(problem) => events.push(tell(News::Answer(Err(problem)))),
            },
            Ask::Trigrams { token, .. } => {
                let role = token.as_ref().map(|token| token.1);
                let token = token.clone().map(|(input, _)| self.single(&input).unwrap());
                events.push(tell(answer(self.trigrams(token.clone(), role, None))));
                let bugs = (0..5).map(|at| self.bug(at)).collect();
                events.push(tell(answer(self.trigrams(token, role, Some(bugs)))));
            }
            Ask::Copying => events.push(tell(answer(self.copying()))),
            Ask::Positions => events.push(tell(answer(self.positions()))),
            Ask::Composition => events.push(tell(answer(self.composition()))),
            Ask::Corner => events.push(tell(answer(self.corner()))),
            Ask::Terms { query, .. } => {
                let token = self.token(self.tokens[*query]);
                let next = self.tokens.get(query + 1).copied().unwrap_or(2);
                let terms = Terms {
                    uniform: 8.5,
                    losses: vec![6.7, 1.5, 1.2],
                    alone: vec![5.4, 1.6],
                    without: vec![1.55, 5.2],
                };
                events.push(tell(answer(Facts::Terms { token, target: self.token(next), terms })));
            }
        }
        events
    }

    fn single(&mut self, input: &PromptInput) -> Result<Token, String> {
        match input {
            PromptInput::Ids(ids) => Ok(self.token(ids[0])),
            PromptInput::Text(text) if text.trim().contains(' ') => {
                Err(format!("one token is wanted, and these are 2: \"{text}\""))
            }
            PromptInput::Text(text) => {
                let id = self.id(text.as_bytes());
                Ok(self.token(id))
            }
        }
    }

    fn bigram(&self, token: Token) -> Facts {
        let next = |at: u32| {
            let probability = 0.5 / (at + 1) as f32;
            Candidate { token: self.token(at + 1), probability, logit: 9.0 - at as f32 }
        };
        Facts::Bigram { token, next: (0..40).map(next).collect() }
    }

    fn trigrams(&self, token: Option<Token>, role: Option<Role>, bugs: Option<Vec<Bug>>) -> Facts {
        let given = |wanted, id| token.clone().filter(|_| role == Some(wanted)).unwrap_or(self.token(id));
        let row = |at: u32| Trigram {
            source: given(Role::Source, at + 1),
            destination: given(Role::Destination, at + 2),
            attention: 12.0 - at as f32,
            out: given(Role::Out, at + 1),
            logit: 9.0 - at as f32 / 2.0,
        };
        Facts::Trigrams { rows: (0..20).map(row).collect(), token: token.clone(), bugs }
    }

    fn bug(&self, at: u32) -> Bug {
        Bug {
            source: self.token(at + 1),
            destinations: [2, 3].map(|id| self.token(id)),
            outs: [4, 5].map(|id| self.token(id)),
            margin: 5.0 - at as f32,
        }
    }

    fn copying(&self) -> Facts {
        let spectrum = |head: Head| {
            let turn = if head.layer == 0 { 2.0 } else { 0.3 * head.head as f64 / 8.0 };
            let value = |at: usize| {
                let (size, angle) = (100.0 / (at + 1).pow(2) as f64, turn * (at as f64 - 3.5));
                Eigenvalue { re: size * angle.cos(), im: size * angle.sin() }
            };
            Spectrum((0..8).map(value).collect())
        };
        let spectra = PerHead::from_fn(self.info.layers, self.info.heads, spectrum);
        let mut order: Vec<(f64, Head)> =
            spectra.iter().map(|(head, spectrum)| (spectrum.positivity(), head)).collect();
        order.sort_by(|one, other| other.0.total_cmp(&one.0));
        Facts::Copying { spectra, order: order.into_iter().map(|pair| pair.1).collect() }
    }

    fn positions(&self) -> Facts {
        let profile = |head: Head| -> Vec<f32> {
            let peak = head.head + head.layer;
            (0..32usize).map(|back| 0.9 / (1 + back.abs_diff(peak)).pow(2) as f32).collect()
        };
        let peaks = self.all().map(|head| (head, head.head + head.layer, 0.9)).collect();
        let profiles = PerHead::from_fn(self.info.layers, self.info.heads, profile);
        Facts::Positions { profiles, peaks }
    }

    fn composition(&self) -> Facts {
        let score = |kind: Kind, earlier: Head, later: Head| match (kind, earlier.head, later.head) {
            _ if earlier.layer >= later.layer => f32::NAN,
            (Kind::Key, 1, 3) => 0.3,
            (kind, one, other) => 0.05 + 0.01 * ((one * 3 + other * 5 + kind as usize) % 7) as f32,
        };
        let scores = Kind::ALL.map(|kind| {
            let (layers, heads) = (self.info.layers, self.info.heads);
            PerHead::from_fn(layers, heads, |later| {
                PerHead::from_fn(layers, heads, |earlier| score(kind, earlier, later))
            })
        });
        let scores = Composition::new(scores, [0.0625; 3]);
        let edges: [Vec<Edge>; 3] = Kind::ALL.map(|kind| scores.edges(kind, None, 100));
        Facts::Composition { scores, edges }
    }

    fn corner(&self) -> Facts {
        let point = |head: Head| {
            let matching = if head.head < 4 { 0.95 } else { -0.3 + 0.1 * head.head as f64 };
            let copying = if head.head == 7 { f64::NAN } else { 0.9 - 0.05 * head.head as f64 };
            Point { head, through: Head::new(0, 1), matching, copying, trace: 0.5 }
        };
        Facts::Corner { points: self.all().filter(|head| head.layer > 0).map(point).collect() }
    }
}
