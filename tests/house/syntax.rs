//! As much of Rust's grammar as tells what a file imports. What is compiled for tests alone is left out.

use std::{collections::BTreeSet, iter::Peekable};

/// A path as it is written: `super::head::Head`.
pub type Path = Vec<String>;

/// What a file says of others.
pub struct File {
    /// Modules in files of their own.
    pub modules: Vec<String>,
    /// Names that the file knows from elsewhere, and what they stand for; `*` is whatever is there.
    pub imports: Vec<(String, Path)>,
    /// Paths from a place that is known without an import.
    pub mentions: Vec<Path>,
    /// Every word that is no text and no comment.
    pub words: BTreeSet<String>,
}

impl File {
    pub fn read(text: &str) -> Self {
        let tokens = without_tests(tokens(text));
        let mut file = Self {
            modules: Vec::new(),
            imports: Vec::new(),
            mentions: Vec::new(),
            words: tokens
                .iter()
                .filter(|token| token.starts_with(is_name))
                .map(|&token| token.into())
                .collect(),
        };
        for (at, &token) in tokens.iter().enumerate() {
            match (token, tokens.get(at + 1).copied().unwrap_or_default()) {
                ("mod", name) if tokens.get(at + 2) == Some(&";") => file.modules.push(name.into()),
                // `use<'a>` says what a type captures.
                ("use", next) if next != "<" => {
                    let end = at + tokens[at..].iter().position(|&token| token == ";").unwrap();
                    let mut tree = tokens[at + 1..end].iter().copied().peekable();
                    import(&mut tree, Vec::new(), &mut file.imports);
                }
                ("crate" | "self" | "super" | "attnscope", "::") if at == 0 || tokens[at - 1] != "::" => {
                    file.mentions.push(path(&tokens[at..]));
                }
                _ => {}
            }
        }
        file
    }
}

/// The names that a tree of `use` brings, below `path`.
fn import<'a>(
    tokens: &mut Peekable<impl Iterator<Item = &'a str>>,
    mut path: Path,
    found: &mut Vec<(String, Path)>,
) {
    while let Some(token) = tokens.next() {
        match token {
            "::" => continue,
            "{" => {
                while tokens.peek().is_some_and(|&token| token != "}") {
                    import(tokens, path.clone(), found);
                    tokens.next_if_eq(&",");
                }
                tokens.next();
                return;
            }
            "self" if !path.is_empty() => {}
            _ => path.push(token.to_owned()),
        }
        if tokens.peek() != Some(&"::") {
            break;
        }
    }
    let name = match tokens.next_if_eq(&"as") {
        Some(_) => tokens.next().map(str::to_owned),
        None => path.last().cloned(),
    };
    if path.last().is_some_and(|last| last == "*") {
        path.pop();
    }
    found.extend(name.map(|name| (name, path)));
}

/// The path that `tokens` begin with.
fn path(tokens: &[&str]) -> Path {
    let names = tokens.chunks(2).take_while(|pair| pair[0].starts_with(is_name));
    let mut path = Path::new();
    for pair in names {
        path.push(pair[0].to_owned());
        if pair.get(1) != Some(&"::") {
            break;
        }
    }
    path
}

/// Leaves out items that are there for tests only.
fn without_tests(tokens: Vec<&str>) -> Vec<&str> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut rest = &tokens[..];
    while let Some(&token) = rest.first() {
        if rest.starts_with(&MARK) {
            rest = &rest[MARK.len()..];
            rest = &rest[item(rest)..];
        } else {
            kept.push(token);
            rest = &rest[1..];
        }
    }
    kept
}

/// How many tokens the first item has.
fn item(tokens: &[&str]) -> usize {
    let imports = tokens.iter().take_while(|&&token| token != "{").any(|&token| token == "use");
    let mut depth = 0;
    for (at, &token) in tokens.iter().enumerate() {
        match token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 && (token == ";" || token == "}" && !imports) {
            return at + 1;
        }
    }
    tokens.len()
}

/// Names, `::`, and other characters one by one; no white space, comments, texts, characters.
fn tokens(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let passed = comment(rest).or_else(|| literal(rest)).unwrap_or_else(|| {
            let length = match first {
                _ if is_name(first) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
                _ if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            if !first.is_whitespace() {
                found.push(&rest[..length]);
            }
            length
        });
        rest = &rest[passed..];
    }
    found
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// The length of the comment that `text` begins with.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    text.starts_with("/*").then(|| text.find("*/").map_or(text.len(), |end| end + 2))
}

/// The length of the text or the character that `text` begins with.
fn literal(text: &str) -> Option<usize> {
    let start = text.find(|c| !['b', 'c', 'r'].contains(&c))?;
    let (prefix, body) = text.split_at(start);
    if prefix.contains('r') {
        let hashes = body.find(|c| c != '#')?;
        let end = format!("\"{}", &body[..hashes]);
        let inside = body[hashes..].strip_prefix('"')?;
        return Some(start + hashes + 1 + inside.find(&end)? + end.len());
    }
    let quote = body.chars().next().filter(|c| ['"', '\''].contains(c))?;
    let mut characters = body.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => _ = characters.next(),
            _ if c == quote => return Some(start + at + 1),
            // A lifetime.
            _ if quote == '\'' && !body[at + c.len_utf8()..].starts_with('\'') => return None,
            _ => {}
        }
    }
    None
}
