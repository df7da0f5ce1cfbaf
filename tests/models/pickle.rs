//! Files of `torch.save` (`tests/reference/pickles.py`): the same tensors as their safetensors twins, one line for what
//! cannot be read, and no panic whatever the bytes are.

use std::{
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
};

use attnscope::{
    checkpoint::{
        Checkpoint, Description, Wanted, pickle,
        progress::Nobody,
        safetensors,
        weights::{WeightType, Weights},
    },
    engine::open::{Model, OpenRequest},
    model::decoder::Pass,
};
use proptest::prelude::*;
use tempfile::TempDir;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pickle").join(name)
}

/// A folder with the configuration and copies of fixtures, under the names after the `=` if there is one.
fn folder(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files.iter().chain(&["config.json"]) {
        let (from, to) = file.split_once('=').unwrap_or((file, file));
        fs::copy(fixture(from), folder.path().join(to)).unwrap();
    }
    folder
}

fn assert_same(one: &Weights, other: &Weights) {
    let names = |weights: &Weights| weights.iter().map(|tensor| tensor.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(one), names(other));
    for (one, other) in one.iter().zip(other.iter()) {
        assert_eq!((one.kind, &one.shape), (other.kind, &other.shape), "{}", one.name);
        assert_eq!(one.bytes(), other.bytes(), "{}", one.name);
    }
}

/// The weights of a file, of which every number has been looked at.
fn read(path: &Path) -> anyhow::Result<Weights> {
    let mut weights = Weights::default();
    pickle::read_file(path, &mut weights)?;
    weights.iter().for_each(|tensor| drop(tensor.to_f32()));
    Ok(weights)
}

fn read_bytes(bytes: &[u8]) -> Result<Weights, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    read(file.path()).map_err(|error| format!("{error:#}"))
}

fn logits(model: &str) -> (Vec<f32>, u64) {
    let request = OpenRequest { model: Some(model.into()), ..OpenRequest::default() };
    let model = Model::open(&request, &Nobody).unwrap();
    let mut trace = model.decoder.trace();
    model.decoder.extend(&mut trace, &[5, 9, 60, 5, 9, 33], &Pass::FREE).unwrap();
    let logits = model.decoder.logits(&trace.last.view().unwrap()).unwrap();
    (logits.flatten_all().unwrap().to_vec1().unwrap(), model.info.parameters)
}

#[test]
fn tensors_of_every_layout_and_type_are_read_as_torch_does() {
    let mut twin = Weights::default();
    safetensors::read_file(&fixture("odd.safetensors"), &mut twin).unwrap();
    assert_eq!(twin.iter().count(), 18);
    for file in ["odd.pth", "odd-protocol-5.pth", "odd-legacy.pth"] {
        let weights = read(&fixture(file)).unwrap();
        assert_same(&weights, &twin);
        let place = |name| weights.get(name).unwrap().bytes().as_ptr();
        assert_eq!(place("whole"), place("tied"));
        assert_eq!(weights.parameters() + 30, twin.parameters(), "tied tensors count once");
    }
}

#[test]
fn a_model_computes_the_same_from_every_kind_of_file() {
    let twin = folder(&["model.safetensors"]);
    let expected = logits(twin.path().to_str().unwrap());
    let shards = [
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
        "pytorch_model.bin.index.json",
    ];
    let folders = [
        folder(&["pytorch_model.bin"]),
        folder(&["legacy.bin=pytorch_model.bin"]),
        folder(&shards),
        folder(&["nested.pt"]),
        folder(&["nested.pt=ckpt.pth"]),
        // As the trainer of transformers leaves it.
        folder(&[
            "pytorch_model.bin",
            "odd.pth=rng_state.pth",
            "object.pt=training_args.bin",
            "odd.pth=optimizer.pt",
        ]),
        folder(&[
            "nested.pt=step.bin",
            "odd.pth=scheduler.pt",
            "odd.pth=scaler.pt",
            "odd.pth=rng_state_0.pth",
        ]),
    ];
    for folder in &folders {
        let model = folder.path().to_str().unwrap();
        assert!(logits(model) == expected, "{:?}", fs::read_dir(model).unwrap().collect::<Vec<_>>());
    }
    for file in ["pytorch_model.bin", "pytorch_model.bin.index.json", "nested.pt", "legacy.bin"] {
        assert!(logits(fixture(file).to_str().unwrap()) == expected, "{file}");
    }
}

