//! How edits are written, `SITE[@TOKENS]=VALUE`, and what they become for a prompt.

use std::{ops::Range, str::FromStr, sync::Arc};

use anyhow::{Context, Result, anyhow, bail};

use super::{
    open::Model,
    protocol::{Bos, PromptInput},
};
use crate::{
    head::Head,
    model::{
        decoder::{Control, Pass},
        edit::{Edit, Edits, Site, Value},
        trace::Trace,
    },
};

/// Windows of a reference text that a mean is taken over at most.
const WINDOWS: usize = 64;

/// An edit as it is written: `5.1@3-9=mean`.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The text itself.
    pub text: String,
    site: Site,
    tokens: Option<Range<usize>>,
    value: Named,
}

/// What comes in place, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Zero,
    Mean,
    MeanSoFar,
    MeanText,
    From,
    Knockout,
}

/// Every value with its name.
const VALUES: [(&str, Named); 6] = [
    ("zero", Named::Zero),
    ("mean", Named::Mean),
    ("mean-so-far", Named::MeanSoFar),
    ("mean-text", Named::MeanText),
    ("from", Named::From),
    ("knockout", Named::Knockout),
];

impl FromStr for Written {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || -> Result<Self> {
            let (place, value) = text.split_once('=').context("it has no =VALUE")?;
            let value = VALUES.iter().find(|(name, _)| *name == value.trim()).with_context(|| {
                let names = VALUES.map(|(name, _)| name).join(", ");
                format!("there is no value `{}`: the values are {names}", value.trim())
            })?;
            let (site, tokens) = match place.split_once('@') {
                Some((site, tokens)) => (site, Some(range(tokens.trim())?)),
                None => (place, None),
            };
            let site = site_of(site.trim())?;
            if tokens.is_some() && matches!(site, Site::Edge { .. }) {
                bail!("an edge names its tokens itself");
            }
            Ok(Self { text: text.to_owned(), site, tokens, value: value.1 })
        };
        parse()
            .map_err(|error| anyhow!("`{text}`: {error:#}; write SITE[@TOKENS]=VALUE, such as 5.1@3-9=mean"))
    }
}

/// `7` or `3-9`, both ends included.
fn range(text: &str) -> Result<Range<usize>> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (position(first)?, position(last)?),
        None => (position(text)?, position(text)?),
    };
    if last < first {
        bail!("tokens {text} end before they begin");
    }
    Ok(first..last.saturating_add(1))
}

fn position(text: &str) -> Result<usize> {
    text.trim().parse().with_context(|| format!("`{text}` is no token's position"))
}

fn site_of(text: &str) -> Result<Site> {
    let layer = |part: &str| part.parse::<usize>().with_context(|| format!("`{part}` is no layer"));
    Ok(match text.split_once('.') {
        Some(("kv", group)) => Site::KvHead(group.parse()?),
        Some(("attn", part)) => Site::Attention(layer(part)?),
        Some(("mlp", part)) => Site::Mlp(layer(part)?),
        Some(("resid", part)) => Site::Residual(layer(part)?),
        Some(("edge", edge)) => {
            let parts = edge.split_once(':').and_then(|(head, ends)| Some((head, ends.split_once('<')?)));
            let (head, (query, key)) =
                parts.context("an edge is written edge.L.H:QUERY<KEY, a column edge.L.H:*<KEY")?;
            let query = match query.trim() {
                "*" => None,
                query => Some(position(query)?),
            };
            Site::Edge { head: head.trim().parse()?, query, key: position(key)? }
        }
        _ => Site::Head(text.parse::<Head>().map_err(|_| {
            anyhow!(
                "there is no site `{text}`: the sites are 5.1, kv.5.0, attn.5, mlp.5, resid.5, edge.5.1:9<3"
            )
        })?),
    })
}

/// Edits as they are written, and the runs that they take values from.
#[derive(Clone, Debug, Default)]
pub struct Asked<'a> {
    /// The edits.
    pub edits: &'a [Written],
    /// The prompt that `from` is about, and whether BOS goes before it.
    pub from: Option<(&'a PromptInput, Bos)>,
    /// The text that `mean-text` is about.
    pub reference: Option<&'a str>,
    /// Whether patterns stay those of the clean run.
    pub frozen: bool,
}

