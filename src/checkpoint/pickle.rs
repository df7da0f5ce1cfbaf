//! Weights in the files of `torch.save`: a zip archive of one pickle and of the bytes of its tensors, or, before torch
//! 1.6, both in a row.
//!
//! The pickle is read for what it says of tensors and never executed; their bytes stay where they are in the file.

mod archive;
mod legacy;
mod machine;

use std::{ops::Range, path::Path, sync::Arc};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use self::{
    archive::Archive,
    legacy::Legacy,
    machine::{Class, Id, Pickle},
};
use super::weights::{Backing, StoredTensor, WeightType, Weights};

/// Where training scripts put the state dict, beside the optimizer's.
const NESTED: [&str; 4] = ["model", "state_dict", "model_state_dict", "module"];
/// Most dimensions of a tensor, and most calls around the one that makes it.
const DEEPEST: usize = 8;
/// Bytes that tensors of a small file may take that are not stored row by row; see [`Copies`].
const LEAST_ROOM: usize = 1 << 20;

/// Adds the tensors of the file of `torch.save` at `path`, under the names that they have in it.
///
/// # Errors
/// When it is of another kind, damaged, or not of a state dict.
pub fn read_file(path: &Path, weights: &mut Weights) -> Result<()> {
    let backing = Arc::new(Backing::map(path)?);
    read(&backing, weights).with_context(|| path.display().to_string())
}

/// What nanoGPT writes of a model beside its weights in the file at `path`, as `config.json` would have it; `None` for a
/// file of another program.
pub fn described_by_nanogpt(path: &Path) -> Result<Option<Map<String, Value>>> {
    let backing = Backing::map(path)?;
    let values = match Legacy::open(backing.bytes()).with_context(|| path.display().to_string())? {
        Some(legacy) => model_args(&legacy.pickle),
        None => {
            let archive = Archive::open(backing.bytes()).and_then(|mut archive| archive.pickle());
            let pickle = archive.and_then(Pickle::follow).with_context(|| path.display().to_string())?;
            model_args(&pickle.0)
        }
    };
    Ok(values)
}

/// The arguments of nanoGPT's model in its checkpoint; other programs that keep some under this name call its sides
/// otherwise.
fn model_args(pickle: &Pickle<'_>) -> Option<Map<String, Value>> {
    let arguments = pickle.dict(pickle.entry(pickle.root(), "model_args")?)?;
    let argument = |&(key, value)| Some((pickle.text(key)?.to_owned(), pickle.json(value)?));
    let mut values: Map<String, Value> = arguments.iter().filter_map(argument).collect();
    values.insert("model_type".into(), "nanogpt".into());
    values.contains_key("n_embd").then_some(values)
}

fn read(backing: &Arc<Backing>, weights: &mut Weights) -> Result<()> {
    if let Some(legacy) = Legacy::open(backing.bytes())? {
        return add(backing, &legacy.pickle, |key| legacy.storage(key), weights);
    }
    let mut archive = Archive::open(backing.bytes())?;
    let (pickle, _) = Pickle::follow(archive.pickle()?)?;
    add(backing, &pickle, |key| archive.storage(key), weights)
}

/// Adds the tensors that a pickle describes, the bytes of whose storages lie where `storage` says.
fn add(
    backing: &Arc<Backing>,
    pickle: &Pickle<'_>,
    mut storage: impl FnMut(&str) -> Result<Range<usize>>,
    weights: &mut Weights,
) -> Result<()> {
    let mut copies = Copies::of(backing);
    for &(name, value) in state_dict(pickle)? {
        let (Some(name), Some(arguments)) = (pickle.text(name), tensor(pickle, value)) else { continue };
        let damaged = || format!("tensor `{name}` does not fit in its file; it is damaged: fetch it again");
        let view = View::read(pickle, arguments).with_context(damaged)?;
        // Buffers such as masks and position ids, or what a quantiser packed.
        let Some(kind) = view.kind else {
            weights.leave_unread(name.into());
            continue;
        };
        let bytes = view.bytes(kind).with_context(damaged)?;
        let source = storage(view.storage)?;
        if view.reach(kind).is_none_or(|reach| reach > source.len()) {
            bail!(damaged());
        }
        let shape = view.shape.clone();
        weights.insert(if view.is_row_major() {
            let start = source.start + view.offset * kind.block_bytes();
            StoredTensor::new(name.into(), kind, shape, backing.clone(), start..start + bytes)?
        } else {
            copies.take(bytes, name)?;
            let numbers = view.gather(kind, bytes, &backing.bytes()[source]);
            StoredTensor::owned(name.into(), kind, shape, numbers)?
        });
    }
    Ok(())
}

/// The entries of the state dict: those of the whole file, or of the part that training scripts put it in.
fn state_dict<'p>(pickle: &'p Pickle<'_>) -> Result<&'p [(Id, Id)]> {
    let root = pickle.root();
    let places = || NESTED.into_iter().filter_map(|key| pickle.entry(root, key)).chain([root]);
    let holds_tensors =
        |entries: &&[(Id, Id)]| entries.iter().any(|&(_, value)| tensor(pickle, value).is_some());
    if let Some(entries) = places().filter_map(|place| pickle.dict(place)).find(holds_tensors) {
        return Ok(entries);
    }
    match places().find_map(|place| pickle.class(pickle.call(place)?.0)) {
        Some((module, name)) => {
            bail!("holds a pickled object ({module}.{name}), not a state dict; save model.state_dict()")
        }
        None => bail!("holds no tensors that have names: it is no state dict; save model.state_dict()"),
    }
}

