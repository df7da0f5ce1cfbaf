//! Reading a model's configuration key by key, so that no key that changes what is computed goes unnoticed.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::reads::{self, Reads};
use crate::text::{excerpt, list};

/// Words in the names of keys that change attention, when they are not neutral: what there is to go by where no reference
/// tells which keys are read.
const ATTENTION_WORDS: [&str; 19] = [
    "attn",
    "attention",
    "rope",
    "rotary",
    "window",
    "softcap",
    "alibi",
    "qk_",
    "q_norm",
    "k_norm",
    "clip",
    "sink",
    "scale",
    "scaling",
    "multiplier",
    "position",
    "chunk",
    "layer_types",
    "smear",
];

/// Sizes beyond this no model has.
const MOST: usize = 1 << 32;
/// Of layers and heads there are lists.
const MOST_LISTED: usize = 1 << 16;

/// A configuration, and which of its keys have been read.
pub struct Config {
    values: Map<String, Value>,
    origin: String,
    /// What the reference reads in this family; `None` where there is no such thing, and names are gone by.
    reads: Option<&'static Reads>,
    /// What comes before the keys of this object in [`Reads`]; `None` where it says nothing of them.
    part: Option<String>,
    /// No size is larger: the checkpoint holds no more numbers.
    most: usize,
    read: RefCell<BTreeSet<String>>,
    /// What is to be said; shared by all that come from one file.
    notes: Rc<RefCell<Notes>>,
}

/// What is to be said of a configuration that can be read.
#[derive(Default)]
struct Notes {
    /// Keys that nobody reads and one could think of as read, with their values.
    idle: BTreeMap<String, String>,
    /// Whatever else.
    remarks: Vec<String>,
}

impl Config {
    /// The configuration `values`, which messages call `origin`, of a model that no reference reads.
    pub fn new(values: Map<String, Value>, origin: impl Into<String>) -> Self {
        Self {
            values,
            origin: origin.into(),
            reads: None,
            part: Some(String::new()),
            most: MOST,
            read: RefCell::default(),
            notes: Rc::default(),
        }
    }

    /// The same of a family, whose classes in the reference read what `reads` tells: keys are under the names that count there.
    ///
    /// # Errors
    /// When a key and its other name say different things.
    pub fn of(self, reads: Option<&'static Reads>) -> Result<Self> {
        let mut values = self.values.clone();
        for (alias, name) in reads.iter().flat_map(|reads| &reads.aliases) {
            let Some(value) = values.remove(alias).filter(|value| !value.is_null()) else { continue };
            match values.get(name) {
                Some(other) if !other.is_null() && *other != value => bail!(
                    "{}: keys `{alias}` = {} and `{name}` = {} are the same and say different things: leave one of them out",
                    self.origin,
                    shown(&value),
                    shown(other)
                ),
                _ => values.insert(name.clone(), value),
            };
        }
        Ok(Self { values, reads, part: Some(String::new()), ..self })
    }

    /// The same of a checkpoint with so many numbers in all: a size above is refused before anything is made of it.
    pub fn within(self, numbers: u64) -> Self {
        Self { most: usize::try_from(numbers).unwrap_or(MOST).min(MOST), ..self }
    }

    /// The same with what the object `defaults` says of keys that are absent; one that is null stays so.
    pub fn with_defaults(&self, defaults: Value) -> Self {
        let mut values = self.values.clone();
        if let Value::Object(defaults) = defaults {
            for (key, value) in defaults {
                values.entry(key).or_insert(value);
            }
        }
        self.beside(values, self.origin.clone(), self.part.clone())
    }

    /// The configuration in the object `key`, which is empty where that is absent.
    pub fn part(&self, key: &str) -> Result<Self> {
        let values = match self.get(key) {
            None => Map::new(),
            Some(Value::Object(values)) => values.clone(),
            Some(_) => bail!("{}: key `{key}` is no object", self.origin),
        };
        let part = self.part.as_ref().map(|part| format!("{part}{key}."));
        Ok(self.beside(values, format!("{}: {key}", self.origin), part))
    }