impl Asked<'_> {
    /// The edits with their values, for a prompt that was run as `clean`.
    ///
    /// # Errors
    /// When the model lacks a site, a token or the run that values come from.
    pub fn resolve(&self, model: &Model, clean: &Trace, control: &Control<'_>) -> Result<Edits> {
        let uses = |value| self.edits.iter().any(|edit| edit.value == value);
        let from = match (uses(Named::From), self.from) {
            (true, None) => bail!(
                "--edit {}: give --from-prompt or --from-ids, the prompt that it is from",
                self.first(Named::From)
            ),
            (true, Some((input, bos))) => Some(Arc::from([run(model, &model.encode(input, bos)?, control)?])),
            _ => None,
        };
        let reference = match (uses(Named::MeanText), self.reference) {
            (true, None) => bail!(
                "--edit {}: give --reference-text FILE, what the mean is over",
                self.first(Named::MeanText)
            ),
            (true, Some(text)) => Some(windows(model, text, clean.len(), control)?),
            _ => None,
        };
        let mut edits = Vec::with_capacity(self.edits.len());
        for Written { text, site, tokens, value } in self.edits {
            let value = match value {
                Named::Zero => Value::Zero,
                Named::Mean => Value::Mean,
                Named::MeanSoFar => Value::MeanSoFar,
                Named::Knockout => Value::Knockout,
                Named::From => Value::From(from.clone().unwrap_or_default()),
                Named::MeanText => Value::From(reference.clone().unwrap_or_default()),
            };
            let last = match site {
                Site::Edge { query, key, .. } => query.unwrap_or(*key).max(*key),
                _ => tokens.as_ref().map_or(0, |tokens| tokens.end - 1),
            };
            if last >= clean.len() {
                bail!(
                    "--edit {text}: there is no token {last}; the prompt's go from 0 to {}",
                    clean.len() - 1
                );
            }
            edits.push((text, Edit { site: *site, tokens: tokens.clone(), value }));
        }
        let mut resolved = Edits::default();
        for (text, edit) in &edits {
            let added = model.decoder.add_edit(&mut resolved, edit, clean, clean.len());
            added.with_context(|| format!("--edit {text}"))?;
        }
        if self.frozen {
            resolved.freeze(clean.clone());
        }
        Ok(resolved)
    }

    /// The run with the edits, and they themselves, of a prompt that was run as `clean`.
    ///
    /// # Errors
    /// Those of [`Self::resolve`].
    pub fn run(&self, model: &Model, clean: &Trace, control: &Control<'_>) -> Result<(Trace, Edits)> {
        let edits = self.resolve(model, clean, control)?;
        let mut trace = model.decoder.trace();
        let layer = edits.first_layer().unwrap_or(model.info.layers);
        model.decoder.follow(&mut trace, clean, layer, &Pass::edited(&edits, control))?;
        Ok((trace, edits))
    }

    fn first(&self, value: Named) -> &str {
        self.edits.iter().find(|edit| edit.value == value).map_or("", |edit| &edit.text)
    }
}

/// The run of some tokens.
pub fn run(model: &Model, ids: &[u32], control: &Control<'_>) -> Result<Trace> {
    let mut trace = model.decoder.trace();
    model.decoder.extend(&mut trace, ids, &Pass::plain(control))?;
    Ok(trace)
}

/// Runs of the windows of a text that are as long as the prompt.
fn windows(model: &Model, text: &str, tokens: usize, control: &Control<'_>) -> Result<Arc<[Trace]>> {
    let ids = model.encode(&PromptInput::Text(text.to_owned()), Bos::Off)?;
    let opening = model.opening();
    let own = tokens - opening.iter().len().min(tokens - 1);
    let windows = ids.chunks_exact(own).take(WINDOWS);
    let windows =
        windows.map(|window| opening.into_iter().chain(window.iter().copied()).take(tokens).collect());
    let runs: Vec<Trace> = windows.map(|ids: Vec<u32>| run(model, &ids, control)).collect::<Result<_>>()?;
    if runs.is_empty() {
        bail!(
            "--reference-text: it has {} tokens and the prompt {tokens}: give a text that is longer",
            ids.len()
        );
    }
    Ok(runs.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_read_as_they_are_documented() {
        let read = |text: &str| text.parse::<Written>().unwrap();
        let head = Head::new(5, 1);
        assert_eq!(read("5.1=zero").site, Site::Head(head));
        assert_eq!(
            (read("5.1@3-9=mean").tokens, read("attn.5@7=mean-so-far").tokens),
            (Some(3..10), Some(7..8))
        );
        assert_eq!(read("kv.5.1=mean-text").site, Site::KvHead(head));
        assert_eq!(read("mlp.2=from").site, Site::Mlp(2));
        assert_eq!(read("resid.0=from").site, Site::Residual(0));
        assert_eq!(read("edge.5.1:9<3=knockout").site, Site::Edge { head, query: Some(9), key: 3 });
        assert_eq!(read("edge.5.1:*<0=zero").site, Site::Edge { head, query: None, key: 0 });
        for (text, error) in [
            ("5.1", "no =VALUE"),
            ("5.1=none", "the values are zero, mean"),
            ("5=zero", "the sites are 5.1"),
            ("5.1@9-3=zero", "end before they begin"),
            ("attn.x=zero", "`x` is no layer"),
            ("edge.5.1=zero", "edge.L.H:QUERY<KEY"),
            ("edge.5.1:2<1@3=zero", "names its tokens itself"),
            ("5.1@-1=zero", "no token's position"),
        ] {
            let told = text.parse::<Written>().unwrap_err().to_string();
            assert!(told.contains(error), "{text}: {told}");
        }
    }
}
