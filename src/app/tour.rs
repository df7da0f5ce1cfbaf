//! The paper tour: stops that each put a model, a prompt and a screen in front of the reader, who may touch everything.

use super::{
    App, Effect, key::Key, screen::Screen, screens::explore::Explore, selection::Selection, table::Command,
};
use crate::engine::protocol::PromptInput;

/// A stop of the tour.
#[derive(Debug)]
pub struct Stop {
    /// A few words.
    pub title: &'static str,
    /// What is to be seen, in a few sentences; figures are left to the screen, which computes them.
    pub text: &'static str,
    /// The shipped model that is opened.
    pub model: &'static str,
    /// The prompt that is run.
    pub prompt: &'static str,
    /// Keys that are typed then, to show what the text is about.
    pub keys: &'static str,
}

/// The stops, in the order of the two papers.
pub const STOPS: &[Stop] = &[
    Stop {
        title: "No layers: a table of bigrams",
        text: "A model without attention sees one token at a time. All it can learn is which token follows which: the table W_U W_E, with a row for each token. Below is the row of the prompt's last token; / looks up another. The rest of the prompt has no say: 1 shows it, and the arrow keys step through it.",
        model: "bigram",
        prompt: "Doctor Smith went to the store because Doctor",
        keys: ":view<Space>bigram<Enter>",
    },
    Stop {
        title: "One layer: it remembers",
        text: "In the text of this model every Doctor had one name throughout. Asked who the second Doctor is, it says a name that it remembers, whatever the prompt says: press i and write another. Its one layer of attention looks back, but at tokens, not at what came before them. On repeats no head scores above chance.",
        model: "attn-1l",
        prompt: "Doctor Smith went to the store because Doctor",
        keys: "",
    },
    Stop {
        title: "Copying is in the weights",
        text: "A head moves W_V W_O of the tokens it attends to. Followed from embedding to logits, W_U W_OV W_E says what each token makes more likely. Eigenvalues on the positive axis mean: itself. Several heads of this model copy, as most heads of the paper's one-layer models do.",
        model: "attn-1l",
        prompt: "Doctor Smith went to the store because Doctor",
        keys: ":head<Space>0.0<Enter>:view<Space>copying<Enter>",
    },
    Stop {
        title: "Skip-trigrams, and their bug",
        text: "What one layer can say is skip-trigrams, source ... destination -> out: here for the source \" said\" (i takes another). Where to look (QK) and what to copy (OV) are learnt apart, so a head that makes X say a and Y say b makes X say b and Y say a as well: the bugs below the list.",
        model: "attn-1l",
        prompt: "Doctor Smith went to the store because Doctor",
        keys: ":head<Space>0.2<Enter>:view<Space>skip-trigrams<Enter>si<Space>said<Enter>",
    },
    Stop {
        title: "Two layers: the token before",
        text: "The second layer reads what the first has written. This head of layer 0 attends to the token before, whatever it is: the stripe beside the diagonal. It writes into each token which token came before it, for the heads of layer 1 to read. The grid shows how much each head does so.",
        model: "attn-2l",
        prompt: "Doctor Gigamuru went to the store because Doctor",
        keys: ":head<Space>0.3<Enter>:score<Space>previous<Enter>",
    },
    Stop {
        title: "The induction head",
        text: "Gigamuru is made up, and the model finds it all the same: this head looks for a token that \" Doctor\" came before, finds the start of the name, and copies it. i takes a name of your own, and another title; Captain or Lady work best. n lets it write.",
        model: "attn-2l",
        prompt: "Doctor Gigamuru went to the store because Doctor",
        keys: "",
    },
    Stop {
        title: "Take a head away",
        text: "An ablated head writes its mean instead of what it sees. Here the head of layer 0 that looks at the token before is ablated: without it no head of layer 1 finds the name, and the prediction under Next token falls from what it was. x brings the head back.",
        model: "attn-2l",
        prompt: "Doctor Gigamuru went to the store because Doctor",
        keys: ":head<Space>0.3<Enter>x",
    },
    Stop {
        title: "How two heads talk: composition",
        text: "Heads of different layers share no weights; they meet in the residual stream. K-composition measures how much of what a head of layer 0 writes is read by the keys of a head of layer 1, above what random matrices would give. The strongest edges lead from the one head to the induction heads.",
        model: "attn-2l",
        prompt: "Doctor Gigamuru went to the store because Doctor",
        keys: ":view<Space>composition<Enter>",
    },
    Stop {
        title: "The moment it appears",
        text: "The same model while it was trained. For a long time nothing happens; then, within two hundred steps, the previous-token head (s shows that score) and the induction heads form together, and the gain from a repeat rises with them. The program finds the window. ← steps through the snapshots, Enter opens one.",
        model: "attn-2l",
        prompt: "Doctor Gigamuru went to the store because Doctor",
        keys: "5",
    },
    Stop {
        title: "Before the change",
        text: "Just before the change, and twelve words of which seven come again: which comes next? > opens the next snapshot with prompt and head kept, < the one before. Press > up to step 2200, watch the stripe form and \" book\" come up. Names in text it copies later, once it is shown text.",
        model: "attn-2l@step1800",
        prompt: " letter sister table door party evening house book window morning mother friend letter sister table door party evening house",
        keys: ":head<Space>1.1<Enter>",
    },
    Stop {
        title: "One layer is enough, with a smear",
        text: "The 2022 paper's test of the explanation: if induction needs a key that knows the token before it, give one layer just that, by letting each head mix every key with the one before. And one layer does it: no second layer, no previous-token head.",
        model: "attn-1l-smeared",
        prompt: "Doctor Gigamuru went to the store because Doctor",
        keys: "",
    },
    Stop {
        title: "Your own model",
        text: "The same heads are found in full-size models: attnscope org/name opens one from the Hugging Face Hub, attnscope ./folder one of yours, attnscope timeline ./run follows its training, attnscope rank prints this table for a script. ? lists the keys, Esc leaves the tour.",
        model: "attn-2l",
        prompt: "Doctor Gigamuru went to the store because Doctor",
        keys: "2",
    },
];

