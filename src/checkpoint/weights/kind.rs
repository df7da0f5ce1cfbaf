//! The types that numbers of weights are stored in, and how each is read as f32.

use candle_core::quantized::{GgmlDType, k_quants};
use half::{bf16, f16};

use crate::checkpoint::kernels;

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
    /// Eight bits with four of exponent, no infinity: `float8_e4m3fn`.
    E4M3,
    /// Eight bits with five of exponent: the upper half of a half float.
    E5M2,
    /// A power of two, 2^(byte - 127): the scales of MX formats.
    E8M0,
    /// Four bits with two of exponent, two numbers to a byte and the first in its lower half.
    E2M1,
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
            Self::E4M3 => "f8_e4m3".into(),
            Self::E5M2 => "f8_e5m2".into(),
            Self::E8M0 => "f8_e8m0".into(),
            Self::E2M1 => "f4_e2m1".into(),
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
            Self::E2M1 => 2,
            _ => 1,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::E4M3 | Self::E5M2 | Self::E8M0 | Self::E2M1 => 1,
            Self::Block(block) => block.type_size(),
        }
    }

    /// Bytes of `count` numbers; as many as a number can say where they are more.
    pub fn bytes(self, count: usize) -> usize {
        (count / self.block_len()).saturating_mul(self.block_bytes())
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
            Self::E4M3 => kernels::widen(bytes, out, |[byte]| E4M3[usize::from(byte)]),
            Self::E5M2 => kernels::widen(bytes, out, |[byte]| f16::from_le_bytes([0, byte]).to_f32()),
            Self::E8M0 => kernels::widen(bytes, out, |[byte]| power(byte)),
            Self::E2M1 => {
                for (pair, &byte) in out.chunks_exact_mut(2).zip(bytes) {
                    pair.copy_from_slice(&[E2M1[usize::from(byte & 15)], E2M1[usize::from(byte >> 4)]]);
                }
            }
            Self::Block(block) => widen_blocks(block, bytes, out),
        }
    }

    /// Rounds f32 numbers to this type; only for the plain types that `--dtype` names.
    pub fn narrow(self, numbers: &[f32]) -> Option<Vec<u8>> {
        Some(match self {
            Self::F32 => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
            Self::F16 => numbers.iter().flat_map(|&number| f16::from_f32(number).to_le_bytes()).collect(),
            Self::BF16 => numbers.iter().flat_map(|&number| bf16::from_f32(number).to_le_bytes()).collect(),
            _ => return None,
        })
    }
}

/// The numbers of `float8_e4m3fn` by their bytes.
static E4M3: [f32; 256] = {
    let mut numbers = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (exponent, fraction) = (byte >> 3 & 15, (byte & 7) as f32);
        let size = match (exponent, byte & 7) {
            (15, 7) => f32::NAN,
            // Subnormal: in steps of 2^-9.
            (0, _) => fraction / 512.0,
            _ => (8.0 + fraction) * (1 << exponent) as f32 / 1024.0,
        };
        numbers[byte] = if byte < 128 { size } else { -size };
        byte += 1;
    }
    numbers
};

/// The numbers of E2M1 by their four bits.
static E2M1: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// The power of two that a byte of E8M0 stands for.
fn power(byte: u8) -> f32 {
    match byte {
        // The smallest is no normal f32.
        0 => f32::MIN_POSITIVE / 2.0,
        255 => f32::NAN,
        _ => f32::from_bits(u32::from(byte) << 23),
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
}
