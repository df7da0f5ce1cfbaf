//! What each action does: those of the screens in their rooms, the others here.

use super::{
    App, Effect, Stage,
    action::Action,
    editor::Editor,
    global::Action as A,
    motion::Motion,
    overlay::{Help, Overlay, Palette},
    room::Work,
    screens,
};

impl App {
    /// Does `action`, wherever it was asked for.
    pub(super) fn perform(&mut self, action: Action) -> Vec<Effect> {
        match action {
            Action::App(action) => self.global(action),
            Action::Show(screen) if self.takes_over() => {
                self.screen = screen;
                Vec::new()
            }
            Action::Room(action) if self.takes_over() => screens::perform(self, action),
            Action::Show(_) | Action::Room(_) => Vec::new(),
        }
    }

    /// Whether there is a model to do something with; whatever is done with it is done with the head that is shown.
    fn takes_over(&mut self) -> bool {
        let model = self.model().map(|_| self.selection.chosen = true);
        model.map_err(|problem| self.say(problem)).is_ok()
    }

    fn global(&mut self, action: A) -> Vec<Effect> {
        match action {
            A::Answer(yes) => return self.answer(yes),
            A::Tour(by) if self.takes_over() => return self.go_on_tour(by),
            A::Tour(_) => {}
            A::Help => match self.overlays.last() {
                Some(Overlay::Help(_)) => drop(self.overlays.pop()),
                _ => self.overlays.push(Overlay::Help(Help::default())),
            },
            A::Palette => self.overlays.push(Overlay::Palette(Palette::default())),
            A::Back | A::Close => return self.back(action == A::Close),
            A::Quit => return vec![Effect::Quit(0)],
            A::Interrupt => return self.interrupt(false),
            A::Suspend => return vec![Effect::Suspend],
            A::Repaint => return vec![Effect::Repaint],
            A::Scroll(motion) => self.scroll(motion),
            A::Filter => {
                if let Some(Overlay::Help(help)) = self.overlays.last_mut() {
                    (help.scroll, help.typing) = (0, true);
                }
            }
            A::Choose(motion) => self.choose(motion),
            A::Complete => self.complete(),
            A::Accept => return self.accept(),
            A::Newline => self.edit(|line| line.insert("\n")),
            A::Cursor(motion) => self.edit(|line| line.go(motion)),
            A::Backspace => self.edit(Editor::backspace),
            A::Delete => self.edit(Editor::delete),
            A::KillWord => self.edit(Editor::kill_word),
            A::KillToStart => self.edit(Editor::kill_to_start),
            A::KillToEnd => self.edit(Editor::kill_to_end),
        }
        Vec::new()
    }

    /// Leaves the top layer; at the root `q` quits and Esc does nothing.
    fn back(&mut self, quits: bool) -> Vec<Effect> {
        if let Some(Overlay::Help(help)) = self.overlays.last_mut()
            && (help.typing || !help.filter.text().is_empty())
        {
            *help = Help::default();
        } else if self.overlays.pop().is_some() || self.rooms.leave(self.screen) {
        } else if self.tour.is_some() && !quits {
            self.tour = None;
        } else if quits {
            return vec![Effect::Quit(0)];
        }
        Vec::new()
    }

    /// Ctrl-C stops what the engine is at, first what a screen waits for; where nothing runs, the second in a row quits,
    /// and before the model is open the first.
    pub(super) fn interrupt(&mut self, armed: bool) -> Vec<Effect> {
        for work in [Work::Shown, Work::Behind] {
            if let Some(effects) = screens::stop(self, work) {
                return effects;
            }
        }
        if armed || matches!(self.stage, Stage::Loading(_)) {
            return vec![Effect::Quit(130)];
        }
        self.quit_armed = true;
        self.say("press Ctrl-c again to quit".into());
        Vec::new()
    }

    fn scroll(&mut self, motion: Motion) {
        let (page, last) = (self.layout.page.max(1), self.layout.scroll);
        if let Some(Overlay::Help(help)) = self.overlays.last_mut() {
            help.scroll = motion.lead(help.scroll, last, page);
        }
    }

    /// Chooses another row of the palette, around its end.
    fn choose(&mut self, motion: Motion) {
        let Some(Overlay::Palette(palette)) = self.overlays.last() else { return };
        let last = self.choices(palette.line.text()).len().saturating_sub(1);
        let selected = match motion.is_back() {
            true => palette.selected.checked_sub(1).unwrap_or(last),
            false if palette.selected >= last => 0,
            false => palette.selected + 1,
        };
        if let Some(Overlay::Palette(palette)) = self.overlays.last_mut() {
            palette.selected = selected;
        }
    }

    /// Completes the name of the row that is chosen in the palette.
    fn complete(&mut self) {
        let Some(Overlay::Palette(palette)) = self.overlays.last() else { return };
        let choice = self.choices(palette.line.text()).get(palette.selected).copied();
        self.edit(|line| {
            if let Some(choice) = choice {
                *line = Editor::new(format!("{} ", choice.name()));
            }
        });
    }

    /// Changes what is being typed; the list of the palette begins at the top again.
    fn edit(&mut self, edit: impl FnOnce(&mut Editor)) {
        if let Some(Overlay::Palette(palette)) = self.overlays.last_mut() {
            palette.selected = 0;
        }
        if let Some(line) = self.editor() {
            edit(line);
        }
    }

    /// Enter in a text field.
    fn accept(&mut self) -> Vec<Effect> {
        match self.overlays.pop() {
            Some(Overlay::Help(help)) => self.overlays.push(Overlay::Help(Help { typing: false, ..help })),
            Some(Overlay::Palette(palette)) => {
                return self.run_command(palette.line.text(), palette.selected);
            }
            Some(Overlay::Field(field)) => match screens::accept(self, field.screen, field.line.text()) {
                Ok(effects) => return effects,
                Err(problem) => {
                    self.ask(field);
                    self.complain(problem);
                }
            },
            None => {}
        }
        Vec::new()
    }
}
