//! The text to train on: read, cut into stretches, and, when asked, with its names made up anew.
//!
//! A small model that sees `Mr. Darcy` a thousand times learns the pair by heart and has no reason to look back. With
//! [`Corpus::with_invented_names`] each stretch of about 1,500 characters gets names of its own, the same throughout
//! the stretch, so that the only way to know the name after `Doctor` is to find it earlier in the text. With
//! [`Corpus::with_names_invented_once`] the whole text has one cast, which can be remembered and must be by a model that
//! cannot look back.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// Characters of a stretch, within which names stay the same.
pub const STRETCH: usize = 1_500;
/// How often a word must stand as a name before it counts as one.
const NAME_COUNT: usize = 12;
/// One stretch in so many is kept from training, to measure the loss on.
const HELD_OUT: usize = 20;

/// The titles that invented names get.
pub const TITLES: [&str; 9] =
    ["Doctor", "Professor", "Captain", "Mister", "Miss", "Lady", "Sir", "Mrs", "Colonel"];
/// The titles that a text may have before a name.
const WRITTEN_TITLES: [&str; 18] = [
    "Mr.",
    "Mrs.",
    "Ms.",
    "Dr.",
    "Mr",
    "Mrs",
    "Ms",
    "Dr",
    "Miss",
    "Lady",
    "Sir",
    "Captain",
    "Colonel",
    "Admiral",
    "General",
    "Doctor",
    "Professor",
    "Mister",
];
/// Capitalised words that are no names.
const NO_NAMES: [&str; 36] = [
    "God",
    "Lord",
    "Heaven",
    "Bible",
    "English",
    "French",
    "Christmas",
    "Easter",
    "Michaelmas",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
    "Mr",
    "Mrs",
    "Ms",
    "Dr",
    "Esq",
    "Chapter",
    "Volume",
    "The",
];

/// A text in stretches.
pub struct Corpus {
    stretches: Vec<Vec<Piece>>,
    /// Names that are replaced, and in how many places.
    names: (usize, usize),
    invented: Option<Invented>,
    fingerprint: u64,
}

/// How often names are made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Invented {
    /// Anew in every stretch of text, so that they cannot be learnt by heart
    Often,
    /// Once for the whole text, so that they can
    Once,
}

/// A part of a stretch.
enum Piece {
    Plain(String),
    /// The name with this number, and whether a title stands before it.
    Name {
        name: usize,
        titled: bool,
    },
}

impl Corpus {
    /// Reads text files, one after the other.
    pub fn read(files: &[PathBuf]) -> Result<Self> {
        let texts = files.iter().map(|file| read_text(file)).collect::<Result<Vec<_>>>()?;
        Self::from_texts(&texts)
    }

    /// The same from texts in memory.
    pub fn from_texts<S: AsRef<str>>(texts: &[S]) -> Result<Self> {
        let stretches: Vec<String> = texts.iter().flat_map(|text| stretches(&tidy(text.as_ref()))).collect();
        let fingerprint = fingerprint(&stretches);
        if stretches.len() < 2 {
            bail!("the text has fewer than {} characters: give more of it with --text", 2 * STRETCH);
        }
        let stretches = stretches.into_iter().map(|stretch| vec![Piece::Plain(stretch)]).collect();
        Ok(Self { stretches, names: (0, 0), invented: None, fingerprint })
    }

    /// Marks the names of the text, so that each stretch gets its own invented ones from here on.
    pub fn with_invented_names(mut self) -> Self {
        let names = find_names(self.stretches.iter().flatten().filter_map(|piece| match piece {
            Piece::Plain(text) => Some(text.as_str()),
            Piece::Name { .. } => None,
        }));
        self.invented = Some(Invented::Often);
        for stretch in &mut self.stretches {
            *stretch = stretch
                .drain(..)
                .flat_map(|piece| match piece {
                    Piece::Plain(text) => mark_names(&text, &names),
                    name => vec![name],
                })
                .collect();
        }
        let places = self.stretches.iter().flatten().filter(|piece| matches!(piece, Piece::Name { .. }));
        self.names = (names.len(), places.count());
        self
    }

    /// Replaces the names of the text by invented ones drawn from `rng`, each by the same throughout, and its title too.
    pub fn with_names_invented_once(mut self, rng: &mut impl Rng) -> Self {
        self = self.with_invented_names();
        let mut cast = Cast::new(rng);
        for stretch in &mut self.stretches {
            *stretch = vec![Piece::Plain(written(stretch, &mut cast, rng))];
        }
        self.invented = Some(Invented::Once);
        self
    }

