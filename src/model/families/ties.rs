//! The two ends of a model whose configuration ties them, as its files have them.
//!
//! transformers ties embedding and unembedding only where the files do not say otherwise: two matrices that differ stay two,
//! and where one of them is missing the other is both.

use crate::{
    checkpoint::weights::Weights,
    model::slot::{Part, Plan, Slot, Source},
};

/// How unembeddings are called that files of tied models may hold too.
const HEADS: [&str; 2] = ["lm_head.weight", "embed_out.weight"];
const UNEMBEDDING: Slot = Slot::Unembedding(Part::Weight);

/// The plan with the ends that `weights` have, and what is to be said where the configuration promises others.
pub fn heed(plan: Plan, weights: &Weights) -> (Plan, Option<String>) {
    let source = &plan.source;
    let Some(embedding) = source(Slot::Embedding).map(|source| source.tensor) else { return (plan, None) };
    let is_tied = source(UNEMBEDDING).is_none_or(|head| head.tensor == embedding);
    let is_head = |name: &str| {
        let mut heads = HEADS.iter().filter(|head| plan.unused.contains(head));
        heads.any(|head| name.strip_suffix(head).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
    };
    let stored = weights.iter().find(|tensor| is_head(&tensor.name)).filter(|_| is_tied);
    let Some(head) = stored else { return (plan, None) };
    match weights.get(&embedding) {
        Err(_) => (with(plan, &[Slot::Embedding, UNEMBEDDING], &head.name), None),
        Ok(embedding) if embedding.equals(head) => (plan, None),
        Ok(_) => {
            let remark = format!(
                "the configuration ties the unembedding to the embedding, but `{}` and `{}` differ: each is used as it is \
                 stored",
                head.name.escape_debug(),
                embedding.escape_debug()
            );
            (with(plan, &[UNEMBEDDING], &head.name), Some(remark))
        }
    }
}

/// The plan with a tensor in some slots.
fn with(plan: Plan, slots: &'static [Slot], tensor: &str) -> Plan {
    let (source, own) = (plan.source, Source::whole(tensor));
    let source = move |slot| if slots.contains(&slot) { Some(own.clone()) } else { source(slot) };
    Plan { source: Box::new(source), ..plan }
}
