//! Skip-trigrams `[source] ... [destination] -> [out]`: what the QK and the OV circuit of a head say of single tokens.

use std::ops::Range;

use anyhow::Result;
use candle_core::Tensor;
use rayon::prelude::*;

use super::{
    Entry,
    factors::{self, Embedding, Factors, Layer},
    largest, steps,
};
use crate::{
    head::Head,
    model::{
        decoder::{Control, Decoder},
        host,
        linear::with_host,
    },
};

/// Destinations and outs of a source among which bugs are looked for.
pub const CANDIDATES: usize = 16;

/// Which token of a skip-trigram is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that is attended to.
    Source,
    /// The one that attends.
    Destination,
    /// The one that comes next.
    Out,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Source, Self::Destination, Self::Out];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Out => "out",
        }
    }
}

/// A source token, the destinations that look for it and the next tokens it then speaks for.
#[derive(Clone, Debug, PartialEq)]
pub struct SkipTrigrams {
    /// The token that is attended to.
    pub source: u32,
    /// The tokens that attend, with their QK entries.
    pub destinations: Vec<Entry>,
    /// The tokens whose logits rise, with their OV entries.
    pub outs: Vec<Entry>,
}

impl SkipTrigrams {
    /// Destinations and outs side by side, in order, the shorter list repeated.
    pub fn pairs(&self) -> impl Iterator<Item = (Entry, Entry)> {
        let length = self.destinations.len().max(self.outs.len());
        self.destinations.iter().copied().cycle().zip(self.outs.iter().copied().cycle()).take(length)
    }
}

/// The circuits of one head with every token of the vocabulary, `[vocabulary, head_size]` on each of the four sides; the
/// `[vocabulary, vocabulary]` circuits are their products and are never made.
///
/// Embeddings are normalised each by itself: for the first layer that is exact but for positions and biases, which are
/// left out. Later layers read more than the embedding.
pub struct Expanded {
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    outs: Tensor,
}

impl Expanded {
    /// Meets the head with every token.
    pub fn of(decoder: &Decoder, head: Head, which: Embedding, control: &Control<'_>) -> Result<Self> {
        let mut expanding = Expanding::new(decoder, head, which)?;
        steps(expanding.steps(), control, |at| expanding.step(decoder, at))?;
        expanding.finish()
    }

    /// QK entries of a source, `[destination]`: the attention score less the destination's mean over all sources, so that
    /// `e^entry` says how much more it attends to this one than to a usual token. Entries of different destinations share
    /// no scale, as the softmax of each is its own (Elhage et al. 2021).
    pub fn attention(&self, source: u32) -> Result<Vec<f32>> {
        entries(&self.queries, &self.keys, source)
    }

    /// OV entries of a source, `[out]`: its logits when it is attended to, less their mean over the vocabulary; the last
    /// normalisation's divisor is left out.
    pub fn writes(&self, source: u32) -> Result<Vec<f32>> {
        entries(&self.outs, &self.values, source)
    }

    /// The skip-trigrams of a source: `top` destinations and outs with the largest entries (Elhage et al. 2021).
    pub fn by_source(&self, source: u32, top: usize) -> Result<SkipTrigrams> {
        let (destinations, outs) =
            (largest(&self.attention(source)?, top), largest(&self.writes(source)?, top));
        Ok(SkipTrigrams { source, destinations, outs })
    }

    /// The `top` sources that a destination looks for most, each with `each` outs.
    pub fn by_destination(&self, destination: u32, top: usize, each: usize) -> Result<Vec<SkipTrigrams>> {
        let sources = largest(&entries(&self.keys, &self.queries, destination)?, top);
        let trigrams = |source: Entry| {
            let destinations = vec![Entry { id: destination, ..source }];
            Ok(SkipTrigrams { destinations, ..self.by_source(source.id, each)? })
        };
        sources.into_iter().map(trigrams).collect()
    }

