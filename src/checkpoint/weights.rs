//! Tensors as they lie in a file: memory-mapped bytes, their type and their shape, widened to f32 a few rows at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    mem::take,
    ops::Range,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use candle_core::quantized::{GgmlDType, k_quants};
use half::{bf16, f16};
use memmap2::Mmap;

use super::kernels;

/// What data parallelism and `torch.compile` put before the names of all tensors, in an order that takes off both,
/// whichever of them came first.
const WRAPPERS: [&str; 3] = ["module.", "_orig_mod.", "module."];

/// Where the bytes of tensors are kept.
pub enum Backing {
    /// A file, read page by page as it is used.
    Mapped(Mmap),
    /// A checkpoint that is part of the program.
    Embedded(&'static [u8]),
    /// Bytes made in memory, such as weights rounded to another type.
    Owned(Vec<u8>),
}

impl Backing {
    /// Maps the file at `path`.
    pub fn map(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
        // SAFETY: the map is read-only. A file that another process truncates meanwhile ends this one with SIGBUS,
        // as it does every program that maps weights; a copy in memory would double the cost of opening.
        let map =
            unsafe { Mmap::map(&file) }.with_context(|| format!("{} cannot be mapped", path.display()))?;
        Ok(Self::Mapped(map))
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

/// The type of the numbers in a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightType {
    /// IEEE double.
    F64,
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// Brain float.
    BF16,
    /// Blocks of quantised numbers with their scales, as GGUF has them.
    Block(GgmlDType),
}

impl WeightType {
    /// The name that reports show: `bf16`, `Q4_K`.
    pub fn name(self) -> String {
        match self {
            Self::F64 => "f64".into(),
            Self::F32 => "f32".into(),
            Self::F16 => "f16".into(),
            Self::BF16 => "bf16".into(),
            // The library writes `Q4_1` but `Q4K`.
            Self::Block(block) => match format!("{block:?}") {
                name if name.starts_with('Q') && name.ends_with('K') => {
                    format!("{}_K", &name[..name.len() - 1])
                }
                name => name,
            },
        }
    }

    /// Numbers in a block; 1 for plain types.
    pub fn block_len(self) -> usize {
        match self {
            Self::Block(block) => block.block_size(),
            _ => 1,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Block(block) => block.type_size(),
        }
    }

    /// Bytes of `count` numbers.
    pub fn bytes(self, count: usize) -> usize {
        count / self.block_len() * self.block_bytes()
    }

    /// Writes the numbers in `bytes` to `out` as f32, exactly for every type no wider than f32.
    ///
    /// `bytes` holds whole blocks, `out.len()` numbers of them.
    pub fn widen(self, bytes: &[u8], out: &mut [f32]) {
        debug_assert_eq!(bytes.len(), self.bytes(out.len()));
        match self {
            Self::F32 => kernels::widen(bytes, out, f32::from_le_bytes),
            Self::F64 => kernels::widen(bytes, out, |number| f64::from_le_bytes(number) as f32),
            Self::F16 => kernels::widen_f16(bytes, out),
            Self::BF16 => kernels::widen(bytes, out, |number| bf16::from_le_bytes(number).to_f32()),
            Self::Block(block) => widen_blocks(block, bytes, out),
        }
    }