    /// The text with its names made up as `how` says; `seed` is that of the names that are made up once.
    pub fn inventing(self, how: Invented, seed: u64) -> Self {
        match how {
            Invented::Often => self.with_invented_names(),
            Invented::Once => self.with_names_invented_once(&mut ChaCha8Rng::seed_from_u64(seed)),
        }
    }

    /// How many different names of the text are replaced, and in how many places.
    pub fn names(&self) -> (usize, usize) {
        self.names
    }

    /// How often names are made up, were there any.
    pub fn invented(&self) -> Option<Invented> {
        self.invented
    }

    /// A number that tells this text from another.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Whether reading the text again gives new names.
    pub fn changes(&self) -> bool {
        self.names.0 > 0 && self.invented == Some(Invented::Often)
    }

    /// The stretches to train on, with names drawn from `rng`.
    pub fn training(&self, rng: &mut impl Rng) -> Vec<String> {
        self.part(rng, |index| index % HELD_OUT != HELD_OUT - 1)
    }

    /// The stretches kept from training. A text of fewer than twenty stretches keeps its last.
    pub fn held_out(&self, rng: &mut impl Rng) -> Vec<String> {
        let last = self.stretches.len() - 1;
        self.part(rng, |index| index % HELD_OUT == HELD_OUT - 1 || (last < HELD_OUT - 1 && index == last))
    }

    fn part(&self, rng: &mut impl Rng, wanted: impl Fn(usize) -> bool) -> Vec<String> {
        let stretches = self.stretches.iter().enumerate();
        stretches
            .filter(|(index, _)| wanted(*index))
            .map(|(_, stretch)| written(stretch, &mut Cast::new(rng), rng))
            .collect()
    }
}