#[test]
fn a_checkpoint_of_nanogpt_describes_itself() {
    let (alone, named) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (file, lightning) = (alone.path().join("ckpt.pt"), named.path().join("last.ckpt"));
    fs::copy(fixture("nanogpt.pt"), &file).unwrap();
    fs::copy(fixture("nanogpt.pt"), &lightning).unwrap();
    for (model, origin) in [(alone.path(), &file), (&file, &file), (named.path(), &lightning)] {
        let wanted = Wanted { model: model.to_str(), ..Wanted::default() };
        let checkpoint = Checkpoint::open(&wanted, &Nobody).unwrap();
        let Description::Hub(values) = checkpoint.description else { panic!("it is no GGUF file") };
        let expected = serde_json::json!({
            "model_type": "nanogpt", "n_layer": 1, "n_head": 3, "n_embd": 12, "block_size": 16, "bias": false,
            "vocab_size": 64, "dropout": 0.0,
        });
        assert_eq!(serde_json::Value::from(values), expected);
        assert_eq!(checkpoint.origin, origin.display().to_string());
        assert!(checkpoint.weights.contains("transformer.h.0.attn.c_attn.weight"));
        assert_eq!(checkpoint.weights.iter().count(), 10);
    }
    // `config.json` goes first, and files of other programs need it.
    fs::copy(fixture("config.json"), alone.path().join("config.json")).unwrap();
    let checkpoint =
        Checkpoint::open(&Wanted { model: file.to_str(), ..Wanted::default() }, &Nobody).unwrap();
    assert!(checkpoint.origin.ends_with("config.json"));
    let other = named.path().join("nested.pt");
    fs::copy(fixture("nested.pt"), &other).unwrap();
    let error =
        Checkpoint::open(&Wanted { model: other.to_str(), ..Wanted::default() }, &Nobody).err().unwrap();
    assert!(error.to_string().contains("config.json cannot be read"), "{error}");
}

#[test]
fn safetensors_go_before_pickles_and_a_file_can_be_named() {
    let open = |folder: &TempDir, file| {
        let model = Some(folder.path().to_str().unwrap());
        Checkpoint::open(&Wanted { model, file, ..Wanted::default() }, &Nobody)
    };
    let both = folder(&["model.safetensors", "pytorch_model.bin", "nested.pt"]);
    assert!(!open(&both, None).unwrap().weights.contains("lm_head.weight"));
    assert!(open(&both, Some("pytorch_model.bin")).unwrap().weights.contains("lm_head.weight"));
    assert!(open(&both, Some("nested.pt")).unwrap().weights.contains("transformer.wte.weight"));

    let several = folder(&["nested.pt", "pytorch_model.bin=other.bin"]);
    let error = format!("{:#}", open(&several, None).err().unwrap());
    assert!(error.contains("2 weight files") && error.contains("--file nested.pt"), "{error}");
    let lone = folder(&["pytorch_model-00001-of-00002.bin", "nested.pt=optimizer.pt"]);
    let error = format!("{:#}", open(&lone, None).err().unwrap());
    assert!(
        error.contains("holds pytorch_model-00001-of-00002.bin and other parts, and no index"),
        "{error}"
    );
    let nothing = folder(&["nested.pt=optimizer.pt"]);
    let error = format!("{:#}", open(&nothing, None).err().unwrap());
    assert!(error.contains("holds no model.safetensors, .gguf or pytorch_model.bin"), "{error}");
}

