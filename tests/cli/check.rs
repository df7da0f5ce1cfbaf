//! `attnscope check`: sound models pass, broken ones are named where they are broken, and the report in every format.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use candle_core::{Device, Tensor, safetensors};
use serde_json::Value;

fn root(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn check(model: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
    command.args(["check", model, "--quiet"]).args(more).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn findings(output: &Output) -> Vec<Value> {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(output)));
    assert_eq!(report["schema_version"], 1);
    report["findings"].as_array().unwrap().clone()
}

type Tensors = HashMap<String, Tensor>;

/// The two-layer model with other tensors and another configuration.
fn broken(breaks: impl Fn(&mut Tensors, &mut Value)) -> tempfile::TempDir {
    let (from, folder) = (root("checkpoints/attn-2l"), tempfile::tempdir().unwrap());
    let mut tensors = safetensors::load(from.join("model.safetensors"), &Device::Cpu).unwrap();
    let mut config = serde_json::from_slice(&fs::read(from.join("config.json")).unwrap()).unwrap();
    breaks(&mut tensors, &mut config);
    safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    fs::copy(from.join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    folder
}

/// The findings of a broken model that fail, each with where it is and what it says.
fn fails(folder: &Path) -> Vec<(String, String)> {
    let output = check(&folder.display().to_string(), &["--format", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let fails = findings(&output).into_iter().filter(|finding| finding["verdict"] == "fail");
    fails
        .map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            (text("check"), format!("{}: {}", text("where"), text("text")))
        })
        .collect()
}

#[test]
fn sound_models_pass() {
    let snapshot = root("checkpoints/attn-2l/step-001800").display().to_string();
    for model in ["attn-2l", "attn-1l", "attn-1l-smeared", "bigram", "attn-2l@step500", &snapshot] {
        let output = check(model, &[]);
        assert_eq!(output.status.code(), Some(0), "{model}: {}", said(&output));
        assert!(!said(&output).contains("\nfail"), "{model}: {}", said(&output));
    }
}

#[test]
fn an_untrained_model_is_called_so_and_not_broken() {
    let output = check("attn-2l@step0", &["--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let loss = findings(&output).into_iter().find(|finding| finding["check"] == "text.loss").unwrap();
    assert_eq!(loss["verdict"], "note");
    assert!(loss["text"].as_str().unwrap().contains("untrained"), "{loss}");
}

/// The rows of every head of a matrix in the other rotary pairing.
fn permuted(matrix: &Tensor) -> Tensor {
    let (rows, width) = matrix.dims2().unwrap();
    let heads = matrix.reshape((rows / 16, 2, 8, width)).unwrap();
    heads.transpose(1, 2).unwrap().contiguous().unwrap().reshape((rows, width)).unwrap()
}

fn named(tensors: &Tensors, part: &str) -> Vec<String> {
    let names: Vec<String> = tensors.keys().filter(|name| name.contains(part)).cloned().collect();
    assert!(!names.is_empty(), "no tensor is called {part}: {:?}", tensors.keys());
    names
}

fn each(tensors: &mut Tensors, part: &str, change: impl Fn(&Tensor) -> Tensor) {
    for name in named(tensors, part) {
        let changed = change(&tensors[&name]);
        tensors.insert(name, changed);
    }
}

#[test]
fn wrong_readings_are_named_with_the_right_one() {
    type Break = fn(&mut Tensors, &mut Value);
    let cases: [(&str, Break, &str, &str); 6] = [
        (
            "transposed",
            |tensors, _| {
                for part in ["q_proj", "o_proj"] {
                    each(tensors, part, |it| it.t().unwrap().contiguous().unwrap());
                }
            },
            "probe.transposed",
            "q, o as stored",
        ),
        (
            "pairing of both",
            |tensors, _| {
                each(tensors, "q_proj", permuted);
                each(tensors, "k_proj", permuted);
            },
            "probe.rotary_pairing",
            "rotary pairs of q and k",
        ),
        (
            "pairing of k",
            |tensors, _| each(tensors, "k_proj", permuted),
            "probe.rotary_pairing",
            "rotary pairs of k",
        ),
        (
            "base",
            |_, config| config["rope_theta"] = 100.0.into(),
            "probe.rotary_base",
            "rope_theta: 100 reads worse than",
        ),
        (
            "gains",
            |tensors, _| each(tensors, "norm", |gain| (gain - 1.0).unwrap()),
            "probe.norm_gain",
            "one more",
        ),
        (
            "layers",
            |tensors, _| {
                for name in named(tensors, "layers.0.") {
                    let other = name.replace("layers.0.", "layers.1.");
                    let (one, two) = (tensors[&name].clone(), tensors[&other].clone());
                    tensors.insert(name, two);
                    tensors.insert(other, one);
                }
            },
            "probe.layer_order",
            "layers 0 and 1",
        ),
    ];
    for (name, breaks, wanted, words) in cases {
        let fails = fails(broken(breaks).path());
        let right = fails.iter().any(|(check, text)| check == wanted && text.contains(words));
        assert!(right, "{name}: {fails:?}");
    }
}

#[test]
fn broken_weights_are_named_where_they_are() {
    type Break = fn(&mut Tensors, &mut Value);
    let cases: [(&str, Break, &str, &str); 4] = [
        (
            "NaN",
            |tensors, _| each(tensors, "layers.1.self_attn.o_proj", |it| (it * f64::NAN).unwrap()),
            "weights.finite",
            "layers.1.self_attn.o_proj",
        ),
        (
            "zero",
            |tensors, _| each(tensors, "layers.1.self_attn.v_proj", |it| (it * 0.0).unwrap()),
            "weights.zero",
            "layers.1.self_attn.v_proj",
        ),
        (
            "constant",
            |tensors, _| {
                each(tensors, "layers.0.self_attn.q_proj", |it| (it * 0.0).unwrap().affine(1.0, 0.5).unwrap())
            },
            "weights.constant",
            "layers.0.self_attn.q_proj",
        ),
        (
            "written over",
            |tensors, _| {
                let name = named(tensors, "layers.0.self_attn.q_proj").remove(0);
                let copy = tensors[&name].clone();
                tensors.insert(name.replace("layers.0", "layers.1"), copy);
            },
            "weights.repeated",
            "layers.1.self_attn.q_proj",
        ),
    ];
    for (name, breaks, wanted, words) in cases {
        let fails = fails(broken(breaks).path());
        let right = fails.iter().any(|(check, text)| check == wanted && text.contains(words));
        assert!(right, "{name}: {fails:?}");
    }
}

#[test]
fn a_vocabulary_that_is_one_off_is_told_from_a_model_that_is_untrained() {
    // Every row at the place of the next: the tokens are no longer what they were.
    let folder = broken(|tensors, _| {
        for part in ["embed_tokens", "lm_head"] {
            each(tensors, part, |rows| {
                let count = rows.dim(0).unwrap();
                let (last, others) =
                    (rows.narrow(0, count - 1, 1).unwrap(), rows.narrow(0, 0, count - 1).unwrap());
                Tensor::cat(&[last, others], 0).unwrap()
            });
        }
    });
    let fails = fails(folder.path());
    assert!(fails.iter().any(|(check, _)| check == "vocabulary.fit"), "{fails:?}");
}

#[test]
fn expectations_decide_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("expect.toml");
    fs::write(&file, "expect = [\"induction>=0.3\"]\n").unwrap();
    let met = check("attn-2l", &["--only", "repeats", "--expectations", file.to_str().unwrap()]);
    assert_eq!(met.status.code(), Some(0), "{}", said(&met));
    let unmet = check("attn-1l", &["--only", "repeats", "--expect", "induction>=0.5"]);
    assert_eq!(unmet.status.code(), Some(1), "{}", said(&unmet));
    assert!(said(&unmet).contains("repeats.induction>=0.5 is not met: it is 0."), "{}", said(&unmet));
    for (given, error) in [
        (&["--expect", "inductoin>=0.3"][..], "the nearest is induction"),
        (&["--only", "weihgts"], "the nearest is weights"),
        (&["--baseline", "Cargo.toml"], "is no report of `attnscope check --format json`"),
        (&["--text", "no-such-file"], "--text no-such-file"),
    ] {
        let output = check("attn-2l", given);
        assert_eq!(output.status.code(), Some(2), "{given:?}");
        assert!(said(&output).contains(error) && said(&output).lines().count() == 1, "{}", said(&output));
    }
}

#[test]
fn what_a_baseline_knows_fails_no_more() {
    let folder = broken(|tensors, _| {
        each(tensors, "layers.1.self_attn.v_proj", |it| (it * 0.0).unwrap());
    });
    let model = folder.path().display().to_string();
    let report = folder.path().join("report.json");
    let first = check(&model, &["--only", "weights", "--format", "json"]);
    assert_eq!(first.status.code(), Some(1));
    fs::write(&report, &first.stdout).unwrap();
    let again = check(&model, &["--only", "weights", "--baseline", report.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    assert!(said(&again).contains("(known)"), "{}", said(&again));
    // What has grown since is new.
    let of = |nans: usize| {
        let folder = broken(|tensors, _| {
            each(tensors, "layers.1.self_attn.v_proj", |it| {
                let (rows, columns) = it.dims2().unwrap();
                let flat = it.flatten_all().unwrap().to_dtype(candle_core::DType::F32).unwrap();
                let mut numbers = flat.to_vec1::<f32>().unwrap();
                numbers[..nans].fill(f32::NAN);
                Tensor::from_vec(numbers, (rows, columns), &Device::Cpu).unwrap()
            });
        });
        let model = folder.path().display().to_string();
        (folder, model)
    };
    let ((_few, few), (_many, many)) = (of(2), of(200));
    let first = check(&few, &["--only", "weights.finite", "--format", "json"]);
    fs::write(&report, &first.stdout).unwrap();
    for (model, code) in [(few, 0), (many, 1)] {
        let again = check(&model, &["--only", "weights.finite", "--baseline", report.to_str().unwrap()]);
        assert_eq!(again.status.code(), Some(code), "{}", said(&again));
    }
}

#[test]
fn another_checkpoint_is_compared_with() {
    let of =
        |model: &str, base: &str| check(model, &["--against", base, "--only", "against", "--format", "json"]);
    let found = |output: &Output, id: &str| {
        findings(output).into_iter().filter(|it| it["check"] == id).collect::<Vec<Value>>()
    };
    // Trained on: better text, better heads, no complaint.
    let trained = of("attn-2l", "attn-2l@step2000");
    assert_eq!(trained.status.code(), Some(0), "{}", said(&trained));
    assert!(found(&trained, "against.loss").iter().all(|it| it["value"].as_f64().unwrap() < -1.0));
    let induction = &found(&trained, "against.heads")[0];
    assert!(induction["value"].as_f64().unwrap() > 0.5, "{induction}");
    // The other way round copying is lost.
    let lost = found(&of("attn-2l@step500", "attn-2l"), "against.repeats");
    assert_eq!(lost[0]["verdict"], "warn", "{lost:?}");
    // Nothing changed.
    let same = of("attn-2l", &root("checkpoints/attn-2l").display().to_string());
    assert_eq!(same.status.code(), Some(1), "{}", said(&same));
    assert_eq!(found(&same, "against.weights")[0]["verdict"], "fail");
    // A part that stayed as it was.
    let folder = broken(|tensors, _| each(tensors, "layers.1.self_attn.v_proj", |it| (it * 1.01).unwrap()));
    let partly = of(&folder.path().display().to_string(), "attn-2l");
    let frozen = found(&partly, "against.frozen");
    assert!(
        frozen[0]["text"].as_str().unwrap().contains("v_proj.weight` did not change in layer 0"),
        "{frozen:?}"
    );
    // Another vocabulary, and none to compare with.
    let other = of("attn-2l", &root("tests/fixtures/gpt2").display().to_string());
    assert!(said(&other).contains("losses are not compared"), "{}", said(&other));
    let none = check("attn-2l", &["--only", "against"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(said(&none).contains("--against"), "{}", said(&none));
}

#[test]
fn rows_that_were_never_trained_and_heads_that_write_nothing_are_told() {
    let folder = broken(|tensors, _| {
        each(tensors, "layers.1.self_attn.o_proj", |it| {
            let (rows, columns) = it.dims2().unwrap();
            let size = columns / 8;
            let rest = it.narrow(1, size, columns - size).unwrap();
            let none = Tensor::zeros((rows, size), it.dtype(), it.device()).unwrap();
            Tensor::cat(&[&none, &rest], 1).unwrap()
        });
        each(tensors, "embed_tokens", |it| {
            let mean = it.mean_keepdim(0).unwrap();
            let rows = it.dim(0).unwrap();
            Tensor::cat(&[&it.narrow(0, 0, rows - 2).unwrap(), &mean, &mean], 0).unwrap()
        });
    });
    let output =
        check(&folder.path().display().to_string(), &["--only", "inside,vocabulary", "--format", "json"]);
    let of = |id: &str| findings(&output).into_iter().find(|it| it["check"] == id).unwrap();
    assert_eq!(of("inside.silent")["where"], "head 1.0");
    assert_eq!(of("vocabulary.rows")["value"], 2.0);
    let sound = check("attn-2l", &["--only", "inside,vocabulary", "--format", "json"]);
    let of = |id: &str| findings(&sound).into_iter().find(|it| it["check"] == id).unwrap();
    for id in ["inside.silent", "inside.alike", "vocabulary.rows"] {
        assert_eq!(of(id)["verdict"], "ok", "{id}");
    }
}

#[test]
fn every_format_says_what_was_found() {
    let folder = broken(|tensors, _| each(tensors, "layers.1.self_attn.v_proj", |it| (it * 0.0).unwrap()));
    let of = |format: &str| {
        let output =
            check(&folder.path().display().to_string(), &["--only", "weights.zero", "--format", format]);
        assert_eq!(output.status.code(), Some(1), "{format}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(
        of("table").contains("\nfail  weights.zero  `model.layers.1.self_attn.v_proj.weight` is all zero")
    );
    assert!(of("markdown").contains("| **fail** | weights.zero | model.layers.1.self_attn.v_proj.weight |"));
    let junit = of("junit");
    assert!(
        junit.starts_with("<?xml") && junit.contains("failures=\"1\"") && junit.contains("<failure message=")
    );
    let sarif: Value = serde_json::from_str(&of("sarif")).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "weights.zero");
    assert_eq!(sarif["runs"][0]["results"][0]["level"], "error");
}

#[test]
fn checks_explain_themselves() {
    let all = said(&check("attn-2l", &["--explain"]));
    assert!(all.contains("probe.rotary_base\n") && all.contains("text.loss\n"), "{all}");
    let one = said(&check("attn-2l", &["--explain", "probe.rotary_base"]));
    assert!(one.starts_with("probe.rotary_base\n") && !one.contains("text.loss"), "{one}");
}

#[test]
fn another_reading_is_tried_with_as() {
    let folder = broken(|_, config| config["rope_theta"] = 100.0.into());
    let model = folder.path().display().to_string();
    let mended = check(&model, &["--as", "rope_theta=10000"]);
    assert_eq!(mended.status.code(), Some(0), "{}", said(&mended));
    let refused = check(&model, &["--as", "rope_tetha=10000"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("the nearest is rope_theta"), "{}", said(&refused));
}
