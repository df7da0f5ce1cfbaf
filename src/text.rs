//! Text that may hold anything, made safe to draw in a terminal.
//!
//! Tokens, prompts and file names come from outside. What reaches the screen has no control character (so no escape
//! sequence), no invisible or direction-changing character, and a width that terminals agree on.

use std::time::Duration;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Stands for a character that would not be seen.
const INVISIBLE: char = '∅';
/// Characters of a file's text that a message carries at most; a message carries two such texts at most.
pub const EXCERPT: usize = 120;
/// Characters of a whole message at most.
pub const MESSAGE: usize = 800;
/// Combining marks that one base keeps.
const MARKS: usize = 2;

/// So many of a thing: `1 layer`, `2 layers`.
pub fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// The bytes of a token as a terminal can show them.
///
/// A new line is `⏎`, a tab `→`, other control characters are their pictures (`␛`), invisible and direction characters are
/// `∅`, bytes that are no character are `<0xE2>`. A combined emoji is its first one; a mark without a base sits on `◌`. A
/// space stays a space. The result is at least one column wide unless `bytes` is empty.
pub fn clean(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk.valid().graphemes(true).for_each(|cluster| push_cluster(&mut shown, cluster));
        for byte in chunk.invalid() {
            shown.push_str(&format!("<0x{byte:02X}>"));
        }
    }
    shown
}

/// A message on one line: line breaks and tabs become spaces, the rest is as in [`clean`].
pub fn line(text: &str) -> String {
    let joined = text.lines().collect::<Vec<_>>().join(" ").replace('\t', " ");
    clean(joined.as_bytes())
}

/// Text of a file as a message carries it: on one line, with what a terminal would not show spelled out, and of long text
/// its beginning and end, at most [`EXCERPT`] characters in all.
pub fn excerpt(text: &str) -> String {
    let spelled = |c: char| match c {
        '"' | '\'' => String::from(c),
        c if is_invisible(c) => c.escape_unicode().to_string(),
        c => c.escape_debug().to_string(),
    };
    let within = |most: usize| {
        move |used: &mut usize, piece: String| {
            *used += piece.chars().count();
            (*used <= most).then_some(piece)
        }
    };
    let whole: String = text.chars().map(spelled).scan(0, within(EXCERPT)).collect();
    if text.chars().take(EXCERPT + 1).map(spelled).collect::<String>().chars().count() <= EXCERPT {
        return whole;
    }
    let head: String = text.chars().map(spelled).scan(0, within(EXCERPT * 2 / 3)).collect();
    let mut tail: Vec<String> =
        text.chars().rev().map(spelled).scan(0, within(EXCERPT - EXCERPT * 2 / 3 - 1)).collect();
    tail.reverse();
    format!("{head}…{}", tail.concat())
}

/// A message in which nothing quoted or listed from a file is long: what stands in quotes or brackets is cut as in [`excerpt`],
/// and the whole at [`MESSAGE`] characters. Libraries put whole strings of a file into theirs.
pub fn bounded(message: &str) -> String {
    let mut kept = String::new();
    let mut rest = message;
    while let Some(start) = rest.find(['`', '"', '[']) {
        let (before, quoted) = rest.split_at(start);
        let close = match quoted.as_bytes()[0] {
            b'[' => ']',
            quote => char::from(quote),
        };
        let Some(end) = quoted[1..].find(close) else { break };
        let (inside, after) = (&quoted[1..=end], &quoted[end + 1..]);
        kept.push_str(before);
        kept.push_str(&quoted[..1]);
        // What is short is as it should be already.
        match inside.chars().nth(EXCERPT) {
            Some(_) => kept.push_str(&excerpt(inside)),
            None => kept.push_str(inside),
        }
        kept.push(close);
        rest = &after[1..];
    }
    kept.push_str(rest);
    match kept.char_indices().nth(MESSAGE) {
        Some(_) => {
            let start: String = kept.chars().take(MESSAGE / 2).collect();
            let end: Vec<char> = kept.chars().rev().take(MESSAGE / 2 - 1).collect();
            format!("{start}…{}", end.into_iter().rev().collect::<String>())
        }
        None => kept,
    }
}

