//! The way of weights to a GPU: from their file by way of pinned memory, as they are stored.

use std::slice;

use anyhow::Result;
use candle_core::{
    CudaDevice, CudaStorage, DType, Storage, Tensor,
    cuda_backend::{
        CudaDType,
        cudarc::driver::{CudaEvent, DevicePtrMut, DeviceRepr, PinnedHostSlice, result},
    },
    op::BackpropOp,
};
use half::{bf16, f16};
use rayon::prelude::*;

/// Bytes that cross at once; while they do, the next are read from the file.
const CHUNK: usize = 32 << 20;

/// Bytes that a thread copies at once.
const PIECE: usize = 1 << 20;

/// The way of weights to a GPU: two pieces of pinned memory take turns, one being filled while the other crosses.
pub struct Staging {
    device: CudaDevice,
    turns: [Turn; 2],
    next: usize,
}

struct Turn {
    memory: PinnedHostSlice<u8>,
    /// When its last bytes have crossed.
    done: Option<CudaEvent>,
}

impl Staging {
    /// Pinned memory for a device.
    pub fn new(device: &CudaDevice) -> Result<Self> {
        let context = device.cuda_stream().context().clone();
        let turn = || {
            // SAFETY: it is written before anything of it is read.
            let memory = unsafe { context.alloc_pinned::<u8>(CHUNK) }?;
            Ok::<_, anyhow::Error>(Turn { memory, done: None })
        };
        Ok(Self { device: device.clone(), turns: [turn()?, turn()?], next: 0 })
    }

    /// A copy of a row-major matrix, as its bytes lie in a file, in the GPU's memory. It may still be on its way; what the
    /// device is given to do afterwards waits for it.
    pub fn copy(&mut self, bytes: &[u8], dtype: DType, shape: (usize, usize)) -> Result<Tensor> {
        let storage = match dtype {
            DType::F32 => self.copied::<f32>(bytes)?,
            DType::BF16 => self.copied::<bf16>(bytes)?,
            DType::F16 => self.copied::<f16>(bytes)?,
            other => anyhow::bail!("weights of type {other:?} are not held on a GPU"),
        };
        Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
    }

    fn copied<T: CudaDType + DeviceRepr>(&mut self, bytes: &[u8]) -> Result<CudaStorage> {
        let count = bytes.len() / size_of::<T>();
        let stream = self.device.cuda_stream();
        // SAFETY: every byte is written below.
        let mut target = unsafe { self.device.alloc::<T>(count)? };
        {
            let (start, _writes) = target.device_ptr_mut(&stream);
            for (index, chunk) in bytes.chunks(CHUNK).enumerate() {
                let turn = &mut self.turns[self.next];
                self.next = 1 - self.next;
                turn.fill(chunk)?;
                // SAFETY: the chunk's place lies within `target`, and its pinned copy stays as it is until `done`.
                unsafe {
                    let source = slice::from_raw_parts(turn.memory.as_ptr()?, chunk.len());
                    result::memcpy_htod_async(start + (index * CHUNK) as u64, source, stream.cu_stream())?;
                }
                turn.done = Some(stream.record_event(None)?);
            }
        }
        Ok(CudaStorage::wrap_cuda_slice(target, self.device.clone()))
    }
}

impl Turn {
    /// Copies a chunk into the pinned memory, once what lay there has crossed.
    fn fill(&mut self, chunk: &[u8]) -> Result<()> {
        if let Some(done) = self.done.take() {
            done.synchronize()?;
        }
        let memory = &mut self.memory.as_mut_slice()?[..chunk.len()];
        let pieces = memory.par_chunks_mut(PIECE).zip(chunk.par_chunks(PIECE));
        pieces.for_each(|(to, from)| to.copy_from_slice(from));
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // The memory must stay until its bytes have crossed; an error would show at the next use of the device.
        for turn in &self.turns {
            let _ = turn.done.as_ref().map(CudaEvent::synchronize);
        }
    }
}