/// `:tour`.
pub(super) const TOUR: Command = Command {
    name: "tour",
    argument: "STOP",
    help: "walk through the papers' models, from the first stop or another; they take this one's place",
    run: |app, stop| {
        app.model()?;
        let last = STOPS.len();
        let at = if stop.is_empty() { Some(1) } else { stop.parse().ok() };
        let at = at.filter(|at| (1..=last).contains(at));
        let at = at.ok_or_else(|| format!("no stop `{stop}`: they go from 1 to {last}"))?;
        Ok(app.visit(at - 1))
    },
};

/// Where the tour is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tour {
    /// The stop, from 0.
    pub at: usize,
    /// Its keys have been typed.
    arranged: bool,
}

impl Tour {
    /// The tour at a stop that is still to be arranged.
    pub fn at(at: usize) -> Self {
        Self { at, arranged: false }
    }

    /// The stop.
    pub fn stop(&self) -> &'static Stop {
        &STOPS[self.at.min(STOPS.len() - 1)]
    }
}

impl App {
    /// Goes `by` stops on, while a tour is on.
    pub(super) fn go_on_tour(&mut self, by: isize) -> Vec<Effect> {
        let Some(tour) = self.tour else {
            self.say(
                "no tour is on: `:tour` walks through the papers' models, in the place of this one".into(),
            );
            return Vec::new();
        };
        let Some(to) = tour.at.checked_add_signed(by).filter(|&to| to < STOPS.len()) else {
            self.say(
                if by < 0 { "this is the first stop" } else { "this was the last stop: Esc leaves the tour" }
                    .into(),
            );
            return Vec::new();
        };
        self.visit(to)
    }

    /// Opens the model of a stop where it is another, and runs its prompt; the rest follows when that is done.
    fn visit(&mut self, at: usize) -> Vec<Effect> {
        let tour = Tour::at(at);
        let stop = tour.stop();
        self.tour = Some(tour);
        self.overlays.clear();
        self.screen = Screen::Explore;
        self.selection = Selection::default();
        self.rooms.explore = Explore::default();
        self.session.ablated.clear();
        let prompt = PromptInput::Text(stop.prompt.to_owned());
        self.options.prompt = Some(prompt.clone());
        if !self.opening && self.is_open(stop.model) {
            return self.run_prompt(prompt);
        }
        // The prompt of the stop, not the one on the screen, is to be run on it.
        self.session.input = None;
        self.open(stop.model.to_owned())
    }

    /// Types the keys of a stop whose prompt has been run.
    pub(super) fn arrange_stop(&mut self) -> Vec<Effect> {
        let Some(tour) = self.tour.filter(|tour| !tour.arranged) else { return Vec::new() };
        if !self.is_open(tour.stop().model) {
            return Vec::new();
        }
        self.tour = Some(Tour { arranged: true, ..tour });
        let keys = Key::sequence(tour.stop().keys).unwrap_or_default();
        self.selection.query = self.session.len().saturating_sub(1);
        keys.into_iter().flat_map(|key| self.key(key)).collect()
    }

    /// Whether the shipped model `name` is open.
    fn is_open(&self, name: &str) -> bool {
        self.info().is_some_and(|info| info.name == name && info.source == "embedded")
    }
}
