//! What a head does at a token, in words; every number comes from the engine's [`Explanation`].

use ratatui::layout::Rect;

use crate::{
    app::{
        App,
        label::quoted,
        session::{Answer, Shown},
    },
    engine::protocol::{Explanation, ModelInfo, Role},
    ui::{
        canvas::{Canvas, wrap},
        theme::Part,
    },
};

/// Draws the panel into `rect`.
pub fn draw(app: &App, info: &ModelInfo, canvas: &mut Canvas, rect: Rect, focused: bool) {
    if info.layers == 0 {
        canvas.panel(rect, "No head does anything here", focused);
        return;
    }
    let Some(Answer { about, value }) = &app.session.explanation else {
        let title = format!("What {} does here …", app.selection.head);
        canvas.panel(rect, &title, focused);
        return;
    };
    let current = app.session.shown.as_ref().is_some_and(|now| now.epoch == about.epoch);
    let fresh = current && value.head == app.selection.head && value.query == app.selection.query;
    let title = format!("What {} does here{}", value.head, if fresh { "" } else { " …" });
    let inner = canvas.panel(rect, &title, focused);
    let width = usize::from(inner.width);
    let mut row = 0;
    let ablated = app.session.ablated.contains(&value.head);
    let reminder = ablated
        .then(|| format!("{} is ablated: its output is its mean over the prompt; x restores it", value.head));
    // An ablated head writes nothing of its own, so that it makes no difference.
    let second = reminder.map_or_else(|| (what_it_writes(value), Part::Text), |text| (text, Part::Warning));
    for (text, part) in [(where_it_looks(value, about), Part::Text), second] {
        for line in wrap(&text, width) {
            canvas.text(inner, 0, row, &line, part);
            row += 1;
        }
    }
}

/// Where the head looks, and what that token is to the query.
fn where_it_looks(explanation: &Explanation, about: &Shown) -> String {
    let word = |position: usize| about.tokens.get(position).map_or_else(|| "?".to_owned(), quoted);
    let (key, weight) = explanation.strongest;
    let query = word(explanation.query);
    let beside = match explanation.sink {
        Some(share) => format!("; {share:.2} on its sink"),
        None => String::new(),
    };
    let looks = match explanation.role {
        Role::Induction { earlier } => format!(
            "{weight:.2} on {} ({key}), the token after the earlier {} ({earlier}): the induction target",
            word(key),
            word(earlier)
        ),
        Role::Previous => format!("{weight:.2} on {} ({key}), the token just before {query}", word(key)),
        Role::Duplicate => format!("{weight:.2} on the earlier {} ({key}), the same token", word(key)),
        Role::Sink => format!("{weight:.2} on {} ({key}), the first position: an attention sink", word(key)),
        Role::Itself => format!("{weight:.2} on {query} ({key}), the token itself"),
        Role::Other => format!("{weight:.2} on {} ({key}), more than on any other token", word(key)),
    };
    looks + &beside
}

/// What the head writes to the target's logit, and what the prediction is without it.
fn what_it_writes(explanation: &Explanation) -> String {
    let Some(influence) = &explanation.influence else {
        return "the model has no output head: nothing is told of next tokens".to_owned();
    };
    let target = quoted(&influence.target);
    let writes = match influence.attribution {
        Some(logit) => format!("writes {logit:+.1} to the logit of {target}; "),
        None => String::new(),
    };
    format!(
        "{writes}at its mean over the prompt P({target}) {} -> {}",
        probability(influence.probability),
        probability(influence.without)
    )
}

/// Two decimals, or two digits for what they would round to nothing.
fn probability(value: f32) -> String {
    if value >= 0.01 || value == 0.0 { format!("{value:.2}") } else { format!("{value:.1e}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::protocol::{Influence, Token},
        head::Head,
    };

    fn influence(target: &Token) -> Influence {
        Influence { target: target.clone(), attribution: Some(3.08), probability: 0.61, without: 0.000_71 }
    }

    fn explanation(role: Role, key: usize) -> (Explanation, Shown) {
        let tokens: Vec<Token> = ["<bos>", "Doctor", " Gig", " went", "Doctor"]
            .iter()
            .enumerate()
            .map(|(id, text)| Token { id: id as u32 % 4, bytes: text.as_bytes().to_vec() })
            .collect();
        let explanation = Explanation {
            head: Head::new(1, 3),
            query: 4,
            strongest: (key, 0.884),
            sink: None,
            role,
            influence: Some(influence(&tokens[2])),
        };
        (explanation, Shown { epoch: 1, tokens: tokens.into(), prompt: 5, labels: Vec::new() })
    }

    #[test]
    fn every_role_has_its_words_and_numbers() {
        let looks = |role, key| {
            let (explanation, about) = explanation(role, key);
            where_it_looks(&explanation, &about)
        };
        assert_eq!(
            looks(Role::Induction { earlier: 1 }, 2),
            "0.88 on \" Gig\" (2), the token after the earlier \"Doctor\" (1): the induction target"
        );
        assert_eq!(looks(Role::Previous, 3), "0.88 on \" went\" (3), the token just before \"Doctor\"");
        assert_eq!(looks(Role::Duplicate, 1), "0.88 on the earlier \"Doctor\" (1), the same token");
        assert_eq!(looks(Role::Sink, 0), "0.88 on \"<bos>\" (0), the first position: an attention sink");
        assert_eq!(looks(Role::Itself, 4), "0.88 on \"Doctor\" (4), the token itself");
        assert_eq!(looks(Role::Other, 2), "0.88 on \" Gig\" (2), more than on any other token");
        let (with_sink, about) = explanation(Role::Previous, 3);
        let silent = Influence { attribution: None, ..influence(&about.tokens[2]) };
        let with_sink = Explanation { sink: Some(0.073), influence: Some(silent), ..with_sink };
        assert_eq!(
            where_it_looks(&with_sink, &about),
            "0.88 on \" went\" (3), the token just before \"Doctor\"; 0.07 on its sink"
        );
        assert_eq!(what_it_writes(&with_sink), "at its mean over the prompt P(\" Gig\") 0.61 -> 7.1e-4");
        assert_eq!(
            what_it_writes(&explanation(Role::Other, 2).0),
            "writes +3.1 to the logit of \" Gig\"; at its mean over the prompt P(\" Gig\") 0.61 -> 7.1e-4"
        );
        let headless = Explanation { influence: None, ..with_sink };
        assert!(what_it_writes(&headless).contains("no output head"));
    }
}
