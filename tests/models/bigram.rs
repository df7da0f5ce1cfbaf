//! The bigram table against a text: counts and losses by hand, the direct path by a dense float64 product of the stored
//! matrices, and the commands on a text that a table was made for.

use std::{collections::HashMap, fs, path::PathBuf, process::Command};

use attnscope::{
    analysis::circuits::{
        corpus::{self, Pairs},
        factors::Embedding,
    },
    checkpoint::progress::Nobody,
    engine::open::{Model, OpenRequest},
    model::decoder::Control,
};
use candle_core::{DType, Device};

fn close(got: f64, expected: f64) {
    assert!((got - expected).abs() < 1e-9, "{got} for {expected}");
}

#[test]
fn a_text_counted_by_hand() {
    // 1 is followed twice by 2 and once by 3, 2 by 1 alone, 3 by nothing.
    let pairs = Pairs::count(&[1, 2, 1, 2, 1, 3]);
    assert_eq!((pairs.distinct(), pairs.total()), (3, 5));
    let (third, two_thirds) = ((1.0f64 / 3.0).ln(), (2.0f64 / 3.0).ln());
    close(pairs.bigram_loss(), -(2.0 * two_thirds + third) / 5.0);
    // What comes next: 2, 1, 2, 1, 3.
    close(pairs.unigram_loss(), -(4.0 * 0.4f64.ln() + 0.2f64.ln()) / 5.0);

    // A table in the order of the pairs: 1 2, 1 3, 2 1.
    let table = [0.5f64.ln(), 0.25f64.ln(), 0.125f64.ln()];
    let found = corpus::agreement(&pairs, &table, 2, 9);
    close(found.loss, -(2.0 * table[0] + table[1] + 2.0 * table[2]) / 5.0);
    assert_eq!(found.frequent, 2);
    close(found.covered, 0.8);
    // Two points are on a line, which falls.
    close(found.correlation, -1.0);
    close(found.weighted, -1.0);
    let first = found.differences[0];
    assert_eq!((first.pair.current, first.pair.next, first.pair.count), (2, 1, 2));
    close(first.nats, 0.4 * -table[2]);
    // Of all pairs the parts are the whole.
    let all = corpus::agreement(&pairs, &table, 1, 9);
    let sum: f64 = all.differences.iter().map(|difference| difference.nats).sum();
    close(sum, all.loss - pairs.bigram_loss());
    let [x, y] = [[two_thirds, third, 0.0], table];
    let pearson = |weights: [f64; 3]| {
        let mean = |v: [f64; 3]| (0..3).map(|i| weights[i] * v[i]).sum::<f64>() / weights.iter().sum::<f64>();
        let both =
            |a: [f64; 3], b: [f64; 3]| mean([a[0] * b[0], a[1] * b[1], a[2] * b[2]]) - mean(a) * mean(b);
        both(x, y) / (both(x, x) * both(y, y)).sqrt()
    };
    close(all.correlation, pearson([1.0; 3]));
    close(all.weighted, pearson([2.0, 1.0, 2.0]));

    let lonely = Pairs::count(&[4]);
    assert_eq!((lonely.distinct(), lonely.total()), (0, 0));
}

