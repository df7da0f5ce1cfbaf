//! The app driven by keys, with a scripted engine: what it asks for, and what it says.

use std::collections::BTreeSet;

use attnscope::{
    app::{App, DEFAULT_PROMPT, Effect, Msg, Options, action::key_table_markdown},
    engine::protocol::{Bos, Event, Pool, PromptInput, RankSettings, Request},
    head::Head,
};

use crate::common::{Bench, Engine};

#[test]
fn nothing_is_sent_before_the_model_is_open_and_then_prompt_ranking_and_a_look() {
    let mut bench = Bench::loading(120, 40, Engine::new(2, 8, true));
    bench.progress(1, 2);
    bench.keys("nxr?<Esc>");
    assert_eq!(bench.sent, []);
    assert!(bench.app.busy());
    bench.event(Event::Opened(bench.engine.info.clone().into()));
    let prompt =
        Request::Prompt { epoch: 1, input: PromptInput::Text(DEFAULT_PROMPT.into()), bos: Bos::Auto };
    assert_eq!(bench.sent[..2], [prompt, Request::Rank(RankSettings::default())]);
    assert_eq!(bench.look().query, 10);
    assert!(!bench.app.busy());
    bench.shows("the token after the earlier \" Doctor\" (1)");
}

#[test]
fn the_strongest_induction_head_is_shown_until_one_is_chosen() {
    let mut bench = Bench::new(120, 40);
    assert_eq!(bench.look().head, Head::new(1, 3));
    bench.keys("k");
    assert_eq!(bench.look().head, Head::new(1, 2));
    bench.keys("r");
    assert_eq!(bench.look().head, Head::new(1, 2));
}

#[test]
fn without_a_tokenizer_the_prompt_is_ids_with_a_repeat() {
    let mut bench = Bench::with(80, 24, Engine::new(2, 8, false));
    let Request::Prompt { input: PromptInput::Ids(ids), .. } = &bench.sent[0] else {
        panic!("{:?}", bench.sent)
    };
    assert_eq!((ids[0], &ids[1..4]), (0, &ids[6..9]));
    bench.shows("#714");
    bench.keys("i<C-u>5 6 x<Enter>");
    bench.shows("`x` is no token id");
    bench.keys("<Backspace>5,6<Enter>");
    assert!(bench.sent.iter().any(
        |sent| matches!(sent, Request::Prompt { input: PromptInput::Ids(ids), .. } if *ids == [5, 6, 5, 6])
    ));
}

#[test]
fn the_query_moves_and_stays_within_the_prompt() {
    let mut bench = Bench::new(80, 24);
    let mut at = |keys: &str| {
        bench.keys(keys);
        bench.look().query
    };
    assert_eq!(at("h"), 9);
    assert_eq!(at("<Left><Left>"), 7);
    assert_eq!(at("0"), 0);
    assert_eq!(at("h"), 0);
    assert_eq!(at("l<Right>"), 2);
    assert_eq!(at("$l"), 10);
    assert_eq!(at("<PageUp>"), 0);
    assert_eq!(at("<End>"), 10);
    assert_eq!(at(":token 4<Enter>"), 4);
    assert_eq!(at(":token 11<Enter>"), 4);
    bench.shows("no token `11`: they go from 0 to 10");
}

#[test]
fn heads_move_in_layer_order_by_layer_by_rank_and_in_the_grid() {
    let mut bench = Bench::new(80, 24);
    let mut at = |keys: &str| {
        bench.keys(keys);
        bench.look().head.to_string()
    };
    assert_eq!(at("j"), "1.4");
    assert_eq!(at("]h"), "1.5");
    assert_eq!(at("[l"), "0.5");
    assert_eq!(at("[l"), "0.5", "there is no layer below");
    assert_eq!(at("<Down><Down><Down>"), "1.0");
    assert_eq!(at("<Up>"), "0.7");
    assert_eq!(at(":head 1.3<Enter>"), "1.3");
    assert_eq!(at("]i"), "1.5");
    assert_eq!(at("[i"), "1.3");
    assert_eq!(at("[i"), "1.3");
    assert_eq!(at(":head L0H2<Enter>"), "0.2");
    assert_eq!(at("<S-Tab>l"), "0.3", "with the grid in focus l is the next head");
    assert_eq!(at("<Down>"), "1.3", "and down the next layer");
    assert_eq!(at(":head 2.0<Enter>"), "1.3");
    bench.shows("no head 2.0: they go from 0.0 to 1.7");
}