    /// The `top` sources that speak for an out most, each with `each` destinations.
    pub fn by_out(&self, out: u32, top: usize, each: usize) -> Result<Vec<SkipTrigrams>> {
        let sources = largest(&entries(&self.values, &self.outs, out)?, top);
        let trigrams = |source: Entry| {
            let outs = vec![Entry { id: out, ..source }];
            Ok(SkipTrigrams { outs, ..self.by_source(source.id, each)? })
        };
        sources.into_iter().map(trigrams).collect()
    }

    /// The `top` sources by the product of their largest QK and their largest OV entry, each with `each` destinations and
    /// outs.
    pub fn strongest(&self, top: usize, each: usize, control: &Control<'_>) -> Result<Vec<SkipTrigrams>> {
        let tiles: Vec<Range<usize>> = factors::tiles(self.keys.dim(0)?).collect();
        let mut strengths = Vec::new();
        steps(tiles.len(), control, |at| {
            strengths.extend(self.strengths(tiles[at].clone())?);
            Ok(())
        })?;
        self.of_strengths(&strengths, top, each)
    }

    /// The product of the largest QK and the largest OV entry of each of some sources.
    pub fn strengths(&self, sources: Range<usize>) -> Result<Vec<f32>> {
        let attention = largest_entries(&self.queries, &self.keys, sources.clone())?;
        let writes = largest_entries(&self.outs, &self.values, sources)?;
        Ok(attention.iter().zip(&writes).map(|(a, b)| a.max(0.0) * b.max(0.0)).collect())
    }

    /// [`Self::strongest`] of the [`Self::strengths`] of the whole vocabulary.
    pub fn of_strengths(&self, strengths: &[f32], top: usize, each: usize) -> Result<Vec<SkipTrigrams>> {
        largest(strengths, top).into_iter().map(|source| self.by_source(source.id, each)).collect()
    }

    /// The `top` skip-trigrams, or as many sources, of a token in a role.
    pub fn with(&self, role: Role, token: u32, top: usize) -> Result<Vec<SkipTrigrams>> {
        match role {
            Role::Source => Ok(vec![self.by_source(token, top)?]),
            Role::Destination => self.by_destination(token, top, 1),
            Role::Out => self.by_out(token, top, 1),
        }
    }
}

/// An [`Expanded`] head that is being made, a tile of the vocabulary in each step.
pub struct Expanding {
    layer: usize,
    factors: Factors,
    which: Embedding,
    scale: f64,
    tiles: Vec<Range<usize>>,
    sides: [Vec<Tensor>; 4],
}

impl Expanding {
    /// No token met yet.
    pub fn new(decoder: &Decoder, head: Head, which: Embedding) -> Result<Self> {
        Ok(Self {
            layer: head.layer,
            factors: Layer::of(decoder, head.layer)?.head(head.head)?,
            which: which.of_layer(head.layer),
            scale: f64::from(decoder.spec.attention.scale[head.layer]),
            tiles: factors::tiles(decoder.spec.vocabulary).collect(),
            sides: Default::default(),
        })
    }

    /// How many steps there are.
    pub fn steps(&self) -> usize {
        self.tiles.len()
    }

    /// Takes step `at`, the one after that before.
    pub fn step(&mut self, decoder: &Decoder, at: usize) -> Result<()> {
        let (factors, tile) = (&self.factors, self.tiles[at].clone());
        let embedding = factors::embedding(decoder, self.which, tile.clone())?;
        // The centring of LayerNorm is in the factors.
        let embedding = embedding.broadcast_div(&decoder.layers[self.layer].norm.divisors(&embedding)?)?;
        self.sides[0].push((embedding.matmul(&factors.query.t()?)? * self.scale)?);
        self.sides[1].push(embedding.matmul(&factors.key.t()?)?);
        self.sides[2].push(embedding.matmul(&factors.value.t()?)?);
        self.sides[3].push(factors::unembedding(decoder, tile)?.matmul(&factors.output)?);
        Ok(())
    }

    /// The head, once every step has been taken.
    pub fn finish(self) -> Result<Expanded> {
        let [queries, keys, values, outs] = self.sides.map(|tiles| Tensor::cat(&tiles, 0));
        let centred = |side: Tensor| -> Result<Tensor> { Ok(side.broadcast_sub(&side.mean_keepdim(0)?)?) };
        Ok(Expanded { queries: queries?, keys: centred(keys?)?, values: values?, outs: centred(outs?)? })
    }
}

