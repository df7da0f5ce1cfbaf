//! Tensors as they lie in a file: memory-mapped bytes, their type and their shape, widened to f32 a few rows at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::take,
    ops::Range,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use candle_core::quantized::GgmlDType;
use rayon::prelude::*;

use super::kernels;
use crate::{mapped::Mapped, text::nearest};

mod kind;
mod scales;

pub use self::kind::WeightType;
use self::scales::Scales;

/// What `torch.compile`, FSDP and activation checkpointing put into the names of tensors, before those of any module that
/// they wrap. What stands before all names the families find.
const WRAPPERS: [&str; 3] = ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."];
/// Where the bytes of tensors are kept.
pub enum Backing {
    /// A file, read page by page as it is used.
    Mapped(Mapped),
    /// A checkpoint that is part of the program.
    Embedded(&'static [u8]),
    /// Bytes made in memory, such as weights rounded to another type.
    Owned(Vec<u8>),
}

impl Backing {
    /// Maps the file at `path`.
    pub fn map(path: &Path) -> Result<Self> {
        Mapped::open(path).map(Self::Mapped)
    }

    /// Every byte.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Embedded(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// A tensor as stored: row-major, its last dimension contiguous.
#[derive(Clone)]
pub struct StoredTensor {
    /// Its name in the file.
    pub name: String,
    /// Type of its numbers.
    pub kind: WeightType,
    /// Its dimensions, outermost first.
    pub shape: Vec<usize>,
    backing: Arc<Backing>,
    range: Range<usize>,
    scales: Option<Scales>,
}

impl StoredTensor {
    /// A tensor in `range` of `backing`.
    ///
    /// # Errors
    /// When the range is not within the backing, or is not as long as type and shape make it.
    pub fn new(
        name: String,
        kind: WeightType,
        shape: Vec<usize>,
        backing: Arc<Backing>,
        range: Range<usize>,
    ) -> Result<Self> {
        let count = shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        let row = shape.last().copied().unwrap_or(1);
        if row % kind.block_len() != 0 {
            bail!(
                "tensor `{name}` has rows of {row}, no multiple of its type's block of {}",
                kind.block_len()
            );
        }
        match count {
            Some(count) if kind.bytes(count) == range.len() && range.end <= backing.bytes().len() => {
                Ok(Self { name, kind, shape, backing, range, scales: None })
            }
            _ => bail!(
                "tensor `{name}` of shape {shape:?} does not fit in its file; it is damaged: fetch it again"
            ),
        }
    }

    /// A tensor of its own, rounded to `kind`.
    pub fn owned(name: String, kind: WeightType, shape: Vec<usize>, bytes: Vec<u8>) -> Result<Self> {
        let range = 0..bytes.len();
        Self::new(name, kind, shape, Arc::new(Backing::Owned(bytes)), range)
    }

    /// The tensor under another name.
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// The tensor with `factors`, `[..., tiles down, tiles across]`, that its numbers are multiplied by whenever they are
    /// read as f32: those of each tile of `tile` rows and columns by one.
    ///
    /// # Errors
    /// When the factors are not as many as its tiles.
    pub fn scaled(self, factors: Self, tile: [usize; 2]) -> Result<Self> {
        let scales = Scales::new(factors, tile, &self.shape)
            .with_context(|| format!("tensor `{}`", self.name.escape_debug()))?;
        Ok(Self { scales: Some(scales), ..self })
    }

    /// Tensor `index` of a stack: `[count, ...]` to `[...]`, in the same memory.
    ///
    /// # Errors
    /// When the stack has no such part, or the tensor is no stack but a row of numbers or a single scaled matrix.
    pub fn part(&self, index: usize) -> Result<Self> {
        let name = format!("{}[{index}]", self.name);
        let shape = match self.shape.as_slice() {
            [count, shape @ ..] if index < *count && !shape.is_empty() => shape.to_vec(),
            shape => bail!("no tensor `{}` in a tensor of shape {shape:?}", name.escape_debug()),
        };
        let bytes = self.range.len() / self.shape[0];
        let start = self.range.start + index * bytes;
        let part = Self::new(name, self.kind, shape, self.backing.clone(), start..start + bytes)?;
        Ok(Self { scales: self.scales.as_ref().map(|scales| scales.part(index)).transpose()?, ..part })
    }