    /// Rounds f32 numbers to this type; only for the plain types that `--dtype` names.
    pub fn narrow(self, numbers: &[f32]) -> Option<Vec<u8>> {
        Some(match self {
            Self::F32 => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
            Self::F16 => numbers.iter().flat_map(|&number| f16::from_f32(number).to_le_bytes()).collect(),
            Self::BF16 => numbers.iter().flat_map(|&number| bf16::from_f32(number).to_le_bytes()).collect(),
            Self::F64 | Self::Block(_) => return None,
        })
    }
}

fn widen_blocks(block: GgmlDType, bytes: &[u8], out: &mut [f32]) {
    /// Reads `bytes` as blocks of `B`; in the rare file where they are not aligned, through a copy.
    fn blocks<B: k_quants::GgmlType>(bytes: &[u8], out: &mut [f32]) {
        // SAFETY: the block types are `repr(C)` structures of integers and half floats, for which any bytes are valid.
        let (before, whole, after) = unsafe { bytes.align_to::<B>() };
        if before.is_empty() && after.is_empty() {
            return B::to_float(whole, out);
        }
        let mut copy = vec![B::zeros(); bytes.len() / size_of::<B>()];
        // SAFETY: `copy` holds at least `bytes.len()` bytes of such structures, and the two do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy.as_mut_ptr().cast(), bytes.len()) };
        B::to_float(&copy, out);
    }
    match block {
        GgmlDType::F32 => WeightType::F32.widen(bytes, out),
        GgmlDType::F16 => WeightType::F16.widen(bytes, out),
        GgmlDType::BF16 => WeightType::BF16.widen(bytes, out),
        GgmlDType::Q4_0 => blocks::<k_quants::BlockQ4_0>(bytes, out),
        GgmlDType::Q4_1 => blocks::<k_quants::BlockQ4_1>(bytes, out),
        GgmlDType::Q5_0 => blocks::<k_quants::BlockQ5_0>(bytes, out),
        GgmlDType::Q5_1 => blocks::<k_quants::BlockQ5_1>(bytes, out),
        GgmlDType::Q8_0 => blocks::<k_quants::BlockQ8_0>(bytes, out),
        GgmlDType::Q8_1 => blocks::<k_quants::BlockQ8_1>(bytes, out),
        GgmlDType::Q2K => blocks::<k_quants::BlockQ2K>(bytes, out),
        GgmlDType::Q3K => blocks::<k_quants::BlockQ3K>(bytes, out),
        GgmlDType::Q4K => blocks::<k_quants::BlockQ4K>(bytes, out),
        GgmlDType::Q5K => blocks::<k_quants::BlockQ5K>(bytes, out),
        GgmlDType::Q6K => blocks::<k_quants::BlockQ6K>(bytes, out),
        GgmlDType::Q8K => blocks::<k_quants::BlockQ8K>(bytes, out),
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
                Ok(Self { name, kind, shape, backing, range })
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

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.backing.bytes()[self.range.clone()]
    }

    /// How many numbers it holds.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its numbers as f32, where they lie in memory as such already.
    pub fn as_f32(&self) -> Option<&[f32]> {
        if !matches!(self.kind, WeightType::F32 | WeightType::Block(GgmlDType::F32))
            || cfg!(target_endian = "big")
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
    }

    /// All its numbers as f32.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.count()];
        kernels::in_chunks(&mut out, self.kind.block_len(), |start, chunk| self.widen_from(start, chunk));
        out
    }
}

/// The tensors of a checkpoint by name.
#[derive(Default)]
pub struct Weights {
    tensors: BTreeMap<String, StoredTensor>,
}

impl Weights {
    /// Takes in another tensor; a later one of the same name wins.
    pub fn insert(&mut self, tensor: StoredTensor) {
        self.tensors.insert(tensor.name.clone(), tensor);
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

    /// Takes from the names what wrappers put before all of them.
    pub fn unwrap_names(&mut self) {
        for prefix in WRAPPERS {
            if self.tensors.keys().all(|name| name.starts_with(prefix)) {
                for (_, mut tensor) in take(&mut self.tensors) {
                    tensor.name.drain(..prefix.len());
                    self.insert(tensor);
                }
            }
        }
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
        let nearest = self
            .tensors
            .keys()
            .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
        match nearest {
            Some(nearest) => bail!("no tensor `{name}` in the checkpoint; the nearest is `{nearest}`"),
            None => bail!("no tensor `{name}`: the checkpoint holds no tensors at all"),
        }
    }

    /// Bytes of all tensors as stored.
    pub fn bytes(&self) -> u64 {
        self.distinct().map(|tensor| tensor.bytes().len() as u64).sum()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_types_are_the_common_ones() {
        assert_eq!(WeightType::Block(GgmlDType::Q4_1).name(), "Q4_1");
        assert_eq!(WeightType::Block(GgmlDType::Q6K).name(), "Q6_K");
        assert_eq!(WeightType::Block(GgmlDType::BF16).name(), "BF16");
        assert_eq!(WeightType::BF16.name(), "bf16");
    }

    #[test]
    fn half_types_widen_exactly() {
        let numbers = [0.0f32, -1.5, 3.140_625, 65504.0, 6.0e-8, -0.0];
        for kind in [WeightType::F16, WeightType::BF16] {
            let bytes = kind.narrow(&numbers).unwrap();
            let mut out = [0.0; 6];
            kind.widen(&bytes, &mut out);
            let expected = numbers.map(|number| match kind {
                WeightType::F16 => f16::from_f32(number).to_f32(),
                _ => bf16::from_f32(number).to_f32(),
            });
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_missing_tensor_is_answered_with_the_nearest() {
        let mut weights = Weights::default();
        for name in ["model.norm.weight", "lm_head.weight"] {
            weights.insert(StoredTensor::owned(name.into(), WeightType::F32, vec![1], vec![0; 4]).unwrap());
        }
        let message = weights.get("model.norm.weigth").err().unwrap().to_string();
        assert!(message.contains("`model.norm.weight`"), "{message}");
    }

    #[test]
    fn a_shape_that_does_not_fill_its_bytes_is_refused() {
        assert!(StoredTensor::owned("x".into(), WeightType::F32, vec![3], vec![0; 8]).is_err());
        let huge = vec![usize::MAX, 2];
        assert!(StoredTensor::owned("x".into(), WeightType::F32, huge, vec![0; 8]).is_err());
    }
}
