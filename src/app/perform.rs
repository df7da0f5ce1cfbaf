//! What each action does.

use super::{
    App, Direction, Effect, Focus, Screen, Source, Stage,
    action::Action,
    command::parse_ids,
    editor::Editor,
    overlay::{Help, Overlay, Palette},
    ranking::Column,
    session::Change,
};
use crate::{
    analysis::score::Score,
    engine::protocol::{Bos, Pool, PromptInput, Request},
    head::Head,
};

/// Tokens that a page key moves by.
const PAGE: isize = 16;

const PANELS: [Focus; 5] = [Focus::Heads, Focus::Pattern, Focus::Prompt, Focus::Next, Focus::Sentence];

impl App {
    /// Does `action`, wherever it was asked for.
    pub(crate) fn perform(&mut self, action: Action) -> Vec<Effect> {
        use Action as A;
        match action {
            A::Help | A::Palette | A::Back | A::Close | A::Quit | A::Interrupt | A::Suspend | A::Repaint => {
                self.global(action)
            }
            A::HelpDown
            | A::HelpUp
            | A::HelpPageDown
            | A::HelpPageUp
            | A::HelpTop
            | A::HelpBottom
            | A::HelpFilter => {
                self.in_help(action);
                Vec::new()
            }
            A::PaletteDown
            | A::PaletteUp
            | A::Complete
            | A::Accept
            | A::Newline
            | A::CursorLeft
            | A::CursorRight
            | A::CursorHome
            | A::CursorEnd
            | A::Backspace
            | A::Delete
            | A::KillWord
            | A::KillToStart
            | A::KillToEnd => self.edit(action),
            A::AnswerYes | A::AnswerNo => self.answer(action == A::AnswerYes),
            _ if !matches!(self.stage, Stage::Open(_)) => {
                self.say("the model is not open yet".into());
                Vec::new()
            }
            _ => {
                // Whatever is done with the model is done with the head that is shown.
                self.explore.chosen = true;
                self.on_model(action)
            }
        }
    }

    fn global(&mut self, action: Action) -> Vec<Effect> {
        match action {
            Action::Help => match self.overlays.last() {
                Some(Overlay::Help(_)) => drop(self.overlays.pop()),
                _ => self.overlays.push(Overlay::Help(Help::default())),
            },
            Action::Palette => self.overlays.push(Overlay::Palette(Palette::default())),
            Action::Back | Action::Close => return self.back(action == Action::Close),
            Action::Quit => return vec![Effect::Quit(0)],
            Action::Interrupt => return self.interrupt(false),
            Action::Suspend => return vec![Effect::Suspend],
            _ => return vec![Effect::Repaint],
        }
        Vec::new()
    }

    /// Leaves the top layer; at the root `q` quits and Esc does nothing.
    fn back(&mut self, quits: bool) -> Vec<Effect> {
        if let Some(Overlay::Help(help)) = self.overlays.last_mut()
            && (help.typing || !help.filter.text().is_empty())
        {
            *help = Help::default();
        } else if self.overlays.pop().is_some() {
        } else if self.explore.zoom && self.screen == Screen::Explore {
            self.explore.zoom = false;
        } else if self.tour.is_some() && !quits {
            self.tour = None;
        } else if quits {
            return vec![Effect::Quit(0)];
        }
        Vec::new()
    }

    fn in_help(&mut self, action: Action) {
        let (page, last) = (self.layout.page.max(1), self.layout.scroll);
        let Some(Overlay::Help(help)) = self.overlays.last_mut() else { return };
        help.scroll = match action {
            Action::HelpDown => (help.scroll + 1).min(last),
            Action::HelpUp => help.scroll.saturating_sub(1),
            Action::HelpPageDown => (help.scroll + page).min(last),
            Action::HelpPageUp => help.scroll.saturating_sub(page),
            Action::HelpBottom => last,
            _ => 0,
        };
        help.typing = action == Action::HelpFilter;
    }

