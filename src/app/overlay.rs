//! What lies over a screen: the help, the palette, a field that a screen asks for text with.

use super::{App, editor::Editor, screen::Screen};

/// A layer over the screen; the last one has the keys.
#[derive(Clone, Debug)]
pub(crate) enum Overlay {
    Help(Help),
    Palette(Palette),
    Field(Field),
}

/// The help.
#[derive(Clone, Debug, Default)]
pub(crate) struct Help {
    pub filter: Editor,
    /// The filter is being typed.
    pub typing: bool,
    pub scroll: usize,
}

/// The command palette.
#[derive(Clone, Debug, Default)]
pub(crate) struct Palette {
    pub line: Editor,
    pub selected: usize,
}

/// Text that a screen asks for.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// The screen, which takes it in the end.
    pub screen: Screen,
    pub line: Editor,
    /// Pasted text keeps its line breaks.
    pub lines: bool,
}

impl Field {
    /// A field of one line that holds `text`.
    pub fn new(screen: Screen, text: String) -> Self {
        Self { screen, line: Editor::new(text), lines: false }
    }
}

impl App {
    /// Puts up a field.
    pub(crate) fn ask(&mut self, field: Field) {
        self.overlays.push(Overlay::Field(field));
    }

    /// The text field that keys are typed into, if one is in front.
    pub(super) fn editor(&mut self) -> Option<&mut Editor> {
        match self.overlays.last_mut()? {
            Overlay::Help(help) => help.typing.then_some(&mut help.filter),
            Overlay::Palette(palette) => Some(&mut palette.line),
            Overlay::Field(field) => Some(&mut field.line),
        }
    }

    /// Pastes text into it.
    pub(super) fn paste(&mut self, text: &str) {
        let lines = matches!(self.overlays.last(), Some(Overlay::Field(field)) if field.lines);
        let text = if lines { text.to_owned() } else { text.replace(['\n', '\r'], " ") };
        match self.editor() {
            Some(editor) => {
                editor.insert(&text);
                self.typed();
            }
            None => self.say("pasted text goes into a prompt: i edits it".into()),
        }
    }

    /// The text of a filter or of the palette has changed: its list begins at the top again.
    pub(super) fn typed(&mut self) {
        match self.overlays.last_mut() {
            Some(Overlay::Help(help)) => help.scroll = 0,
            Some(Overlay::Palette(palette)) => palette.selected = 0,
            _ => {}
        }
    }
}
