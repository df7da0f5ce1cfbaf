//! Keys as the app knows them, whatever library reads them from the terminal.
//!
//! Written like vim's: `x`, `]i`, `<C-d>`, `<S-Tab>`, `<Enter>`.

use std::{fmt, str::FromStr};

use anyhow::{Context, Error, Result, bail};

/// What a key is, less its modifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum KeyCode {
    Char(char),
    Enter,
    Esc,
    Tab,
    Backspace,
    Delete,
    Insert,
    Left,
    Right,
    Up,
    Down,
    Home,
    End,
    PageUp,
    PageDown,
    F(u8),
}

use KeyCode::{
    Backspace, Char, Delete, Down, End, Enter, Esc, F, Home, Insert, Left, PageDown, PageUp, Right, Tab, Up,
};

/// Keys with a name: how it is written in a sequence, and how the help shows it.
const NAMED: [(KeyCode, &str, &str); 15] = [
    (Enter, "Enter", "Enter"),
    (Esc, "Esc", "Esc"),
    (Tab, "Tab", "Tab"),
    (Backspace, "Backspace", "Backspace"),
    (Delete, "Delete", "Delete"),
    (Insert, "Insert", "Insert"),
    (Left, "Left", "←"),
    (Right, "Right", "→"),
    (Up, "Up", "↑"),
    (Down, "Down", "↓"),
    (Home, "Home", "Home"),
    (End, "End", "End"),
    (PageUp, "PageUp", "PgUp"),
    (PageDown, "PageDown", "PgDn"),
    (Char(' '), "Space", "Space"),
];

/// A key press.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The key.
    pub code: KeyCode,
    /// Control was held.
    pub ctrl: bool,
    /// Alt was held.
    pub alt: bool,
    /// Shift was held; never set for a character, whose case already says so.
    pub shift: bool,
}

impl Key {
    /// The key with its modifiers; a character keeps its case instead of `shift`, and has none under Control.
    pub fn new(code: KeyCode, ctrl: bool, alt: bool, shift: bool) -> Self {
        match code {
            Char(char) if ctrl => Self { code: Char(char.to_ascii_lowercase()), ctrl, alt, shift: false },
            Char(_) => Self { code, ctrl, alt, shift: false },
            _ => Self { code, ctrl, alt, shift },
        }
    }

    /// The keys of a sequence such as `]i` or `<C-d>`.
    pub fn sequence(mut text: &str) -> Result<Vec<Self>> {
        let mut keys = Vec::new();
        while let Some(first) = text.chars().next() {
            let length = if first == '<' {
                text.find('>').with_context(|| format!("`{text}` opens a key name and does not close it"))?
                    + 1
            } else {
                first.len_utf8()
            };
            let (key, rest) = text.split_at(length);
            keys.push(key.parse()?);
            text = rest;
        }
        Ok(keys)
    }

    /// The character typed, if the key types one.
    pub fn typed(self) -> Option<char> {
        match self.code {
            Char(char) if !self.ctrl && !self.alt => Some(char),
            _ => None,
        }
    }

    /// As the help shows it: `Ctrl-d`, `→`.
    pub fn label(self) -> String {
        let modifier = |held, name| if held { name } else { "" };
        let (ctrl, alt, shift) =
            (modifier(self.ctrl, "Ctrl-"), modifier(self.alt, "Alt-"), modifier(self.shift, "Shift-"));
        let code = match (NAMED.iter().find(|named| named.0 == self.code), self.code) {
            (Some(named), _) => named.2.to_owned(),
            (None, Char(char)) => char.to_string(),
            (None, F(number)) => format!("F{number}"),
            (None, other) => format!("{other:?}"),
        };
        format!("{ctrl}{alt}{shift}{code}")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match (NAMED.iter().find(|named| named.0 == self.code), self.code) {
            (Some(named), _) => named.1.to_owned(),
            (None, Char('<')) => "lt".to_owned(),
            (None, Char(char)) => char.to_string(),
            (None, F(number)) => format!("F{number}"),
            (None, other) => format!("{other:?}"),
        };
        let plain = matches!(self.code, Char(char) if char != '<' && char != ' ');
        if plain && !self.ctrl && !self.alt {
            return f.write_str(&name);
        }
        let modifier = |held, letter| if held { letter } else { "" };
        let (ctrl, alt, shift) =
            (modifier(self.ctrl, "C-"), modifier(self.alt, "A-"), modifier(self.shift, "S-"));
        write!(f, "<{ctrl}{alt}{shift}{name}>")
    }
}

impl FromStr for Key {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut chars = text.chars();
        if let (Some(char), None) = (chars.next(), chars.next()) {
            return Ok(Self::new(Char(char), false, false, false));
        }
        let Some(mut name) = text.strip_prefix('<').and_then(|name| name.strip_suffix('>')) else {
            bail!("`{text}` is no key: write x, <C-x>, <S-Tab> or <Enter>");
        };
        let (mut ctrl, mut alt, mut shift) = (false, false, false);
        loop {
            let (held, rest) = match name.split_at_checked(2) {
                Some(("C-", rest)) if !rest.is_empty() => (&mut ctrl, rest),
                Some(("A-", rest)) if !rest.is_empty() => (&mut alt, rest),
                Some(("S-", rest)) if !rest.is_empty() => (&mut shift, rest),
                _ => break,
            };
            (*held, name) = (true, rest);
        }
        let mut chars = name.chars();
        let code = match (NAMED.iter().find(|named| named.1 == name), chars.next(), chars.next()) {
            (Some(named), ..) => named.0,
            (None, Some(char), None) => Char(char),
            (None, Some('F'), Some(_)) => {
                F(name[1..].parse().with_context(|| format!("`{text}` is no key"))?)
            }
            _ if name == "lt" => Char('<'),
            _ => bail!("`{text}` is no key: `{name}` is not known"),
        };
        Ok(Self::new(code, ctrl, alt, shift))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_sequences() {
        let keys = Key::sequence("]i<C-d><S-Tab>0<lt>").unwrap();
        let back: String = keys.iter().map(Key::to_string).collect();
        assert_eq!((keys.len(), back.as_str()), (6, "]i<C-d><S-Tab>0<lt>"));
        assert_eq!(keys[2].label(), "Ctrl-d");
        assert_eq!(Key::sequence("<Right>").unwrap()[0].label(), "→");
        assert!(Key::sequence("<Nothing>").is_err());
        assert!(Key::sequence("<Enter").is_err());
    }

    proptest! {
        #[test]
        fn writes_what_it_reads(char in any::<char>(), ctrl: bool, alt: bool, shift: bool, named in 0..15usize) {
            for code in [Char(char), NAMED[named].0, F(5)] {
                let key = Key::new(code, ctrl, alt, shift);
                prop_assert_eq!(key.to_string().parse::<Key>().unwrap(), key);
            }
        }
    }
}