    fn edit(&mut self, action: Action) -> Vec<Effect> {
        if let Some(Overlay::Palette(palette)) = self.overlays.last().cloned() {
            let choices = self.choices(palette.line.text());
            let last = choices.len().saturating_sub(1);
            let selected = match action {
                Action::PaletteDown if palette.selected >= last => 0,
                Action::PaletteDown => palette.selected + 1,
                Action::PaletteUp => palette.selected.checked_sub(1).unwrap_or(last),
                _ => 0,
            };
            let line = match (action, choices.get(palette.selected)) {
                (Action::Complete, Some(choice)) => Editor::new(format!("{} ", choice.name())),
                _ => palette.line,
            };
            if action != Action::Accept {
                self.overlays.pop();
                self.overlays.push(Overlay::Palette(Palette { line, selected }));
            }
        }
        let Some(editor) = self.editor() else { return Vec::new() };
        match action {
            Action::CursorLeft => editor.left(),
            Action::CursorRight => editor.right(),
            Action::CursorHome => editor.home(),
            Action::CursorEnd => editor.end(),
            Action::Backspace => editor.backspace(),
            Action::Delete => editor.delete(),
            Action::KillWord => editor.kill_word(),
            Action::KillToStart => editor.kill_to_start(),
            Action::KillToEnd => editor.kill_to_end(),
            Action::Newline => editor.insert("\n"),
            Action::Accept => return self.accept(),
            _ => {}
        }
        Vec::new()
    }