#[test]
fn an_index_does_not_lead_to_another_index() {
    let folder = folder(&["pytorch_model.bin.index.json"]);
    let index = folder.path().join("pytorch_model.bin.index.json");
    fs::write(&index, r#"{"weight_map":{"a":"pytorch_model.bin.index.json"}}"#).unwrap();
    let model = Some(folder.path().to_str().unwrap());
    let error = Checkpoint::open(&Wanted { model, ..Wanted::default() }, &Nobody).err().unwrap();
    assert!(error.to_string().contains("only .safetensors"), "{error}");
}

/// A file of `torch.save` put together by hand.
struct Forged {
    pickle: Vec<u8>,
    members: Vec<(&'static str, Vec<u8>)>,
}

impl Forged {
    /// A state dict of one tensor `a` in a storage of eight numbers.
    fn tensor(class: &str, offset: i64, shape: &[i64], strides: &[i64]) -> Self {
        let long = |number: i64| [&[0x8a, 8][..], &number.to_le_bytes()].concat();
        let tuple = |numbers: &[i64]| {
            let numbers: Vec<u8> = numbers.iter().copied().flat_map(long).collect();
            [b"(", &numbers[..], b"t"].concat()
        };
        let text = |text: &str| [&[0x8c, text.len() as u8][..], text.as_bytes()].concat();
        let storage = format!("ctorch\n{class}\n");
        let parts = [
            b"\x80\x02}".to_vec(),
            text("a"),
            b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
            text("storage"),
            storage.into_bytes(),
            text("0"),
            text("cpu"),
            long(8),
            b"tQ".to_vec(),
            long(offset),
            tuple(shape),
            tuple(strides),
            b"\x89NtRs.".to_vec(),
        ];
        Self { pickle: parts.concat(), members: vec![("archive/data/0", vec![0; 32])] }
    }

    fn of(pickle: &[u8]) -> Self {
        Self { pickle: pickle.to_vec(), members: Vec::new() }
    }

    fn with(mut self, name: &'static str, bytes: &[u8]) -> Self {
        self.members.push((name, bytes.to_vec()));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        let pickle = [("archive/data.pkl", &self.pickle)].into_iter();
        for (name, bytes) in pickle.chain(self.members.iter().map(|(name, bytes)| (*name, bytes))) {
            zip.start_file(name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn read(&self) -> Result<Weights, String> {
        read_bytes(&self.bytes())
    }
}

/// A file as torch before 1.6 wrote it: `pickle`, a list of storages and what follows.
fn legacy(version: i16, pickle: &[u8], list: &[u8], storages: &[(i64, &[u8])]) -> Vec<u8> {
    let [low, high] = version.to_le_bytes();
    let head = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M";
    let mut bytes = [&head[..], &[low, high], b".\x80\x02}.", pickle, list].concat();
    for (count, numbers) in storages {
        bytes.extend(count.to_le_bytes());
        bytes.extend(*numbers);
    }
    bytes
}

#[test]
fn files_of_old_torch_are_read_in_place_and_their_lies_refused() {
    let (mut old, mut new) = (Weights::default(), Weights::default());
    pickle::read_file(&fixture("legacy.bin"), &mut old).unwrap();
    pickle::read_file(&fixture("pytorch_model.bin"), &mut new).unwrap();
    assert_same(&old, &new);
    let place = |weights: &Weights, name| weights.get(name).unwrap().bytes().as_ptr();
    let tied = place(&old, "lm_head.weight");
    assert_eq!(tied, place(&old, "transformer.wte.weight"), "no copy is made");

    let eight: Vec<u8> = (0..8_u8).flat_map(|number| f32::from(number).to_le_bytes()).collect();
    let one = Forged::tensor("FloatStorage", 1, &[3], &[1]).pickle;
    let keys = |keys: &[&str]| {
        let keys = keys.iter().flat_map(|key| [&[b'U', key.len() as u8][..], key.as_bytes()].concat());
        [&b"\x80\x02]("[..], &keys.collect::<Vec<_>>(), b"e."].concat()
    };
    let a = |bytes: &[u8]| read_bytes(bytes).map(|weights| weights.get("a").unwrap().to_f32());
    assert_eq!(a(&legacy(1001, &one, &keys(&["0"]), &[(8, &eight)])).unwrap(), [1.0, 2.0, 3.0]);
    // Its storage is a part of another, which begins at the fourth number of that.
    let place = one.windows(2).position(|two| two == b"tQ").unwrap();
    let part = [&one[..place], b"(U\x01vK\x04K\x04t", &one[place..]].concat();
    assert_eq!(a(&legacy(1001, &part, &keys(&["0"]), &[(8, &eight)])).unwrap(), [5.0, 6.0, 7.0]);

    let read = |list: &[u8], storages: &[(i64, &[u8])]| read_bytes(&legacy(1001, &one, list, storages));
    refused(read(&keys(&["0"]), &[(3, &eight)]), "tensor `a` does not fit in its file");
    for count in [9, -1, i64::MAX, i64::MAX / 4 + 1, i64::MIN] {
        refused(read(&keys(&["0"]), &[(count, &eight)]), "storage 0 ends outside");
    }
    refused(read(&keys(&["0"]), &[]), "storage 0 ends outside");
    refused(read(&keys(&[]), &[(8, &eight)]), "holds no storage 0");
    refused(read(&keys(&["0", "0"]), &[(8, &eight), (8, &eight)]), "has 0 twice");
    refused(read(&keys(&["0", "1"]), &[(8, &eight), (8, &eight)]), "one of no tensor");
    refused(read(b"\x80\x02](K\x00e.", &[(8, &eight)]), "one of no tensor");
    refused(read(b"\x80\x02}.", &[(8, &eight)]), "no list of storages");
    refused(read(b"", &[]), "cannot be followed");
    refused(read_bytes(&legacy(1000, &one, &keys(&["0"]), &[(8, &eight)])), "unknown version");
    let odd = Forged::tensor("OddStorage", 0, &[3], &[1]).pickle;
    refused(read_bytes(&legacy(1001, &odd, &keys(&["0"]), &[(8, &eight)])), "not known, OddStorage");
    let halves = Forged::tensor("HalfStorage", 0, &[3], &[1]).pickle;
    let storage = |pickle: &[u8]| {
        let begin = pickle.windows(2).position(|two| two == b"((").unwrap();
        let end = pickle.windows(2).position(|two| two == b"tQ").unwrap();
        pickle[begin + 1..end + 2].to_vec()
    };
    // An entry that is the same storage as halves.
    let both = [&b"\x80\x02}U\x01b"[..], &storage(&halves), b"s", &one[3..]].concat();
    refused(read_bytes(&legacy(1001, &both, &keys(&["0"]), &[(8, &eight)])), "storage 0 is of two types");
}

#[track_caller]
fn refused(read: Result<Weights, String>, expected: &str) {
    let error = read.err().expect("it was read");
    assert!(error.contains(expected), "`{expected}` is not in: {error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn tensors_that_do_not_fit_in_their_storage_are_refused() {
    let float =
        |offset, shape: &[i64], strides: &[i64]| Forged::tensor("FloatStorage", offset, shape, strides);
    for (offset, shape, strides) in
        [(0, vec![8], vec![1]), (7, vec![1, 1], vec![99, 1]), (0, vec![2, 4], vec![1, 2])]
    {
        assert_eq!(
            float(offset, &shape, &strides).read().unwrap().parameters(),
            shape.iter().product::<i64>() as u64
        );
    }
    let huge = i64::MAX;
    let odd: &[(i64, &[i64], &[i64])] = &[
        (1, &[8], &[1]),
        (8, &[1], &[1]),
        (huge, &[1], &[1]),
        (0, &[9], &[1]),
        (0, &[2, 2], &[8, 1]),
        (0, &[2], &[huge]),
        (huge, &[2], &[huge]),
        (0, &[huge, huge], &[huge, huge]),
        (0, &[huge], &[0]),
        (-1, &[1], &[1]),
        (0, &[-1], &[1]),
        (0, &[1], &[-1]),
        (7, &[2], &[-1]),
        (0, &[2, 2], &[1]),
        (0, &[1; 9], &[1; 9]),
    ];
    for (offset, shape, strides) in odd {
        refused(float(*offset, shape, strides).read(), "tensor `a` does not fit in its file");
    }
    refused(float(0, &[1 << 40], &[0]).read(), "tensor `a` repeats numbers");
    refused(Forged::tensor("DoubleStorage", 0, &[5], &[1]).read(), "tensor `a` does not fit");
    assert_eq!(
        Forged::tensor("HalfStorage", 8, &[8], &[1]).read().unwrap().main_type(),
        Some(WeightType::F16)
    );
    assert_eq!(Forged::tensor("BoolStorage", 0, &[99], &[1]).read().unwrap().iter().count(), 0);
    let mut lost = float(0, &[1], &[1]);
    lost.members.clear();
    refused(lost.read(), "holds no data/0");
}

#[test]
fn what_is_no_state_dict_of_this_machine_says_what_it_is() {
    let of = |name| read(&fixture(name)).map_err(|error| format!("{error:#}"));
    let object =
        "holds a pickled object (torch.nn.modules.linear.Linear), not a state dict; save model.state_dict()";
    refused(of("object.pt"), object);
    refused(of("nested-object.pt"), object);
    refused(of("legacy-object.pt"), "save model.state_dict()");
    refused(of("model.safetensors"), "a safetensors file: end its name");
    for bytes in [&b""[..], b"PK", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"a page of text", b"\x80\x04K\x01."] {
        refused(read_bytes(bytes), "no file of torch.save");
    }
    let good = || Forged::tensor("FloatStorage", 0, &[8], &[1]);
    refused(good().with("archive/byteorder", b"big").read(), "big-endian");
    assert!(good().with("archive/byteorder", b"little").read().is_ok());
    for pickle in [&b"}."[..], b"K\x01.", b"]."] {
        refused(Forged::of(pickle).read(), "no tensors that have names");
    }
    for pickle in [&b""[..], b".", b"}", b"t.", b"(0t.", b"h\x01.", b"\xff.", b"X\xff\xff\xff\xff.", b"}s."] {
        refused(Forged::of(pickle).read(), "cannot be followed at byte");
    }

    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("word/document.xml", SimpleFileOptions::default()).unwrap();
    refused(read_bytes(&zip.finish().unwrap().into_inner()), "not one of torch.save");

    // The flags and the method of compression of every member, where the archive's list has them.
    let whole = good().bytes();
    for (offset, byte, expected) in [(8, 1, "is encrypted"), (10, 8, "is compressed")] {
        let mut bytes = whole.clone();
        for place in 0..bytes.len() - 4 {
            if bytes[place..].starts_with(b"PK\x01\x02") {
                bytes[place + offset] |= byte;
            }
        }
        refused(read_bytes(&bytes), expected);
    }
    for length in [4, 100, whole.len() / 2, whole.len() - 1] {
        refused(read_bytes(&whole[..length]), "no whole zip archive");
    }
}

#[test]
fn a_small_pickle_cannot_take_all_memory_or_the_whole_stack() {
    // Each tuple holds the one before twice: 2^n values, were they copied.
    let mut doubled = b"}q\0".to_vec();
    for _ in 0..200 {
        doubled.extend(b"h\0h\0\x86q\0");
    }
    doubled.push(b'.');
    refused(Forged::of(&doubled).read(), "no tensors");
    let nested = [&b")"[..], &[0x85; 1_000_000], b"."].concat();
    refused(Forged::of(&nested).read(), "no tensors");
    // A dict that holds itself.
    refused(Forged::of(b"}q\0X\x05\0\0\0modelh\0s.").read(), "no tensors");
}

#[test]
fn no_changed_byte_and_no_cut_makes_it_panic() {
    let (mut whole, mut broken) = (0, 0);
    let mut count = |read: Result<Weights, String>| *if read.is_ok() { &mut whole } else { &mut broken } += 1;
    for file in ["odd.pth", "odd-legacy.pth"] {
        let bytes = fs::read(fixture(file)).unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            for mask in [0x01, 0x80, 0xff] {
                changed[place] = bytes[place] ^ mask;
                count(read_bytes(&changed));
            }
        }
        for length in (0..bytes.len()).step_by(7) {
            count(read_bytes(&bytes[..length]));
        }
    }
    assert!(whole > 1000 && broken > 1000, "{whole} read, {broken} refused");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_instructions_make_it_panic(
        codes in proptest::collection::vec(
            prop_oneof![
                4 => proptest::sample::select(&b"().0NKMJGXUTBCc}dsuabelhqjrRQ]1\x85\x86\x87\x88\x8a\x8b\x8c\x8d\x81\x8e\x8f\x90\x91\x92\x93\x94\x95"[..]),
                1 => any::<u8>(),
                2 => 0..3_u8,
            ],
            0..200,
        )
    ) {
        let _ = Forged::of(&codes).read();
    }

    #[test]
    fn no_handful_of_changes_makes_it_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        file in proptest::sample::select(&["odd-protocol-5.pth", "odd-legacy.pth"][..]),
    ) {
        let mut bytes = fs::read(fixture(file)).unwrap();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = read_bytes(&bytes);
    }
}
