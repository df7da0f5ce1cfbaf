//! The README's Python, as it stands there, makes a reference that `attnscope verify` takes.

use std::{env, fs, path::Path, process::Command};

#[test]
fn the_readme_s_python_makes_a_reference() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let script = readme.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(script.lines().count() <= 10, "the README promises ten lines");
    let model = root.join("tests/fixtures/gpt2").display().to_string();
    assert_eq!(script.matches("\"org/model\"").count(), 2, "{script}");
    let script = script.replace("org/model", &model);
    let folder = tempfile::tempdir().unwrap();
    let python = env::var_os("ATTNSCOPE_PYTHON").unwrap();
    let output = Command::new(python).args(["-c", &script]).current_dir(&folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let verify = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
        let arguments = ["verify", &model, "--reference", "reference.safetensors", "-q"];
        command.args(arguments).args(more).current_dir(&folder).output().unwrap()
    };
    let output = verify(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(verify(&["--dtype", "bf16", "--logits", "2e-4"]).status.code(), Some(1));
}
