//! Configurations with the keys that people's files have: what the reference reads is handled or refused, what nobody reads
//! stops nobody.
//!
//! `src/model/reads.json` says what the reference reads; `tests/reference/published.json` has the keys of published
//! models, which `tests/reference/generate.py --everything` makes small models of, for `tests/models/families.rs`.

use std::{collections::BTreeMap, fs, path::Path};

use attnscope::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        families::{FAMILIES, Family},
        reads,
        slot::{LayerSlot, MlpSlot, Part, Plan, Slot},
    },
};
use serde_json::{Map, Value, json};

type Values = Map<String, Value>;

fn published() -> BTreeMap<String, Values> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/published.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn family(values: &Values) -> &'static Family {
    let name = values["model_type"].as_str().unwrap();
    FAMILIES.iter().find(|family| family.name == name).unwrap()
}

/// The plan of a configuration, and what is said of it, without a look at weights.
fn read(values: &Values) -> anyhow::Result<(Plan, Vec<String>)> {
    let family = family(values);
    let config = Config::new(values.clone(), "config.json").of(family.reads())?;
    let plan = (family.hub)(&config, &Weights::default())?;
    Ok((plan, config.remarks()))
}

/// All that a plan says: its settings, and where the weights of the first layer and outside of layers are.
fn told(plan: &Plan) -> String {
    use LayerSlot as At;
    let of_layer = [
        At::AttentionNorm,
        At::Query,
        At::Key,
        At::Value,
        At::QueryNorm,
        At::Output,
        At::MlpNorm,
        At::Mlp(MlpSlot::Gate),
        At::Mlp(MlpSlot::Up),
        At::Mlp(MlpSlot::Down),
        At::Router,
        At::Expert(0, MlpSlot::Up),
    ];
    let parts = [Part::Weight, Part::Bias];
    let layer = of_layer.iter().flat_map(|&place| parts.map(|part| Slot::Layer(0, place, part)));
    let outside = [Slot::Embedding, Slot::Positions];
    let ends = parts.iter().flat_map(|&part| [Slot::FinalNorm(part), Slot::Unembedding(part)]);
    let sources: Vec<_> = layer.chain(outside).chain(ends).map(|slot| (plan.source)(slot)).collect();
    format!("{:?} {sources:?}", plan.spec)
}

#[test]
fn published_configurations_open() {
    let published = published();
    assert!(published.len() >= 40);
    let named: Vec<&str> = published.values().map(|values| family(values).name).collect();
    let without = FAMILIES.iter().filter(|family| !named.contains(&family.name)).map(|family| family.name);
    assert_eq!(without.collect::<Vec<_>>(), ["attn-only", "nanogpt", "transformer_lens"]);
    let faults: Vec<String> = published
        .iter()
        .filter_map(|(name, values)| Some(format!("{name}: {:#}", read(values).err()?)))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What is said of a published configuration with some more keys.
fn remarks(name: &str, more: Value) -> Vec<String> {
    let mut values = published()[name].clone();
    values.extend(more.as_object().unwrap().clone());
    read(&values).unwrap().1
}

#[test]
fn keys_that_say_nothing_here_are_told_where_they_could_mislead() {
    let silent = [
        ("microsoft/DialoGPT-small", json!({})),
        ("meta-llama/Llama-3.1-8B", json!({ "_flash_attn_2_enabled": true })),
        ("meta-llama/Llama-3.1-8B", json!({ "attn_implementation": "flash_attention_2" })),
        ("meta-llama/Llama-3.1-8B", json!({ "_attn_implementation": "flash_attention_2" })),
        ("google/gemma-2-9b", json!({})),
        ("stabilityai/stablelm-2-1_6b", json!({})),
        ("meta-llama/Llama-3.1-8B", json!({ "sliding_window": null, "attn_logit_softcapping": null })),
    ];
    for (name, more) in silent {
        assert_eq!(remarks(name, more.clone()), [""; 0], "{name} {more}");
    }
    let told = [
        ("meta-llama/Llama-3.1-8B", json!({ "sliding_window": 64 }), "`sliding_window` = 64"),
        ("meta-llama/Llama-3.1-8B", json!({ "attn_logit_softcapping": 30 }), "`attn_logit_softcapping` = 30"),
        ("meta-llama/Llama-3.1-8B", json!({ "smeared_keys": true }), "`smeared_keys` = true"),
        (
            "meta-llama/Meta-Llama-3-8B",
            json!({ "partial_rotary_factor": 0.25 }),
            "`partial_rotary_factor` = 0.25",
        ),
        ("phi with rotary_dim beside", json!({}), "`rotary_dim` = 32"),
        ("yarn with attn_factor", json!({}), "`attn_factor` = 1.2"),
        (
            "Qwen/Qwen2.5-7B-Instruct-1M",
            json!({}),
            "`dual_chunk_attention_config`: prompts end at 253952 tokens",
        ),
    ];
    for (name, more, expected) in told {
        let said = remarks(name, more);
        assert!(said.len() == 1 && said[0].contains(expected), "{name}: {said:?}");
    }
}

/// Another value than `value`, of the same kind.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(set) => vec![(!set).into()],
        Value::Number(number) if number.is_u64() => vec![(number.as_u64().unwrap() * 2 + 3).into(), json!(1)],
        Value::Number(number) => vec![(number.as_f64().unwrap() * 0.5 + 0.1).into()],
        Value::String(_) => vec!["relu".into(), "another".into()],
        _ => vec![json!(3), json!(0.75), json!(true), json!({ "another": 1.5 })],
    }
}

