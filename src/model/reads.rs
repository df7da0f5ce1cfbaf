//! Which keys of a configuration the classes of each family read in the reference, as `tests/reference/reads.py` finds them
//! in their source: what has to be handled, and what may be there and says nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use serde::Deserialize;
use serde_json::{Map, Value};

/// What the classes of a family read.
#[derive(Debug, Default, Deserialize)]
pub struct Reads {
    /// The keys, each with what stands for it where it is absent; null also where only the code tells.
    pub keys: Map<String, Value>,
    /// Those that attention, its positions and its masks read.
    pub attention: BTreeSet<String>,
    /// Other names of keys.
    pub aliases: BTreeMap<String, String>,
    /// What the family's own rotation, which nothing stretches, reads of the object that describes it.
    pub rotation: BTreeSet<String>,
    /// Whether the page handles more than the reference's classes, which know some of the family's models only.
    #[serde(default)]
    pub is_exceeded: bool,
}

impl Reads {
    /// What is read of a family that has no classes in the reference but its page here.
    pub fn own() -> Self {
        Self { is_exceeded: true, ..Self::default() }
    }

    /// Whether what a file says under `key` counts; the keys of objects in it follow theirs after a dot.
    pub fn counts(&self, key: &str) -> bool {
        let object = key.split('.').next().unwrap_or(key);
        self.is_exceeded || self.keys.contains_key(key) || BEYOND.contains(&object)
    }
}

/// Keys that change what a prompt may be, not what is computed of it: the reference has no use for them.
const BEYOND: [&str; 2] = ["dual_chunk_attention_config", "seq_length"];

/// Families of which transformers runs some models only, and those whose configuration has keys under two names.
const EXCEEDED: [&str; 2] = ["mpt", "transformer_lens"];

#[derive(Default, Deserialize)]
struct Table {
    /// What each way of stretching reads of the object that describes a rotation.
    rotations: BTreeMap<String, BTreeSet<String>>,
    families: BTreeMap<String, Reads>,
}

/// A table that could not be read would be empty, and the tests would say so.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table: Table = serde_json::from_str(include_str!("reads.json")).unwrap_or_default();
    for name in EXCEEDED {
        table.families.entry(name.into()).and_modify(|reads| reads.is_exceeded = true);
    }
    table
});

/// Keys that are read and change no number of a finished model in one pass over a text, and why.
pub const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("activation_dropout", TRAINING),
    ("attention_dropout", TRAINING),
    ("attention_probs_dropout_prob", TRAINING),
    ("attn_config.attn_pdrop", TRAINING),
    ("attn_pdrop", TRAINING),
    ("dropout", TRAINING),
    ("embd_pdrop", TRAINING),
    ("embed_dropout", TRAINING),
    ("embedding_dropout", TRAINING),
    ("hidden_dropout", TRAINING),
    ("hidden_dropout_prob", TRAINING),
    ("input_jitter_noise", TRAINING),
    ("layerdrop", TRAINING),
    ("resid_dropout", TRAINING),
    ("resid_pdrop", TRAINING),
    ("residual_dropout", TRAINING),
    ("router_aux_loss_coef", TRAINING),
    ("router_jitter_noise", TRAINING),
    ("_attn_implementation", KERNEL),
    ("attention_softmax_in_fp32", KERNEL),
    ("attn_implementation", KERNEL),
    ("experts_implementation", KERNEL),
    ("pretraining_tp", KERNEL),
    ("reorder_and_upcast_attn", KERNEL),
    ("scale_attention_softmax_in_fp32", KERNEL),
    ("slow_but_exact", KERNEL),
    ("output_attentions", RETURNED),
    ("output_hidden_states", RETURNED),
    ("output_router_logits", RETURNED),
    ("return_dict", RETURNED),
    ("use_cache", RETURNED),
    ("use_attn_in", RETURNED),
    ("use_attn_result", RETURNED),
    ("use_hook_mlp_in", RETURNED),
    ("use_hook_tokens", RETURNED),
    ("use_split_qkv_input", RETURNED),
    ("device", STORED),
    ("dtype", STORED),
    ("torch_dtype", STORED),
    ("init_mode", NEW_WEIGHTS),
    ("init_weights", NEW_WEIGHTS),
    ("initializer_range", NEW_WEIGHTS),
    ("seed", NEW_WEIGHTS),
    ("eos_token_id", "where a text ends, which a pass does not ask"),
    ("pad_token_id", "its row is kept from training, and no prompt is padded"),
    ("num_labels", "of a head that tells classes"),
    ("name_or_path", NAME),
    ("original_architecture", NAME),
    ("tokenizer_name", NAME),
    ("trust_remote_code", NAME),
    ("default_prepend_bos", "of prompts, not of the model"),
    ("tokenizer_prepends_bos", "of prompts, not of the model"),
    ("mtp_layer_types", FURTHER),
    ("mtp_mlp_layer_types", FURTHER),
    ("num_nextn_predict_layers", FURTHER),
    ("image_token_id", IMAGES),
    ("image_token_index", IMAGES),
    ("mm_tokens_per_image", IMAGES),
    ("multimodal_projector_bias", IMAGES),
    ("projector_hidden_act", IMAGES),
    ("spatial_merge_size", IMAGES),
    ("video_token_id", IMAGES),
    ("vision_config", IMAGES),
    ("vision_feature_layer", IMAGES),
    ("ungroup_grouped_query_attention", "the same heads, each with keys of its own"),
    ("NTK_by_parts_factor", "read with `use_NTK_by_parts_rope` only, which is refused"),
    ("NTK_by_parts_high_freq_factor", "read with `use_NTK_by_parts_rope` only, which is refused"),
    ("NTK_by_parts_low_freq_factor", "read with `use_NTK_by_parts_rope` only, which is refused"),
    ("NTK_original_ctx_len", "read with `use_NTK_by_parts_rope` only, which is refused"),
    // Where a family's layers are of kinds, its page reads the list.
    ("layer_types", "names the parts of `rope_parameters`, of which these layers need none"),
];
const TRAINING: &str = "in training only";
const KERNEL: &str = "another way to the same numbers";
const RETURNED: &str = "what is returned or kept, not what is computed";
const STORED: &str = "the files say how weights are stored";
const NEW_WEIGHTS: &str = "of weights that are yet to be trained";
const NAME: &str = "where the model came from";
const IMAGES: &str = "of images";
const FURTHER: &str = "of layers that predict further tokens, beside the model";

