//! The commands that need no terminal, run as a script would run them.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_attnscope"))
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("NO_COLOR")
        .env("TERM", "xterm-256color")
        .output()
        .unwrap()
}

/// Standard output of a command that succeeds and has nothing to complain about.
fn stdout(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The one line on standard error of a command that fails with exit code 2 and prints no data.
fn complaint(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("attnscope: ") && text.ends_with('\n'), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn mistakes_are_one_line_and_exit_code_2() {
    assert!(complaint(&["--frobnicate"]).contains("--frobnicate"));
    assert!(complaint(&["rank", "--by", "beauty"]).contains("induction"));
    assert!(complaint(&["rank", "--top", "many"]).contains("--top"));
    assert!(complaint(&["show", "--head", "0.0"]).contains("--prompt"));
    assert!(complaint(&["show", "--prompt", "x", "--head", "five"]).contains("5.1"));
    assert!(complaint(&["circuits", "--what", "beauty"]).contains("copying"));
    assert!(complaint(&["circuits", "--format", "csv"]).contains("--what"));
    assert!(complaint(&["circuits", "-q", "--what", "bigram"]).contains("--token"));
    assert!(complaint(&["circuits", "-q", "--what", "terms"]).contains("--prompt"));
    assert!(complaint(&["circuits", "-q", "--what", "copying", "--head", "2.0"]).contains("1.7"));
    assert!(complaint(&["circuits", "-q", "--what", "trigrams", "--ids", "5,6"]).contains("one token"));
    assert!(complaint(&["timeline", "-q", "attn-2l@step7"]).contains("1900"));
    assert!(complaint(&["rank", "-q", "bigram"]).contains("no layers"));
    assert!(complaint(&["tour"]).contains("terminal"));
    assert!(complaint(&["trace", "--out", "f", "--ids", "1", "--prompt", "x"]).contains("--ids"));
    assert!(complaint(&["--device", "abacus", "rank"]).contains("cuda:N"));
    assert!(complaint(&["model", "rank"]).contains("after the command"));
    assert!(complaint(&["man", "cook"]).contains("doctor"));
}

#[test]
fn a_timeline_is_drawn() {
    let picture = stdout(&["timeline", "attn-2l", "-q", "--format", "svg"]);
    assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
    // Four heads, the best previous-token score, and three losses; the window in the title and in both panels.
    assert_eq!(picture.matches("<polyline").count(), 8, "{picture}");
    assert_eq!(picture.matches("the change: steps 1900 to 2100").count(), 4, "{picture}");
    assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
}

#[test]
fn a_token_is_looked_up_as_it_is_written() {
    // The tokenizer puts a space before a first word; a token without one is found all the same.
    let table = stdout(&["circuits", "-q", "attn-1l", "--what", "bigram", "--token", "ing", "--top", "2"]);
    assert!(table.contains("\"ing\"") && !table.contains("\" ing\""), "{table}");
    let table = stdout(&["circuits", "-q", "attn-1l", "--what", "bigram", "--token", "Doctor", "--top", "2"]);
    assert!(table.contains("\" Doctor\""), "{table}");
}

#[test]
fn the_explorer_needs_a_terminal_and_names_what_does_not() {
    for arguments in [&[][..], &["./rank"], &["--prompt", "x"]] {
        let text = complaint(arguments);
        assert!(text.contains("attnscope rank") && text.contains("attnscope show"), "{text}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    assert_eq!(stdout(&["--version"]), concat!("attnscope ", env!("CARGO_PKG_VERSION"), "\n"));
    let help = stdout(&["--help"]);
    for word in ["rank", "show", "trace", "train", "doctor", "--device", "--dtype", "--color", "130"] {
        assert!(help.contains(word), "{word} is missing in\n{help}");
    }
    assert!(!help.contains("--keys"));
    assert!(stdout(&["rank", "--help"]).contains("A[p, p-length+1]"));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout(&["completions", shell]);
        assert!(script.contains("attnscope") && script.contains("head"), "{shell}");
    }
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let page = stdout(&["man"]);
    assert!(page.contains(".TH attnscope 1") && page.contains("Exit codes"), "{page}");
    let page = stdout(&["man", "rank"]);
    assert!(page.contains("attnscope rank") && page.contains("\\-\\-by"), "{page}");
}

#[test]
fn doctor_tells_what_there_is() {
    let report = stdout(&["doctor"]);
    for name in
        ["version", "devices", "cores", "memory", "terminal", "colour", "COLORTERM", "tmux", "ssh", "locale"]
    {
        assert!(report.lines().any(|line| line.starts_with(name)), "{name} is missing in\n{report}");
    }
    assert!(report.contains("256 colours, because TERM=xterm-256color"), "{report}");
    assert!(stdout(&["doctor", "--color", "never"]).contains("none, because --color never"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let script = format!("'{}' completions bash | head -n 1", env!("CARGO_BIN_EXE_attnscope"));
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
}

#[test]
fn without_a_tokenizer_ids_stand_for_tokens_and_the_block_fits_the_context() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/llama-gqa");
    let row = stdout(&["show", model, "--ids", "1,2,3", "--head", "0.0", "--format", "csv", "-q"]);
    assert!(row.lines().nth(3).unwrap().starts_with("2,3,#3,"), "{row}");
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&["rank", model, "--format", "json", "-q"])).unwrap();
    let (length, context) = (&json["settings"]["length"], &json["model"]["context"]);
    assert!(length.as_u64().unwrap() <= context.as_u64().unwrap() / 2, "{length} in {context}");
}

#[test]
fn circuits_print_their_settings_and_every_list() {
    let json = |arguments: &[&str]| -> serde_json::Value {
        let arguments = [&["circuits", "-q", "--format", "json", "--top", "4"], arguments].concat();
        serde_json::from_str(&stdout(&arguments)).unwrap()
    };
    let summary = json(&[]);
    assert_eq!(summary["schema_version"], 1);
    assert_eq!(summary["model"]["name"], "attn-2l");
    assert_eq!(summary["settings"]["what"], "summary");
    assert_eq!(summary["copying"].as_array().unwrap().len(), 4);
    assert_eq!(summary["composition"][2]["earlier"], serde_json::json!({"layer": 0, "head": 3}));
    assert!(summary["trigrams"][0]["source"]["id"].is_u64());
    for (arguments, list, rows) in [
        (&["--what", "copying", "--head", "1.6"][..], "eigenvalues", 16),
        (&["--what", "composition", "--head", "1.6"], "composition", 12),
        (&["--what", "bigram", "--ids", "5,6"], "bigram", 8),
        (&["--what", "trigrams", "--head", "0.1", "--token", "Doctor"], "trigrams", 4),
        (&["--what", "trigrams", "--head", "0.1", "--token", "Doctor", "--as", "out"], "trigrams", 4),
        (&["--what", "trigrams", "--head", "0.1", "--ids", "9", "--as", "destination"], "trigrams", 4),
        (&["--what", "positions"], "positions", 4),
        (&["--what", "positions", "--head", "0.3"], "positions", 32),
        (&["--what", "corner"], "corner", 4),
        (&["--what", "terms", "--prompt", "She said she was"], "terms", 3),
    ] {
        let report = json(arguments);
        assert_eq!(report["settings"]["what"], arguments[1], "{report}");
        assert_eq!(report[list].as_array().unwrap().len(), rows, "{arguments:?}: {report}");
    }
    let csv = stdout(&["circuits", "-q", "--what", "bigram", "--ids", "5", "--top", "2", "--format", "csv"]);
    assert!(csv.starts_with("token_id,token,next_id,next,logit,probability\n5,"), "{csv}");
    assert_eq!(csv.lines().count(), 3);
    // Without a tokenizer, and with fewer positions than a profile usually takes.
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gpt2-inverse");
    assert!(stdout(&["circuits", model, "-q"]).contains("#"));
    assert!(stdout(&["circuits", model, "-q", "--what", "positions", "--top", "9"]).contains("2.2"));
}

#[test]
fn no_color_is_kept_to_by_show() {
    let command = |no_color: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
        command.args(["show", "--ids", "0,5,6,5", "--head", "1.2", "--format", "ansi", "-q"]);
        command.env("TERM", "xterm-256color").env("NO_COLOR", no_color).env_remove("COLORTERM");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let coloured = |text: &str| text.contains("38;") || text.contains("48;");
    assert!(coloured(&command("")));
    assert!(!coloured(&command("1")));
}

#[test]
fn a_timeline_leaves_out_what_is_broken_and_follows_the_rest() {
    let run = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints/attn-2l");
    for step in ["step-100", "step-20", "step-3"] {
        let folder = run.path().join(step);
        fs::create_dir(&folder).unwrap();
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            fs::copy(shipped.join(file), folder.join(file)).unwrap();
        }
    }
    fs::write(run.path().join("step-20/model.safetensors"), "half").unwrap();
    let run = run.path().to_str().unwrap();
    let output = self::run(&["timeline", run, "--format", "json", "--length", "10", "-q"]);
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{complaints}");
    assert_eq!(complaints.lines().count(), 1, "{complaints}");
    assert!(complaints.contains("left out") && complaints.contains("step-20"), "{complaints}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let steps: Vec<_> = report["points"].as_array().unwrap().iter().map(|point| &point["step"]).collect();
    assert_eq!(steps, [3, 100]);
    assert_eq!(report["points"][0]["heads"].as_array().unwrap().len(), 16);
    assert!(report["window"].is_null());
    // The same weights twice: what the last snapshot says is what `rank` says of it.
    let ranked = stdout(&["rank", &format!("{run}/step-100"), "--format", "json", "--length", "10", "-q"]);
    let ranked: serde_json::Value = serde_json::from_str(&ranked).unwrap();
    let best = &ranked["heads"][0];
    let heads = report["points"][1]["heads"].as_array().unwrap();
    let same = heads.iter().find(|head| head["layer"] == best["layer"] && head["head"] == best["head"]);
    assert_eq!(same.unwrap()["induction"], best["induction"]);
    let gain = report["points"][1]["repeat"]["gain"].as_f64().unwrap();
    assert!(gain > 2.0, "the shipped model copies: {gain}");

    let nothing = self::run(&["timeline", "/nowhere"]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(String::from_utf8(nothing.stderr).unwrap().contains("none of the 1 snapshots"));
    assert!(complaint(&["timeline", env!("CARGO_MANIFEST_DIR")]).contains("no snapshots"));
}

#[test]
fn a_timeline_has_what_was_logged_and_what_a_text_costs() {
    let run = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints/attn-2l");
    for step in ["step-100", "step-20", "step-3"] {
        let folder = run.path().join(step);
        fs::create_dir(&folder).unwrap();
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            fs::copy(shipped.join(file), folder.join(file)).unwrap();
        }
    }
    let logged = r#"{"step":20,"held_out_loss":4.5,"icl":{"early":13,"late":125,"score":-0.25}}"#;
    fs::write(run.path().join("log.jsonl"), format!("{logged}\n{}", &logged[..30])).unwrap();
    fs::write(run.path().join("step-3/model.safetensors"), "half").unwrap();
    let text = run.path().join("text.txt");
    let sentence = "Emma could not but be sorry that Miss Bates had said no more of it to her father. ";
    fs::write(&text, sentence.repeat(40)).unwrap();
    let (run, text) = (run.path().to_str().unwrap(), text.to_str().unwrap());
    let timeline = |format: &str| {
        let arguments =
            ["timeline", run, "--format", format, "--length", "10", "--text", text, "--windows", "2", "-q"];
        let output = self::run(&arguments);
        let complaints = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && complaints.lines().count() == 2, "{complaints}");
        assert!(
            complaints.contains("left out: step 3: ") && complaints.contains("not finished"),
            "{complaints}"
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let report: serde_json::Value = serde_json::from_str(&timeline("json")).unwrap();
    let (early, late) = (&report["points"][0], &report["points"][1]);
    assert_eq!((&early["held_out_loss"], &early["icl"]["score"]), (&4.5.into(), &(-0.25).into()));
    assert_eq!((&late["step"], &late["held_out_loss"]), (&100.into(), &serde_json::Value::Null));
    assert_eq!((&report["text"]["windows"], &report["text"]["tokens"]), (&2.into(), &129.into()));
    assert_eq!((&late["text"]["icl"]["early"], &late["text"]["icl"]["late"]), (&13.into(), &125.into()));
    let by_token: Vec<f64> =
        late["text"]["by_token"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect();
    let loss = late["text"]["loss"].as_f64().unwrap();
    assert!((loss - by_token.iter().sum::<f64>() / 128.0).abs() < 1e-9, "{loss}");
    // The text repeats itself, and the model copies.
    let icl = late["text"]["icl"]["score"].as_f64().unwrap();
    assert!((icl - (by_token[124] - by_token[12])).abs() < 1e-9 && icl < -1.0, "{icl}");
    let table = timeline("table");
    assert!(table.contains("2 windows of 129 tokens") && table.contains("text icl 125-13"), "{table}");
    assert!(
        table.lines().any(|line| line.trim_start().starts_with("20  ") && line.contains("4.500")),
        "{table}"
    );
    let csv = timeline("csv");
    assert!(csv.lines().next().unwrap().ends_with(",held_out_loss,icl,text_loss,text_icl"), "{csv}");
    assert!(csv.lines().nth(1).unwrap().contains(",4.5,-0.25,"), "{csv}");
    // A run stands for its last snapshot.
    assert!(stdout(&["rank", run, "--length", "10", "--top", "1", "-q"]).contains("step-100"));

    assert!(complaint(&["timeline", run, "--text", "/nowhere", "-q"]).contains("--text /nowhere"));
    assert!(complaint(&["timeline", run, "--windows", "3"]).contains("--text"));
    assert!(complaint(&["timeline", run, "--text", text, "--windows", "0"]).contains("--windows 0"));
}

#[test]
fn a_ranking_with_rounded_weights_says_how_far_scores_moved() {
    // Stored in f16, so that bf16 rounds it and f16 does not.
    let rank = |dtype: &str, format: &str| {
        stdout(&["rank", "attn-2l", "--dtype", dtype, "--format", format, "-q", "--length", "20"])
    };
    let table = rank("bf16", "table");
    let line = table.lines().find(|line| line.starts_with("weights rounded to bf16")).unwrap();
    assert!(line.contains("no score moved more than 0.0") && line.contains("10 of its first 10"), "{line}");
    assert!(!rank("f16", "table").contains("rounded"));
    let heads = |json: &str| {
        let report: serde_json::Value = serde_json::from_str(json).unwrap();
        let names = report["heads"].as_array().unwrap().iter().take(4);
        (names.map(|head| format!("{}.{}", head["layer"], head["head"])).collect::<Vec<_>>(), report)
    };
    let ((rounded, report), (exact, plain)) = (heads(&rank("bf16", "json")), heads(&rank("f32", "json")));
    assert_eq!(rounded, exact, "the first heads are those of f32");
    let moved = report["rounding"]["largest"].as_f64().unwrap();
    assert!(moved > 0.0 && moved < 0.05, "{moved}");
    assert!(plain.get("rounding").is_none());
}

#[test]
fn scores_come_with_their_errors() {
    let rank =
        |more: &[&str]| stdout(&[&["rank", "attn-2l", "-q", "--length", "20", "--seed", "3"], more].concat());
    let json = |more: &[&str]| -> serde_json::Value {
        serde_json::from_str(&rank(&[&["--format", "json"], more].concat())).unwrap()
    };
    let report = json(&["--batch", "5"]);
    let heads = report["heads"].as_array().unwrap();
    for (place, head) in heads.iter().enumerate() {
        let [low, high] = ["rank_low", "rank_high"].map(|name| head[name].as_u64().unwrap() as usize);
        assert!(1 <= low && low <= place + 1 && place < high && high <= heads.len(), "{head}");
        assert!(head["errors"]["induction"].as_f64().unwrap() > 0.0, "{head}");
        // Two sequences of the kinds that stand beside.
        assert!(head["errors"]["chance"].is_f64() && head["errors"]["prefix"].is_f64(), "{head}");
    }
    let one = &json(&["--batch", "1"])["heads"][0];
    assert!(one["errors"]["induction"].is_null() && one["rank_low"].is_null(), "{one}");

    let csv = rank(&["--format", "csv"]);
    assert!(csv.starts_with("rank,layer,head,induction,chance,") && !csv.contains("error"), "{csv}");
    let csv = rank(&["--format", "csv", "--errors"]);
    let columns: BTreeSet<usize> = csv.lines().map(|line| line.split(',').count()).collect();
    assert!(csv.lines().next().unwrap().ends_with(",tl_error,rank_low,rank_high"), "{csv}");
    assert_eq!(columns.len(), 1, "{csv}");
    let lines = |more: &[&str]| rank(more).lines().filter(|line| line.contains('±')).count();
    assert_eq!((lines(&["--top", "3"]), lines(&["--top", "3", "--errors"])), (0, 3));
}

#[test]
fn sequences_are_drawn_until_the_leaders_are_known() {
    let rank = |more: &[&str]| -> serde_json::Value {
        let common = ["rank", "attn-2l", "-q", "--length", "20", "--top", "3", "--format", "json"];
        serde_json::from_str(&stdout(&[&common, more].concat())).unwrap()
    };
    let report = rank(&["--batch", "1", "--until", "0.01"]);
    let batch = report["settings"]["batch"].as_u64().unwrap();
    assert!(batch >= 4 && batch.is_power_of_two(), "{batch}");
    assert_eq!(report["settings"]["draws"]["repeat"], batch);
    for head in report["heads"].as_array().unwrap() {
        assert!(head["errors"]["induction"].as_f64().unwrap() * 1.96 < 0.01, "{head}");
    }
    // A rerun with that many gives the same numbers.
    let again = rank(&["--batch", &batch.to_string()]);
    for (one, other) in report["heads"].as_array().unwrap().iter().zip(again["heads"].as_array().unwrap()) {
        assert_eq!((&one["layer"], &one["head"]), (&other["layer"], &other["head"]));
        for name in ["induction", "duplicate", "prefix", "tl"] {
            let [one, other] = [one, other].map(|head| head[name].as_f64().unwrap());
            assert!((one - other).abs() < 1e-6, "{name}: {one} and {other}");
        }
    }
    for width in ["0", "-0.1", "nan", "1", "inf", "a"] {
        let line = complaint(&["rank", &format!("--until={width}")]);
        assert!(line.contains("--until") && line.contains("such as 0.02"), "{line}");
    }
}

#[test]
fn the_families_are_listed_with_their_names_and_models() {
    let list = stdout(&["doctor", "--families"]);
    for family in attnscope::model::families::FAMILIES {
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(family.name)).unwrap();
        assert!(line.ends_with(family.models), "{line}");
        assert!(family.gguf.is_none_or(|gguf| line.contains(gguf.name)), "{line}");
    }
    assert!(list.contains("gpt_neox          gptneox        GPT-NeoX, Pythia"), "{list}");
    // The names are those that an unknown one is answered with, in order and once.
    let names: Vec<&str> = attnscope::model::families::FAMILIES.iter().map(|family| family.name).collect();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
}

#[test]
fn a_tokenizer_may_come_from_elsewhere() {
    let fixture = |name: &str| format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    // The ids of the fixture's tokenizer fit in the shipped model's vocabulary.
    let show = |tokenizer: &str| {
        stdout(&[
            "show",
            "--prompt",
            "Doctor",
            "--head",
            "1.0",
            "--tokenizer",
            tokenizer,
            "-q",
            "--format",
            "csv",
        ])
    };
    let own = stdout(&["show", "--prompt", "Doctor", "--head", "1.0", "-q", "--format", "csv"]);
    assert_ne!(show(&fixture("gpt2")), own);
    assert_eq!(show(&fixture("gpt2")), show(&fixture("gpt2/tokenizer.json")));
    let line = complaint(&["rank", "--tokenizer", &fixture("pickle"), "-q"]);
    assert!(line.contains("--tokenizer ") && line.contains("has no tokenizer"), "{line}");
}

/// `show` with its prompt on standard input.
fn piped(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
    command.args(["show", "--head", "1.3", "--format", "csv", "--prompt", "-"]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_prompt_comes_from_standard_input() {
    let said = stdout(&["show", "--quiet", "--head", "1.3", "--format", "csv", "--prompt", "The cat\n sat"]);
    let output = piped(&["--quiet"], b"The cat\n sat\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), said);
    for (input, expected) in [(&b""[..], "standard input is empty"), (b"a\xff", "is not UTF-8 from byte 1")] {
        let output = piped(&[], input);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_second_bos_is_remarked_on() {
    let remark = |text: &str, more: &[&str]| {
        let output = run(&[&["show", "--head", "1.3", "--format", "csv", "--prompt", text], more].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap().contains("twice")
    };
    let bos = "<bos>";
    let text = format!("{bos}The cat sat");
    assert!(remark(&text, &[]));
    assert!(!remark(&text, &["--bos", "off"]) && !remark("The cat sat", &[]) && !remark(&text, &["--quiet"]));
}

/// A folder with the files of a fixture.
fn copied(fixture: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    folder
}

#[test]
fn a_trace_goes_where_it_is_told_to() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let trace = |out: &Path| {
        let arguments = ["trace", "-q", "attn-1l", "--ids", "1,2,3", "--layers", "0", "--out"];
        let output = run(&[&arguments[..], &[out.to_str().unwrap()]].concat());
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        output.stdout
    };
    trace(&at("plain"));
    let written = fs::read(at("plain")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&written).unwrap();
    assert_eq!(tensors.tensor("ids").unwrap().shape(), [3]);
    assert_eq!(tensors.tensor("pattern.0").unwrap().shape(), [8, 3, 3]);
    // What another program would make there has the same mode.
    fs::write(at("usual"), "").unwrap();
    let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode();
    assert_eq!(mode("plain"), mode("usual"));
    symlink("plain", at("link")).unwrap();
    fs::set_permissions(at("plain"), fs::Permissions::from_mode(0o604)).unwrap();
    trace(&at("link"));
    assert!(at("link").is_symlink());
    assert_eq!(mode("plain") & 0o777, 0o604);
    assert_eq!(trace(Path::new("/dev/stdout")), written);
    assert!(trace(Path::new("/dev/null")).is_empty());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_a_reader_that_went_away_is_not() {
    let complaint =
        complaint(&["trace", "-q", "attn-1l", "--ids", "1,2,3", "--layers", "0", "--out", "/dev/full"]);
    assert!(complaint.contains("/dev/full cannot be written: No space left"), "{complaint}");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let ranked = |out: Stdio| {
        let command = &mut Command::new(env!("CARGO_BIN_EXE_attnscope"));
        command.args(["rank", "-q", "attn-1l", "--length", "4"]).stdout(out).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let output = ranked(full.into()).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"), "{output:?}");
    let mut gone = ranked(Stdio::piped());
    drop(gone.stdout.take());
    let output = gone.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn weights_that_are_cut_while_they_are_read_are_one_line_and_leave_nothing() {
    let folder = copied("gpt2");
    let weights = folder.path().join("model.safetensors");
    // More sequences than are measured before the file is cut.
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
    command.arg("rank").arg(folder.path()).args(["-q", "--batch", "1000000", "--length", "4"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let maps = format!("/proc/{}/maps", child.id());
    while !fs::read_to_string(&maps).unwrap().contains("model.safetensors") {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
    }
    fs::File::options().write(true).open(&weights).unwrap().set_len(0).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("attnscope: ") && said.contains("became shorter"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_trace_never_takes_the_place_of_its_model() {
    let folder = copied("gpt2");
    let at = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink("model.safetensors", at("link.safetensors")).unwrap();
    fs::hard_link(at("model.safetensors"), at("other")).unwrap();
    let gguf = copied("gguf-llama-q8");
    let gguf = gguf.path().join("model.gguf");
    let model = folder.path().to_path_buf();
    let targets =
        ["model.safetensors", "link.safetensors", "other", "config.json"].map(|name| (&model, at(name)));
    for (model, out) in targets.into_iter().chain([(&gguf, gguf.clone())]) {
        let before = fs::read(&out).unwrap();
        let (model, name) = (model.to_str().unwrap(), out.to_str().unwrap());
        let said = complaint(&["trace", model, "-q", "--ids", "1,2", "--out", name]);
        assert!(said.contains("it is a file of the model"), "{said}");
        assert_eq!(fs::read(&out).unwrap(), before);
    }
    let out = at("trace.safetensors");
    for _ in 0..2 {
        stdout(&["trace", model.to_str().unwrap(), "-q", "--ids", "1,2", "--out", out.to_str().unwrap()]);
    }
}
