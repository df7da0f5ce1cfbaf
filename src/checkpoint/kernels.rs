//! Reading stored numbers as f32, with whatever vector instructions the processor has.

use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

/// Numbers that one task widens; large enough that starting it costs nothing beside it.
const CHUNK: usize = 1 << 16;

/// Reads every `N` bytes as a number.
pub fn widen<const N: usize>(bytes: &[u8], out: &mut [f32], read: impl Fn([u8; N]) -> f32) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let (numbers, _) = bytes.as_chunks::<N>();
            for (out, number) in out.iter_mut().zip(numbers) {
                *out = read(*number);
            }
        },
    );
}

/// Reads every two bytes as a half float, with the conversion instruction where the processor has one.
pub fn widen_f16(bytes: &[u8], out: &mut [f32]) {
    // SAFETY: any two bytes are a half float.
    let (before, numbers, _) = unsafe { bytes.align_to::<half::f16>() };
    if before.is_empty() && cfg!(target_endian = "little") {
        numbers.convert_to_f32_slice(out);
    } else {
        widen(bytes, out, |number| half::f16::from_le_bytes(number).to_f32());
    }
}

/// Fills `out` in parallel, by pieces that begin on multiples of `block`: `fill(start, piece)`.
pub fn in_chunks(out: &mut [f32], block: usize, fill: impl Fn(usize, &mut [f32]) + Sync) {
    let size = CHUNK.next_multiple_of(block);
    out.par_chunks_mut(size).enumerate().for_each(|(index, piece)| fill(index * size, piece));
}