    /// The object under `key` with these values: one that describes a rotation, of which the kind of rotation tells what is
    /// read, or, with [`Self::of`], a model within this one.
    pub fn rotation(&self, values: Map<String, Value>, key: &str) -> Self {
        self.beside(values, format!("{}: {key}", self.origin), None)
    }

    fn beside(&self, values: Map<String, Value>, origin: String, part: Option<String>) -> Self {
        let (reads, most, notes) = (self.reads, self.most, self.notes.clone());
        Self { values, origin, reads, part, most, read: RefCell::default(), notes }
    }

    /// Its name in messages: a path.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The value of `key`; `None` where it is absent or null, or where the reference would not look: pages share functions
    /// that ask for more than each family has.
    pub fn get(&self, key: &str) -> Option<&Value> {
        if let (Some(reads), Some(part)) = (self.reads, &self.part)
            && !reads.counts(&format!("{part}{key}"))
        {
            return None;
        }
        self.read.borrow_mut().insert(key.into());
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// All that it says.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// Whether `key` is there, be it null.
    pub fn holds(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// A size: a whole number, and one that the checkpoint has room for.
    pub fn optional_count(&self, key: &str) -> Result<Option<usize>> {
        let is_listed = ["layer", "head"].iter().any(|word| key.contains(word)) && !key.ends_with("dim");
        let most = if is_listed { MOST_LISTED } else { MOST };
        match self.whole(key, most)? {
            Some(count) if count > self.most => bail!(
                "{}: key `{key}` is {count}, but the checkpoint holds {} numbers in all: the two are of different models",
                self.origin,
                self.most
            ),
            count => Ok(count),
        }
    }

    /// A number of tokens or layers that nothing in the checkpoint has for its size.
    pub fn optional_length(&self, key: &str) -> Result<Option<usize>> {
        self.whole(key, MOST)
    }

    fn whole(&self, key: &str, most: usize) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64() {
            Some(number) if number <= most as u64 => Ok(Some(number as usize)),
            _ => bail!("{}: key `{key}` is {}, no reasonable count", self.origin, shown(value)),
        }
    }

    /// A size above zero that must be there.
    pub fn count(&self, key: &str) -> Result<usize> {
        self.above_zero(key, self.optional_count(key)?)
    }

    /// A length above zero that must be there.
    pub fn length(&self, key: &str) -> Result<usize> {
        self.above_zero(key, self.optional_length(key)?)
    }

    fn above_zero(&self, key: &str, number: Option<usize>) -> Result<usize> {
        match number {
            Some(0) => bail!("{}: key `{key}` is 0", self.origin),
            Some(number) => Ok(number),
            None => bail!("{}: key `{key}` is missing", self.origin),
        }
    }

    /// A size that must be there and may be zero.
    pub fn count_from_zero(&self, key: &str) -> Result<usize> {
        self.optional_count(key)?.with_context(|| format!("{}: key `{key}` is missing", self.origin))
    }

    /// Refuses a product of sizes that the checkpoint has no room for.
    pub fn has_room(&self, what: &str, sizes: &[usize]) -> Result<()> {
        let product = sizes.iter().fold(1usize, |product, &size| product.saturating_mul(size));
        if product > self.most {
            bail!(
                "{}: {what} of {sizes:?} are asked for, but the checkpoint holds {} numbers in all: the two are of different \
                 models",
                self.origin,
                self.most
            );
        }
        Ok(())
    }

    /// A number, or `default`.
    pub fn number(&self, key: &str, default: f64) -> Result<f64> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value
            .as_f64()
            .filter(|number| number.is_finite())
            .with_context(|| format!("{}: key `{key}` is {}, no number", self.origin, shown(value)))
    }