#[test]
fn a_prefix_waits_and_says_what_may_follow() {
    let mut bench = Bench::new(120, 40);
    let before = bench.sent.len();
    bench.keys("]");
    bench.shows("]   h next head   l layer above   i next induction head");
    bench.keys("<Esc>");
    bench.shows("←→ step");
    bench.keys("]q");
    bench.shows("nothing is bound to these keys");
    assert_eq!(bench.sent.len(), before);
    assert_eq!(bench.effects, [], "q ended the sequence and did not quit");
}

#[test]
fn views_toggle() {
    let mut bench = Bench::new(120, 40);
    bench.keys("t");
    bench.shows("Text 1.3 · what \" Doctor\" attends to");
    bench.keys("d");
    bench.shows("Text 1.3 · what attends to \" Doctor\"");
    bench.keys("dt");
    bench.shows("Pattern 1.3");
    bench.keys("z");
    bench.hides("Next token");
    bench.keys("q");
    bench.shows("Next token");
    assert_eq!(bench.effects, [], "q left the zoom");
    bench.keys("p");
    assert_eq!(bench.look().pool, Pool::Mean);
    bench.keys("s");
    bench.shows("Heads · previous");
    bench.keys("SS");
    bench.shows("Heads · tl");
    bench.keys("g");
    bench.shows("Heads · induction at \" Doctor\"");
    bench.keys("v");
    bench.shows("√ 0");
}

#[test]
fn the_key_cursor_starts_at_the_strongest_and_shows_its_value() {
    let mut bench = Bench::new(120, 40);
    bench.shows("\" Doctor\" 10 -> \" Gig\" 2 0.9182");
    bench.keys("L");
    bench.shows("-> \"am\" 3 0.0082");
    bench.keys("HH");
    bench.shows("-> \" Doctor\" 1 0.0082");
    bench.keys("m");
    bench.shows("-> \" Gig\" 2 0.9182");
    bench.keys("y");
    let copied = "1.3 query 10 \" Doctor\" key 2 \" Gig\" 0.918182";
    assert_eq!(bench.effects, [Effect::Copy(copied.into())]);
    bench.keys("Y");
    let Some(Effect::Copy(table)) = bench.effects.last() else { panic!() };
    assert_eq!(table.lines().count(), 12);
    assert!(table.contains("\n2\t Gig\t0.918182\n"));
}

#[test]
fn ablating_sends_the_whole_set_and_shows_what_was() {
    let mut bench = Bench::new(120, 40);
    bench.keys("x");
    let sets: Vec<BTreeSet<Head>> = ablations(&bench);
    assert_eq!(sets, [BTreeSet::from([Head::new(1, 3)])]);
    bench.shows("was 0.61");
    bench.shows("Pattern 1.3 · ablated");
    bench.keys("]ix");
    assert_eq!(ablations(&bench).last().unwrap().len(), 2);
    bench.keys("x");
    assert_eq!(ablations(&bench).last().unwrap().len(), 1);
    bench.keys("X");
    assert!(ablations(&bench).last().unwrap().is_empty());
    bench.hides("was 0.61");
}

fn ablations(bench: &Bench) -> Vec<BTreeSet<Head>> {
    let sets = bench.sent.iter().filter_map(|sent| match sent {
        Request::Ablate { heads, .. } => Some(heads.clone()),
        _ => None,
    });
    sets.collect()
}

#[test]
fn generating_choosing_and_taking_back() {
    let mut bench = Bench::new(120, 40);
    bench.keys("n");
    bench.shows("token 11 of 0-11 (1 generated)");
    bench.keys("u");
    bench.shows("token 10 of 0-10 ·");
    bench.keys("u");
    bench.shows("no generated token to take back");
    bench.keys(")<Enter>");
    assert!(bench.sent.iter().any(|sent| matches!(sent, Request::Append { token: Some(_), .. })));
    bench.keys("<BS>".replace("BS", "Backspace").as_str());
    bench.shows("token 10 of 0-10 ·");
    bench.keys("h<Enter>");
    bench.shows("$ goes there");
    bench.keys("<Tab><Tab>j");
    bench.shows("▸\" Gig\"");
}

#[test]
fn a_held_key_goes_at_the_pace_of_the_engine() {
    let mut bench = Bench::new(80, 24);
    bench.slow = true;
    let before = bench.sent.len();
    bench.keys("nnnnnn");
    assert_eq!(bench.sent.len(), before + 1, "one step is in flight, one waits, the others are dropped");
    assert!(bench.app.busy());
    bench.shows("[running]");
    bench.shows("the token after the");
    bench.deliver();
    bench.shows("(2 generated)");
    assert!(!bench.app.busy());
}