/// Keys that a page handles by leaving them out of account in some models of the family.
const ONLY_IN_SOME: &[(&str, &str, &str)] = &[
    ("deepseek_v2", "head_dim", "`qk_rope_head_dim` is the size, whatever this says"),
    ("deepseek_v3", "head_dim", "`qk_rope_head_dim` is the size, whatever this says"),
    ("gpt_neox", "rope_theta", "`rotary_emb_base` is the base, whatever this says"),
    ("gpt_neox", "partial_rotary_factor", "`rotary_pct` is the share, whatever this says"),
    ("solar_open", "intermediate_size", "every layer has experts, and so none an MLP of this width"),
];

#[test]
fn a_key_that_the_reference_reads_is_never_left_out_of_account() {
    let mut unheard: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for values in published().values() {
        let family = family(values);
        let before = told(&read(values).unwrap().0);
        let before = &before;
        for (key, usual) in &family.reads().unwrap().keys {
            let value = values.get(key).filter(|value| !value.is_null()).unwrap_or(usual);
            let heard = others(value).into_iter().any(|other| {
                let mut values = values.clone();
                match key.split_once('.') {
                    Some((part, key)) => {
                        let part = values.entry(part).or_insert(json!({}));
                        part.as_object_mut().unwrap().insert(key.into(), other);
                    }
                    None => drop(values.insert(key.clone(), other)),
                }
                read(&values).map_or(true, |(plan, _)| told(&plan) != *before)
            });
            let known = unheard.entry((family.name, key)).or_default();
            *known |= heard;
        }
    }
    let unheard = unheard.into_iter().filter(|&((family, key), heard)| {
        let excused = reads::is_without_effect(key)
            || ONLY_IN_SOME.iter().any(|&(of, name, _)| (of, name) == (family, key));
        !heard && !excused
    });
    assert_eq!(unheard.map(|(name, _)| name).collect::<Vec<_>>(), []);
}