/// The first `most` of some things and how many more there are: `a, b and 3 more`; `None` where there is nothing.
pub fn list(things: impl IntoIterator<Item = String>, most: usize) -> Option<String> {
    let mut things = things.into_iter();
    let first: Vec<String> = things.by_ref().take(most).collect();
    let more = things.count();
    let shown = first.join(", ");
    (!first.is_empty()).then(|| if more == 0 { shown } else { format!("{shown} and {more} more") })
}

/// A number of bytes for people: `269 MB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, f64); 4] = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let bytes = bytes as f64;
    match UNITS.into_iter().find(|&(_, unit)| bytes >= unit) {
        Some((name, unit)) if bytes / unit < 10.0 => format!("{:.1} {name}", bytes / unit),
        Some((name, unit)) => format!("{:.0} {name}", bytes / unit),
        None => format!("{bytes} B"),
    }
}

/// A part of a number of bytes: `1.2 of 4.1 GB`, `512 MB of 4.1 GB`.
pub fn amount(done: u64, total: u64) -> String {
    let (done, total) = (size(done), size(total));
    match (done.split_once(' '), total.split_once(' ')) {
        (Some((count, unit)), Some((_, whole))) if unit == whole => format!("{count} of {total}"),
        _ => format!("{done} of {total}"),
    }
}

/// Time that something still takes, rounded up: `31 s left`, `4 min left`, `2 h 10 min left`, `3 days left`.
pub fn time_left(time: Duration) -> String {
    let seconds = time.as_secs();
    let minutes = seconds.div_ceil(60);
    match (seconds, minutes) {
        (..60, _) => format!("{seconds} s left"),
        (_, ..60) => format!("{minutes} min left"),
        (_, ..2880) if minutes.is_multiple_of(60) => format!("{} h left", minutes / 60),
        (_, ..2880) => format!("{} h {} min left", minutes / 60, minutes % 60),
        _ => format!("{} days left", minutes.div_ceil(1440)),
    }
}

/// The one of `known` that is most like `name`.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)))
}

/// The end of `text` in at most `width` columns, after `…` where its beginning was cut: names of shards differ there.
pub fn tail(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let cut = text.grapheme_indices(true).rev().take_while(|(_, grapheme)| {
        used += grapheme.width();
        used <= width
    });
    let start = cut.last().map_or(text.len(), |(at, _)| at);
    if width == 0 { String::new() } else { format!("…{}", &text[start..]) }
}

/// Appends one grapheme cluster: its first character, and of what follows the marks that change no width, as well as
/// letters that join. Anything joined by an emoji sequence is left out.
fn push_cluster(shown: &mut String, cluster: &str) {
    let mut marks = 0;
    for (at, c) in cluster.char_indices() {
        match c {
            _ if c.is_control() => shown.push(picture(c)),
            '\u{1f1e6}'..='\u{1f1ff}' => {
                shown.extend(char::from_u32(u32::from(c) - 0x1f1e6 + u32::from('Ⓐ')))
            }
            '\u{200d}' | '\u{fe0f}' if at > 0 => break,
            _ if is_invisible(c) && at == 0 => shown.push(INVISIBLE),
            _ if is_invisible(c) || at > 0 && is_skin_tone(c) => {}
            _ if c.width() == Some(0) => {
                if at == 0 {
                    shown.push('◌');
                }
                marks += 1;
                if marks <= MARKS {
                    shown.push(c);
                }
            }
            _ => shown.push(c),
        }
    }
}

/// The picture of a control character.
fn picture(control: char) -> char {
    match control {
        '\n' => '⏎',
        '\t' => '→',
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(control)).unwrap_or(INVISIBLE),
        '\x7f' => '␡',
        _ => '␦',
    }
}

