//! Every family through `attnscope trace`, as a user would compare it: patterns within 1e-4 and logits within 2e-4 of their
//! scale of what the Python implementations computed from the same files (`tests/reference`).
//!
//! The committed fixtures are some of the settings; `ATTNSCOPE_REFERENCES` names a folder with more, which
//! `tests/reference/generate.py --everything` makes.

use std::path::{Path, PathBuf};

use crate::traced::{cases, fault};

fn all_agree(root: &Path, least: usize) {
    let cases = cases(root);
    assert!(cases.len() >= least, "{} holds {} cases", root.display(), cases.len());
    let faults: Vec<String> = cases
        .iter()
        .filter_map(|folder| fault(folder).map(|fault| format!("{}: {fault}", folder.display())))
        .collect();
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), cases.len(), faults.join("\n"));
}

#[test]
fn the_committed_cases_agree() {
    all_agree(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"), 7);
}

#[test]
fn the_cases_of_a_run_of_the_generator_agree() {
    // Made outside of the tests, for it needs Python; see .ci/run.
    if let Some(root) = std::env::var_os("ATTNSCOPE_REFERENCES") {
        all_agree(Path::new(&root), 7);
    }
}
