//! What stands behind the last layer of models that were trained to tell something else than the next token: a head that is no
//! unembedding, beside one or in its place, or nothing at all.
//!
//! The decoder before it is a model like any other. Where files hold no unembedding, transformers makes one of random numbers
//! unless the embedding is tied to it; here such a model tells no next tokens.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::{
    checkpoint::weights::Weights,
    model::slot::{Part, Plan, Slot},
    text::{excerpt, list},
};

/// Modules of other heads: those of transformers' classes, of trl and of OpenRLHF.
const HEADS: [(&str, &str); 8] = [
    ("score", "classification or reward head"),
    ("classifier", "classification head"),
    ("qa_outputs", "question-answering head"),
    ("multiple_choice_head", "multiple-choice head"),
    ("v_head", "value head"),
    ("value_head", "value head"),
    ("reward_head", "reward head"),
    ("regression_head", "regression head"),
];

/// What is in the names of classes that have an unembedding.
const CAUSAL: [&str; 4] = ["ForCausalLM", "LMHeadModel", "DoubleHeadsModel", "ForConditionalGeneration"];

const UNEMBEDDING: Slot = Slot::Unembedding(Part::Weight);

/// The weights without those of other heads, and the names of these.
pub fn set_apart(weights: Cow<'_, Weights>) -> (Cow<'_, Weights>, Vec<String>) {
    let apart = weights.iter().map(|tensor| &tensor.name).filter(|name| kind(name).is_some());
    let apart: Vec<String> = apart.cloned().collect();
    if apart.is_empty() {
        return (weights, apart);
    }
    let decoder = weights.filtered(|name| kind(name).is_none().then_some(name));
    (Cow::Owned(decoder), apart)
}

/// What kind of head a tensor is of, where it is of another one.
fn kind(name: &str) -> Option<&'static str> {
    let (module, _) = name.split_once('.')?;
    HEADS.iter().find(|(head, _)| *head == module).map(|(_, kind)| *kind)
}

/// The plan with the unembedding that `weights` have, and what is to be said of a model with the heads `others`, which the
/// configuration `values` describes.
pub fn heed(
    mut plan: Plan,
    weights: &Weights,
    others: &[String],
    values: &Map<String, Value>,
) -> (Plan, Option<String>) {
    let class = values.get("architectures").and_then(|classes| classes.get(0)?.as_str());
    let class = class.filter(|class| !CAUSAL.iter().any(|causal| class.contains(causal)));
    let head = (plan.source)(UNEMBEDDING).map(|source| source.tensor);
    let embedding = (plan.source)(Slot::Embedding).map(|source| source.tensor);
    let is_tied = head.is_none() || head == embedding;
    let missing = head.filter(|head| !is_tied && !weights.contains(head));

    let class = class.map(|class| format!("it is a {}", excerpt(class)));
    let names = list(others.iter().map(|name| format!("`{}`", excerpt(name))), 2);
    let left_out = others.first().and_then(|name| kind(name)).zip(names);
    let left_out = left_out.map(|(kind, names)| format!("its {kind} is left out ({names})"));
    let of_next_tokens = match &missing {
        Some(head) => Some(format!(
            "it has no output head (no `{head}`), so nothing is told of next tokens; patterns are its own"
        )),
        None if class.is_some() && is_tied => {
            Some("next tokens are told by the embedding, which transformers ties to the output head".into())
        }
        None => None,
    };
    plan.spec.logits.missing = missing;
    let parts: Vec<String> = class.into_iter().chain(left_out).chain(of_next_tokens).collect();
    (plan, (!parts.is_empty()).then(|| parts.join("; ")))
}
