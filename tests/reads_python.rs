//! The table of keys that the reference reads is what its script makes from the classes of the installed library.

#![allow(clippy::unwrap_used)]

use std::{env, path::Path, process::Command};

#[test]
fn the_table_of_keys_is_what_the_classes_read() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/reads.py");
    let python = env::var_os("ATTNSCOPE_PYTHON").unwrap();
    let output = Command::new(python).arg(script).arg("--check").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
