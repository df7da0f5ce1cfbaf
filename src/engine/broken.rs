//! Where the numbers of a pass stop being numbers, in words.

use anyhow::Result;

use super::open::Model;
use crate::{
    model::{
        decoder::finite::{Break, Step},
        trace::Trace,
    },
    text::clean,
};

impl Model {
    /// Where a pass has left the finite numbers: the first step, token and tensor. `None` where the residual stream that it
    /// ends with is finite, which is all that is looked at then.
    pub fn where_it_breaks(&self, trace: &Trace) -> Result<Option<String>> {
        let found = self.decoder.first_break(trace)?;
        Ok(found.map(|Break { step, token }| {
            let id = trace.ids[token];
            let piece = self.token(id).bytes;
            let piece = if piece.is_empty() { format!("#{id}") } else { format!("`{}`", clean(&piece)) };
            self.told(step, &trace.ids, &format!(" at token {token} ({piece})"))
        }))
    }

    /// Where the last steps have left the finite numbers, of a finite residual stream `[rows, width]` whose logits are not.
    pub fn where_logits_break(&self, last: &candle_core::Tensor) -> Result<String> {
        Ok(self.told(self.decoder.break_of_logits(last)?, &[], ""))
    }

    fn told(&self, step: Step, ids: &[u32], at: &str) -> String {
        let cause = match self.stored.odd(&self.decoder.spec, step, ids, self.most()) {
            Some(odd) if odd.number.is_finite() => format!("{odd}, more than {} can hold", self.info.dtype),
            Some(odd) => odd.to_string(),
            None => "no weight there is NaN or infinite: what is computed has become too large".into(),
        };
        format!("numbers stop being finite in {step}{at}: {cause}")
    }
}
