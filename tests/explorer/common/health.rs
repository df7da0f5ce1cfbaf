//! A made-up check of a model: what it finds comes in three parts.

use std::{collections::BTreeSet, sync::Arc};

use attnscope::{
    analysis::check::{Finding, Verdict},
    engine::protocol::{CheckView, Event},
};

fn findings() -> Vec<Finding> {
    let odd =
        "model.layers.0.mlp.up_proj.weight has 3 numbers that are not finite: it is broken, save it again";
    let base =
        "rope_theta: 10000 reads worse than 100000 by 0.19 ± 0.01 nats; read it with --as rope_theta=100000";
    vec![
        Finding::new("weights.finite", Verdict::Fail, 3.0, "none", odd.into())
            .at("model.layers.0.mlp.up_proj.weight"),
        Finding::new("text.loss", Verdict::Ok, 2.84, "below 6.1", "the loss is 2.84 nats a token".into()),
        Finding::new(
            "inside.uniform",
            Verdict::Note,
            0.5,
            "few",
            "half of the heads look nowhere\x1b[2J".into(),
        )
        .at("layer 0"),
        Finding::new("inside.scores", Verdict::Ok, 59.7, "below 1000", "the largest score is 59.7".into())
            .at("head 1.6"),
        Finding::new("probe.rotary_base", Verdict::Fail, 0.19, "no reading is better", base.into())
            .at("rope_theta"),
    ]
}

fn event(found: &[Finding], doing: Option<(&'static str, usize)>, stopped: bool) -> Event {
    Event::Check(Arc::new(CheckView { found: found.into(), doing, stopped }))
}

/// What the engine answers; the last step finds the gravest.
pub fn check(only: &BTreeSet<&'static str>) -> Vec<Event> {
    let mut found = findings();
    found.retain(|finding| only.contains(finding.check));
    let some = &found[..found.len() - 1];
    vec![
        event(&[], Some(("looking through the weights", 0)), false),
        event(some, Some(("trying other readings", 40)), false),
        event(&found, None, false),
    ]
}

/// The answer to a stop after the first two findings.
pub fn stopped() -> Event {
    event(&findings()[..2], Some(("looking inside", 30)), true)
}

/// The answer at the end.
pub fn checked() -> Event {
    event(&findings(), None, false)
}

/// The answer while it still goes on.
pub fn growing() -> Event {
    event(&findings()[..4], Some(("trying other readings", 40)), false)
}
