//! What an NVIDIA GPU does otherwise than through candle: weights come from their file by way of pinned memory, products of
//! half types are summed in f32, and scores become attention in one go.

use std::{ffi::c_void, sync::OnceLock};

use candle_core::{
    CudaDevice, Device,
    cuda_backend::cudarc::{
        driver::{
            CudaFunction, result,
            sys::{CUmemPool_attribute as Attribute, CUmemoryPool},
        },
        nvrtc::compile_ptx,
    },
};

mod product;
mod staging;

pub use self::{
    product::{exact_product, half_product},
    staging::Staging,
};

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
    // They are ready by the time that weights are there.
    std::thread::spawn(|| kernels().is_ok());
    Ok(device)
}

/// The kernels, compiled for GPUs of any kind.
fn kernels() -> candle_core::Result<&'static str> {
    static KERNELS: OnceLock<Result<String, String>> = OnceLock::new();
    let compile = || {
        compile_ptx(include_str!("gpu/kernels.cu")).map(|ptx| ptx.to_src()).map_err(|error| error.to_string())
    };
    match KERNELS.get_or_init(compile) {
        Ok(text) => Ok(text),
        Err(error) => candle_core::bail!("the GPU's kernels cannot be compiled: {error}"),
    }
}

/// One of the kernels.
pub fn kernel(device: &CudaDevice, name: &str) -> candle_core::Result<CudaFunction> {
    Ok(device.get_or_load_custom_func(name, "attnscope", kernels()?)?.into_cuda_function())
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
