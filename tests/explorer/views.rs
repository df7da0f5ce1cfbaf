//! Every screen as it looks: text and styles, at the usual sizes and at every colour depth; and no panic at any size.

use attnscope::{
    engine::protocol::{Download, Event, Transfer, TransferState},
    ui::theme::Depth,
};
use insta::assert_snapshot;
use proptest::prelude::*;
use ratatui::{
    backend::{Backend, CrosstermBackend},
    buffer::Buffer,
};

use crate::common::{Bench, Engine, styled, text};

#[test]
fn explore() {
    assert_snapshot!("explore_120x40", styled(&Bench::new(120, 40).draw()));
    assert_snapshot!("explore_80x24", styled(&Bench::new(80, 24).draw()));
    assert_snapshot!("explore_60x16", text(&Bench::new(60, 16).draw()));
}

#[test]
fn heatmap_at_every_depth() {
    for (name, depth) in [("indexed", Depth::Indexed), ("ansi", Depth::Ansi), ("mono", Depth::Mono)] {
        assert_snapshot!(format!("explore_{name}"), styled(&Bench::new(80, 24).at(depth).draw()));
    }
}

#[test]
fn a_long_prompt_is_pooled() {
    let mut bench = Bench::new(80, 24);
    let words: Vec<String> = (0..60).map(|word| format!("w{}", word % 30)).collect();
    bench.keys("i<C-u>");
    bench.paste(&words.join(" "));
    bench.keys("<Enter>");
    assert_snapshot!("pooled_80x24", styled(&bench.draw()));
    assert_snapshot!("pooled_mono", text(&bench.at(Depth::Mono).draw()));
}

#[test]
fn text_heatmap() {
    let mut bench = Bench::new(80, 24);
    bench.keys("t");
    assert_snapshot!("text_80x24", styled(&bench.draw()));
    bench.keys("dHHHHHhhhhhh");
    assert_snapshot!("attended_by_80x24", text(&bench.draw()));
    let mut mono = Bench::new(80, 24).at(Depth::Mono);
    mono.keys("tz");
    assert_snapshot!("text_mono", styled(&mono.draw()));
}

#[test]
fn ablated() {
    let mut bench = Bench::new(120, 40);
    bench.keys("x");
    assert_snapshot!("ablated_120x40", text(&bench.draw()));
}

#[test]
fn the_share_of_a_sink_is_on_the_screen() {
    for (width, height) in [(120, 40), (80, 24)] {
        let mut bench = Bench::new(width, height);
        assert!(!bench.screen().contains("sink"));
        bench.engine.sink = Some(0.254);
        bench.engine.window = Some(128);
        bench.keys("h");
        bench.shows("Pattern 1.3 · 0.25 on its sink");
        if width == 120 {
            bench.shows(" · window of 128");
        }
    }
}

#[test]
fn rank() {
    let mut bench = Bench::new(120, 40);
    bench.keys("2jj");
    assert_snapshot!("rank_120x40", styled(&bench.draw()));
    let mut bench = Bench::new(80, 24);
    bench.keys("2ooO");
    assert_snapshot!("rank_80x24", text(&bench.draw()));
}

/// The views of the Circuits screen, in the order of the Tab key.
const CIRCUITS: [&str; 7] = ["bigram", "trigrams", "copying", "positions", "composition", "corner", "terms"];

#[test]
fn circuits() {
    for (width, height) in [(120, 40), (80, 24), (60, 16)] {
        let mut bench = Bench::new(width, height);
        bench.keys("3");
        for view in CIRCUITS {
            assert_snapshot!(format!("circuits_{view}_{width}x{height}"), text(&bench.draw()));
            bench.keys("<Tab>");
        }
    }
    let mut bench = Bench::new(80, 24).at(Depth::Mono);
    bench.keys("3");
    for view in CIRCUITS {
        if ["copying", "composition", "corner"].contains(&view) {
            assert_snapshot!(format!("circuits_{view}_mono"), styled(&bench.draw()));
        }
        bench.keys("<Tab>");
    }
    let mut bench = Bench::with(80, 24, Engine::new(30, 9, true));
    bench.keys("3<Tab><Tab><Tab><Tab>");
    assert_snapshot!("circuits_composition_30x9", text(&bench.draw()));
    bench.keys("i");
    assert_snapshot!("circuits_typing_80x24", text(&bench.draw()));
}

