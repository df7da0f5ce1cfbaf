//! Products with weights in half types, summed and given in f32.

use std::ffi::c_void;

use anyhow::Result;
use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp2, DType, Layout, Shape, Tensor, WithDType,
    backend::BackendStorage,
    bail,
    cuda_backend::{
        CudaStorageSlice, WrapErr,
        cudarc::{
            cublas::{result::gemm_ex, sys},
            driver::{CudaView, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig, PushKernelArg},
        },
    },
};
use half::bf16;

use super::kernel;

/// Most rows whose three parts are multiplied in one product, which reads the weights once; for more, three products that
/// add up save the memory of their parts.
const STACKED: usize = 64;

/// `x W^T` of two matrices of one half type, `[rows, inputs]` and `[outputs, inputs]`.
pub fn half_product(x: &Tensor, weights: &Tensor) -> Result<Tensor> {
    Ok(x.contiguous()?.apply_op2_no_bwd(weights, &Half)?)
}

/// `x W^T` of `x` in f32 and weights in bf16, `[rows, inputs]` and `[outputs, inputs]`, as exact as in f32: `x` is the sum of
/// three parts in bf16, each with the eight bits that the one before has left, and products of those are exact in f32.
pub fn exact_product(x: &Tensor, weights: &Tensor) -> Result<Tensor> {
    Ok(x.contiguous()?.apply_op2_no_bwd(weights, &Exact)?)
}

/// Outputs, rows and inputs of a product.
type Sides = [usize; 3];

fn sides(x: &Layout, weights: &Layout) -> candle_core::Result<(Sides, [usize; 2])> {
    let ((rows, inputs), (outputs, _)) = (x.shape().dims2()?, weights.shape().dims2()?);
    match (x.contiguous_offsets(), weights.contiguous_offsets()) {
        (Some((x, _)), Some((weights, _))) => Ok(([outputs, rows, inputs], [x, weights])),
        _ => bail!("contiguous matrices were expected"),
    }
}

struct Half;

impl CustomOp2 for Half {
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
        bail!("products of half types are a GPU's")
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weights: &CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let (sides, [x_start, start]) = sides(x_layout, layout)?;
        let device = x.device().clone();
        // SAFETY: the product writes every number.
        let mut out = unsafe { device.alloc::<f32>(sides[0] * sides[1])? };
        let target = &mut out;
        match (&x.slice, &weights.slice) {
            (CudaStorageSlice::BF16(x), CudaStorageSlice::BF16(weights)) => {
                multiply(&device, sides, &weights.slice(start..), &x.slice(x_start..), target, 0.0)?;
            }
            (CudaStorageSlice::F16(x), CudaStorageSlice::F16(weights)) => {
                multiply(&device, sides, &weights.slice(start..), &x.slice(x_start..), target, 0.0)?;
            }
            _ => bail!("two matrices of one half type were expected"),
        }
        Ok((CudaStorage::wrap_cuda_slice(out, device), (sides[1], sides[0]).into()))
    }
}

struct Exact;

impl CustomOp2 for Exact {
    fn name(&self) -> &'static str {
        "exact product with bf16"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        bail!("products of half types are a GPU's")
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weights: &CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let ([outputs, rows, inputs], [x_start, start]) = sides(x_layout, layout)?;
        let device = x.device().clone();
        let stream = device.cuda_stream();
        let (x, weights) = (x.as_cuda_slice::<f32>()?.slice(x_start..), weights.as_cuda_slice::<bf16>()?);
        let weights = weights.slice(start..);
        let count = rows * inputs;
        // SAFETY: the kernel writes every number.
        let mut parts = unsafe { device.alloc::<bf16>(3 * count)? };
        let split = kernel(&device, "in_thirds")?;
        let (numbers, all) = (count as u64, LaunchConfig::for_num_elems(count as u32));
        // SAFETY: the arguments are those of the kernel.
        unsafe { stream.launch_builder(&split).arg(&x).arg(&mut parts).arg(&numbers).launch(all).w()? };
        // SAFETY: the products write every number.
        let mut out = unsafe { device.alloc::<f32>(rows * outputs)? };
        if rows > STACKED {
            for part in (0..3).rev() {
                let x = parts.slice(part * count..(part + 1) * count);
                let kept = if part == 2 { 0.0 } else { 1.0 };
                multiply(&device, [outputs, rows, inputs], &weights, &x, &mut out, kept)?;
            }
        } else {
            // SAFETY: the product writes every number.
            let mut products = unsafe { device.alloc::<f32>(3 * rows * outputs)? };
            multiply(&device, [outputs, 3 * rows, inputs], &weights, &parts.slice(..), &mut products, 0.0)?;
            let sum = kernel(&device, "sum_of_thirds")?;
            let numbers = (rows * outputs) as u64;
            let all = LaunchConfig::for_num_elems(numbers as u32);
            // SAFETY: the arguments are those of the kernel.
            unsafe {
                stream.launch_builder(&sum).arg(&products).arg(&mut out).arg(&numbers).launch(all).w()?
            };
        }
        Ok((CudaStorage::wrap_cuda_slice(out, device), (rows, outputs).into()))
    }
}

/// `out = x W^T + kept * out`. cuBLAS counts columns first, so that it is `out^T = W x^T` to it.
fn multiply<T: WithDType + DeviceRepr, C: DevicePtrMut<f32>>(
    device: &CudaDevice,
    sides: Sides,
    weights: &CudaView<'_, T>,
    x: &CudaView<'_, T>,
    out: &mut C,
    kept: f32,
) -> candle_core::Result<()> {
    let [outputs, rows, inputs] = sides.map(|side| side as i32);
    let kind = match T::DTYPE {
        DType::BF16 => sys::cudaDataType_t::CUDA_R_16BF,
        _ => sys::cudaDataType_t::CUDA_R_16F,
    };
    let stream = device.cuda_stream();
    let scalar = |number: &f32| std::ptr::from_ref(number).cast::<c_void>();
    let (weights, _weights_read) = weights.device_ptr(&stream);
    let (x, _x_read) = x.device_ptr(&stream);
    let (out, _written) = out.device_ptr_mut(&stream);
    // SAFETY: the pointers are to contiguous matrices of the sides given, all on this device.
    unsafe {
        gemm_ex(
            *device.cublas_handle().handle(),
            sys::cublasOperation_t::CUBLAS_OP_T,
            sys::cublasOperation_t::CUBLAS_OP_N,
            outputs,
            rows,
            inputs,
            scalar(&1.0),
            weights as *const c_void,
            kind,
            inputs,
            x as *const c_void,
            kind,
            inputs,
            scalar(&kept),
            out as *mut c_void,
            sys::cudaDataType_t::CUDA_R_32F,
            outputs,
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
        )
        .w()
    }
}