    /// The tensor with its first two dimensions as one: `[a, b, ...]` to `[a * b, ...]`, in the same memory.
    ///
    /// # Errors
    /// When it has fewer than two dimensions or scales.
    pub fn joined(&self) -> Result<Self> {
        match (self.shape.as_slice(), &self.scales) {
            (&[first, second, ref rest @ ..], None) => {
                Ok(Self { shape: [&[first * second], rest].concat(), ..self.clone() })
            }
            _ => bail!("tensor `{}` is no stack of plain matrices", self.name.escape_debug()),
        }
    }

    /// A vector as the one row of a matrix, in the same memory; whatever else it is stays so.
    pub fn as_row(self) -> Self {
        match self.shape.as_slice() {
            &[columns] => Self { shape: vec![1, columns], ..self },
            _ => self,
        }
    }

    /// Its bytes, without those of its scales.
    pub fn bytes(&self) -> &[u8] {
        &self.backing.bytes()[self.range.clone()]
    }

    /// Whether its numbers are multiplied by factors when they are read.
    pub fn has_scales(&self) -> bool {
        self.scales.is_some()
    }

    /// Whether another tensor has the same numbers in the same shape.
    pub fn equals(&self, other: &Self) -> bool {
        /// Bytes that are compared at once.
        const PIECE: usize = 1 << 20;
        if self.shape != other.shape {
            return false;
        }
        if self.kind == other.kind && self.scales.is_none() && other.scales.is_none() {
            let pieces = self.bytes().par_chunks(PIECE).zip(other.bytes().par_chunks(PIECE));
            return std::ptr::eq(self.bytes(), other.bytes()) || pieces.all(|(one, other)| one == other);
        }
        let row = self.shape.last().copied().unwrap_or(1);
        (0..self.count() / row.max(1)).into_par_iter().all(|index| {
            let [one, other] = [self, other].map(|tensor| {
                let mut numbers = vec![0.0; row];
                tensor.widen_from(index * row, &mut numbers);
                numbers
            });
            one == other
        })
    }

    /// How many numbers it holds.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its numbers as f32, where they lie in memory as such already.
    pub fn as_f32(&self) -> Option<&[f32]> {
        if !matches!(self.kind, WeightType::F32 | WeightType::Block(GgmlDType::F32))
            || cfg!(target_endian = "big")
            || self.scales.is_some()
        {
            return None;
        }
        // SAFETY: any four bytes are an f32.
        let (before, numbers, after) = unsafe { self.bytes().align_to::<f32>() };
        (before.is_empty() && after.is_empty()).then_some(numbers)
    }

    /// Writes `out.len()` numbers from number `start` on, as f32; both on block boundaries.
    pub fn widen_from(&self, start: usize, out: &mut [f32]) {
        let first = self.kind.bytes(start);
        self.kind.widen(&self.bytes()[first..first + self.kind.bytes(out.len())], out);
        if let (Some(scales), [.., rows, columns]) = (&self.scales, self.shape.as_slice()) {
            scales.apply([*rows, *columns], start, out);
        }
    }

    /// All its numbers as f32.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.count()];
        kernels::in_chunks(&mut out, self.kind.block_len(), |start, chunk| self.widen_from(start, chunk));
        out
    }
}

/// The tensors of a checkpoint by name.
#[derive(Clone, Default)]
pub struct Weights {
    tensors: BTreeMap<String, StoredTensor>,
    /// Names of tensors whose types no weights are read in.
    unread: BTreeSet<String>,
}

impl Weights {
    /// Takes in another tensor; a later one of the same name wins.
    pub fn insert(&mut self, tensor: StoredTensor) {
        self.tensors.insert(tensor.name.clone(), tensor);
    }

    /// Notes that there is a tensor of a type that no weights are read in: a mask, or numbers that a quantiser packed.
    pub fn leave_unread(&mut self, name: String) {
        self.unread.insert(name);
    }

    /// The names of such tensors.
    pub fn unread(&self) -> impl Iterator<Item = &str> {
        self.unread.iter().map(String::as_str)
    }

    /// Whether there is such a tensor of that name.
    pub fn is_unread(&self, name: &str) -> bool {
        self.unread.contains(name)
    }

    /// Every tensor, by name.
    pub fn iter(&self) -> impl Iterator<Item = &StoredTensor> {
        self.tensors.values()
    }

    /// Every tensor but those that have the same bytes as another, as tied embeddings may.
    pub fn distinct(&self) -> impl Iterator<Item = &StoredTensor> {
        let mut seen = BTreeSet::new();
        self.iter().filter(move |tensor| {
            let bytes = tensor.bytes();
            seen.insert((bytes.as_ptr(), bytes.len()))
        })
    }