#[test]
fn moving_fast_keeps_the_old_view_and_marks_it() {
    let mut bench = Bench::new(120, 40);
    bench.slow = true;
    bench.keys("jj");
    bench.shows("Pattern 1.3 -> 1.5 …");
    bench.shows("What 1.3 does here …");
    bench.keys("h");
    bench.shows("Next token after \" Doctor\" …");
    bench.deliver();
    bench.shows("Pattern 1.5 ·");
    bench.hides("…");
}

#[test]
fn answers_of_an_epoch_that_is_over_are_dropped() {
    let mut bench = Bench::new(80, 24);
    bench.app.take_dirty();
    let old = Event::Candidates { epoch: 0, query: 10, top: std::sync::Arc::new([]), unablated: None };
    assert_eq!(bench.app.update(Msg::Engine(old)), []);
    assert!(!bench.app.take_dirty());
    bench.slow = true;
    bench.keys(":prompt one two<Enter>:prompt three<Enter>");
    let first = bench.waiting.pop_front().unwrap();
    let events = bench.engine.serve(first);
    bench.event(events[0].clone());
    bench.hides("of 0-2");
    bench.deliver();
    bench.shows("of 0-1");
}

#[test]
fn a_failed_request_is_said_and_changes_nothing() {
    let mut bench = Bench::new(80, 24);
    bench.engine.fail = true;
    bench.keys("x");
    bench.shows("! the prompt has 2000 tokens, the model reads 1024");
    bench.hides("ablated");
    bench.keys("h");
    assert_eq!(bench.look().query, 9);
    bench.shows("after \" because\" ─");
}

#[test]
fn what_was_generated_is_edited_with_the_prompt() {
    let mut bench = Bench::new(120, 40);
    bench.keys("n");
    bench.shows("(1 generated)");
    bench.keys("i");
    bench.shows(&format!("{DEFAULT_PROMPT} Gig"));
    bench.keys("<Esc>ui");
    bench.hides(&format!("{DEFAULT_PROMPT} Gig"));
}

#[test]
fn a_refused_prompt_leaves_the_one_on_the_screen_to_edit() {
    let mut bench = Bench::new(80, 24);
    bench.engine.fail = true;
    bench.keys("i<C-u>nonsense<Enter>");
    bench.shows("! the prompt has");
    bench.engine.fail = false;
    bench.keys("i");
    bench.shows(DEFAULT_PROMPT);
    bench.hides("nonsense");
}

#[test]
fn the_prompt_is_edited_and_run() {
    let mut bench = Bench::new(80, 24);
    bench.keys("i");
    bench.shows(DEFAULT_PROMPT);
    bench.keys("<C-w><C-a>A<C-e>naïve");
    bench.paste("日本\r\nlast");
    bench.keys("<Enter>");
    let text = "A Doctor Gigamuru went to the store because naïve日本\nlast";
    let run =
        |sent: &Request| matches!(sent, Request::Prompt { input: PromptInput::Text(run), .. } if run == text);
    assert!(bench.sent.iter().any(run), "{:?}", bench.sent);
    let before = bench.sent.len();
    bench.keys("exyz<Esc>");
    bench.hides("xyz");
    assert_eq!(bench.sent.len(), before);
    bench.keys("e");
    bench.shows("naïve日本");
}

