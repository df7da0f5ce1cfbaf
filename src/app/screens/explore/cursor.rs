//! The cursors on the Explore screen: the key whose value is shown, and the place in the ranking.

use crate::{
    analysis::score::Score,
    app::{App, screens::rank::Column},
};

/// The key cursor and the attention there: `(position, A)`.
pub(crate) fn under_cursor(app: &App) -> Option<(usize, f32)> {
    let (values, from) = app.rooms.explore.line(&app.session.head.as_ref()?.value);
    let strongest = || values.iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1));
    let at = match app.selection.key {
        Some(key) => key.saturating_sub(from).min(values.len().saturating_sub(1)),
        None => strongest()?.0,
    };
    values.get(at).map(|&value| (at + from, value))
}

pub(super) fn move_key(app: &mut App, by: isize) {
    let Some((at, _)) = under_cursor(app) else { return };
    let Some(answer) = &app.session.head else { return };
    let query = answer.value.look.query;
    let (first, last) = if app.rooms.explore.is_attended_by() {
        (query, answer.value.map.tokens.saturating_sub(1).max(query))
    } else {
        (0, query)
    };
    app.selection.key = Some(at.saturating_add_signed(by).clamp(first, last));
}

/// Selects a head further down or up the ranking by induction score.
pub(super) fn step_induction(app: &mut App, by: isize) {
    let order = app.rooms.rank.ranking.order(Column::Score(Score::Induction), false);
    let at = order.iter().position(|&head| head == app.selection.head);
    match at.and_then(|at| at.checked_add_signed(by)).and_then(|to| order.get(to)) {
        Some(&head) => app.select_head(head),
        None if order.is_empty() => app.say("no ranking yet: r starts it".into()),
        None => app.say("no further head in the ranking".into()),
    }
}
