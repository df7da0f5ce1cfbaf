//! The Health screen with a scripted engine behind it.

use attnscope::{analysis::check::catalogue, engine::protocol::Request};

use crate::common::{Bench, checked, growing};

#[test]
fn a_check_begins_when_the_screen_is_first_shown_and_the_gravest_comes_first() {
    let mut bench = Bench::new(120, 40);
    assert!(!bench.sent.iter().any(|sent| matches!(sent, Request::Check(_))));
    bench.keys("6");
    assert_eq!(bench.last(), &Request::Check(catalogue::ids()));
    bench.shows("Health · fail · 2 fail, 0 warn, 1 note, 2 ok · v shows all");
    let screen = bench.screen();
    let at = |what: &str| screen.find(what).unwrap_or_else(|| panic!("no {what} on\n{screen}"));
    assert!(at("weights.finite") < at("probe.rotary_base") && at("probe.rotary_base") < at("inside.uniform"));
    // The finding at the cursor is told in full, with what it is and from where on it is complained of.
    bench.shows("value 3.000, usual: none");
    bench.shows("fail: any.");
    bench.hides("text.loss");
    bench.keys("v");
    bench.shows("text.loss");
    // It is checked once.
    let checks = |bench: &Bench| bench.sent.iter().filter(|sent| matches!(sent, Request::Check(_))).count();
    bench.keys("16");
    assert_eq!(checks(&bench), 1);
    bench.keys("c");
    assert_eq!(checks(&bench), 2);
}

#[test]
fn the_cursor_stays_with_its_finding_while_graver_ones_come() {
    let mut bench = Bench::new(80, 24);
    bench.slow = true;
    bench.keys("6");
    bench.event(growing());
    bench.shows("trying other readings");
    bench.shows("checking 40%");
    assert!(bench.app.busy());
    bench.keys("j");
    bench.shows("half of the heads look nowhere");
    bench.shows("value 0.500");
    bench.event(checked());
    bench.shows("Health · fail");
    bench.shows("value 0.500");
    bench.keys("gg");
    bench.shows("value 3.000");
}

#[test]
fn a_finding_leads_to_its_head_or_to_its_layer() {
    let mut bench = Bench::new(120, 40);
    bench.keys("6vjj");
    bench.shows("usual: few");
    bench.keys("<Enter>");
    bench.shows("Pattern 0.3");
    bench.keys("6G<Enter>");
    bench.shows("Pattern 1.6");
    bench.keys("6gg<Enter>");
    bench.shows("this finding is about no head and no layer");
}

#[test]
fn a_check_is_stopped_and_some_of_it_is_asked_for() {
    let mut bench = Bench::new(120, 40);
    bench.slow = true;
    bench.keys("6");
    bench.event(growing());
    bench.keys("1<C-c>");
    assert_eq!(bench.last(), &Request::StopChecking);
    bench.waiting.clear();
    bench.waiting.push_back(Request::StopChecking);
    bench.deliver();
    bench.keys("6");
    bench.shows("stopped at 30% · 1 fail");
    assert!(!bench.app.busy());
    bench.slow = false;
    bench.keys(":checks<Space>weights,text.loss<Enter>");
    let Request::Check(only) = bench.last() else { panic!("{:?}", bench.last()) };
    assert!(only.contains("weights.finite") && only.contains("text.loss") && !only.contains("text.bos"));
    bench.keys(":checks<Space>wieghts<Enter>");
    bench.shows("no check is called `wieghts`; the nearest is weights");
}

#[test]
fn another_model_is_checked_anew() {
    let mut bench = Bench::new(120, 40);
    bench.keys("6:open<Space>small<Enter>");
    let checks = bench.sent.iter().filter(|sent| matches!(sent, Request::Check(_))).count();
    assert_eq!(checks, 2);
}
