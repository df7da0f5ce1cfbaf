//! A safetensors file that is written one tensor after the other, a part of one in memory at a time.

use std::{io::Write, path::Path};

use anyhow::{Context, Result, bail};
use safetensors::{
    Dtype,
    tensor::{Metadata, TensorInfo},
};

use crate::{engine::open::Model, mapped, output};

/// A tensor that is computed when it is written.
pub trait Computed {
    /// Its name.
    fn name(&self) -> String;

    /// The type of its numbers.
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    /// Its dimensions.
    fn shape(&self) -> Vec<usize>;

    /// Writes its numbers, little-endian.
    fn write(&self, out: &mut dyn Write) -> Result<()>;
}

/// Numbers that are there already.
pub struct Ready {
    pub name: &'static str,
    pub shape: Vec<usize>,
    pub numbers: Vec<f32>,
}

impl Computed for Ready {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn write(&self, out: &mut dyn Write) -> Result<()> {
        numbers(out, &self.numbers)
    }
}

/// Writes numbers, little-endian.
pub fn numbers(out: &mut dyn Write, numbers: &[f32]) -> Result<()> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Ok(out.write_all(&bytes)?)
}

/// The bytes that some tensors take.
pub fn bytes(parts: &[&dyn Computed]) -> u64 {
    parts.iter().map(|part| length(*part) as u64).sum()
}

fn length(part: &dyn Computed) -> usize {
    let width = if part.dtype() == Dtype::I64 { 8 } else { 4 };
    part.shape().iter().product::<usize>() * width
}

/// Writes a file: the length of its header, the header, and the tensors one behind the other.
pub fn write(path: &Path, parts: &[&dyn Computed]) -> Result<()> {
    output::write(path, |out| fill(parts, out))
        .with_context(|| format!("{} cannot be written", path.display()))
}

fn fill(parts: &[&dyn Computed], out: &mut dyn Write) -> Result<()> {
    let mut end = 0;
    let tensors = parts.iter().map(|part| {
        let start = end;
        end += length(*part);
        let data_offsets = (start, end);
        (part.name(), TensorInfo { dtype: part.dtype(), shape: part.shape(), data_offsets })
    });
    let mut header = serde_json::to_vec(&Metadata::new(None, tensors.collect())?)?;
    // Tensors begin at a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    parts.iter().try_for_each(|part| part.write(out))
}

/// Refuses to write over a file of the model itself: its weights, under whatever name, and what describes them beside.
pub fn check_target(out: &Path, model: &Model) -> Result<()> {
    let folder = |path: &Path| path.canonicalize().ok().filter(|path| path.is_dir());
    let is_beside = || {
        let target = out.canonicalize().ok().filter(|target| target.is_file());
        let is_tensors = |target: &Path| target.extension().is_some_and(|kind| kind == "safetensors");
        target.is_some_and(|target| {
            !is_tensors(&target) && target.parent() == folder(Path::new(&model.info.source)).as_deref()
        })
    };
    if mapped::is_mapped(out) || is_beside() {
        bail!("--out {}: it is a file of the model that is traced; name another", out.display());
    }
    Ok(())
}

/// Refuses to begin what the disk has no room for, where the system tells; `advice` is what would need less.
pub fn check_disk(out: &Path, bytes: u64, advice: &str) -> Result<()> {
    let there = out.canonicalize();
    if there.as_ref().is_ok_and(|there| !there.is_file()) {
        // A device or a pipe takes what it takes.
        return Ok(());
    }
    let there = there.unwrap_or_else(|_| out.to_owned());
    let folder = there.parent().filter(|folder| !folder.as_os_str().is_empty());
    match crate::memory::free_disk(folder.unwrap_or(Path::new("."))) {
        Some(free) if bytes > free => bail!(
            "{}: {} would be written, and the disk has {} free: {advice}",
            out.display(),
            crate::text::size(bytes),
            crate::text::size(free)
        ),
        _ => Ok(()),
    }
}