/// Whether the character is drawn as nothing or directs its neighbours: Unicode's default-ignorable characters, and the
/// separators of lines and paragraphs.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

fn is_skin_tone(c: char) -> bool {
    matches!(c, '\u{1f3fb}'..='\u{1f3ff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_have_two_or_three_figures() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(9_940), "9.9 kB");
        assert_eq!(size(269_000_000), "269 MB");
        assert_eq!(size(1_580_000_000), "1.6 GB");
    }

    #[test]
    fn parts_share_a_unit_where_they_can() {
        assert_eq!(amount(1_230_000_000, 4_100_000_000), "1.2 of 4.1 GB");
        assert_eq!(amount(512_000_000, 4_100_000_000), "512 MB of 4.1 GB");
        assert_eq!(amount(0, 0), "0 of 0 B");
    }

    #[test]
    fn the_time_left_is_as_exact_as_it_is_known() {
        let left = |seconds| time_left(Duration::from_secs(seconds));
        assert_eq!([left(0), left(31), left(59)], ["0 s left", "31 s left", "59 s left"]);
        assert_eq!([left(60), left(190), left(3540)], ["1 min left", "4 min left", "59 min left"]);
        assert_eq!(
            [left(3541), left(7800), left(172_740)],
            ["1 h left", "2 h 10 min left", "47 h 59 min left"]
        );
        assert_eq!([left(172_741), left(u64::MAX)], ["2 days left", "213503982334602 days left"]);
    }

    #[test]
    fn a_name_keeps_its_end() {
        assert_eq!(tail("model-00001-of-00003.safetensors", 14), "…3.safetensors");
        assert_eq!(tail("日本語.bin", 8), "…語.bin");
        assert_eq!([tail("abc", 3), tail("abc", 1), tail("abc", 0)], ["abc", "…", ""]);
    }

    #[test]
    fn what_a_file_says_is_cut_in_the_middle() {
        assert_eq!(excerpt("model.layers.0"), "model.layers.0");
        assert_eq!(excerpt("a\u{1b}[31m\n\"b\" 日本"), "a\\u{1b}[31m\\n\"b\" 日本");
        let long = format!("{}{}", "a".repeat(70_000), "z");
        let cut = excerpt(&long);
        assert!(cut.starts_with("aaaa") && cut.ends_with("aaaz") && cut.chars().count() == EXCERPT, "{cut}");
    }

    #[test]
    fn lists_are_cut_at_their_end() {
        let of = |count: usize| list((0..count).map(|number| number.to_string()), 3);
        assert_eq!([of(0), of(1), of(3)], [None, Some("0".into()), Some("0, 1, 2".into())]);
        assert_eq!(of(70_000), Some("0, 1, 2 and 69997 more".into()));
    }

    #[test]
    fn what_is_quoted_in_a_message_is_cut_and_the_rest_stays() {
        let long = "x".repeat(70_000);
        for (open, close) in [("`", "`"), ("\"", "\""), ("[", "]")] {
            let message = bounded(&format!("a: tensor {open}{long}{close} is [2, 3], not `u8`"));
            assert!(message.starts_with(&format!("a: tensor {open}xxx")), "{message}");
            assert!(message.ends_with(&format!("xxx{close} is [2, 3], not `u8`")), "{message}");
            assert!(message.chars().count() < 200, "{message}");
        }
        assert_eq!(bounded("it's `open"), "it's `open");
    }

    #[test]
    fn control_characters_are_pictures() {
        assert_eq!(clean(b" the cat"), " the cat");
        assert_eq!(clean(b"\x1b[31m\n\t\r\0\x7f"), "␛[31m⏎→␍␀␡");
        assert_eq!(clean("a\r\nb\u{9b}c".as_bytes()), "a␍⏎b␦c");
    }

    #[test]
    fn bytes_that_are_no_character_are_spelled_out() {
        assert_eq!(clean(&[0xe2, 0x96]), "<0xE2><0x96>");
        assert_eq!(clean(&[b'a', 0xff, 0xcc, 0x81]), "a<0xFF>◌\u{301}");
    }

    #[test]
    fn nothing_is_invisible() {
        assert_eq!(clean("a\u{200b}b\u{202e}c\u{feff}\u{2028}".as_bytes()), "a∅b∅c∅∅");
        assert_eq!(clean("\u{200d}".as_bytes()), "∅");
        assert_eq!(clean("a\u{e0041}b".as_bytes()), "ab");
    }

    #[test]
    fn sequences_have_a_plain_width() {
        assert_eq!(clean("👩‍👩‍👧!".as_bytes()), "👩!");
        assert_eq!(clean("❤\u{fe0f}👍🏽1\u{fe0f}\u{20e3}".as_bytes()), "❤👍1");
        assert_eq!(clean("🇫🇷".as_bytes()), "ⒻⓇ");
        assert_eq!(clean("e\u{301}\u{302}\u{303}\u{304}x".as_bytes()), "e\u{301}\u{302}x");
        assert_eq!(clean("\u{301}".as_bytes()), "◌\u{301}");
        assert_eq!(clean("मनी漢字각".as_bytes()), "मनी漢字각");
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(line("cannot read\r\n\tthe  file\x1b\n"), "cannot read  the  file␛");
        assert_eq!(line(""), "");
    }

    /// Characters that are likely to go wrong together.
    fn awkward() -> impl Strategy<Value = String> {
        let odd = "\n\r\t\x1b\u{9b}\u{301}\u{200d}\u{fe0f}\u{202e}\u{2066}\u{1f3fd}\u{1f1eb}👩각कि्ला\u{600}\u{3164}a ";
        let odd: Vec<char> = odd.chars().collect();
        proptest::collection::vec(prop_oneof![proptest::sample::select(odd), any::<char>()], 0..12)
            .prop_map(|chars| chars.into_iter().collect())
    }

    fn is_safe(shown: &str, empty: bool) -> bool {
        let width = shown.graphemes(true).map(UnicodeWidthStr::width).sum::<usize>();
        shown.chars().all(|c| !c.is_control() && !is_invisible(c)) && (width == 0) == empty
    }

    proptest! {
        #[test]
        fn any_bytes_become_safe(bytes: Vec<u8>) {
            prop_assert!(is_safe(&clean(&bytes), bytes.is_empty()));
        }

        #[test]
        fn an_excerpt_is_short_and_safe(text in awkward(), times in 1..2000usize) {
            let cut = excerpt(&text.repeat(times));
            prop_assert!(cut.chars().count() <= EXCERPT);
            prop_assert!(cut.chars().all(|c| !c.is_control() && !is_invisible(c)), "{:?}", cut);
        }

        #[test]
        fn what_is_short_is_whole(text in "[ -\\[\\]-~]{0,120}") {
            prop_assert_eq!(excerpt(&text), text);
        }

        #[test]
        fn a_message_is_bounded(text in "[a-z`\"\\[\\] ]{0,9}", other: String, times in 1..3000usize) {
            let message = format!("{}{other}{}", text.repeat(times), text.repeat(times));
            prop_assert!(bounded(&message).chars().count() <= MESSAGE);
            if message.chars().count() <= EXCERPT {
                prop_assert_eq!(bounded(&message), message);
            }
        }

        #[test]
        fn an_end_never_exceeds_its_width(text in "\\PC{0,40}", width in 0..30usize) {
            prop_assert!(tail(&text, width).width() <= width);
        }

        #[test]
        fn any_text_becomes_safe(text in awkward()) {
            let shown = clean(text.as_bytes());
            prop_assert!(is_safe(&shown, text.is_empty()), "{:?}", shown);
            let message = line(&text);
            prop_assert!(is_safe(&message, message.is_empty()));
        }
    }
}
