//! The names of tensors in GGUF files.

use super::{super::fused, File};
use crate::model::{
    slot::{LayerSlot, MlpSlot, Part, Share, Slot, Source, SourceOf},
    spec::{NormOver, Shape, Spec},
};

/// The tensor of each slot in a file. The family's page says which slots there are.
pub struct Names {
    page: SourceOf,
    places: &'static [(LayerSlot, &'static str)],
    /// The sizes of the model, where queries, keys and values share a tensor.
    fused: Option<Shape>,
    /// Rows of gate and way in each, where they share a tensor.
    gates: Option<usize>,
    /// Whether each expert has tensors of its own, as in files of early 2024.
    apart: bool,
    /// Whether a head's gains of queries and keys are a row of their own.
    gains_by_head: bool,
    /// Whether attention has the second of two normalisations, as in Falcon.
    second_norm: bool,
    /// Whether the unembedding has a tensor of its own.
    head: bool,
}

impl Names {
    /// The names in `file` of a model that is `spec`, and whose slots `page` knows.
    pub fn of(file: &File<'_>, spec: &Spec, page: SourceOf) -> Self {
        let &Spec { layers, width, heads, kv_heads, head_size, vocabulary, context, .. } = spec;
        let shape = Shape { layers, width, heads, kv_heads, head_size, vocabulary, context };
        let gated = spec.mlp.first().filter(|mlp| mlp.gated && mlp.experts.is_none());
        Self {
            page,
            places: file.architecture.places,
            fused: file.has("attn_qkv.weight").then_some(shape),
            gates: gated.filter(|_| !file.has("ffn_gate.weight")).map(|mlp| mlp.inner),
            apart: file.has("ffn_up.0.weight"),
            gains_by_head: spec
                .attention
                .query_key_norm
                .is_some_and(|norm| norm.over == NormOver::HeadWithItsGains),
            second_norm: file.has("attn_norm_2.weight"),
            head: file.weights.contains("output.weight"),
        }
    }

    /// The tensor of a slot; `None` where the family has none.
    pub fn source(&self, slot: Slot) -> Option<Source> {
        let unembedding = Slot::Unembedding(Part::Weight);
        // Otherwise the page is only asked whether there is one.
        if (self.page)(slot).is_none() && !(slot == unembedding && self.head) {
            return None;
        }
        let (name, part) = match slot {
            Slot::Embedding => ("token_embd", Part::Weight),
            Slot::Unembedding(Part::Weight) if !self.head => ("token_embd", Part::Weight),
            Slot::EmbeddingNorm(part) => ("token_embd_norm", part),
            Slot::Positions => ("position_embd", Part::Weight),
            Slot::FinalNorm(part) => ("output_norm", part),
            Slot::Unembedding(part) => ("output", part),
            Slot::ProjectionIn | Slot::ProjectionOut => return None,
            Slot::Layer(layer, place, part) => return self.of_layer(layer, place, part),
        };
        Some(Source::whole(format!("{name}.{}", part.name())))
    }

    fn of_layer(&self, layer: usize, place: LayerSlot, part: Part) -> Option<Source> {
        let whole = |name: &str| Source::whole(format!("blk.{layer}.{name}.{}", part.name()));
        let half = |index: usize, rows: usize| Share::range(index * rows..(index + 1) * rows, 2 * rows);
        Some(match (place, self.fused, self.gates) {
            (LayerSlot::Query | LayerSlot::Key | LayerSlot::Value, Some(shape), _) => {
                fused::by_kind(Slot::Layer(layer, place, part), whole("attn_qkv"), &shape)
            }
            (LayerSlot::Mlp(MlpSlot::Gate), _, Some(rows)) => whole("ffn_up").shared(half(0, rows)),
            (LayerSlot::Mlp(MlpSlot::Up), _, Some(rows)) => whole("ffn_up").shared(half(1, rows)),
            (LayerSlot::Shared(place), ..) => whole(&format!("{}_shexp", self.name(LayerSlot::Mlp(place))?)),
            // Called a bias, which it is to the shares.
            (LayerSlot::RouterCorrection, ..) => Source::whole(format!("blk.{layer}.{}", self.name(place)?)),
            (LayerSlot::Expert(expert, place), ..) => {
                let name = self.name(LayerSlot::Mlp(place))?;
                match self.apart {
                    true => whole(&format!("{name}.{expert}")),
                    false => whole(&format!("{name}_exps")).entry(expert),
                }
            }
            (LayerSlot::QueryNorm | LayerSlot::KeyNorm, ..) if self.gains_by_head => {
                whole(self.name(place)?).by_head()
            }
            (LayerSlot::AttentionNorm, ..) if self.second_norm => whole("attn_norm_2"),
            (LayerSlot::MlpNorm, ..) if self.second_norm => whole("attn_norm"),
            (LayerSlot::MlpNorm, ..) if self.one_norm(layer) => whole(self.name(LayerSlot::AttentionNorm)?),
            _ => whole(self.name(place)?),
        })
    }

    /// Whether attention and MLP read the same normalised residual stream.
    fn one_norm(&self, layer: usize) -> bool {
        let tensor = |place| Some((self.page)(Slot::Layer(layer, place, Part::Weight))?.tensor);
        tensor(LayerSlot::MlpNorm) == tensor(LayerSlot::AttentionNorm)
    }

    fn name(&self, place: LayerSlot) -> Option<&'static str> {
        let special = self.places.iter().find(|(known, _)| *known == place);
        match special {
            Some((_, name)) => Some(name),
            None => usual(place),
        }
    }
}

/// What comes after a layer's number.
fn usual(place: LayerSlot) -> Option<&'static str> {
    Some(match place {
        LayerSlot::AttentionNorm => "attn_norm",
        LayerSlot::AttentionPostNorm => "post_attention_norm",
        LayerSlot::QueryLatent => "attn_q_a",
        LayerSlot::QueryLatentNorm => "attn_q_a_norm",
        LayerSlot::KeyLatent | LayerSlot::RotatedKey => "attn_kv_a_mqa",
        LayerSlot::KeyLatentNorm => "attn_kv_a_norm",
        LayerSlot::Query => "attn_q",
        LayerSlot::Key => "attn_k",
        LayerSlot::Value => "attn_v",
        LayerSlot::QueryNorm => "attn_q_norm",
        LayerSlot::KeyNorm => "attn_k_norm",
        LayerSlot::Sinks => "attn_sinks",
        LayerSlot::Output => "attn_output",
        LayerSlot::MlpNorm => "ffn_norm",
        LayerSlot::MlpPostNorm => "post_ffw_norm",
        LayerSlot::Router => "ffn_gate_inp",
        LayerSlot::RouterCorrection => "exp_probs_b.bias",
        LayerSlot::SharedGate => "ffn_gate_inp_shexp",
        LayerSlot::Mlp(MlpSlot::Gate) => "ffn_gate",
        LayerSlot::Mlp(MlpSlot::Up) => "ffn_up",
        LayerSlot::Mlp(MlpSlot::Down) => "ffn_down",
        LayerSlot::OutputNorm => "attn_sub_norm",
        LayerSlot::Mlp(MlpSlot::InnerNorm) => "ffn_sub_norm",
        LayerSlot::Mlp(MlpSlot::Curve) | LayerSlot::KeySmear => return None,
        LayerSlot::Expert(..) | LayerSlot::Shared(_) => return None,
    })
}
