//! The tables of what the reference reads are what their scripts make from the classes of the installed library.

use std::{env, path::Path, process::Command};

fn is_current(script: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(script);
    let python = env::var_os("ATTNSCOPE_PYTHON").unwrap();
    let output = Command::new(python).arg(script).arg("--check").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_table_of_keys_is_what_the_classes_read() {
    is_current("reads.py");
}

#[test]
fn the_table_of_tokenizers_is_what_the_classes_build() {
    is_current("classes.py");
}