    /// Takes from the names what wrappers put into them.
    pub fn unwrap_names(&mut self) {
        for (name, tensor) in take(&mut self.tensors) {
            self.insert(tensor.named(WRAPPERS.iter().fold(name, |name, wrapper| without(&name, wrapper))));
        }
    }

    /// The tensors that have a name by `name`, under it.
    pub fn filtered<'w>(&'w self, name: impl Fn(&'w str) -> Option<&'w str>) -> Self {
        let mut weights = Self::default();
        for tensor in self.iter() {
            if let Some(name) = name(&tensor.name) {
                weights.insert(tensor.clone().named(name.to_owned()));
            }
        }
        weights
    }

    /// Takes out the tensor of that name.
    pub fn remove(&mut self, name: &str) -> Option<StoredTensor> {
        self.tensors.remove(name)
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensor of that name.
    ///
    /// # Errors
    /// When there is none: the message has the nearest name that exists.
    pub fn get(&self, name: &str) -> Result<&StoredTensor> {
        if let Some(tensor) = self.tensors.get(name) {
            return Ok(tensor);
        }
        if self.is_unread(name) {
            bail!(
                "tensor `{name}` is of integers or of another type that weights are not read in, as some quantisers pack \
                 them: open the model that is not quantised, or a GGUF file of it"
            );
        }
        let nearest = nearest(name, self.tensors.keys().map(String::as_str));
        match nearest {
            Some(nearest) => {
                bail!(
                    "no tensor `{name}` in the checkpoint; the nearest is `{}` (a file is missing, or the configuration is another model's)",
                    nearest.escape_debug()
                )
            }
            None => bail!("no tensor `{name}`: the checkpoint holds no tensors at all"),
        }
    }

    /// Bytes of all tensors as stored.
    pub fn bytes(&self) -> u64 {
        let scales = |tensor: &StoredTensor| tensor.scales.as_ref().map_or(0, Scales::bytes);
        self.distinct().map(|tensor| (tensor.bytes().len() + scales(tensor)) as u64).sum()
    }

    /// Number of parameters.
    pub fn parameters(&self) -> u64 {
        self.distinct().map(|tensor| tensor.count() as u64).sum()
    }

    /// The type that most numbers are stored in.
    pub fn main_type(&self) -> Option<WeightType> {
        let mut counts: Vec<(WeightType, usize)> = Vec::new();
        for tensor in self.iter() {
            match counts.iter_mut().find(|(kind, _)| *kind == tensor.kind) {
                Some((_, count)) => *count += tensor.count(),
                None => counts.push((tensor.kind, tensor.count())),
            }
        }
        counts.into_iter().max_by_key(|&(_, count)| count).map(|(kind, _)| kind)
    }
}

/// A dotted name without the parts that are `part`, which ends in a dot.
fn without(name: &str, part: &str) -> String {
    name.split_inclusive('.').filter(|piece| *piece != part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tensor_is_answered_with_the_nearest() {
        let mut weights = Weights::default();
        for name in ["model.norm.weight", "lm_head.weight"] {
            weights.insert(StoredTensor::owned(name.into(), WeightType::F32, vec![1], vec![0; 4]).unwrap());
        }
        let message = weights.get("model.norm.weigth").err().unwrap().to_string();
        assert!(message.contains("`model.norm.weight`"), "{message}");
        weights.leave_unread("model.up.weight".into());
        let message = weights.get("model.up.weight").err().unwrap().to_string();
        assert!(message.contains("`model.up.weight` is of integers"), "{message}");
    }

    #[test]
    fn a_shape_that_does_not_fill_its_bytes_is_refused() {
        assert!(StoredTensor::owned("x".into(), WeightType::F32, vec![3], vec![0; 8]).is_err());
        let huge = vec![usize::MAX, 2];
        assert!(StoredTensor::owned("x".into(), WeightType::F32, huge, vec![0; 8]).is_err());
    }

    fn numbers(count: usize) -> Vec<f32> {
        (0..count).map(|number| number as f32).collect()
    }

    #[test]
    fn parts_of_a_stack_lie_where_it_lies() {
        let stack =
            |kind: WeightType, bytes| StoredTensor::owned("x".into(), kind, vec![3, 2, 32], bytes).unwrap();
        let plain = stack(WeightType::F32, WeightType::F32.narrow(&numbers(192)).unwrap());
        let bytes = (0..6 * 34).map(|byte| byte as u8 & 0x3f).collect();
        for stack in [plain, stack(WeightType::Block(GgmlDType::Q8_0), bytes)] {
            let whole = stack.to_f32();
            for index in 0..3 {
                let part = stack.part(index).unwrap();
                assert_eq!((part.name.as_str(), &part.shape[..]), (&*format!("x[{index}]"), &[2, 32][..]));
                assert_eq!(part.to_f32(), whole[index * 64..][..64]);
                assert!(stack.bytes().as_ptr_range().contains(&part.bytes().as_ptr()), "it is no copy");
            }
            assert_eq!(stack.part(1).unwrap().part(1).unwrap().to_f32(), whole[96..128]);
            for none in [stack.part(3), stack.part(0).unwrap().part(0).unwrap().part(0)] {
                assert!(none.err().unwrap().to_string().contains("no tensor `x["));
            }
        }
    }

    #[test]
    fn equal_numbers_are_equal_in_every_type() {
        let tensor = |kind: WeightType, shape: &[usize], numbers: &[f32]| {
            let bytes = kind.narrow(numbers).unwrap();
            StoredTensor::owned("x".into(), kind, shape.to_vec(), bytes).unwrap()
        };
        let (shape, mut other) = ([2, 3], numbers(6));
        let plain = tensor(WeightType::F32, &shape, &numbers(6));
        let half = tensor(WeightType::BF16, &shape, &numbers(6));
        let ones = tensor(WeightType::F32, &[1, 1], &[1.0]);
        let scaled = plain.clone().scaled(ones, shape).unwrap();
        for equal in [&plain, &plain.clone().named("y".into()), &half, &scaled] {
            assert!(plain.equals(equal) && equal.equals(&plain));
        }
        other[5] = 6.0;
        for kind in [WeightType::F32, WeightType::BF16] {
            assert!(!plain.equals(&tensor(kind, &shape, &other)));
        }
        assert!(!plain.equals(&tensor(WeightType::F32, &[3, 2], &numbers(6))));
    }

    #[test]
    fn numbers_are_multiplied_by_the_scale_of_their_tile() {
        let shape = [2, 3, 5];
        let factors = WeightType::F32.narrow(&numbers(12)).unwrap();
        let factors = StoredTensor::owned("s".into(), WeightType::F32, vec![2, 2, 3], factors).unwrap();
        let tensor = |shape: &[usize]| {
            let ones = WeightType::F32.narrow(&vec![1.0; shape.iter().product()]).unwrap();
            StoredTensor::owned("x".into(), WeightType::F32, shape.to_vec(), ones).unwrap()
        };
        let scaled = tensor(&shape).scaled(factors.clone(), [2, 2]).unwrap();
        let expected: Vec<f32> =
            (0..30).map(|at| (at / 15 * 6 + at % 15 / 5 / 2 * 3 + at % 5 / 2) as f32).collect();
        assert_eq!(scaled.to_f32(), expected);
        assert_eq!(scaled.as_f32(), None);
        assert_eq!(scaled.part(1).unwrap().to_f32(), expected[15..]);
        assert!(scaled.part(1).unwrap().part(0).is_err(), "a row has no tiles");
        for start in 0..30 {
            let mut rest = vec![0.0; 30 - start];
            scaled.widen_from(start, &mut rest);
            assert_eq!(rest, expected[start..]);
        }
        for (tile, shape) in [([2, 2], [2, 3, 7]), ([0, 2], shape), ([2, 3], shape), ([2, 2], [1, 3, 5])] {
            assert!(tensor(&shape).scaled(factors.clone(), tile).is_err());
        }
    }

    #[test]
    fn what_wrappers_put_into_names_is_taken_off() {
        let unwrapped = |names: &[&str]| {
            let mut weights = Weights::default();
            for name in names {
                weights.insert(
                    StoredTensor::owned((*name).into(), WeightType::F32, vec![1], vec![0; 4]).unwrap(),
                );
            }
            weights.unwrap_names();
            Vec::from_iter(weights.iter().map(|tensor| tensor.name.clone()))
        };
        for wrapped in [
            ["_fsdp_wrapped_module.h.0._checkpoint_wrapped_module.w", "_fsdp_wrapped_module.wte"],
            ["h._orig_mod.0._fsdp_wrapped_module._orig_mod.w", "wte"],
        ] {
            assert_eq!(unwrapped(&wrapped), ["h.0.w", "wte"]);
        }
        let names = ["model.layers.0.w", "module.w"];
        assert_eq!(unwrapped(&names), names);
    }
}
