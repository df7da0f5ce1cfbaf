//! Commands that are typed with an argument: `:head 5.3`, `:token 12`.

use super::{
    App, Effect, Screen, THEMES, action::Action, circuits::View, ranking::Column, session::Change,
    tour::STOPS,
};
use crate::{analysis::score::Score, engine::protocol::PromptInput, head::Head};

/// Name, argument and meaning of every command.
pub(crate) const COMMANDS: [(&str, &str, &str); 10] = [
    ("open", "MODEL", "open another model: a path, a name of the hub or of a shipped one; the prompt stays"),
    ("head", "L.H", "show a head, such as 5.3"),
    ("token", "N", "query the token at a position"),
    ("prompt", "TEXT", "run another prompt"),
    ("ids", "1,2,3", "run a prompt given as token ids, taken exactly as they are"),
    ("score", "NAME", "colour the grid by a score"),
    ("sort", "COLUMN", "sort the ranking by a column"),
    (
        "view",
        "NAME",
        "a view of the circuits: bigram, skip-trigrams, copying, positions, composition, corner, terms",
    ),
    (
        "tour",
        "STOP",
        "walk through the papers' models, from the first stop or another; they take this one's place",
    ),
    ("theme", "NAME", "default-dark, default-light, high-contrast or mono"),
];

impl App {
    /// Runs what was typed into the palette: a command, an action's name, or else the row that was chosen.
    pub(crate) fn run_command(&mut self, typed: &str, selected: usize) -> Vec<Effect> {
        let typed = typed.trim_start();
        let (name, argument) = typed.split_once(char::is_whitespace).unwrap_or((typed, ""));
        let choices = self.choices(typed);
        let chosen = choices.get(selected).or(choices.first()).map(|choice| choice.name());
        let name = if COMMANDS.iter().any(|command| command.0 == name) { Some(name) } else { chosen };
        let Some(name) = name else {
            self.complain(format!("`{typed}` is no command; ? lists them"));
            return Vec::new();
        };
        match Action::from_name(name) {
            Some(action) => self.perform(action),
            None => self.command(name, argument.trim()).unwrap_or_else(|problem| {
                self.complain(problem);
                Vec::new()
            }),
        }
    }

    fn command(&mut self, name: &str, argument: &str) -> Result<Vec<Effect>, String> {
        if name == "theme" {
            let theme = THEMES.into_iter().find(|&theme| theme == argument);
            let theme = theme.ok_or_else(|| format!("no theme `{argument}`: {}", THEMES.join(", ")))?;
            return Ok(vec![Effect::Theme(theme)]);
        }
        let Some(info) = self.info().cloned() else { return Err("the model is not open yet".into()) };
        match name {
            "open" if argument.is_empty() => return Err("open what? a path or a name goes after it".into()),
            "open" => return Ok(self.open(Some(argument.to_owned()))),
            "head" => {
                if info.layers == 0 {
                    return Err("a model without layers has no heads".into());
                }
                let head: Head = argument.parse().map_err(|problem| format!("{problem:#}"))?;
                if head.layer >= info.layers || head.head >= info.heads {
                    let last = Head::new(info.layers.saturating_sub(1), info.heads.saturating_sub(1));
                    return Err(format!("no head {head}: they go from 0.0 to {last}"));
                }
                self.select_head(head);
                self.screen = Screen::Explore;
            }
            "token" => {
                let last = self.session.len().saturating_sub(1);
                let position = argument.parse().ok().filter(|&position| position <= last);
                let position =
                    position.ok_or_else(|| format!("no token `{argument}`: they go from 0 to {last}"))?;
                self.select_query(position);
                self.screen = Screen::Explore;
            }
            "prompt" | "ids" => {
                if argument.is_empty() {
                    return Ok(self.perform(Action::EditPrompt));
                }
                let ids = name == "ids" || !info.has_tokenizer;
                let input = if ids { parse_ids(argument)? } else { PromptInput::Text(argument.to_owned()) };
                self.screen = Screen::Explore;
                return Ok(self.run_prompt(input));
            }
            "score" => {
                let score = Score::from_name(argument).ok_or_else(|| {
                    let names = Score::ALL.map(Score::name).join(", ");
                    format!("no score `{argument}`: {names}")
                })?;
                self.explore.score = score;
                if !self.grid_scores().contains(&score) {
                    self.explore.source = super::Source::Ranking;
                }
            }
            "sort" => {
                let column = Column::all().find(|column| column.name() == argument);
                self.ranking.sort = column.ok_or_else(|| {
                    let names: Vec<&str> = Column::all().map(Column::name).collect();
                    format!("no column `{argument}`: {}", names.join(", "))
                })?;
                self.screen = Screen::Rank;
            }
            "tour" => {
                let last = STOPS.len();
                let stop = if argument.is_empty() { Some(1) } else { argument.parse().ok() };
                let stop = stop.filter(|stop| (1..=last).contains(stop));
                let stop = stop.ok_or_else(|| format!("no stop `{argument}`: they go from 1 to {last}"))?;
                return Ok(self.visit(stop - 1));
            }
            "view" => {
                let view = View::ALL.into_iter().find(|view| view.name().eq_ignore_ascii_case(argument));
                self.circuits.view = view.ok_or_else(|| {
                    let names = View::ALL.map(View::name).join(", ");
                    format!("no view `{argument}`: {names}")
                })?;
                self.screen = Screen::Circuits;
            }
            _ => return Err(format!("`{name}` is no command")),
        }
        Ok(Vec::new())
    }

    pub(crate) fn run_prompt(&mut self, input: PromptInput) -> Vec<Effect> {
        self.session.change(Change::Prompt(input)).map(Effect::Send).into_iter().collect()
    }

    pub(crate) fn complain(&mut self, text: String) {
        self.message = Some(super::Message { text, error: true });
    }
}

/// Reads token ids that commas or spaces separate.
pub(crate) fn parse_ids(text: &str) -> Result<PromptInput, String> {
    let parts = text.split([',', ' ', '\n', '\t']).filter(|part| !part.is_empty());
    let ids: Result<Vec<u32>, String> =
        parts.map(|part| part.parse().map_err(|_| format!("`{part}` is no token id"))).collect();
    match ids? {
        ids if ids.is_empty() => Err("no token ids: write numbers such as 5, 17, 5".into()),
        ids => Ok(PromptInput::Ids(ids)),
    }
}
