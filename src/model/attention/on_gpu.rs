//! On an NVIDIA GPU scores become attention in one kernel, in place.

use anyhow::Result;
use candle_core::{
    CpuStorage, CudaStorage, InplaceOp1, Layout, Tensor,
    backend::BackendStorage,
    bail,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{LaunchConfig, PushKernelArg},
    },
};

use super::Rule;
use crate::model::gpu::kernel;

/// Threads that share a row.
const THREADS: u32 = 256;

/// Turns scores of queries from `first` on, `[sequences, heads, rows, keys]` with the factor applied, into attention where
/// they lie; keys that are not seen get 0.
pub fn to_attention(scores: &Tensor, first: usize, rule: &Rule) -> Result<()> {
    Ok(scores.inplace_op1(&ToAttention { first, rule })?)
}

struct ToAttention<'a> {
    first: usize,
    rule: &'a Rule,
}

impl InplaceOp1 for ToAttention<'_> {
    fn name(&self) -> &'static str {
        "attention of scores"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        bail!("this is a GPU's way")
    }

    fn cuda_fwd(&self, scores: &mut CudaStorage, layout: &Layout) -> candle_core::Result<()> {
        let (sequences, heads, rows, keys) = layout.shape().dims4()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("contiguous scores were expected")
        };
        let (device, rule) = (scores.device().clone(), self.rule);
        // A kernel's pointer must be one, also where there is nothing behind it.
        let some =
            |numbers: &[f32]| device.clone_htod(if numbers.is_empty() { &[0f32][..] } else { numbers });
        let (slopes, sinks) = (some(&rule.slopes)?, some(&rule.sinks)?);
        let window = rule.window.unwrap_or(0);
        let sizes =
            [heads, rows, keys, self.first, window, usize::from(rule.chunked)].map(|size| size as i32);
        let alibi: i32 = match (rule.slopes.is_empty(), rule.rounded) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        };
        let (cap, has_sinks) = (rule.cap.unwrap_or(0.0), i32::from(!rule.sinks.is_empty()));
        let mut numbers = scores.as_cuda_slice_mut::<f32>()?.slice_mut(start..end);
        let blocks = (sequences * heads * rows) as u32;
        let function = kernel(&device, "attention")?;
        let stream = device.cuda_stream();
        let mut call = stream.launch_builder(&function);
        call.arg(&mut numbers);
        sizes.iter().for_each(|size| {
            call.arg(size);
        });
        call.arg(&cap).arg(&alibi).arg(&slopes).arg(&rule.scale).arg(&has_sinks).arg(&sinks);
        let shape =
            LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the arguments are those of the kernel, whose blocks write rows of their own.
        unsafe { call.launch(shape).w()? };
        Ok(())
    }
}
