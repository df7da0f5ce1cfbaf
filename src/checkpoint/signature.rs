//! What a file is by how it begins, where it is not what its name says.

/// How a file begins, and what it is.
type Signature = (&'static [u8], &'static str);

/// What is found under the names of weights.
const SIGNATURES: [Signature; 7] = [
    (
        b"version https://git-lfs",
        "a Git LFS pointer, which stands for the file itself: fetch it with `git lfs pull`",
    ),
    (b"<!doctype html", PAGE),
    (b"<html", PAGE),
    (b"GGUF", "a GGUF file: end its name in .gguf"),
    (b"PK\x03\x04", "a zip archive, as torch.save writes them: end its name in .pt"),
    (b"\x89HDF", "an HDF5 file of Keras, which is not read: take the model's safetensors"),
    (b"\x1f\x8b", "packed with gzip: unpack it"),
];
const PAGE: &str = "a web page that was saved in the place of the file: fetch the file itself";
const SAFETENSORS: &str = "a safetensors file: end its name in .safetensors";

/// What a file is that `bytes` begin, and what helps, where that can be told.
pub fn tell(bytes: &[u8]) -> Option<&'static str> {
    let begins = |&&(begin, _): &&Signature| {
        bytes.get(..begin.len()).is_some_and(|bytes| bytes.eq_ignore_ascii_case(begin))
    };
    if let Some((_, what)) = SIGNATURES.iter().find(begins) {
        return Some(what);
    }
    // The length of a header in JSON, and its first byte.
    let (length, header) = bytes.split_first_chunk()?;
    let fits = u64::from_le_bytes(*length) <= header.len() as u64;
    (fits && header.starts_with(b"{")).then_some(SAFETENSORS)
}