#[test]
fn training() {
    let mut bench = Bench::of_run(120, 40, 20);
    bench.keys("5hhh");
    assert_snapshot!("training_120x40", styled(&bench.draw()));
    let mut bench = Bench::of_run(80, 24, 20);
    bench.keys("5jv");
    assert_snapshot!("training_80x24", styled(&bench.draw()));
    assert_snapshot!("training_mono", text(&bench.at(Depth::Mono).draw()));
    let mut bench = Bench::of_run(60, 16, 20);
    bench.keys("5s");
    assert_snapshot!("training_60x16", text(&bench.draw()));
    bench.keys("S<Tab>");
    assert_snapshot!("before_after_60x16", text(&bench.draw()));
    let mut bench = Bench::of_run(120, 40, 20);
    bench.keys("5<Tab>j");
    assert_snapshot!("before_after_120x40", styled(&bench.draw()));
    let mut bench = Bench::of_run(80, 24, 20);
    bench.keys("5<Tab>");
    assert_snapshot!("before_after_80x24", styled(&bench.draw()));
    assert_snapshot!("before_after_mono", styled(&bench.at(Depth::Mono).draw()));
    let mut bench = Bench::new(80, 24);
    bench.keys("5");
    assert_snapshot!("training_none", text(&bench.draw()));
}

#[test]
fn health() {
    for (width, height) in [(120, 40), (80, 24), (60, 16)] {
        let mut bench = Bench::new(width, height);
        bench.keys("6");
        assert_snapshot!(format!("health_{width}x{height}"), text(&bench.draw()));
        assert!(!bench.screen().contains('\u{1b}'));
    }
    let mut bench = Bench::new(80, 24);
    bench.slow = true;
    bench.keys("6");
    bench.event(crate::common::growing());
    assert_snapshot!("health_growing", styled(&bench.draw()));
}

#[test]
fn overlays() {
    let mut bench = Bench::new(80, 24);
    bench.keys("?");
    assert_snapshot!("help_80x24", text(&bench.draw()));
    bench.keys("/induction");
    assert_snapshot!("help_filtered", text(&bench.draw()));
    bench.keys("<Esc><Esc>:ra");
    assert_snapshot!("palette_80x24", text(&bench.draw()));
    bench.keys("<Esc>i, again");
    assert_snapshot!("editing_80x24", text(&bench.draw()));
}

#[test]
fn before_there_is_a_model() {
    let mut bench = Bench::loading(80, 24, Engine::new(2, 8, true));
    bench.progress(120_300_000, 269_000_000);
    assert_snapshot!("loading_80x24", styled(&bench.draw()));
    bench.event(Event::Fatal {
        message: "./nothing: no such file or directory; name a model directory".into(),
    });
    assert_snapshot!("fatal_80x24", text(&bench.draw()));
    bench.size = (40, 10);
    assert_snapshot!("too_small", text(&bench.draw()));
}

#[test]
fn downloading() {
    for (width, height) in [(120, 40), (80, 24), (40, 10), (30, 8)] {
        let mut bench = Bench::loading(width, height, Engine::new(2, 8, true));
        bench.event(Event::Note(NOTE.into()));
        bench.event(Event::Download(Download { note: None, ..shards(4) }));
        let name = |what| format!("{what}_{width}x{height}");
        if width == 120 {
            assert_snapshot!(name("downloading"), styled(&bench.draw()));
        } else {
            assert_snapshot!(name("downloading"), text(&bench.draw()));
        }
        bench.event(Event::Note("offline:\x1b[2J the hub cannot be reached\u{202e}".into()));
        bench.event(Event::Download(shards(60)));
        assert_snapshot!(name("many_files"), text(&bench.draw()));
        bench.event(Event::Question(
            "Download 4.1 GB? 12 GB of memory are free, and the model needs 13 GB.".into(),
        ));
        assert_snapshot!(name("question"), text(&bench.draw()));
    }
}