#[test]
fn the_direct_path_is_the_dense_product() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/attn-only");
    let request = OpenRequest { model: Some(folder.display().to_string()), ..OpenRequest::default() };
    let decoder = Model::open(&request, &Nobody).unwrap().decoder;
    let tensors = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
    let matrix = |name: &str| tensors[name].to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
    let (embedding, unembedding) = (matrix("model.embed_tokens.weight"), matrix("lm_head.weight"));
    let gain: Vec<f64> = tensors["model.norm.weight"].to_dtype(DType::F64).unwrap().to_vec1().unwrap();
    let log_probability = |current: u32, next: u32| {
        let x = &embedding[current as usize];
        let size = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + 1e-6).sqrt();
        let logit = |row: &Vec<f64>| (0..x.len()).map(|i| x[i] / size * gain[i] * row[i]).sum::<f64>();
        let total: f64 = unembedding.iter().map(|row| logit(row).exp()).sum();
        logit(&unembedding[next as usize]) - total.ln()
    };

    // A text of the fixture's 80 tokens without order, in which every token but one occurs.
    let ids: Vec<u32> = (0..4000u32).map(|i| i * i / 7 % 79).collect();
    let mut counts: HashMap<(u32, u32), f64> = HashMap::new();
    ids.windows(2).for_each(|pair| *counts.entry((pair[0], pair[1])).or_default() += 1.0);
    let mut order: Vec<(u32, u32)> = counts.keys().copied().collect();
    order.sort_unstable();
    let pairs = Pairs::count(&ids);
    let table = corpus::direct_path(&decoder, Embedding::Effective, &pairs, &Control::FREE).unwrap();
    assert_eq!(table.len(), order.len());
    for (&(current, next), got) in order.iter().zip(&table) {
        let expected = log_probability(current, next);
        assert!((got - expected).abs() < 1e-4, "{current} {next}: {got} for {expected}");
    }
    let loss = order.iter().map(|pair| counts[pair] * -log_probability(pair.0, pair.1)).sum::<f64>() / 3999.0;
    assert!((pairs.mean_loss(&table) - loss).abs() < 1e-5);
    assert!(pairs.bigram_loss() < pairs.unigram_loss() && pairs.unigram_loss() < loss);

    let outside = Pairs::count(&[3, 80]);
    let error = corpus::direct_path(&decoder, Embedding::Raw, &outside, &Control::FREE).unwrap_err();
    assert!(error.to_string().contains("token 80"), "{error}");
}

fn run(arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_attnscope")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// A little novel, whose names come often enough to be found.
fn novel() -> String {
    "When Miss Woodhouse was at home, her friend Harriet said to Emma that she was happy, and that Mr. Knightley was not. \
     She had a very good letter from Harriet, and Emma read it to Mr. Knightley.\n\n"
        .repeat(60)
}

#[test]
fn the_command_compares_the_shipped_model_with_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one.txt", "two.txt"].map(|name| folder.path().join(name));
    fs::write(&one, novel()).unwrap();
    fs::write(&two, "She was, and she was not.").unwrap();
    let [one, two] = [&one, &two].map(|path| path.to_str().unwrap());
    let json = |arguments: &[&str]| -> serde_json::Value {
        let ask = ["circuits", "--what", "bigram", "--format", "json", "--top", "3", "-q", "--text"];
        serde_json::from_str(&run(&[&ask, arguments].concat()).0).unwrap()
    };
    let report = json(&[one, two]);
    assert_eq!(report["settings"]["text"], serde_json::json!([one, two]));
    assert_eq!(report["settings"]["least"], 5);
    assert!(report["settings"].get("seed").is_none());
    let row = &report["agreement"][0];
    let number = |name: &str| row[name].as_f64().unwrap();
    assert!(number("correlation").abs() <= 1.0 && number("covered") > 0.9, "{row}");
    assert!(number("bigram") < number("unigram") && number("bigram") < number("loss"), "{row}");
    assert_eq!(report["differences"].as_array().unwrap().len(), 3);
    assert!(json(&[one])["agreement"][0]["tokens"].as_u64() < row["tokens"].as_u64());

    // As train takes it, lines are joined: no pair has a line break in it but between paragraphs.
    let tidy = json(&[one, "--tidy"]);
    assert!(tidy["agreement"][0]["tokens"].as_u64() < json(&[one])["agreement"][0]["tokens"].as_u64());

    // Other names in every stretch make more pairs, the same for the same seed.
    let invented = json(&[one, "--invent-names"]);
    assert_eq!(invented["settings"]["seed"], 0);
    assert!(invented["agreement"][0]["pairs"].as_u64() > json(&[one])["agreement"][0]["pairs"].as_u64());
    assert_eq!(invented, json(&[one, "--invent-names", "--seed", "0"]));
    assert_ne!(invented["agreement"], json(&[one, "--invent-names", "--seed", "1"])["agreement"]);

    let (table, note, _) = run(&["circuits", "--what", "bigram", "--text", two]);
    assert!(note.contains("only") && note.contains("mostly chance"), "{note}");
    // Too short for a pair that is frequent: no correlation and no list, but losses.
    assert!(table.contains("differences") && table.contains("nothing"), "{table}");
    assert!(!run(&["circuits", "--what", "bigram", "--text", one]).1.contains("mostly chance"));
    let csv = run(&["circuits", "--what", "bigram", "--text", one, "-q", "--format", "csv"]).0;
    assert!(
        csv.starts_with("tokens,pairs,frequent,covered,correlation,weighted,loss,bigram,unigram\n"),
        "{csv}"
    );
    assert_eq!(csv.lines().count(), 2);
}

