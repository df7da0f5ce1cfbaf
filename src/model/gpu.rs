//! What an NVIDIA GPU does otherwise than through candle: weights come from their file by way of pinned memory, and
//! products of half types are summed and given in f32.

use std::{ffi::c_void, slice};

use anyhow::Result;
use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, DType, Device, Layout, Shape, Storage, Tensor,
    backend::BackendStorage,
    bail,
    cuda_backend::{
        CudaDType, CudaStorageSlice, WrapErr,
        cudarc::{
            cublas::{result::gemm_ex, sys},
            driver::{
                CudaEvent, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, PinnedHostSlice, result,
                sys::{CUmemPool_attribute as Attribute, CUmemoryPool},
            },
        },
    },
    op::BackpropOp,
};
use half::{bf16, f16};
use rayon::prelude::*;

/// Opens the GPU with that number.
pub fn open(index: usize) -> candle_core::Result<Device> {
    let device = Device::new_cuda_with_stream(index)?;
    // SAFETY: all work goes through this one stream, in whose order memory is used and freed.
    unsafe { device.as_cuda_device()?.disable_event_tracking() };
    if let Some(pool) = pool(device.as_cuda_device()?) {
        let mut all = u64::MAX;
        // What tensors have freed is kept for the next ones; where that cannot be had, it is only slower.
        // SAFETY: the attribute's value is a number of 64 bits.
        let _ = unsafe {
            result::mem_pool::set_attribute(
                pool,
                Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
                pointer(&mut all),
            )
        };
    }
    Ok(device)
}

/// Bytes that new tensors may take: those that are free, and those that are kept for them.
pub fn free_memory(device: &CudaDevice) -> Option<u64> {
    let (free, _) = result::mem_get_info().ok()?;
    let kept = pool(device).and_then(|pool| {
        let number = |attribute| {
            let mut number = 0u64;
            // SAFETY: the attribute's value is a number of 64 bits.
            unsafe { result::mem_pool::get_attribute(pool, attribute, pointer(&mut number)) }.ok()?;
            Some(number)
        };
        let reserved = number(Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        reserved.checked_sub(number(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?)
    });
    Some(free as u64 + kept.unwrap_or(0))
}

/// Where a GPU's tensors get their memory.
fn pool(device: &CudaDevice) -> Option<CUmemoryPool> {
    let device = device.cuda_stream().context().cu_device();
    // SAFETY: the device is open.
    unsafe { result::device::get_default_mem_pool(device) }.ok()
}

fn pointer(number: &mut u64) -> *mut c_void {
    std::ptr::from_mut(number).cast()
}

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

/// `x W^T` of two half-type matrices, `[rows, inputs]` and `[outputs, inputs]`, summed and given in f32.
pub fn product(x: &Tensor, weights: &Tensor) -> Result<Tensor> {
    Ok(x.contiguous()?.apply_op2_no_bwd(weights, &Product)?)
}

struct Product;

impl candle_core::CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product in half types"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        bail!("products of half types are an accelerator's")
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weights: &CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let (rows, inputs) = x_layout.shape().dims2()?;
        let (outputs, _) = layout.shape().dims2()?;
        let (Some((x_start, _)), Some((start, _))) =
            (x_layout.contiguous_offsets(), layout.contiguous_offsets())
        else {
            bail!("contiguous matrices were expected");
        };
        let device = x.device().clone();
        let stream = device.cuda_stream();
        // SAFETY: the product writes every number.
        let mut out = unsafe { device.alloc::<f32>(rows * outputs)? };
        let sides = [outputs, rows, inputs];
        match (&x.slice, &weights.slice) {
            (CudaStorageSlice::BF16(x), CudaStorageSlice::BF16(w)) => {
                let kind = sys::cudaDataType_t::CUDA_R_16BF;
                multiply(&device, &stream, kind, sides, &w.slice(start..), &x.slice(x_start..), &mut out)?;
            }
            (CudaStorageSlice::F16(x), CudaStorageSlice::F16(w)) => {
                let kind = sys::cudaDataType_t::CUDA_R_16F;
                multiply(&device, &stream, kind, sides, &w.slice(start..), &x.slice(x_start..), &mut out)?;
            }
            _ => bail!("two matrices of one half type were expected"),
        }
        Ok((CudaStorage::wrap_cuda_slice(out, device), (rows, outputs).into()))
    }
}

/// cuBLAS counts columns first, so that `out = x W^T` is `out^T = W x^T` to it; sides are `[outputs, rows, inputs]`.
fn multiply<T, A: DevicePtr<T>, C: DevicePtrMut<f32>>(
    device: &CudaDevice,
    stream: &CudaStream,
    kind: sys::cudaDataType_t,
    sides: [usize; 3],
    weights: &A,
    x: &A,
    out: &mut C,
) -> candle_core::Result<()> {
    let [outputs, rows, inputs] = sides.map(|side| side as i32);
    let (one, zero) = (1f32, 0f32);
    let scalar = |number: &f32| std::ptr::from_ref(number).cast::<c_void>();
    let (weights, _weights_read) = weights.device_ptr(stream);
    let (x, _x_read) = x.device_ptr(stream);
    let (out, _written) = out.device_ptr_mut(stream);
    // SAFETY: the pointers are to contiguous matrices of the sides given, all on this device.
    unsafe {
        gemm_ex(
            *device.cublas_handle().handle(),
            sys::cublasOperation_t::CUBLAS_OP_T,
            sys::cublasOperation_t::CUBLAS_OP_N,
            outputs,
            rows,
            inputs,
            scalar(&one),
            weights as *const c_void,
            kind,
            inputs,
            x as *const c_void,
            kind,
            inputs,
            scalar(&zero),
            out as *mut c_void,
            sys::cudaDataType_t::CUDA_R_32F,
            outputs,
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
        )
        .w()
    }
}