    /// Enter in a text field.
    fn accept(&mut self) -> Vec<Effect> {
        match self.overlays.pop() {
            Some(Overlay::Help(help)) => {
                self.overlays.push(Overlay::Help(Help { typing: false, ..help }));
                Vec::new()
            }
            Some(Overlay::Palette(palette)) => self.run_command(palette.line.text(), palette.selected),
            Some(Overlay::Prompt(line)) => {
                let ids = matches!(self.session.input, Some(PromptInput::Ids(_)))
                    || self.info().is_some_and(|info| !info.has_tokenizer);
                match if ids { parse_ids(line.text()) } else { Ok(PromptInput::Text(line.text().to_owned())) }
                {
                    Ok(input) => self.run_prompt(input),
                    Err(problem) => {
                        self.overlays.push(Overlay::Prompt(line));
                        self.complain(problem);
                        Vec::new()
                    }
                }
            }
            Some(Overlay::Token(line)) => {
                if let Err(problem) = self.look_up_token(line.text()) {
                    self.overlays.push(Overlay::Token(line));
                    self.complain(problem);
                }
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Actions that need a model.
    fn on_model(&mut self, action: Action) -> Vec<Effect> {
        use Action as A;
        let query = self.explore.query as isize;
        let heads = self.info().map_or(0, |info| info.heads) as isize;
        match action {
            A::PreviousToken => self.move_query(query - 1),
            A::NextToken => self.move_query(query + 1),
            A::BackTokens => self.move_query(query - PAGE),
            A::ForwardTokens => self.move_query(query + PAGE),
            A::FirstToken => self.move_query(0),
            A::LastToken => self.move_query(isize::MAX),
            A::PreviousHead => self.move_head(-1),
            A::NextHead => self.move_head(1),
            A::PreviousLayer => self.move_head(-heads),
            A::NextLayer => self.move_head(heads),
            A::NextInduction => self.by_induction(1),
            A::PreviousInduction => self.by_induction(-1),
            A::KeyLeft => self.move_key(-1),
            A::KeyRight => self.move_key(1),
            A::StrongestKey => self.explore.key = None,
            A::ToggleText => {
                self.explore.text = !self.explore.text;
                self.explore.key = None;
            }
            A::Direction => {
                self.explore.text = true;
                self.explore.key = None;
                self.explore.direction = match self.explore.direction {
                    Direction::AttendsTo => Direction::AttendedBy,
                    Direction::AttendedBy => Direction::AttendsTo,
                };
            }
            A::Pool => {
                self.explore.pool = match self.explore.pool {
                    Pool::Max => Pool::Mean,
                    Pool::Mean => Pool::Max,
                };
            }
            A::Scale => self.explore.sqrt = !self.explore.sqrt,
            A::NextScore | A::PreviousScore if self.screen == Screen::Training => {
                self.next_run_score(if action == A::NextScore { 1 } else { -1 });
            }
            A::NextScore => self.next_score(1),
            A::PreviousScore => self.next_score(-1),
            A::GridSource => {
                self.explore.source = match self.explore.source {
                    Source::Ranking => Source::Token,
                    Source::Token => Source::Ranking,
                };
                if !self.grid_scores().contains(&self.explore.score) {
                    self.explore.score = Score::Induction;
                }
            }
            A::FocusNext => self.move_focus(1),
            A::FocusPrevious => self.move_focus(-1),
            A::Zoom => self.explore.zoom = !self.explore.zoom,
            A::PreviousCandidate => self.explore.candidate = self.explore.candidate.saturating_sub(1),
            A::NextCandidate => {
                let top = self.session.candidates.as_ref().map_or(0, |answer| answer.value.top.len());
                self.explore.candidate = (self.explore.candidate + 1).min(top.saturating_sub(1));
            }
            A::TourNext => return self.go_on_tour(1),
            A::TourPrevious => return self.go_on_tour(-1),
            A::ScreenExplore => self.screen = Screen::Explore,
            A::ScreenRank => self.screen = Screen::Rank,
            A::ScreenCircuits => self.screen = Screen::Circuits,
            A::ScreenTraining => self.screen = Screen::Training,
            A::NextView
            | A::PreviousView
            | A::CircuitsDown
            | A::CircuitsUp
            | A::CircuitsPageDown
            | A::CircuitsPageUp
            | A::CircuitsTop
            | A::CircuitsBottom
            | A::CircuitsOpen
            | A::TypeToken
            | A::SwitchCircuits
            | A::GoOn => return self.on_circuits(action),
            A::RankDown => self.move_cursor(1),
            A::RankUp => self.move_cursor(-1),
            A::RankPageDown => self.move_cursor(self.layout.page as isize),
            A::RankPageUp => self.move_cursor(-(self.layout.page as isize)),
            A::RankTop => self.move_cursor(isize::MIN / 2),
            A::RankBottom => self.move_cursor(isize::MAX / 2),
            A::SortNext => self.ranking.sort = self.ranking.sort.step(1),
            A::SortPrevious => self.ranking.sort = self.ranking.sort.step(-1),
            A::SortReverse => self.ranking.reverse = !self.ranking.reverse,
            A::OpenHead => {
                self.select_head(self.ranking.cursor);
                self.screen = Screen::Explore;
            }
            A::EditPrompt => {
                self.screen = Screen::Explore;
                let text = match self.session.with_generated() {
                    Some(PromptInput::Text(text)) => text,
                    Some(PromptInput::Ids(ids)) => {
                        ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
                    }
                    None => String::new(),
                };
                self.overlays.push(Overlay::Prompt(Editor::new(text)));
            }
            A::SnapshotBack
            | A::SnapshotOn
            | A::FirstSnapshot
            | A::LastSnapshot
            | A::CurveUp
            | A::CurveDown
            | A::MarkBefore
            | A::BeforeAfter
            | A::StepScale
            | A::OpenSnapshot
            | A::EarlierSnapshot
            | A::LaterSnapshot
            | A::MeasureRun => return self.on_run(action),
            A::Rank if self.ranking.is_running() => return vec![Effect::Send(Request::StopRanking)],
            A::Rank => return self.start_ranking(),
            A::Copy => return self.copy(self.copy_one()),
            A::CopyAll => return self.copy(self.copy_all()),
            A::Ablate | A::RestoreAll => self.ablate(action == A::RestoreAll),
            A::Generate => return self.change(Change::Append(None)),
            A::AppendCandidate => return self.append_candidate(),
            A::StepBack => return self.step_back(),
            A::ToggleBos => return self.toggle_bos(),
            _ => {}
        }
        Vec::new()
    }

    pub(crate) fn select_query(&mut self, query: usize) {
        if query != self.explore.query {
            self.explore.query = query;
            self.explore.key = None;
            self.explore.candidate = 0;
        }
    }

    fn move_query(&mut self, to: isize) {
        let last = self.session.len().saturating_sub(1);
        self.select_query(to.max(0).unsigned_abs().min(last));
    }

    pub(crate) fn select_head(&mut self, head: Head) {
        if head != self.explore.head {
            self.explore.key = None;
        }
        self.explore.head = head;
        self.explore.chosen = true;
        self.ranking.cursor = head;
    }

    /// Moves in layer order; a step that leads out of the model is not taken.
    fn move_head(&mut self, by: isize) {
        let Some(info) = self.info() else { return };
        let (layers, heads) = (info.layers, info.heads);
        let at = self.explore.head.layer * heads + self.explore.head.head;
        if let Some(to) = at.checked_add_signed(by).filter(|&to| to < layers * heads) {
            self.select_head(Head::new(to / heads, to % heads));
        }
    }

    fn by_induction(&mut self, by: isize) {
        let Some(info) = self.info() else { return };
        let order = self.ranking.order(info, Column::Score(Score::Induction), false);
        let at = order.iter().position(|&head| head == self.explore.head);
        match at.and_then(|at| at.checked_add_signed(by)).and_then(|to| order.get(to)) {
            Some(&head) => self.select_head(head),
            None if order.is_empty() => self.say("no ranking yet: r starts it".into()),
            None => self.say("no further head in the ranking".into()),
        }
    }

    fn move_key(&mut self, by: isize) {
        let Some((at, _)) = self.under_cursor() else { return };
        let Some(answer) = &self.session.head else { return };
        let query = answer.value.look.query;
        let (first, last) = if self.is_attended_by() {
            (query, answer.value.map.tokens.saturating_sub(1).max(query))
        } else {
            (0, query)
        };
        self.explore.key = Some(at.saturating_add_signed(by).clamp(first, last));
    }

    /// The scores that the grid can show: one row alone has no benchmark stripes.
    pub(crate) fn grid_scores(&self) -> &'static [Score] {
        const TOKEN: &[Score] = &[
            Score::Induction,
            Score::Previous,
            Score::Duplicate,
            Score::Sink,
            Score::Itself,
            Score::Entropy,
        ];
        match self.explore.source {
            Source::Ranking => &Score::ALL,
            Source::Token => TOKEN,
        }
    }

    fn next_score(&mut self, by: isize) {
        let scores = self.grid_scores();
        let at = scores.iter().position(|&score| score == self.explore.score).unwrap_or(0);
        self.explore.score = scores[(at as isize + by).rem_euclid(scores.len() as isize) as usize];
    }

    fn move_focus(&mut self, by: isize) {
        let at = PANELS.iter().position(|&panel| panel == self.explore.focus).unwrap_or(0);
        self.explore.focus = PANELS[(at as isize + by).rem_euclid(PANELS.len() as isize) as usize];
    }

    fn move_cursor(&mut self, by: isize) {
        let Some(info) = self.info() else { return };
        let order = self.ranking.order(info, self.ranking.sort, self.ranking.reverse);
        let at = order.iter().position(|&head| head == self.ranking.cursor).unwrap_or(0);
        let to = (at as isize + by).clamp(0, order.len().saturating_sub(1) as isize);
        if let Some(&head) = order.get(to.unsigned_abs()) {
            self.ranking.cursor = head;
        }
    }

    fn copy(&mut self, text: Option<String>) -> Vec<Effect> {
        match text {
            Some(text) => {
                self.say(format!("copied {} characters", text.chars().count()));
                vec![Effect::Copy(text)]
            }
            None => {
                self.say("nothing to copy yet".into());
                Vec::new()
            }
        }
    }

    fn ablate(&mut self, none: bool) {
        let head = self.explore.head;
        if self.info().is_none_or(|info| info.layers == 0) {
            return;
        }
        if none {
            self.session.ablated.clear();
        } else if !self.session.ablated.remove(&head) {
            self.session.ablated.insert(head);
        }
    }

    fn change(&mut self, change: Change) -> Vec<Effect> {
        self.session.change(change).map(Effect::Send).into_iter().collect()
    }

    fn append_candidate(&mut self) -> Vec<Effect> {
        let Some(answer) = &self.session.candidates else { return Vec::new() };
        let chosen = answer.value.top.get(self.explore.candidate).map(|candidate| candidate.token.id);
        if !self.session.is_current(answer) || answer.value.query != self.explore.query {
            return Vec::new();
        }
        if answer.value.query + 1 != self.session.len() {
            self.say("a choice can be appended at the last token: $ goes there".into());
            return Vec::new();
        }
        chosen.map_or_else(Vec::new, |id| self.change(Change::Append(Some(id))))
    }

    fn step_back(&mut self) -> Vec<Effect> {
        let generated = self.session.run.as_ref().is_some_and(|run| run.tokens.len() > run.prompt);
        if !generated && !self.session.is_running() {
            self.say("no generated token to take back".into());
            return Vec::new();
        }
        self.change(Change::StepBack)
    }

    fn toggle_bos(&mut self) -> Vec<Effect> {
        let Some(info) = self.info().cloned() else { return Vec::new() };
        let (Some(bos), Some(PromptInput::Text(text))) = (info.bos, self.session.with_generated()) else {
            let problem = if info.bos.is_none() {
                "the vocabulary has no BOS token"
            } else {
                "ids are taken exactly as given"
            };
            self.say(problem.into());
            return Vec::new();
        };
        let first = self.session.run.as_ref().and_then(|run| run.tokens.first()).map(|token| token.id);
        self.session.bos = if first == Some(bos) { Bos::Off } else { Bos::On };
        self.run_prompt(PromptInput::Text(text))
    }
}
