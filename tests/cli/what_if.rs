//! `lens`, `attribute`, `patch` and `--edit`: every format, and a line for what cannot be done.

use std::process::{Command, Output};

use serde_json::Value;

const PROMPT: &str = " Doctor Gigamuru went to the store because Doctor";

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_attnscope")).args(arguments).arg("--quiet").output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn json(arguments: &[&str]) -> Value {
    let output = run(&[arguments, &["--format", "json"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_induction_head_writes_the_name_and_without_it_the_name_is_gone() {
    let plain = json(&["lens", "--prompt", PROMPT]);
    let last = |report: &Value| {
        report["layers"].as_array().unwrap().last().unwrap()["probability"].as_f64().unwrap()
    };
    assert_eq!(plain["schema_version"], 1);
    assert_eq!(plain["target"]["text"], "\" G\"");
    assert!(last(&plain) > 0.5);
    let heads: Vec<String> = (0..8).map(|head| format!("1.{head}=mean")).collect();
    let edits: Vec<&str> = heads.iter().flat_map(|edit| ["--edit", edit]).collect();
    let without = json(&[&["lens", "--prompt", PROMPT, "--target", " G"], &edits[..]].concat());
    assert!(last(&without) < 0.1, "{without}");

    let parts = json(&["attribute", "--prompt", PROMPT, "--target", " G", "--against", " V"]);
    let sum = |value: &Value| -> f64 {
        fn add(value: &Value) -> f64 {
            value.as_array().map_or_else(|| value.as_f64().unwrap(), |all| all.iter().map(add).sum())
        }
        add(value)
    };
    let all = ["heads", "attn_bias", "mlps", "embedding", "bias", "remainder"];
    let whole: f64 = all.iter().map(|part| sum(&parts[*part])).sum();
    assert!((whole - parts["logit"].as_f64().unwrap()).abs() < 1e-3, "{parts}");
}

#[test]
fn a_patch_of_everything_is_the_other_run() {
    let prompts = ["--prompt", " the red door and the red", "--from-prompt", " the red house and the red"];
    let asked =
        [&["patch"], &prompts[..], &["--target", " door", "--against", " house", "--over", "resid"]].concat();
    let report = json(&asked);
    let (clean, map) = (report["clean"].as_f64().unwrap(), report["map"].as_array().unwrap());
    // Before the first layer the prompts differ at one token: patched there it is the clean run.
    let first: Vec<f64> = map[0].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
    let nearest = first.iter().map(|value| (value - clean).abs()).fold(f64::INFINITY, f64::min);
    assert!(nearest < 1e-4, "{first:?} has no {clean}");
    let table = said(&run(&asked));
    assert!(table.contains("share: 0 is the corrupted run, 1 the clean one"), "{table}");
    let csv = said(&run(&[&asked[..], &["--format", "csv"]].concat()));
    assert!(csv.starts_with("part,difference,share\n"), "{csv}");
}

#[test]
fn what_cannot_be_done_is_said_in_a_line() {
    let prompt = ["--prompt", " the door"];
    for (command, more, wanted) in [
        ("lens", &["--edit", "9.0=zero"][..], "there is no head 9.0"),
        ("lens", &["--edit", "1.0@9=zero"], "there is no token 9"),
        ("lens", &["--edit", "1.0=from"], "give --from-prompt or --from-ids"),
        ("lens", &["--edit", "1.0=mean-text"], "give --reference-text"),
        ("lens", &["--edit", "mlp.0=zero"], "layer 0 has no MLP"),
        ("lens", &["--edit", "edge.1.0:0<1=zero"], "does not see token 1"),
        ("lens", &["--edit", "1.0=knockout"], "edges alone are knocked out"),
        ("lens", &["--edit", "door=zero"], "the sites are"),
        ("lens", &["--token", "7"], "counted from 0"),
        ("lens", &["--target", "99999"], "the model's tokens go from 0 to 2047"),
        ("attribute", &["--target", " Gigamuru"], "one token is wanted"),
        ("patch", &["--from-prompt", " the", "--target", "5", "--against", "6"], "of the same number"),
        (
            "patch",
            &["--from-prompt", " the end", "--target", "5", "--against", "6", "--over", "mlps"],
            "no MLPs",
        ),
    ] {
        let output = run(&[&[command, "attn-2l"], &prompt[..], more].concat());
        assert_eq!(output.status.code(), Some(2), "{more:?}: {}", said(&output));
        let told = said(&output);
        assert!(told.contains(wanted) && told.lines().count() == 1, "{more:?}: {told}");
    }
}
