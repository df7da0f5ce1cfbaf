//! Folders as trainers leave them: what is a model opens, whatever lies beside it; what is only a part of one says how the
//! parts are joined.

use std::{
    fs,
    path::{Path, PathBuf},
};

use attnscope::checkpoint::{Checkpoint, Wanted, progress::Nobody};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pickle").join(name)
}

/// A folder with these files; `=` is followed by the fixture that a file is a copy of, and other files hold rubbish.
fn folder(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let (name, from) = file.split_once('=').unwrap_or((file, ""));
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let bytes = if from.is_empty() { b"rubbish".to_vec() } else { fs::read(fixture(from)).unwrap() };
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn open(path: &Path) -> Result<Checkpoint, String> {
    let wanted = Wanted { model: path.to_str(), ..Wanted::default() };
    Checkpoint::open(&wanted, &Nobody).map_err(|error| format!("{error:#}"))
}

/// What the trainer of transformers and accelerate leave beside weights.
const BESIDE: [&str; 12] = [
    "config.json=config.json",
    "generation_config.json",
    "optimizer.pt",
    "optimizer.bin",
    "rng_state.pth",
    "rng_state_1.pth",
    "scaler.pt",
    "scheduler.pt",
    "sampler.bin",
    "training_args.bin",
    "trainer_state.json",
    "random_states_0.pkl",
];

#[test]
fn weights_open_whatever_lies_beside_them() {
    for weights in [
        &["model.safetensors=model.safetensors"][..],
        &["pytorch_model.bin=pytorch_model.bin"],
        &["pytorch_model_fsdp.bin=pytorch_model.bin"],
        &["model.safetensors=model.safetensors", "global_step500/zero_pp_rank_0_mp_rank_00_optim_states.pt"],
        &["model.safetensors=model.safetensors", "pytorch_model_fsdp_0/__0_0.distcp"],
        // As `zero_to_fp32.py` joins them.
        &[
            "zero_to_fp32.py",
            "pytorch_model.bin.index.json=pytorch_model.bin.index.json",
            "pytorch_model-00001-of-00002.bin=pytorch_model-00001-of-00002.bin",
            "pytorch_model-00002-of-00002.bin=pytorch_model-00002-of-00002.bin",
        ],
    ] {
        let folder = folder(&[weights, &BESIDE].concat());
        let checkpoint = open(folder.path()).unwrap();
        assert!(checkpoint.weights.contains("transformer.wte.weight"), "{weights:?}");
    }
}

#[test]
fn weights_that_deepspeed_did_not_divide_open() {
    let states = "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt";
    let whole = "mp_rank_00_model_states.pt";
    let folder = folder(
        &[
            &BESIDE[..],
            &["latest", "zero_to_fp32.py", "global_step90/mp_rank_00_model_states.pt"],
            &[&*format!("global_step100/{states}"), &*format!("global_step100/{whole}=deepspeed.pt")],
        ]
        .concat(),
    );
    fs::write(folder.path().join("latest"), "global_step100\n").unwrap();
    let inside = folder.path().join("global_step100");
    for path in [folder.path(), &inside, &inside.join(whole)] {
        let checkpoint = open(path).unwrap();
        // What wraps all names is for the family to read off.
        let names = ["module.lm_head.weight", "module.norm.weight"];
        assert!(names.iter().all(|name| checkpoint.weights.contains(name)));
        assert_eq!(checkpoint.origin, folder.path().join("config.json").display().to_string());
    }
    // A name that leads elsewhere is not followed.
    fs::write(folder.path().join("latest"), "../global_step100").unwrap();
    assert!(
        open(folder.path())
            .err()
            .unwrap()
            .contains("global_step90/mp_rank_00_model_states.pt: no file of torch")
    );
}

#[test]
fn weights_that_are_divided_among_ranks_are_told_from_several_models() {
    let ranks = ["config.json=config.json", "mp_rank_00_model_states.pt", "mp_rank_01_model_states.pt"];
    let error = open(folder(&ranks).path()).err().unwrap();
    assert!(
        error.contains("mp_rank_00_model_states.pt is part of a checkpoint of tensor parallelism"),
        "{error}"
    );
}

#[test]
fn parts_of_weights_say_how_they_are_joined() {
    for (file, expected) in [
        ("global_step500/zero_pp_rank_0_mp_rank_00_model_states.pt", "`python zero_to_fp32.py . OUT`"),
        ("global_step500/bf16_zero_pp_rank_3_mp_rank_00_optim_states.pt", "`python zero_to_fp32.py . OUT`"),
        ("pytorch_model_fsdp_0/__0_0.distcp", "`accelerate merge-weights "),
        ("pytorch_model_fsdp_rank0.bin", "FULL_STATE_DICT"),
        ("__1_0.distcp", "format_utils dcp_to_torch "),
    ] {
        let folder = folder(&[&[file], &BESIDE[..]].concat());
        let path = folder.path().join(file);
        for path in [folder.path(), path.parent().unwrap(), &path] {
            let error = open(path).err().unwrap();
            let named = file.rsplit('/').next().unwrap();
            assert!(error.contains(expected) && error.contains(named) && !error.contains('\n'), "{error}");
        }
    }
}