#[test]
fn texts_that_cannot_be_compared_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let one_token = file("one.txt", b"a");
    let whole = file("whole.txt", novel().as_bytes());
    let no_tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/llama-gqa");
    let bigram =
        |text: &str| ["circuits", "--what", "bigram", "-q", "--text", text].map(str::to_owned).to_vec();
    let with = |text: &str, more: &str| [bigram(text), vec![more.to_owned()]].concat();
    for (arguments, expected) in [
        (bigram(&file("empty.txt", b" \n")), "empty.txt is empty"),
        (bigram(&file("binary.txt", b"a\0b")), "binary.txt is a binary file"),
        (bigram(&file("latin.txt", b"caf\xe9")), "latin.txt is not UTF-8"),
        (bigram("/nowhere.txt"), "cannot read /nowhere.txt"),
        (bigram(folder.path().to_str().unwrap()), "cannot read"),
        (bigram(&one_token), "a pair takes two"),
        (with(&one_token, "--invent-names"), "fewer than 3000 characters"),
        (with(&whole, "--token=a"), "cannot be used with"),
        (
            vec![
                "circuits".into(),
                no_tokenizer.into(),
                "--what=bigram".into(),
                "-q".into(),
                format!("--text={whole}"),
            ],
            "needs a tokenizer",
        ),
        (
            vec!["circuits".into(), "--what=copying".into(), "-q".into(), format!("--text={whole}")],
            "say --what bigram",
        ),
        (vec!["circuits".into(), "--what=bigram".into(), "--invent-names".into()], "--text"),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (printed, said, code) = run(&arguments);
        assert_eq!((printed.as_str(), code), ("", Some(2)), "{arguments:?}: {said}");
        assert!(said.contains(expected) && said.trim_end().lines().count() == 1, "{arguments:?}: {said}");
    }
}

#[test]
fn a_model_without_layers_has_its_bigram_table_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("novel.txt");
    fs::write(&text, novel()).unwrap();
    let (text, out) = (text.to_str().unwrap(), folder.path().join("run"));
    let train = "train --layers 0 --width 16 --context 32 --vocab 280 --batch 2 --steps 1 --snapshot-every 1 -q --text";
    let train: Vec<&str> = train.split(' ').chain([text, "--out", out.to_str().unwrap()]).collect();
    assert_eq!(run(&train).2, Some(0), "{:?}", run(&train));
    let model = out.join("step-000001");
    let circuits = |arguments: &str| {
        let ask = ["circuits", model.to_str().unwrap(), "-q"];
        run(&ask.into_iter().chain(arguments.split(' ').filter(|part| !part.is_empty())).collect::<Vec<_>>())
    };
    let (table, said, _) = circuits(&format!("--what bigram --text {text}"));
    assert!(table.contains("agreement") && table.contains("differences"), "{said}");
    assert!(circuits("--what bigram --ids 5 --top 2").0.contains("probability"));
    let (table, said, _) = circuits("");
    assert!(table.contains("\"<bos>\""), "its first row: {said}");
    for what in
        ["copying", "composition", "trigrams", "positions", "corner", "terms --ids 1,2", "copying --head 0.0"]
    {
        let (_, said, code) = circuits(&format!("--what {what}"));
        assert!(code == Some(2) && said.contains("has no layers"), "{what}: {said}");
    }
}
