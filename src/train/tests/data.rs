//! The text, its vocabulary and the sequences made of it.

use std::{collections::HashSet, fs};

use candle_core::Device;
use tempfile::tempdir;

use super::*;
use crate::train::{
    data::{self, Batch, Mix},
    text::TITLES,
};

#[test]
fn names_are_invented_and_stay_the_same_in_a_stretch() {
    let corpus = corpus();
    assert_eq!(corpus.names().0, 2, "Darcy and Elizabeth");
    let stretches = corpus.training(&mut rng());
    let mut seen = HashSet::new();
    for stretch in &stretches {
        assert!(!stretch.contains("Darcy") && !stretch.contains("Elizabeth") && !stretch.contains("Mr."));
        let after = |words: &str, place: usize| {
            let names: HashSet<&str> = stretch
                .split(words)
                .skip(1)
                .filter_map(|rest| rest.split([' ', ',', ';', '.']).nth(place))
                .collect();
            names
        };
        assert_eq!(after("baker told ", 0).len(), 1, "{stretch}");
        assert_eq!(after("she told ", 0), after(" and there ", 1));
        assert_eq!(after(" and there ", 0).len(), 1, "one title");
        seen.extend(after("she told ", 0).into_iter().map(str::to_string));
    }
    assert_eq!(seen.len(), stretches.len(), "another name in every stretch");
    assert_ne!(stretches, corpus.training(&mut ChaCha8Rng::seed_from_u64(8)));
    assert_eq!(stretches, corpus.training(&mut rng()));
    assert!(!corpus.held_out(&mut rng()).is_empty());
}

#[test]
fn names_made_up_once_are_the_same_throughout() {
    let corpus = Corpus::from_texts(&[story()]).unwrap().with_names_invented_once(&mut rng());
    assert!(!corpus.changes());
    assert!(corpus.names().0 > 0 && corpus.names().1 > 100, "{:?}", corpus.names());
    let text = corpus.training(&mut rng()).concat();
    assert_eq!(text, corpus.training(&mut ChaCha8Rng::seed_from_u64(8)).concat());
    assert!(!text.contains("Darcy"), "{}", &text[..200]);
    let told: HashSet<&str> =
        text.split("she told ").skip(1).filter_map(|rest| rest.split([' ', ',', '.']).next()).collect();
    assert_eq!(told.len(), 1, "one name for one person: {told:?}");
}

#[test]
fn words_that_are_also_written_small_are_no_names() {
    let text =
        "Then, The house, in The end, the cat of Bath saw the bath of the house; so Bath it was. ".repeat(60);
    let corpus = Corpus::from_texts(&[text]).unwrap().with_invented_names();
    assert_eq!(corpus.names(), (0, 0));
    assert!(!corpus.changes());
}

#[test]
fn bos_comes_first_and_a_word_is_one_token_everywhere() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    fs::write(&path, vocabulary::json(&tokenizer()).unwrap()).unwrap();
    let tokenizer = vocabulary::load(&path).unwrap();
    let ids = vocabulary::prompt_ids(&tokenizer, "Darcy told Darcy").unwrap();
    let name = vocabulary::plain_ids(&tokenizer, "Darcy").unwrap();
    assert_eq!(ids[0], vocabulary::BOS_ID);
    assert!(ids[1..].starts_with(&name) && ids.ends_with(&name));
    assert_eq!(tokenizer.decode(&ids, true).unwrap().trim_start(), "Darcy told Darcy");
    assert_eq!(tokenizer.get_vocab_size(true), 300);
    let odd = vocabulary::plain_ids(&tokenizer, "ž\u{1F600}").unwrap();
    assert!(odd.len() > 4, "bytes stand in for what the text lacks: {odd:?}");
}

#[test]
fn sequences_are_what_they_are_said_to_be() {
    let (corpus, tokenizer) = (corpus(), tokenizer());
    let mut source = Source::new(&corpus, &tokenizer, 128, 1, None).unwrap();
    let (mut tiled, mut framed, mut sizes) = (0, 0, HashSet::new());
    for _ in 0..400 {
        let sequence = source.block_sequence().unwrap();
        assert_eq!((sequence.len(), sequence[0]), (129, vocabulary::BOS_ID));
        let tokens = &sequence[1..];
        assert!(!tokens.contains(&vocabulary::BOS_ID));
        let distinct = |block: &[u32]| block.iter().collect::<HashSet<_>>().len() == block.len();
        let period = (6..=59).find(|&p| tokens[p..] == tokens[..128 - p] && distinct(&tokens[..p]));
        let size = (6..=59).rev().find(|&size| {
            let block = &tokens[128 - size..];
            distinct(block) && tokens[..128 - size].windows(size).any(|window| window == block)
        });
        sizes.extend(period.or(size));
        match period {
            Some(_) => tiled += 1,
            None => framed += usize::from(size.is_some()),
        }
    }
    assert_eq!(tiled + framed, 400);
    assert!((150..250).contains(&tiled), "{tiled} tiled");
    assert!(sizes.len() > 45 && sizes.contains(&6) && sizes.contains(&59));
    let text = source.text_sequence().unwrap();
    assert_eq!((text.len(), text[0]), (129, vocabulary::BOS_ID));
    let batch = Batch::new(
        &source.sequences(3, Mix { blocks: 0.5, spans: 0.5, mentions: 0.5 }).unwrap(),
        &Device::Cpu,
    )
    .unwrap();
    assert_eq!((batch.inputs.dims(), batch.targets.dims()), (&[3, 128][..], &[384][..]));
}