#[test]
fn a_key_that_nobody_reads_changes_nothing() {
    let all: BTreeMap<&str, &Value> = FAMILIES
        .iter()
        .filter_map(Family::reads)
        .flat_map(|reads| reads.keys.iter().map(|(key, usual)| (key.as_str(), usual)))
        .filter(|(key, _)| !key.contains('.'))
        .collect();
    let mut faults = Vec::new();
    for (name, values) in published() {
        let family = family(&values);
        let own = family.reads().unwrap();
        let before = told(&read(&values).unwrap().0);
        for (key, usual) in &all {
            if own.counts(key) || own.aliases.contains_key(*key) {
                continue;
            }
            for other in others(values.get(*key).unwrap_or(usual)) {
                let mut values = values.clone();
                values.insert((*key).into(), other.clone());
                match read(&values) {
                    Ok((plan, _)) if told(&plan) == before => {}
                    Ok(_) => faults.push(format!("{name} ({}): {key} = {other}", family.name)),
                    Err(error) => {
                        faults.push(format!("{name} ({}): {key} = {other}: {error:#}", family.name))
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_names_that_count_are_found_under_others() {
    let plain = &published()["openai-community/gpt2"];
    let mut other = plain.clone();
    for (alias, name) in &family(plain).reads().unwrap().aliases {
        let value = other.remove(name).unwrap();
        other.insert(alias.clone(), value);
    }
    assert_eq!(told(&read(&other).unwrap().0), told(&read(plain).unwrap().0));
    other.insert("n_embd".into(), json!(96));
    let said = read(&other).err().unwrap().to_string();
    assert!(said.contains("`hidden_size` = 768 and `n_embd` = 96"), "{said}");
}

#[test]
fn what_is_read_and_not_handled_is_refused_by_name() {
    let cases = [
        ("meta-llama/Llama-3.1-8B", json!({ "is_causal": false }), "`is_causal` = false"),
        (
            "meta-llama/Llama-3.1-8B",
            json!({ "per_layer_config": { "1": { "head_dim": 8 } } }),
            "`per_layer_config`",
        ),
        (
            "google/gemma-3-270m",
            json!({ "use_bidirectional_attention": true }),
            "`use_bidirectional_attention`",
        ),
        ("facebook/opt-125m", json!({ "is_causal": false }), "`is_causal`"),
        (
            "meta-llama/Llama-3.1-8B",
            json!({ "rope_scaling": { "full_attention": { "rope_type": "default" } } }),
            "`full_attention`",
        ),
    ];
    for (name, more, expected) in cases {
        let mut values = published()[name].clone();
        values.extend(more.as_object().unwrap().clone());
        let said = read(&values).err().unwrap_or_else(|| panic!("{name} {more}")).to_string();
        assert!(said.contains(expected) && said.contains("not handled"), "{said}");
    }
}

#[test]
fn what_no_model_has_is_refused_by_key() {
    let yarn = json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64 });
    let cases = [
        (
            "BitNet b1.58 2B 4T that is not quantised",
            json!({ "quantization_config": { "quant_method": "bitnet" } }),
            "`quantization_config`",
        ),
        ("LGAI-EXAONE/EXAONE-4.0-32B", json!({ "layer_types": null }), "`sliding_window_pattern` is text"),
        (
            "Ministral 3 3B without its eyes",
            json!({ "rope_parameters": yarn }),
            "`llama_4_scaling_beta` is missing",
        ),
        ("ibm-granite/granite-swash-2b", json!({ "layer_rope_theta": [0, 1e4] }), "`layer_rope_theta`"),
        (
            "JetBrains/Mellum 2 with a plain layer",
            json!({ "mlp_layer_types": ["sparse"] }),
            "`mlp_layer_types`",
        ),
        ("zai-org/GLM-4.5-Air", json!({ "n_group": 3 }), "`n_group` = 3"),
        ("zai-org/GLM-4.5-Air", json!({ "n_group": 4, "topk_group": 5 }), "`topk_group` = 5"),
        ("zai-org/GLM-4.5-Air", json!({ "num_experts_per_tok": 500 }), "there are not so many experts"),
        ("zai-org/GLM-4.7-Flash", json!({ "mlp_layer_types": ["dense"] }), "`mlp_layer_types`"),
        ("microsoft/Phi-3.5-MoE-instruct", json!({ "num_experts_per_tok": 1 }), "always 2"),
        ("tencent/Hunyuan-A13B-Instruct-hf", json!({ "moe_topk": [8, 8] }), "`moe_topk`"),
        ("Llama 4 Scout's text model", json!({ "layer_types": ["sliding_attention"] }), "`layer_types`"),
        ("Llama 4 Scout's text model", json!({ "attention_chunk_size": 0 }), "`attention_chunk_size`"),
        ("deepseek-ai/DeepSeek-V2", json!({ "topk_method": "noaux_tc" }), "`topk_method`"),
        ("deepseek-ai/DeepSeek-V3-Base", json!({ "num_key_value_heads": 8 }), "`num_key_value_heads` = 8"),
        ("openai-community/openai-gpt", json!({ "afn": "tanh" }), "`afn` = `tanh`"),
        ("llava-hf/llava-1.5-7b-hf", json!({ "text_config": null }), "`text_config` is missing"),
        (
            "llava-hf/llava-1.5-7b-hf",
            json!({ "text_config": { "model_type": "bert" } }),
            "`bert` is not known",
        ),
        ("Qwen/Qwen3-VL-4B-Instruct", json!({ "text_config": [] }), "`text_config` is no object"),
    ];
    for (name, more, expected) in cases {
        let mut values = published()[name].clone();
        values.extend(more.as_object().unwrap().clone());
        let said = read(&values).err().unwrap_or_else(|| panic!("{name} {more}")).to_string();
        assert!(said.contains(expected) && said.starts_with("config.json: "), "{said}");
    }
}

#[test]
fn reasons_are_given_for_keys_that_are_read() {
    let read =
        |key: &str| FAMILIES.iter().filter_map(Family::reads).any(|reads| reads.keys.contains_key(key));
    for (key, reason) in reads::WITHOUT_EFFECT {
        assert!(read(key) && !reason.is_empty(), "{key}");
    }
}