    /// True or false, or `default`.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value
            .as_bool()
            .with_context(|| format!("{}: key `{key}` is {}, not true or false", self.origin, shown(value)))
    }

    /// Text, or `default`.
    pub fn text<'a>(&'a self, key: &str, default: &'a str) -> Result<&'a str> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_str().with_context(|| format!("{}: key `{key}` is {}, no text", self.origin, shown(value)))
    }

    /// Refuses keys that were not handled and that the reference reads; notes those that nobody reads and that one could
    /// think of as read.
    pub fn finish(&self) -> Result<()> {
        for (key, value) in self.unread() {
            match self.reads {
                None if changes_attention_by_name(key, value) => return self.refuse(key, value),
                None => {}
                Some(reads) => {
                    let key = format!("{}{key}", self.part.as_deref().unwrap_or_default());
                    match reads.keys.get(&key) {
                        Some(usual) if reads::is_usual(value, Some(usual)) => {}
                        Some(_) if reads::is_without_effect(&key) => {}
                        Some(_) => return self.refuse(&key, value),
                        None if reads::may_mislead(&key, value) => self.note(&key, value),
                        None => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// The same for the object that describes a rotation of some kind: each key in it is about that, and what nobody reads of
    /// it misleads.
    pub fn finish_rotation(&self, kind: &str) -> Result<()> {
        for (key, value) in self.unread() {
            match self.reads {
                None if changes_attention_by_name(key, value) => return self.refuse(key, value),
                None => {}
                // One for each kind of layer, where there are no kinds.
                Some(_) if value.is_object() => return self.refuse(key, value),
                Some(reads) if reads::in_rotation(reads, kind, key) && !value.is_null() => {
                    return self.refuse(key, value);
                }
                Some(_) if reads::is_usual(value, None) => {}
                Some(_) => self.note(key, value),
            }
        }
        Ok(())
    }

    /// Whether the reference reads `key` of the object that describes a rotation of some kind; yes where there is none.
    pub fn is_read_in_rotation(&self, kind: &str, key: &str) -> bool {
        self.reads.is_none_or(|reads| reads::in_rotation(reads, kind, key))
    }

    /// Adds a remark.
    pub fn remark(&self, remark: &str) {
        self.notes.borrow_mut().remarks.push(format!("{}: {remark}", self.origin));
    }

    /// What is worth a line each, keys that change nothing here and would elsewhere among it.
    pub fn remarks(&self) -> Vec<String> {
        let notes = self.notes.borrow();
        let idle = notes.idle.iter().map(|(key, value)| format!("`{}` = {value}", excerpt(key)));
        let idle = list(idle, 3).map(|keys| {
            format!(
                "{}: {keys}: nothing reads this in models of this family, so it changes nothing",
                self.origin
            )
        });
        idle.into_iter().chain(notes.remarks.iter().cloned()).collect()
    }

    fn unread(&self) -> impl Iterator<Item = (&String, &Value)> {
        let read = self.read.borrow().clone();
        self.values.iter().filter(move |(key, _)| !read.contains(*key))
    }

    /// Notes a key that is there and changes nothing.
    pub fn note(&self, key: &str, value: &Value) {
        self.notes.borrow_mut().idle.insert(key.to_owned(), shown(value));
    }

    fn refuse(&self, key: &str, value: &Value) -> Result<()> {
        bail!(
            "{}: key `{}` = {} may change what the model computes and is not handled for this family; attnscope will not show \
             numbers that could be wrong",
            self.origin,
            excerpt(key),
            shown(value)
        )
    }
}

/// A value in a message.
pub fn shown(value: &Value) -> String {
    excerpt(&value.to_string())
}

/// Whether a key sounds like attention and does not say what is usual.
fn changes_attention_by_name(key: &str, value: &Value) -> bool {
    let is_neutral = match value {
        Value::Number(number) => matches!(number.as_f64(), Some(0.0 | 1.0)),
        Value::String(text) => matches!(text.as_str(), "none" | "default"),
        value => reads::is_usual(value, None),
    };
    !is_neutral && ATTENTION_WORDS.iter().any(|word| key.contains(word)) && !reads::is_without_effect(key)
}