const NOTE: &str = "org/model@main (1a2b3c4): 5 files, 4.1 GB to download, 12 GB of memory free";

/// A download of a config, a hostile name, and so many shards: one here, one running, one checked, the others waiting.
fn shards(count: u64) -> Download {
    let file = |name: String, done, total, state| Transfer { name, done, total, state };
    let mut files = vec![
        file("config.json".into(), 1_234, 1_234, TransferState::Done),
        file("e\u{301}vil\x1b[2J\u{202e}日本語.bin".into(), 0, 7_000_000, TransferState::Waiting),
    ];
    for shard in 1..=count {
        let (done, state) = match shard {
            1 => (1_200_000_000, TransferState::Done),
            2 => (512_300_000, TransferState::Running),
            3 => (98_000_000, TransferState::Checking),
            _ => (0, TransferState::Waiting),
        };
        let name = format!("model-{shard:05}-of-{count:05}.safetensors");
        files.push(file(name, done, 1_200_000_000, state));
    }
    Download { files, speed: Some(98_000_000), note: Some("the hub asks to wait 30 s".into()) }
}

#[test]
fn many_heads() {
    let mut bench = Bench::with(80, 24, Engine::new(30, 9, true));
    bench.engine.info.kv_heads = 3;
    bench.keys("]l]l]l]l]l]l]l]l");
    assert_snapshot!("heads_30x9", text(&bench.draw()));
}

#[test]
fn hostile_text_is_shown_and_not_obeyed() {
    let mut engine = Engine::new(2, 8, true);
    engine.info.name = "evil\x1b[2Jname".into();
    let mut bench = Bench::with(80, 24, engine);
    bench.keys("i<C-u>");
    bench.paste("a \u{1b}]52;c;x\u{7} \u{202e}b 日本 👩‍🔬 e\u{301}");
    bench.keys("<Enter>");
    for cell in &bench.draw().content {
        assert!(!cell.symbol().chars().any(|char| char.is_control() || char == '\u{202e}'), "{cell:?}");
    }
    bench.shows("evil␛[2Jname");
}

#[test]
fn mono_has_no_colour() {
    let mut bench = Bench::new(80, 24).at(Depth::Mono);
    for keys in [
        "", "t", "d", "2", "5", "?", "<Esc>1:", "<Esc>i", "<Esc>x", "g", "3", "<Tab>", "<Tab>", "<Tab>",
        "<Tab>", "<Tab>", "<Tab>",
    ] {
        bench.keys(keys);
        for cell in &bench.draw().content {
            assert_eq!(
                (cell.fg, cell.bg),
                (ratatui::style::Color::Reset, ratatui::style::Color::Reset),
                "{keys}"
            );
        }
    }
}

/// Bytes that the terminal gets for the difference of two frames.
fn bytes(before: &Buffer, after: &Buffer) -> usize {
    let mut out = Vec::new();
    CrosstermBackend::new(&mut out).draw(before.diff(after).into_iter()).unwrap();
    out.len()
}

