//! What is looked at, on every screen: a head, a token, and what goes with them.

use super::App;
use crate::head::Head;

/// What is selected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selection {
    pub head: Head,
    /// Whether a head was chosen by hand; until then it is the first of the ranking.
    pub chosen: bool,
    pub query: usize,
    /// The key cursor, where it was moved off the strongest key.
    pub key: Option<usize>,
    /// The chosen one of the next tokens.
    pub candidate: usize,
}

impl Default for Selection {
    fn default() -> Self {
        Self { head: Head::new(0, 0), chosen: false, query: 0, key: None, candidate: 0 }
    }
}

impl App {
    /// Selects a head by hand.
    pub(crate) fn select_head(&mut self, head: Head) {
        if head != self.selection.head {
            self.selection.key = None;
        }
        self.selection.head = head;
        self.selection.chosen = true;
        self.rooms.rank.cursor = head;
    }

    /// Selects the head that is `heads` further on and `layers` higher, where there is one.
    pub(crate) fn step_head(&mut self, layers: isize, heads: isize) {
        let Some(info) = self.info() else { return };
        let (count, width) = (info.layers * info.heads, info.heads);
        let at = self.selection.head.layer * width + self.selection.head.head;
        let by = layers * width as isize + heads;
        if let Some(to) = at.checked_add_signed(by).filter(|&to| to < count) {
            self.select_head(Head::new(to / width, to % width));
        }
    }

    /// Selects a query token.
    pub(crate) fn select_query(&mut self, query: usize) {
        if query != self.selection.query {
            self.selection.query = query;
            self.selection.key = None;
            self.selection.candidate = 0;
        }
    }
}
