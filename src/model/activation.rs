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
    on_device(activation, &x, factor)
}

fn on_device(activation: Activation, x: &Tensor, factor: Option<&Tensor>) -> Result<Tensor> {
    let curved = |x: &Tensor| -> Result<Tensor> { Ok((x * candle_nn::ops::sigmoid(&(x * 1.702)?)?)?) };
    let y = match activation {
        Activation::Silu => x.silu()?,
        Activation::Gelu => x.gelu_erf()?,
        Activation::GeluTanh => x.gelu()?,
        Activation::GeluSigmoid => curved(x)?,
        Activation::Relu => x.relu()?,
        Activation::ReluSquared => x.relu()?.sqr()?,
        Activation::Xielu { positive, negative, linear, edge } => {
            let bent = |x: Tensor, by: f32| -> Result<Tensor> { Ok((x * f64::from(by))?) };
            let below = ((x.minimum(f64::from(edge))?.exp()? - 1.0)? - x)?;
            let curved = x.gt(0.0)?.where_cond(&bent(x.sqr()?, positive)?, &bent(below, negative)?)?;
            (curved + bent(x.clone(), linear)?)?
        }
        Activation::Solu => (x * candle_nn::ops::softmax_last_dim(x)?)?,
        Activation::ClippedGate { limit } => curved(&x.minimum(f64::from(limit))?)?,
    };
    Ok(match (activation, factor) {
        (Activation::ClippedGate { limit }, Some(factor)) => (y * (factor.clamp(-limit, limit)? + 1.0)?)?,
        (_, Some(factor)) => (y * factor)?,
        (_, None) => y,
    })
}

struct InPlace(Activation);

impl InplaceOp1 for InPlace {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        host::activate(self.0, columns(layout), numbers(x, layout)?, None);
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
        host::activate(self.0, columns(layout), numbers(x, layout)?, Some(factor));
        Ok(())
    }
}

fn numbers<'a>(x: &'a mut CpuStorage, layout: &Layout) -> candle_core::Result<&'a mut [f32]> {
    match (x, layout.contiguous_offsets()) {
        (CpuStorage::F32(x), Some((start, end))) => Ok(&mut x[start..end]),
        _ => candle_core::bail!("a contiguous f32 tensor was expected"),
    }
}

/// Numbers in a row.
fn columns(layout: &Layout) -> usize {
    layout.dims().last().copied().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_accelerator_s_way_computes_what_the_processor_s_does() {
        let all = [
            Activation::Silu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::GeluSigmoid,
            Activation::Relu,
            Activation::ReluSquared,
            Activation::xielu([0.3, -1.2, 0.5, -1e-6]),
            Activation::Solu,
            Activation::ClippedGate { limit: 1.5 },
        ];
        let random = || Tensor::randn(0f32, 2.0, (5, 24), &Device::Cpu).unwrap();
        for activation in all {
            for factor in [None, Some(random())] {
                let x = random();
                let device = on_device(activation, &x, factor.as_ref()).unwrap();
                let host = apply(activation, x, factor.as_ref()).unwrap();
                let difference = (device - host).unwrap().abs().unwrap().max_all().unwrap();
                let difference = difference.to_scalar::<f32>().unwrap();
                assert!(difference < 1e-4, "{activation:?}: {difference}");
            }
        }
    }
}