/// The 64-bit FNV-1a hash of the stretches, each ended by a zero byte.
fn fingerprint(stretches: &[String]) -> u64 {
    let bytes = stretches.iter().flat_map(|stretch| stretch.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The invented name and the title of each name of the text, drawn when it is first met.
struct Cast {
    names: HashMap<usize, String>,
    taken: HashSet<String>,
    titles: HashMap<usize, &'static str>,
    deck: [&'static str; TITLES.len()],
}

impl Cast {
    fn new(rng: &mut impl Rng) -> Self {
        let mut deck = TITLES;
        deck.shuffle(rng);
        Self { names: HashMap::new(), taken: HashSet::new(), titles: HashMap::new(), deck }
    }

    fn title(&mut self, name: usize) -> &'static str {
        let next = self.deck[self.titles.len() % self.deck.len()];
        self.titles.entry(name).or_insert(next)
    }

    fn name(&mut self, name: usize, rng: &mut impl Rng) -> &str {
        let taken = &mut self.taken;
        self.names.entry(name).or_insert_with(|| {
            loop {
                let name = invented_name(rng);
                if taken.insert(name.clone()) {
                    break name;
                }
            }
        })
    }
}

/// Writes a stretch out with the names and titles of `cast`.
fn written(stretch: &[Piece], cast: &mut Cast, rng: &mut impl Rng) -> String {
    let mut text = String::new();
    for piece in stretch {
        match piece {
            Piece::Plain(plain) => text.push_str(plain),
            Piece::Name { name, titled } => {
                if *titled {
                    text.push_str(cast.title(*name));
                    text.push(' ');
                }
                text.push_str(cast.name(*name, rng));
            }
        }
    }
    text
}

/// A name of three or four syllables, such as `Gigamuru`.
pub fn invented_name(rng: &mut impl Rng) -> String {
    let syllables = rng.random_range(3..=4);
    let mut name = String::with_capacity(2 * syllables);
    for _ in 0..syllables {
        name.push(char::from(b"bdfgklmnprstvz"[rng.random_range(0..14)]));
        name.push(char::from(b"aeiou"[rng.random_range(0..5)]));
    }
    name[..1].make_ascii_uppercase();
    name
}

/// Reads a file of UTF-8 text; an error names the file and what to do.
pub fn read_text(file: &Path) -> Result<String> {
    let name = file.display();
    let bytes =
        fs::read(file).with_context(|| format!("cannot read {name}: give --text a plain text file"))?;
    if bytes.contains(&0) {
        bail!("{name} is a binary file: give --text a plain text file in UTF-8");
    }
    let Ok(text) = String::from_utf8(bytes) else {
        bail!("{name} is not UTF-8 text: convert it first, for example with iconv -t utf-8");
    };
    if text.trim().is_empty() {
        bail!("{name} is empty: give --text a file with text in it");
    }
    Ok(text)
}

/// Joins the lines of a paragraph by spaces; a line break and a space stand between paragraphs, so that a word has
/// a space before it wherever it stands and is the same token everywhere.
fn tidy(text: &str) -> String {
    let mut paragraphs: Vec<String> = vec![String::new()];
    for line in text.lines() {
        let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let paragraph = paragraphs.len() - 1;
        match (words.is_empty(), paragraphs[paragraph].is_empty()) {
            (true, true) => {}
            (true, false) => paragraphs.push(String::new()),
            (false, true) => paragraphs[paragraph] = words,
            (false, false) => {
                paragraphs[paragraph].push(' ');
                paragraphs[paragraph].push_str(&words);
            }
        }
    }
    paragraphs.join("\n ").trim_end().to_string()
}

/// Cuts at the first space after every [`STRETCH`] characters, and drops the space.
fn stretches(text: &str) -> Vec<String> {
    let mut cut = vec![String::new()];
    let mut length = 0;
    for c in text.chars() {
        if c == ' ' && length >= STRETCH {
            cut.push(String::new());
            length = 0;
        } else if let Some(stretch) = cut.last_mut() {
            stretch.push(c);
            length += 1;
        }
    }
    cut.retain(|stretch| !stretch.trim().is_empty());
    cut
}

/// The words of a text with the byte where each starts: runs of letters.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty())
        .map(move |word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

/// A capital and small letters, three at least.
fn looks_like_a_name(word: &str) -> bool {
    let mut letters = word.chars();
    word.len() >= 3 && letters.next().is_some_and(char::is_uppercase) && letters.all(char::is_lowercase)
}

/// Numbers the words that are capitalised inside sentences and hardly ever written small.
fn find_names<'a>(texts: impl Iterator<Item = &'a str>) -> HashMap<String, usize> {
    let mut inside: HashMap<&str, usize> = HashMap::new();
    let mut small: HashMap<&str, usize> = HashMap::new();
    for text in texts {
        for (start, word) in words(text) {
            let before = &text[..start];
            let within = before.trim_end().ends_with(|c: char| c.is_lowercase() || c == ',' || c == ';');
            if looks_like_a_name(word) && (within || title_before(before).is_some()) {
                *inside.entry(word).or_default() += 1;
            } else if word.chars().all(char::is_lowercase) {
                *small.entry(word).or_default() += 1;
            }
        }
    }
    let written_small = |name: &str| small.get(name.to_lowercase().as_str()).copied().unwrap_or(0);
    let title = |name: &str| TITLES.contains(&name) || WRITTEN_TITLES.contains(&name);
    let mut names: Vec<&str> = inside
        .iter()
        .filter(|&(name, &count)| count >= NAME_COUNT && written_small(name) * 20 <= count)
        .map(|(name, _)| *name)
        .filter(|name| !NO_NAMES.contains(name) && !title(name))
        .collect();
    names.sort_unstable();
    names.into_iter().enumerate().map(|(number, name)| (name.to_string(), number)).collect()
}

/// The title and space that `before` ends with.
fn title_before(before: &str) -> Option<&'static str> {
    let rest = before.strip_suffix(' ')?;
    WRITTEN_TITLES.into_iter().find(|title| {
        rest.strip_suffix(title).is_some_and(|earlier| !earlier.ends_with(|c: char| c.is_alphanumeric()))
    })
}

/// Splits a text at its names; a title before a name becomes part of the name.
fn mark_names(text: &str, names: &HashMap<String, usize>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut done = 0;
    for (start, word) in words(text) {
        let Some(&name) = names.get(word) else { continue };
        let before = &text[done..start];
        let title = title_before(before);
        let plain = &before[..before.len() - title.map_or(0, |title| title.len() + 1)];
        if !plain.is_empty() {
            pieces.push(Piece::Plain(plain.to_string()));
        }
        pieces.push(Piece::Name { name, titled: title.is_some() });
        done = start + word.len();
    }
    pieces.push(Piece::Plain(text[done..].to_string()));
    pieces
}