/// What a tensor is made of: the arguments of torch's function; `None` for a value that is no tensor.
fn tensor<'p>(pickle: &'p Pickle<'_>, value: Id) -> Option<&'p [Id]> {
    let (mut callable, mut arguments) = pickle.call(value)?;
    for _ in 0..DEEPEST {
        let parts = pickle.tuple(arguments)?;
        (callable, arguments) = match pickle.class(callable)? {
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3") => {
                return Some(parts);
            }
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                pickle.call(*parts.first()?)?
            }
            ("torch._tensor", "_rebuild_from_type_v2") => (*parts.first()?, *parts.get(2)?),
            _ => return None,
        };
    }
    None
}

/// A tensor as the pickle describes it: which numbers of a storage it has, in steps of `strides`.
struct View<'a> {
    /// Type of its numbers; `None` for one that weights do not have.
    kind: Option<WeightType>,
    storage: &'a str,
    offset: usize,
    shape: Vec<usize>,
    /// Numbers from one to the next along each dimension; 0 where there is no next.
    strides: Vec<usize>,
}

impl<'a> View<'a> {
    /// Reads `(storage, offset, shape, strides, ...)`, where the storage is `("storage", class, key, device, count)`, of
    /// old files with `None` or its part `(key, offset, count)` of that storage behind. The types that have no class of
    /// storages are named two places after the strides.
    fn read(pickle: &Pickle<'a>, arguments: &[Id]) -> Option<Self> {
        let &[storage, offset, shape, strides, ref behind @ ..] = arguments else { return None };
        let &[_, class, key, _, _, ref part @ ..] = pickle.tuple(pickle.outside(storage)?)? else {
            return None;
        };
        let number = |id| usize::try_from(pickle.int(id)?).ok();
        let start = match part.first().and_then(|&part| pickle.tuple(part)) {
            Some(&[_, start, _]) => number(start)?,
            _ => 0,
        };
        let numbers = |id| pickle.tuple(id)?.iter().map(|&id| number(id)).collect::<Option<Vec<_>>>();
        let (shape, mut strides) = (numbers(shape)?, numbers(strides)?);
        if shape.len() != strides.len() || shape.len() > DEEPEST {
            return None;
        }
        let empty = shape.contains(&0);
        for (stride, &side) in strides.iter_mut().zip(&shape) {
            if empty || side == 1 {
                *stride = 0;
            }
        }
        Some(Self {
            kind: kind(behind.get(2).and_then(|&dtype| pickle.class(dtype)).or(pickle.class(class))?),
            storage: pickle.text(key)?,
            offset: if empty { 0 } else { number(offset)?.checked_add(start)? },
            shape,
            strides,
        })
    }

    /// Bytes of its numbers; `None` where no memory has so many.
    fn bytes(&self, kind: WeightType) -> Option<usize> {
        self.shape.iter().try_fold(kind.block_bytes(), |product, &side| product.checked_mul(side))
    }

    /// Bytes of the storage up to the end of the last number that it has.
    fn reach(&self, kind: WeightType) -> Option<usize> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        let steps = self.shape.iter().zip(&self.strides);
        let last = steps.clone().try_fold(self.offset, |last, (&side, &stride)| {
            last.checked_add((side - 1).checked_mul(stride)?)
        });
        last?.checked_add(1)?.checked_mul(kind.block_bytes())
    }

    /// Whether its numbers lie one after the other.
    fn is_row_major(&self) -> bool {
        let mut expected = 1usize;
        self.shape.iter().zip(&self.strides).rev().all(|(&side, &stride)| {
            let fits = stride == expected || stride == 0 && side <= 1;
            expected = expected.saturating_mul(side);
            fits
        })
    }

    /// Its numbers row by row, `bytes` in all, out of `storage`, in which they were found to lie.
    fn gather(&self, kind: WeightType, bytes: usize, storage: &[u8]) -> Vec<u8> {
        let width = kind.block_bytes();
        let mut numbers = Vec::with_capacity(bytes);
        let mut index = vec![0; self.shape.len()];
        let mut place = self.offset;
        while numbers.len() < bytes {
            numbers.extend_from_slice(&storage[place * width..][..width]);
            for (axis, index) in index.iter_mut().enumerate().rev() {
                *index += 1;
                place += self.strides[axis];
                if *index < self.shape[axis] {
                    break;
                }
                place -= *index * self.strides[axis];
                *index = 0;
            }
        }
        numbers
    }
}

/// The type of a storage's numbers, by its class or by that of the tensor.
fn kind((_, name): Class<'_>) -> Option<WeightType> {
    match name {
        "DoubleStorage" => Some(WeightType::F64),
        "FloatStorage" => Some(WeightType::F32),
        "HalfStorage" => Some(WeightType::F16),
        "BFloat16Storage" => Some(WeightType::BF16),
        "float8_e4m3fn" => Some(WeightType::E4M3),
        "float8_e5m2" => Some(WeightType::E5M2),
        "float8_e8m0fnu" => Some(WeightType::E8M0),
        _ => None,
    }
}

/// What tensors may still take in memory that do not lie row by row, so that a small file, in which a tensor may
/// repeat its numbers without end, takes no more than a few times its size.
struct Copies(usize);

impl Copies {
    fn of(backing: &Backing) -> Self {
        Self(4 * backing.bytes().len().max(LEAST_ROOM))
    }

    fn take(&mut self, bytes: usize, name: &str) -> Result<()> {
        let rest = self.0.checked_sub(bytes);
        self.0 = rest.with_context(|| {
            format!("tensor `{name}` repeats numbers of its file too often: save it with .contiguous()")
        })?;
        Ok(())
    }
}
