//! The checkpoints that are part of the program.

use std::sync::Arc;

use anyhow::{Context, Result, bail};

use super::{
    Checkpoint, Description, safetensors,
    tokenizer::Tokenizer,
    weights::{Backing, Weights},
};

/// The model that opens when none is named.
pub const DEFAULT: &str = "attn-2l";

/// Every shipped model.
pub const NAMES: [&str; 1] = [DEFAULT];

struct Files {
    config: &'static [u8],
    weights: &'static [u8],
    tokenizer: &'static [u8],
}

const ATTN_2L: Files = Files {
    config: include_bytes!("../../checkpoints/attn-2l/config.json"),
    weights: include_bytes!("../../checkpoints/attn-2l/model.safetensors"),
    tokenizer: include_bytes!("../../checkpoints/attn-2l/tokenizer.json"),
};

/// Opens the shipped model `name`.
pub fn open(name: &str) -> Result<Checkpoint> {
    let files = match name {
        DEFAULT => ATTN_2L,
        _ => bail!("`{name}` is not shipped (shipped models: {})", NAMES.join(", ")),
    };
    let origin = format!("{name} (embedded)");
    let mut weights = Weights::default();
    safetensors::read(Arc::new(Backing::Embedded(files.weights)), &origin, &mut weights)?;
    let values = serde_json::from_slice(files.config).with_context(|| origin.clone())?;
    let tokenizer =
        Tokenizer::from_bytes(files.tokenizer, &origin, None, None).map_err(|error| format!("{error:#}"));
    Ok(Checkpoint {
        name: name.into(),
        source: "embedded".into(),
        origin,
        description: Description::Hub(values),
        weights,
        tokenizer,
    })
}
