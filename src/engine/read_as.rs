//! A checkpoint under another reading than the one that it comes with: keys of its configuration with other values, for this
//! run alone.

use anyhow::{Result, bail};
use candle_core::quantized::gguf_file::Value as Stored;
use serde_json::{Map, Value};

use crate::{
    checkpoint::{Checkpoint, Description, gguf::Metadata},
    model::{config::shown, families, reads},
    text::nearest,
};

/// A key of a configuration and the value that it is read with.
pub type KeyValue = (String, Value);

/// Reads `KEY=VALUE`; a value that is no JSON is a text.
///
/// # Errors
/// When there is no `=` or nothing before it.
pub fn parse(text: &str) -> Result<KeyValue, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            let value = value.trim();
            let read = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            Ok((key.trim().to_owned(), read))
        }
        _ => Err("write KEY=VALUE, as config.json has it, such as rope_theta=100000".into()),
    }
}

/// Puts the values in the place of those that the checkpoint has, and says so in its remarks.
///
/// # Errors
/// When nobody would read a key.
pub fn read_as(checkpoint: &mut Checkpoint, readings: &[KeyValue]) -> Result<()> {
    for (key, value) in readings {
        let before = match &mut checkpoint.description {
            Description::Hub(values) => set(values, key, value)?,
            Description::Gguf(metadata) => set_stored(metadata, key, value)?,
        };
        let before = before.map_or_else(|| "nothing".to_owned(), |before| shown(&before));
        let remark = format!("--as: `{key}` is read as {}, where the checkpoint says {before}", shown(value));
        checkpoint.remarks.push(remark);
    }
    Ok(())
}

/// Sets a key of a `config.json`; a key of an object in it follows that after a dot.
fn set(values: &mut Map<String, Value>, key: &str, value: &Value) -> Result<Option<Value>> {
    if let Some((object, inner)) = key.split_once('.') {
        return match values.get_mut(object) {
            Some(Value::Object(inside)) => Ok(inside.insert(inner.to_owned(), value.clone())),
            _ => bail!("--as {key}: the configuration has no object `{object}`"),
        };
    }
    // Newer configurations keep what describes the rotation together.
    if let Some(Value::Object(rotation)) = values.get_mut("rope_parameters")
        && rotation.contains_key(key)
    {
        return Ok(rotation.insert(key.to_owned(), value.clone()));
    }
    let read =
        families::name_of(values).and_then(reads::of).is_some_and(|reads| reads.keys.contains_key(key));
    if !read && !values.contains_key(key) {
        let nearest = nearest(key, values.keys().map(String::as_str)).unwrap_or_default();
        bail!(
            "--as {key}: neither the configuration has such a key nor its family reads one; the nearest is {nearest}"
        );
    }
    Ok(values.insert(key.to_owned(), value.clone()))
}

/// Sets a key of a GGUF file's metadata, by its own name or by what `config.json` calls it.
fn set_stored(metadata: &mut Metadata, key: &str, value: &Value) -> Result<Option<Value>> {
    let architecture = metadata.get("general.architecture").and_then(|name| name.to_string().ok()).cloned();
    let suffix = families::gguf::name_in_file(key).unwrap_or(key);
    let name = match architecture {
        Some(architecture) if !metadata.contains_key(suffix) => format!("{architecture}.{suffix}"),
        _ => suffix.to_owned(),
    };
    if suffix == key && !metadata.contains_key(&name) {
        let nearest = nearest(key, metadata.keys().map(String::as_str)).unwrap_or_default();
        bail!("--as {key}: the GGUF file has no such key; the nearest is {}", nearest.escape_debug());
    }
    let stored = match value {
        Value::Bool(flag) => Stored::Bool(*flag),
        Value::String(text) => Stored::String(text.clone()),
        Value::Number(number) => match number.as_u64().and_then(|number| u32::try_from(number).ok()) {
            Some(count) if !matches!(metadata.get(&name), Some(Stored::F32(_))) => Stored::U32(count),
            _ => Stored::F32(number.as_f64().unwrap_or_default() as f32),
        },
        _ => bail!("--as {key}: a number, a text, true or false is wanted for a GGUF file"),
    };
    Ok(metadata.insert(name, stored).as_ref().and_then(families::gguf::scalar))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn readings_are_json_or_text() {
        assert_eq!(parse("rope_theta=1e5").unwrap(), ("rope_theta".into(), json!(1e5)));
        assert_eq!(parse(" hidden_act = silu").unwrap(), ("hidden_act".into(), json!("silu")));
        assert_eq!(parse("tie_word_embeddings=false").unwrap().1, json!(false));
        assert!(parse("rope_theta").is_err() && parse("=3").is_err());
    }

    #[test]
    fn keys_are_set_where_they_are_and_unknown_ones_refused() {
        let mut values =
            json!({"model_type": "llama", "rope_parameters": {"rope_theta": 1e4}, "hidden_act": "gelu"});
        let values = values.as_object_mut().unwrap();
        assert_eq!(set(values, "rope_theta", &json!(1e5)).unwrap(), Some(json!(1e4)));
        assert_eq!(values["rope_parameters"]["rope_theta"], json!(1e5));
        assert_eq!(set(values, "rope_parameters.rope_type", &json!("default")).unwrap(), None);
        assert_eq!(set(values, "tie_word_embeddings", &json!(true)).unwrap(), None);
        let error = set(values, "hiden_act", &json!("silu")).unwrap_err().to_string();
        assert!(error.contains("the nearest is hidden_act"), "{error}");
        assert!(set(values, "none.key", &json!(1)).is_err());
    }
}
