//! Lens, attribution, edits and patching against hooks on the reference library.

use std::{env, path::PathBuf, process::Command};

use candle_core::{Device, Tensor, safetensors};

const IDS: &str = "5,9,17,5,9,33,2,17,5";
const OTHER: &str = "5,9,40,5,9,33,2,17,5";
const TOKENS: [&str; 2] = ["17", "33"];

/// Serial and parallel blocks, norms after and around, shared keys and values, experts, ALiBi, a cap, biases.
const MODELS: [&str; 8] = ["gpt2", "gpt_neox", "bloom", "gemma2", "llama-gqa", "mixtral", "olmo2", "qwen2"];

fn root(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn attnscope(arguments: &[&str]) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_attnscope")).args(arguments).arg("--quiet").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Refuses what is off by more than 1e-4 of the scale of `of`.
#[track_caller]
fn close(name: &str, ours: &Tensor, theirs: &Tensor, of: &Tensor) {
    assert_eq!(ours.dims(), theirs.dims(), "{name}");
    let scale = numbers(of).iter().fold(f32::MIN_POSITIVE, |scale, number| scale.max(number.abs()));
    let off =
        numbers(ours).iter().zip(numbers(theirs)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
    assert!(off < 1e-4, "{name}: off by {off} of the scale");
}

#[test]
fn what_is_changed_and_taken_apart_agrees_with_hooks() {
    let python = env::var_os("ATTNSCOPE_PYTHON").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let read = |name: &str| safetensors::load(file(name), &Device::Cpu).unwrap();
    for name in MODELS {
        let model = root("tests/fixtures").join(name).display().to_string();
        let script = root("tests/reference/what_if.py");
        let reference = file("reference.safetensors");
        let [target, against] = TOKENS;
        let tokens = ["--target", target, "--against", against];
        let output = Command::new(&python)
            .arg(script)
            .args([&*model, &*reference, "--ids", IDS, "--from-ids", OTHER])
            .args(tokens)
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let edits: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
        let theirs = read("reference.safetensors");
        let out = file("out.safetensors");

        attnscope(&["lens", &model, "--ids", IDS, "--out", &out]);
        let lens = &read("out.safetensors")["lens"];
        close(&format!("{name} lens"), lens, &theirs["lens"], &theirs["lens"]);

        attnscope(&[&["attribute", &*model, "--ids", IDS, "--out", &*out], &tokens[..]].concat());
        let ours = read("out.safetensors");
        for part in ["heads", "attn_bias", "mlps", "embedding", "bias"] {
            close(&format!("{name} {part}"), &ours[part], &theirs[part], &theirs["lens"]);
        }
        let sum = |part: &str| numbers(&ours[part]).iter().map(|part| f64::from(*part)).sum::<f64>();
        let parts = ["heads", "attn_bias", "mlps", "embedding", "bias", "remainder"].map(sum);
        let (whole, logit) = (parts.iter().sum::<f64>(), sum("logit"));
        assert!((whole - logit).abs() < 1e-4 * logit.abs().max(1.0), "{name}: {whole} is not {logit}");
        close(&format!("{name} logit"), &ours["logit"], &theirs["clean"], &theirs["lens"]);
        let is_capped = name == "gemma2";
        assert!(is_capped || sum("remainder").abs() < 1e-3, "{name}: {} remains", sum("remainder"));

        for (number, edit) in edits.iter().enumerate() {
            attnscope(&["trace", &model, "--ids", IDS, "--from-ids", OTHER, "--edit", edit, "--out", &out]);
            let ours = &read("out.safetensors")["logits"];
            let theirs = &theirs[&format!("edit.{number}")];
            close(&format!("{name} {edit}"), ours, theirs, theirs);
        }

        for direction in ["denoise", "noise"] {
            for over in ["heads", "mlps", "attn", "resid"] {
                let asked = ["patch", &*model, "--ids", IDS, "--from-ids", OTHER, "--over", over];
                let more = ["--direction", direction, "--out", &*out];
                attnscope(&[&asked[..], &more, &tokens].concat());
                let ours = read("out.safetensors");
                let named = format!("{direction}.{over}");
                close(&format!("{name} {named}"), &ours["map"], &theirs[&named], &theirs["lens"]);
                for end in ["clean", "corrupted"] {
                    close(&format!("{name} {end}"), &ours[end], &theirs[end], &theirs["lens"]);
                }
            }
        }
    }
}