/// The products of every row of `side` with row `id` of `other`, `[vocabulary]`.
fn entries(side: &Tensor, other: &Tensor, id: u32) -> Result<Vec<f32>> {
    Ok(side.matmul(&other.narrow(0, id as usize, 1)?.t()?)?.flatten_all()?.to_vec1()?)
}

/// The largest product of each row `range` of `other` with any row of `side`; in tiles small enough for the cache.
fn largest_entries(side: &Tensor, other: &Tensor, range: Range<usize>) -> Result<Vec<f32>> {
    let rows = other.narrow(0, range.start, range.len())?;
    let tiles: Vec<Range<usize>> = factors::tiles(side.dim(0)?).collect();
    let of_tile = |tile: Range<usize>| -> Result<Vec<f32>> {
        let products = rows.matmul(&side.narrow(0, tile.start, tile.len())?.t()?)?;
        with_host(&products, |numbers| host::row_maxima(numbers, tile.len()))
    };
    let larger = |a: Vec<f32>, b: Vec<f32>| Ok(a.into_iter().zip(b).map(|(a, b)| a.max(b)).collect());
    tiles.into_par_iter().map(of_tile).try_reduce(|| vec![f32::NEG_INFINITY; range.len()], larger)
}

/// A skip-trigram bug: two next tokens that fit, each after its destination, and the crossed ones that the head cannot
/// tell from them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bug {
    /// The token that is attended to.
    pub source: u32,
    /// The destinations `B` and `B'`.
    pub destinations: [u32; 2],
    /// The outs `C`, which fits `B`, and `C'`, which fits `B'`.
    pub outs: [u32; 2],
    /// By how many nats the fitting pairs beat the crossed ones in the direct path: the smaller log-probability of
    /// `B -> C`, `B' -> C'` less the larger of `B -> C'`, `B' -> C`.
    pub margin: f32,
}

/// The skip-trigram bugs of one source, the clearest first (Elhage et al. 2021: `keep ... in -> mind` and
/// `keep ... at -> bay` force `keep ... in -> bay`).
///
/// For a given source a head raises out `C` after destination `B` by a product of one number of `B` and one of `C`, so
/// whatever two destinations and two outs it serves, it serves crossed as well. Which pairs fit is judged by the direct
/// path, `direct(B)` being the log-probabilities of every next token after `B`: a pair fits that is likelier than a guess.
/// Without a text that is all there is to judge by, and it is no proof.
pub fn bugs(
    trigrams: &SkipTrigrams,
    top: usize,
    direct: impl Fn(u32) -> Result<Vec<f32>>,
) -> Result<Vec<Bug>> {
    let after = |destination: &Entry| -> Result<Vec<f32>> {
        let row = direct(destination.id)?;
        let guess = -(row.len() as f32).ln();
        Ok(trigrams.outs.iter().map(|out| row[out.id as usize] - guess).collect())
    };
    let fits = trigrams.destinations.iter().map(after).collect::<Result<Vec<_>>>()?;
    let mut bugs = Vec::new();
    for (first, a) in fits.iter().enumerate() {
        for (second, b) in fits.iter().enumerate().skip(first + 1) {
            for (c, d) in (0..a.len()).flat_map(|c| (0..a.len()).map(move |d| (c, d))) {
                let (fitting, crossed) = (a[c].min(b[d]), a[d].max(b[c]));
                let margin = fitting - crossed;
                if fitting > 0.0 && margin > 0.0 {
                    let destinations = [first, second].map(|at| trigrams.destinations[at].id);
                    let outs = [c, d].map(|at| trigrams.outs[at].id);
                    bugs.push(Bug { source: trigrams.source, destinations, outs, margin });
                }
            }
        }
    }
    bugs.sort_by(|a, b| b.margin.total_cmp(&a.margin));
    bugs.truncate(top);
    Ok(bugs)
}