/// What the classes of the family of that name read; `None` where the reference has no class.
pub fn of(family: &str) -> Option<&'static Reads> {
    TABLE.families.get(family)
}

/// Whether a rotation of this kind reads `key` of the object that describes it, in a family.
pub fn in_rotation(family: &Reads, kind: &str, key: &str) -> bool {
    // The name that the first Phi-3 models had for LongRoPE.
    let kind = if kind == "su" { "longrope" } else { kind };
    TABLE.rotations.get(kind).unwrap_or(&family.rotation).contains(key)
}

/// Whether a key that is read is one of [`WITHOUT_EFFECT`].
pub fn is_without_effect(key: &str) -> bool {
    WITHOUT_EFFECT.iter().any(|&(known, _)| known == key)
}

/// Whether attention of some family would be another with this value, so that one may think that it is here too.
pub fn may_mislead(key: &str, value: &Value) -> bool {
    if is_nothing(value) {
        return false;
    }
    let ours = matches!(key, "smeared_keys" | "dual_chunk_attention_config");
    // TransformerLens has names of its own for what others call otherwise.
    let mut others = TABLE.families.iter().filter(|(name, _)| *name != "transformer_lens");
    let changes = |family: &Reads| family.attention.contains(key) && !is_usual(value, family.keys.get(key));
    ours || !is_without_effect(key) && others.any(|(_, family)| changes(family))
}

/// Whether a value says what is so anyway.
pub fn is_usual(value: &Value, usual: Option<&Value>) -> bool {
    let usual = usual.unwrap_or(&Value::Null);
    match (value.as_f64(), usual.as_f64()) {
        (Some(value), Some(usual)) => value == usual,
        _ => value == usual || is_nothing(value) && is_nothing(usual),
    }
}

/// Whether Python takes a value for no.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
    }
}

/// The families by how much of a configuration they know: each key counts the more the fewer families read it.
pub fn known_share(family: &str, values: &Map<String, Value>) -> f64 {
    let reads = |family: &Reads, key: &str| family.keys.contains_key(key) || family.aliases.contains_key(key);
    let Some(own) = of(family) else { return 0.0 };
    let weight = |key: &String| {
        let families = TABLE.families.values().filter(|family| reads(family, key)).count();
        1.0 / families.max(1) as f64
    };
    values.keys().filter(|key| reads(own, key)).map(weight).sum()
}