#[test]
fn bad_input_gives_one_line_that_names_the_file() {
    let folder = tempdir().unwrap();
    let complaint = |name: &str, bytes: Option<&[u8]>| {
        let file = folder.path().join(name);
        if let Some(bytes) = bytes {
            fs::write(&file, bytes).unwrap();
        }
        let error = Corpus::read(&[file]).err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(!error.contains('\n'), "{error}");
        error
    };
    for (name, bytes, says) in [
        ("missing.txt", None, "plain text file"),
        ("empty.txt", Some(&b" \n\n"[..]), "is empty"),
        ("binary.bin", Some(&b"MZ\0\x01"[..]), "is a binary file"),
        ("latin.txt", Some(&b"caf\xe9 au lait"[..]), "is not UTF-8"),
    ] {
        let error = complaint(name, bytes);
        assert!(error.contains(name) && error.contains(says), "{error}");
    }
    assert!(complaint("short.txt", Some(b"One sentence.")).contains("give more"));
}

#[test]
fn a_span_of_the_first_half_comes_again_in_the_second() {
    let (corpus, tokenizer) = (corpus(), tokenizer());
    let mut source = Source::new(&corpus, &tokenizer, 128, 1, None).unwrap();
    let (mut sizes, mut places) = (HashSet::new(), HashSet::new());
    for _ in 0..200 {
        let place = source.place();
        let sequence = source.span_sequence().unwrap();
        let mut plain = Source::new(&corpus, &tokenizer, 128, 1, Some(place)).unwrap();
        let text = plain.text_sequence().unwrap();
        assert_eq!(sequence[..65], text[..65], "the first half is as it was");
        // A span may begin or end with what stood there anyway.
        let changed: Vec<usize> = (0..129).filter(|&place| sequence[place] != text[place]).collect();
        let (Some(&first), Some(&last)) = (changed.first(), changed.last()) else { continue };
        let size = last - first + 1;
        assert!(size <= 32, "a quarter of the context at most, not {size}");
        assert!((1..=65 - size).any(|from| sequence[from..from + size] == sequence[first..=last]));
        sizes.insert(size);
        places.insert(first);
    }
    assert!(sizes.len() > 12 && places.len() > 30, "{} sizes at {} places", sizes.len(), places.len());
}

#[test]
fn made_up_people_are_mentioned_again_in_text() {
    let (corpus, tokenizer) = (corpus(), tokenizer());
    let text = data::tokens(&tokenizer, &corpus.training(&mut ChaCha8Rng::seed_from_u64(1))).unwrap();
    let triples: HashSet<&[u32]> = text.windows(3).collect();
    let titles = TITLES.map(|title| vocabulary::plain_ids(&tokenizer, title).unwrap());
    let mut source = Source::new(&corpus, &tokenizer, 128, 1, None).unwrap();
    let (mut again, mut titled, mut plain) = (0, 0, 0);
    for _ in 0..200 {
        let sequence = source.mention_sequence().unwrap();
        assert_eq!((sequence.len(), sequence[0]), (129, vocabulary::BOS_ID));
        plain += sequence[1..].windows(3).filter(|triple| triples.contains(triple)).count();
        // Two tokens that come again and never stand so in text: part of a mention.
        let again_at = |place: usize| {
            let pair = &sequence[place..place + 2];
            let new = text.windows(2).all(|other| other != pair);
            (place + 2..128).find(|&later| new && sequence[later..later + 2] == *pair)
        };
        let Some((place, later)) = (1..126).find_map(|place| Some((place, again_at(place)?))) else {
            continue;
        };
        let back = (1..place).take_while(|&back| sequence[place - back] == sequence[later - back]).count();
        let same = (place..later).take_while(|&at| sequence.get(at + later - place) == Some(&sequence[at]));
        // What opens it and a name of two tokens at least; two alone may come again by chance.
        if back + same.count() < 3 {
            continue;
        }
        again += 1;
        let mention = &sequence[place - back..];
        titled += usize::from(titles.iter().any(|title| mention.starts_with(title)));
    }
    assert!(again > 150, "{again} of 200 mention someone twice");
    assert!((again / 6..again / 2).contains(&titled), "{titled} titles of {again}");
    assert!(plain > 200 * 64, "most of it is text, not {plain} triples");
    let mut narrow = Source::new(&corpus, &tokenizer, 13, 1, None).unwrap();
    assert!((0..100).all(|_| narrow.mention_sequence().unwrap().len() == 14));
}

#[test]
fn a_source_goes_on_from_its_place() {
    let (corpus, tokenizer) = (corpus(), tokenizer());
    let mix = Mix { blocks: 0.3, spans: 0.5, mentions: 0.5 };
    let mut source = Source::new(&corpus, &tokenizer, 128, 1, None).unwrap();
    // Enough for several readings of the text, each with other names.
    for _ in 0..20 {
        source.sequences(30, mix).unwrap();
        let mut other = Source::new(&corpus, &tokenizer, 128, 1, Some(source.place())).unwrap();
        assert_eq!(source.place(), other.place());
        assert_eq!(source.sequences(5, mix).unwrap(), other.sequences(5, mix).unwrap());
    }
}
