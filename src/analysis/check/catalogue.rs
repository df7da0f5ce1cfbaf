//! Every check by its stable name: what it asks, from where on it complains and why there.

use std::collections::BTreeSet;

use crate::text::nearest;

/// A check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its stable name.
    pub id: &'static str,
    /// The quantity.
    pub definition: &'static str,
    /// From where on it complains, and where that comes from.
    pub threshold: &'static str,
    /// What sound models show.
    pub sound: &'static str,
}

const fn check(
    id: &'static str,
    definition: &'static str,
    threshold: &'static str,
    sound: &'static str,
) -> Check {
    Check { id, definition, threshold, sound }
}

/// Every check, in the order in which they are made.
pub const ALL: &[Check] = &[
    check("weights.finite", "NaN and infinite numbers in each tensor as stored.", "fail: any.", "None."),
    check(
        "weights.zero",
        "Tensors that are zero throughout.",
        "fail: a matrix, where half of the layers have numbers of their own there; warn: in most layers, or a bias that others \
         have. Notes in a model that is untrained, as its outputs may begin at zero.",
        "None in trained models; biases that nothing trains stay at zero in all layers, which is not told.",
    ),
    check(
        "weights.zero_rows",
        "The share of a matrix's rows that are zero throughout, against the same matrix in other layers.",
        "fail: 5% more than in most, as a save leaves it that did not gather every shard.",
        "0.",
    ),
    check(
        "weights.constant",
        "Tensors, but for gains of one, that hold one number throughout.",
        "fail: a matrix; warn: gains.",
        "None.",
    ),
    check(
        "weights.norm_gain",
        "Gains of normalisations that are exactly one (or, where the family stores what differs from one, zero) throughout.",
        "fail: in one layer, where most others have gains of their own; note: in most.",
        "None in trained models. In bf16 a gain of 1 moves by steps of 1/128, and stays where updates are smaller.",
    ),
    check(
        "weights.scale",
        "The root mean square of a tensor against the same tensor of other layers, in logarithms: the nearer of the two layers \
         beside it, and the median of all in robust deviations.",
        "warn: 4 times as large or small as both neighbours and 6 deviations off; fail: 20 times.",
        "First and last layers differ from the others, by up to 5 times; for them half the distance from the median counts.",
    ),
    check(
        "weights.repeated",
        "Layers whose matrices are the same, or all but the same (cosine of 256 samples above 0.98).",
        "warn: whole layers; fail: single matrices.",
        "Some merges stack layers twice on purpose.",
    ),
    check(
        "weights.channels",
        "For each MLP the correlation between the sizes of its hidden channels on the way in and on the way out, in logarithms: \
         weight decay makes the two alike.",
        "fail: below 0.2, where most layers have 0.5 more.",
        "SmolLM2-135M: 0.43 to 0.95.",
    ),
    check(
        "weights.range",
        "The largest weight by size.",
        "note: above 65,504, the largest number of f16.",
        "SmolLM2-135M 9.3, the shipped models below 3.",
    ),
    check(
        "config.remark",
        "What is to be said of how the checkpoint was read, such as ties of two matrices that differ.",
        "note: any, with what was done about it.",
        "None in most.",
    ),
    check(
        "vocabulary.size",
        "Tokens of the tokenizer against rows of the embedding.",
        "fail: plain text has tokens without a row; warn: some token has none; note: rows without a token.",
        "Vocabularies are padded to round numbers.",
    ),
    check(
        "vocabulary.rows",
        "Rows of the embedding that lie at less than half the median distance from their mean, or are there more than once.",
        "warn: of BOS, or of a token of the texts; note: others.",
        "None in the shipped models; SmolLM2-135M has 15, tokens for code that share a row. Many vocabularies keep tokens for later.",
    ),
    check(
        "vocabulary.fit",
        "Whether a model that gains from a repeat of random tokens reads text about as well as how often tokens come tells.",
        "fail: it gains more than a nat from a repeat and its loss on every text is 1.5 nats above the unigram entropy: its tokens are not those of the \
         tokenizer.",
        "Both.",
    ),
    check(
        "text.tokenizer",
        "Bytes a token, tokens that stand for unknown text or parts of characters, and whether the tokens give the text back.",
        "fail: more than 1% unknown; warn: fewer than 2 bytes a token with more than 1,000 tokens; note: not given back.",
        "3 to 5 bytes a token for English.",
    ),
    check(
        "text.loss",
        "The mean loss on a text, nats a token, against ln(vocabulary), a guess among all tokens, and against the entropy of the \
         text's own tokens.",
        "fail: more than a nat above a guess, or no number; note: about a guess, the model is untrained; warn: above the entropy \
         of the tokens.",
        "SmolLM2-135M 2.8 and 2.9 on the two shipped texts, attn-2l 3.8 and 4.1.",
    ),
    check(
        "text.position",
        "The mean loss on the last third of a text minus that on the first.",
        "fail: above 1 nat on every text. A wrong rotation or scaling shows far from the beginning first.",
        "SmolLM2-135M -0.4, the shipped models -0.4 to -0.9.",
    ),
    check(
        "text.order",
        "The mean loss on a text with its words shuffled minus that on the text.",
        "warn: below 0.3 nats in a trained model.",
        "SmolLM2-135M 3.5, the shipped models 2.4 (bigram) to 2.9.",
    ),
    check(
        "text.bos",
        "The mean loss without a token for the beginning of a text minus that with it.",
        "warn: the tokenizer adds one and it costs, or adds none and one would gain, more than 0.1 nats and 4 standard errors.",
        "SmolLM2-135M 0.01, which adds none; attn-2l 0.6, which adds one.",
    ),
    check(
        "text.continuation",
        "The share of 4-grams of a greedy continuation of 64 tokens that came before in it.",
        "warn: one or two tokens over and over; note: above one half.",
        "Small models go round in circles when they are greedy.",
    ),
    check(
        "probe.shift",
        "The loss on the next token against that on the token read and on the one after the next.",
        "fail: one of these is better by 0.05 nats: targets were shifted.",
        "The next is best.",
    ),
    check(
        "probe.norm_gain",
        "The text read with every gain one more, and one less, as conversions between families that store 1 + gain and gain get \
         it wrong.",
        PROBE,
        "A wrong one costs SmolLM2-135M 11 to 21 nats.",
    ),
    check(
        "probe.final_norm",
        "The text read without the normalisation before the unembedding.",
        PROBE,
        SOUND,
    ),
    check(
        "probe.rotary_pairing",
        "The text read with the other pairing of rotated numbers, of queries, of keys and of both: conversions that permute too \
         much, too little or one side alone.",
        PROBE,
        "A wrong one costs SmolLM2-135M 2.1 nats for both, 5 for one of them.",
    ),
    check(
        "probe.rotary_base",
        "The text read with other bases of the rotation: a tenth, a third, three and ten times, and the usual ones.",
        PROBE,
        "One ten times off costs SmolLM2-135M 0.07 to 0.09 nats in 512 tokens, and more beyond.",
    ),
    check(
        "probe.rotary_scaling",
        "The text read with the stretching of the rotation left out, or put in where there is none.",
        PROBE,
        "One of 4 that is not there costs SmolLM2-135M 1.6 nats.",
    ),
    check(
        "probe.transposed",
        "The text read with the square matrices of attention (one, q and o, all) transposed.",
        PROBE,
        SOUND,
    ),
    check(
        "probe.gate",
        "The text read with gate and up of the MLP exchanged.",
        PROBE,
        "It costs SmolLM2-135M 17 nats.",
    ),
    check(
        "probe.activation",
        "The text read with other nonlinearities.",
        PROBE,
        "GELU for SiLU costs SmolLM2-135M 0.8 nats, ReLU 5.",
    ),
    check(
        "probe.embedding_scale",
        "The text read with the embedding times the root of the width, or without its multiplier.",
        PROBE,
        "A multiplier that is not meant costs SmolLM2-135M 3.2 nats.",
    ),
    check(
        "probe.residual_scale",
        "The text read without the multiplier of what attention and MLP add.",
        PROBE,
        SOUND,
    ),
    check("probe.logit_scale", "The text read without the multiplier of logits.", PROBE, SOUND),
    check(
        "probe.tied_head",
        "The text read with the embedding for the stored unembedding.",
        PROBE,
        "Where the two differ, one of them is the trained one.",
    ),
    check(
        "probe.attention_scale",
        "The text read with the other usual factors on attention scores.",
        PROBE,
        SOUND,
    ),
    check("probe.window", "The text read without sliding windows.", PROBE, SOUND),
    check(
        "probe.layer_order",
        "The text read with each two neighbouring layers exchanged, and with pairs whose tensors' sizes would then fit their \
         neighbours better.",
        PROBE,
        "Exchanged neighbours in the middle cost SmolLM2-135M 0.11 to 0.15 nats.",
    ),
    check(
        "repeats.gain",
        "Mean loss on the first copy of random tokens minus that on the second, nats a token.",
        "note: below 1.",
        "SmolLM2-135M 11.1, attn-2l 7.9, attn-1l with its one layer 0.3.",
    ),
    check(
        "repeats.induction",
        "The highest induction score of any head; see rank.",
        "note: below 0.3.",
        "SmolLM2-135M 0.88, attn-2l 0.90, attn-1l 0.01.",
    ),
    check(
        "repeats.previous",
        "The highest previous-token score of any head.",
        "note: below 0.3.",
        "SmolLM2-135M 0.88, attn-2l 0.86, attn-1l 0.13.",
    ),
    check(
        "repeats.duplicate",
        "The highest duplicate-token score of any head.",
        "told only.",
        "SmolLM2-135M 0.66, attn-2l 0.05.",
    ),
    check(
        "inside.finite",
        "Whether the residual stream stays finite on a text.",
        "fail: it does not.",
        "It does.",
    ),
    check(
        "inside.residual",
        "The mean length of the residual stream after the last layer.",
        "told only.",
        "SmolLM2-135M 969, attn-2l 12.",
    ),
    check(
        "inside.largest",
        "The largest number of the residual stream.",
        "warn: above 65,504, the largest number of f16.",
        "SmolLM2-135M 23,403, in one dimension; attn-2l 17.",
    ),
    check(
        "inside.scores",
        "The largest attention score of any head, of the keys that a query sees, before ALiBi, cap and softmax.",
        "warn: above 1,000; scores grow before a run diverges.",
        "SmolLM2-135M 60, attn-2l 39.",
    ),
    check(
        "inside.sinks",
        "The share of heads that give more than 0.8 to the first token.",
        "told only.",
        "SmolLM2-135M 0.02, attn-2l 0.13.",
    ),
    check(
        "inside.uniform",
        "The share of heads whose rows have more than 0.95 of the entropy that is possible.",
        "warn: all heads, or all of one layer where others are not.",
        "None in SmolLM2-135M and the shipped models.",
    ),
    check(
        "inside.self",
        "The share of heads that give more than 0.9 to the token itself.",
        "warn: more than half.",
        "None in SmolLM2-135M and the shipped models.",
    ),
    check(
        "inside.silent",
        "The share of heads whose writing to the residual stream is less than a hundredth as long as that of their layer's middle head.",
        "note: any.",
        "None in SmolLM2-135M.",
    ),
    check(
        "inside.alike",
        "Pairs of heads of a layer whose writing has a cosine above 0.99.",
        "note: any.",
        "None in SmolLM2-135M.",
    ),
    check(
        "inside.experts",
        "The share of a mixture's experts that no token of the text goes to, and whether one has more than 0.9 of a layer's tokens.",
        "note: any without tokens; warn: more than half of a layer's, or nearly all tokens to one.",
        "None where there are few experts; of many, each knows its kind of text.",
    ),
    check(
        "against.weights",
        "With --against: the length of each tensor's change as a share of its length in the other checkpoint, in the middle.",
        "fail: no number of any tensor differs; warn: they differ by more than their length, or have no name in common; note: \
         tensors that are not in both.",
        "attn-2l against its own step 2000: 62%. A fine-tuning by small steps changes far less.",
    ),
    check(
        "against.frozen",
        "With --against: kinds of tensors that changed in some layers and in others stayed as they were, number by number.",
        "warn: any.",
        "None, unless layers were frozen on purpose.",
    ),
    check(
        "against.loss",
        "With --against: the mean loss on a text minus that of the other checkpoint, of paired tokens.",
        "note: above 0 by 4 standard errors; warn: also above 0.5 nats.",
        "Training on other text may cost some tenths.",
    ),
    check(
        "against.repeats",
        "With --against: the repeat gain minus that of the other checkpoint, nats a token.",
        "warn: it was above 1 and is less than half of it.",
        "About 0.",
    ),
    check(
        "against.heads",
        "With --against: the best score of any head minus the best of the other checkpoint, for induction, previous and \
         duplicate, on the same sequences; and how many heads changed by more than 4 standard errors of the draws.",
        "warn: below -0.3.",
        "About 0.",
    ),
];