#[test]
fn frames_stay_small() {
    let mut bench = Bench::new(120, 40);
    let words: Vec<String> = (0..255).map(|word| format!("w{}", word % 100)).collect();
    bench.keys("i<C-u>");
    bench.paste(&words.join(" "));
    bench.keys("<Enter>");
    let empty = Buffer::empty(bench.draw().area);
    let mut before = bench.draw();
    assert!(bytes(&empty, &before) <= 64_000, "a full frame has {} bytes", bytes(&empty, &before));
    for keys in ["]i", "[i", "h", "h", "<PageUp>", "t", "t", "x", "n", "u", "p"] {
        bench.keys(keys);
        let after = bench.draw();
        assert!(bytes(&before, &after) <= 16_000, "{keys} takes {} bytes", bytes(&before, &after));
        before = after;
    }
    assert_eq!(before.diff(&bench.draw()).len(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_size_and_no_text_panics(
        width in 1..=220u16,
        height in 1..=70u16,
        prompt in "\\PC{0,80}",
        layers in 1..40usize,
        heads in 1..40usize,
        has_tokenizer: bool,
        depth in 0..4usize,
        snapshots in 0..4u64,
        keys in proptest::sample::select(vec!["", "5", "5vhs", "5j", "<lt>", "t", "td", "2", "?", "?/a", ":", ":h", "i", "z", "<Tab>z", "<Tab><Tab>z", "g", "x", "nnu", "HH", "s", "2o", "3jj", "3<Tab>Gs", "3<Tab><Tab>", "3<Tab><Tab><Tab>", "3<S-Tab>", "3<S-Tab><S-Tab>", "3<S-Tab><S-Tab><S-Tab>Gs", "3i"]),
        smaller in (1..=220u16, 1..=70u16),
    ) {
        let mut bench = Bench::with(width, height, Engine::new(layers, heads, has_tokenizer));
        bench.theme = bench.theme.clone().at([Depth::Truecolor, Depth::Indexed, Depth::Ansi, Depth::Mono][depth], 32);
        if snapshots > 0 {
            bench.engine.run = Some(crate::common::run(snapshots - 1));
            let told = bench.engine.run();
            bench.event(told);
        }
        bench.keys("i");
        bench.paste(&prompt);
        bench.draw();
        bench.keys("<Enter>");
        bench.keys(keys);
        bench.draw();
        bench.size = smaller;
        bench.draw();
    }

    #[test]
    fn no_size_and_no_name_panics_while_loading(
        size in (1..=220u16, 1..=70u16),
        names in proptest::collection::vec("\\PC{0,60}", 0..40),
        bytes: (u64, u64),
        note in "\\PC{0,200}",
        keys in proptest::sample::select(vec!["", "?", "?/a", ":", ":h"]),
        asked: bool,
    ) {
        let mut bench = Bench::loading(size.0, size.1, Engine::new(2, 8, true));
        let states = [TransferState::Waiting, TransferState::Checking, TransferState::Running, TransferState::Done];
        let files = names.into_iter().zip(states.into_iter().cycle());
        let files =
            files.map(|(name, state)| Transfer { name, done: bytes.0, total: bytes.1, state }).collect();
        bench.event(Event::Download(Download { files, speed: Some(bytes.1 / 3), note: Some(note.clone()) }));
        bench.event(Event::Note(note.clone()));
        if asked {
            bench.event(Event::Question(note));
        }
        bench.draw();
        bench.keys(keys);
    }
}

#[test]
fn a_long_message_takes_the_lines_that_it_needs_until_the_next_key() {
    let mut bench = Bench::new(80, 24);
    let note = "numbers stop being finite in layer 1's MLP at token 0 (#1): `model.layers.1.mlp.up_proj.weight` holds \
                NaN at [3, 4]";
    bench.event(Event::Note(note.into()));
    let screen = bench.screen();
    let last: Vec<&str> = screen.lines().skip(22).map(str::trim_end).collect();
    assert_eq!(last.join(" "), note);
    bench.event(Event::Note("word ".repeat(200)));
    let screen = bench.screen();
    assert_eq!(screen.lines().filter(|line| line.starts_with("word word")).count(), 4, "{screen}");
    assert!(screen.trim_end().ends_with('…'), "{screen}");
    bench.keys("j");
    bench.hides("word word");
}
