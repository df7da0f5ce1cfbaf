//! Lists of heads: copying, composition, positions, the corner plot.

use anyhow::Result;

use super::Work;
use crate::{
    analysis::{
        circuits::{
            composition::{Composition, DRAWS, Kind},
            corner,
            position::{self, POSITIONS},
            spectrum::{self, Spectrum},
        },
        rank,
    },
    engine::protocol::RankSettings,
    head::{Head, PerHead},
    report::circuits::{Cell, List, Repeats},
};

impl Work<'_> {
    /// The `top` heads by copying score; those without one come last.
    pub(super) fn copiers(&self, spectra: &PerHead<Spectrum>, top: usize) -> Vec<(Head, f64)> {
        let order = spectrum::order(spectra).into_iter().take(top);
        order.map(|head| (head, spectra[head].positivity())).collect()
    }

    pub(super) fn spectra(&self) -> Result<PerHead<Spectrum>> {
        let ends = self.ends()?;
        self.shown("eigenvalues", |control| spectrum::ov_spectra(&self.model.decoder, &ends, control))
    }

    pub(super) fn copying(&mut self) -> Result<Vec<List>> {
        let spectra = self.spectra()?;
        let Some(head) = self.args.head else {
            return Ok(vec![copying_list(&self.copiers(&spectra, self.args.top))]);
        };
        let spectrum = &spectra[head];
        let rows = spectrum.0.iter().map(|value| vec![value.re.into(), value.im.into()]).collect();
        let note = format!("of the OV circuit of {head}; copying score {:.3}", spectrum.positivity());
        Ok(vec![List { name: "eigenvalues", note, columns: &["re", "im"], rows }])
    }

    pub(super) fn composition(&mut self, top: usize) -> Result<List> {
        let seed = self.args.seed;
        (self.settings.seed, self.settings.draws) = (Some(seed), Some(DRAWS));
        let composition = self
            .shown("composing heads", |control| Composition::of(&self.model.decoder, seed, DRAWS, control))?;
        let row = |kind: Kind| {
            let baseline = composition.baseline[kind as usize];
            let edges = composition.edges(kind, self.args.head, top);
            edges.into_iter().map(move |edge| {
                let above = edge.score - baseline;
                vec![
                    Cell::Word(kind.letter()),
                    edge.earlier.into(),
                    edge.later.into(),
                    above.into(),
                    edge.score.into(),
                ]
            })
        };
        Ok(List {
            name: "composition",
            note: "Frobenius norm of the product over the product of norms, above random matrices".into(),
            columns: &["kind", "earlier", "later", "above_random", "score"],
            rows: Kind::ALL.into_iter().flat_map(row).collect(),
        })
    }

    pub(super) fn positions(&mut self) -> Result<Vec<List>> {
        let (model, decoder) = (self.model, &self.model.decoder);
        let tokens = POSITIONS.min(model.info.context);
        self.settings.positions = Some(tokens);
        let average = |layer| {
            self.shown("averaging over the vocabulary", |control| {
                position::Average::of(decoder, self.args.embedding.of_layer(layer), control)
            })
        };
        if let Some(head) = self.args.head {
            let profile = position::profiles(decoder, &average(head.layer)?, head.layer, tokens)?
                .swap_remove(head.head);
            let rows = profile
                .iter()
                .enumerate()
                .map(|(distance, &share)| vec![Cell::Count(distance), share.into()]);
            return Ok(vec![List {
                name: "positions",
                note: format!("attention of {head} by distance, for the average query and key token"),
                columns: &["distance", "attention"],
                rows: rows.collect(),
            }]);
        }
        let mut profiles = Vec::new();
        let averages = [average(0)?, average(model.info.layers - 1)?];
        for layer in 0..model.info.layers {
            profiles.extend(position::profiles(decoder, &averages[layer.min(1)], layer, tokens)?);
        }
        let profiles = PerHead::new(model.info.heads, profiles);
        let peaks = position::peaks(&profiles).into_iter().take(self.args.top);
        let row =
            |(head, distance, share): (Head, _, f32)| vec![head.into(), Cell::Count(distance), share.into()];
        Ok(vec![List {
            name: "positions",
            note: "the distance that each head attends to most, for the average query and key token".into(),
            columns: &["head", "distance", "attention"],
            rows: peaks.map(row).collect(),
        }])
    }

    /// The previous-token score of every head on repeated random tokens.
    fn previous(&mut self) -> Result<PerHead<f32>> {
        let (model, seed) = (self.model, self.args.seed);
        let benchmark =
            model.benchmark(RankSettings { length: model.info.block, seed, ..RankSettings::default() })?;
        let draws = corner::draws(&benchmark);
        let tally = self
            .shown("scoring heads", |control| rank::measure(&model.decoder, &benchmark, &draws, control))?;
        self.settings.seed = Some(seed);
        self.settings.benchmark =
            Some(Repeats { length: model.info.block, batch: draws.len(), bos: benchmark.has_bos() });
        Ok(corner::previous(&tally))
    }

    pub(super) fn corner(&mut self) -> Result<Vec<List>> {
        let previous = self.previous()?;
        let ends = self.ends()?;
        let mut points = self
            .shown("eigenvalues", |control| corner::corner(&self.model.decoder, &ends, &previous, control))?;
        points.retain(|point| self.args.head.is_none_or(|head| point.head == head));
        corner::sort(&mut points);
        let row = |point: &corner::Point| {
            vec![
                point.head.into(),
                point.through.into(),
                point.matching.into(),
                point.copying.into(),
                point.trace.into(),
            ]
        };
        Ok(vec![List {
            name: "corner",
            note: "positivity of QK eigenvalues through a previous-token head, and of OV eigenvalues".into(),
            columns: &["head", "through", "matching", "copying", "trace"],
            rows: points.iter().take(self.args.top).map(row).collect(),
        }])
    }
}

pub(super) fn copying_list(heads: &[(Head, f64)]) -> List {
    List {
        name: "copying",
        note: "Re(sum) / sum of absolute values of the OV circuit's eigenvalues".into(),
        columns: &["head", "copying"],
        rows: heads.iter().map(|&(head, score)| vec![head.into(), score.into()]).collect(),
    }
}