#[test]
fn bos_toggles() {
    let mut bench = Bench::new(80, 24);
    bench.keys("b");
    bench.shows("token 9 of 0-9");
    bench.keys("b");
    bench.shows("token 10 of 0-10");
    let kinds: Vec<Bos> = bench
        .sent
        .iter()
        .filter_map(|sent| match sent {
            Request::Prompt { bos, .. } => Some(*bos),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [Bos::Auto, Bos::Off, Bos::On]);
}

#[test]
fn the_table_sorts_and_opens_a_head() {
    let mut bench = Bench::new(120, 40);
    bench.keys("2oo");
    bench.shows("16 heads by previous");
    bench.keys("gg<Enter>");
    assert_eq!(bench.look().head, Head::new(0, 1));
    bench.shows("Pattern 0.1");
    bench.keys("2OG");
    bench.keys("y");
    assert!(
        matches!(bench.effects.last(), Some(Effect::Copy(text)) if text.starts_with("0.1 induction=0.116667 chance=0.020000 previous=0.880000"))
    );
    bench.keys("Y");
    assert!(matches!(bench.effects.last(), Some(Effect::Copy(text)) if text.lines().count() == 17));
    bench.keys(":sort entropy<Enter>");
    bench.shows("by entropy");
}

#[test]
fn ranking_shows_its_progress_and_stops() {
    let mut bench = Bench::new(120, 40);
    bench.slow = true;
    bench.keys("r");
    let events = bench.engine.serve(bench.waiting.pop_front().unwrap());
    bench.event(events[1].clone());
    bench.shows("[ranking 2/4]");
    assert!(bench.app.busy());
    bench.keys("<C-c>");
    assert_eq!(*bench.last(), Request::StopRanking);
    bench.deliver();
    bench.shows("[stopped 2/4]");
    assert!(!bench.app.busy());
    bench.keys("r");
    assert!(matches!(bench.last(), Request::Rank(_)));
    bench.keys("r");
    assert_eq!(*bench.last(), Request::StopRanking);
}

#[test]
fn ways_out() {
    let quits = |keys: &str| {
        let mut bench = Bench::new(80, 24);
        bench.keys(keys);
        bench.effects
    };
    assert_eq!(quits("q"), [Effect::Quit(0)]);
    assert_eq!(quits("?q"), []);
    assert_eq!(quits("?Q"), [Effect::Quit(0)]);
    assert_eq!(quits("<Esc><Esc><Esc>"), []);
    assert_eq!(quits("<C-c>h<C-c>"), []);
    assert_eq!(quits("<C-c><C-c>"), [Effect::Quit(130)]);
    assert_eq!(quits("iq"), []);
    assert_eq!(quits("i<C-c><C-c>"), [Effect::Quit(130)]);
    assert_eq!(quits("<C-z><C-l>"), [Effect::Suspend, Effect::Repaint]);
    assert_eq!(quits(":quit<Enter>"), [Effect::Quit(0)]);
    assert_eq!(quits(":theme default-light<Enter>"), [Effect::Theme("default-light")]);
    let mut bench = Bench::new(80, 24);
    bench.keys("<C-c>");
    bench.shows("press Ctrl-c again to quit");
}

#[test]
fn a_fatal_end_is_shown_kept_and_left_by_any_key() {
    let mut bench = Bench::loading(80, 24, Engine::new(2, 8, true));
    bench.event(Event::Fatal { message: "./x: no such file".into() });
    assert_eq!(bench.app.fatal(), Some("./x: no such file"));
    bench.shows("./x: no such file");
    bench.keys("h");
    assert_eq!(bench.effects, [Effect::Quit(2)]);
}

#[test]
fn help_scrolls_filters_and_closes() {
    let mut bench = Bench::new(80, 24);
    bench.keys("?");
    bench.shows("query one token back");
    bench.keys("G");
    bench.shows("TransformerLens");
    bench.keys("gg/repaint");
    bench.hides("query one token back");
    bench.keys("<C-u>whole screen again<Enter>");
    bench.shows("Ctrl-l");
    bench.keys("q");
    bench.shows("query one token back");
    bench.keys("q");
    bench.hides("query one token back");
}

#[test]
fn the_palette_completes_and_complains() {
    let mut bench = Bench::new(80, 24);
    bench.keys(":toggle-t<Tab><Enter>");
    bench.shows("Text 1.3");
    bench.keys(":qqqq<Enter>");
    bench.shows("`qqqq` is no command");
    bench.keys(":theme pink<Enter>");
    bench.shows("no theme `pink`");
    bench.keys(":score entropy<Enter>");
    bench.shows("Heads · entropy");
    bench.keys(":step-back<Enter>");
    bench.shows("no generated token");
}

#[test]
fn a_resize_asks_for_a_map_that_fits_and_nothing_else_does() {
    let mut bench = Bench::new(120, 40);
    let fits = bench.look().fits;
    let before = bench.sent.len();
    bench.draw();
    assert_eq!(bench.sent.len(), before);
    bench.size = (80, 24);
    bench.draw();
    assert!(bench.look().fits.0 < fits.0 && bench.look().fits.1 < fits.1);
    assert_eq!(bench.sent.len(), before + 1);
}

#[test]
fn an_idle_app_is_clean() {
    let mut app = App::new(Options::default());
    assert!(app.take_dirty());
    app.update(Msg::Tick);
    assert!(!app.take_dirty());
    app.update(Msg::Resize(10, 10));
    assert!(app.take_dirty());
}

#[test]
fn the_key_table_is_complete() {
    let table = key_table_markdown();
    assert!(table.contains("| `]i` | Explore | down the ranking by induction score |"), "{table}");
}