const PROBE: &str = "fail: the other reading is better by more than 0.05 nats and 4 standard errors of the paired differences, on \
                     every text, and better than a guess by half a nat; of several such the best is named.";
const SOUND: &str = "No other reading of SmolLM2-135M or of the shipped models accuses.";

/// The check of that name.
pub fn find(id: &str) -> Option<&'static Check> {
    ALL.iter().find(|check| check.id == id)
}

/// The names of all checks.
pub fn ids() -> BTreeSet<&'static str> {
    ALL.iter().map(|check| check.id).collect()
}

/// The names of the checks that are called so, one by one or by group.
///
/// # Errors
/// A line that names what is no check, and the nearest that is.
pub fn chosen(names: &[impl AsRef<str>]) -> Result<BTreeSet<&'static str>, String> {
    let mut chosen = BTreeSet::new();
    for name in names {
        chosen.extend(named(name.as_ref())?.iter().map(|check| check.id));
    }
    Ok(chosen)
}

/// The check of a name, or those of a group: their names begin with it, up to a dot; `probes` and `probe` are the same.
///
/// # Errors
/// A line that names the nearest that there is.
pub fn named(name: &str) -> Result<Vec<&'static Check>, String> {
    let name = name.trim();
    let stem = name.strip_suffix('s').filter(|stem| *stem == "probe").unwrap_or(name);
    let group = |check: &Check| check.id.split('.').next();
    let checks: Vec<_> = ALL.iter().filter(|check| check.id == stem || group(check) == Some(stem)).collect();
    if checks.is_empty() {
        let known = ALL.iter().map(|check| check.id).chain(ALL.iter().filter_map(group));
        let nearest = nearest(name, known).unwrap_or_default();
        let mut groups: Vec<&str> = ALL.iter().filter_map(group).collect();
        groups.dedup();
        let groups = groups.join(", ");
        return Err(format!(
            "no check is called `{name}`; the nearest is {nearest}; the groups are {groups}"
        ));
    }
    Ok(checks)
}
