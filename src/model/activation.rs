//! The nonlinearity of an MLP, in place on the processor.

use anyhow::Result;
use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Tensor};

use super::{host, spec::Activation};

/// `activation(x)`, times `factor` where there is one; both of one shape. What `x` held is gone.
pub fn apply(activation: Activation, x: Tensor, factor: Option<&Tensor>) -> Result<Tensor> {
    if x.device().is_cpu() {
        match factor {
            Some(factor) => x.inplace_op2(factor, &InPlace(activation))?,
            None => x.inplace_op1(&InPlace(activation))?,
        }
        return Ok(x);
    }
    let y = match activation {
        Activation::Silu => x.silu()?,
        Activation::Gelu => x.gelu_erf()?,
        Activation::GeluTanh => x.gelu()?,
        Activation::Relu => x.relu()?,
    };
    Ok(match factor {
        Some(factor) => (y * factor)?,
        None => y,
    })
}

struct InPlace(Activation);

impl InplaceOp1 for InPlace {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        host::activate(self.0, numbers(x, layout)?, None);
        Ok(())
    }
}

impl InplaceOp2 for InPlace {
    fn name(&self) -> &'static str {
        "gated activation"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        layout: &Layout,
        factor: &CpuStorage,
        factor_layout: &Layout,
    ) -> candle_core::Result<()> {
        let factor = match (factor, factor_layout.contiguous_offsets()) {
            (CpuStorage::F32(factor), Some((start, end))) => &factor[start..end],
            _ => candle_core::bail!("a contiguous f32 factor was expected"),
        };
        host::activate(self.0, numbers(x, layout)?, Some(factor));
        Ok(())
    }
}

fn numbers<'a>(x: &'a mut CpuStorage, layout: &Layout) -> candle_core::Result<&'a mut [f32]> {
    match (x, layout.contiguous_offsets()) {
        (CpuStorage::F32(x), Some((start, end))) => Ok(&mut x[start..end]),
        _ => candle_core::bail!("a contiguous f32 tensor was expected"),
    }
}
