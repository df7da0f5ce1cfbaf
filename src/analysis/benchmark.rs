//! The sequences that heads are scored on: blocks of distinct random tokens, repeated.

use anyhow::{Result, bail};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use serde::Serialize;

use super::score::Score;

/// Whether a BOS token is put first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bos {
    /// For text, as the checkpoint's tokenizer does; for benchmark sequences, where the vocabulary has such a token.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// How the benchmark sequences of a ranking are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RankSettings {
    /// Tokens in the block that is repeated.
    pub length: usize,
    /// Number of sequences.
    pub batch: usize,
    /// Seed of the draw.
    pub seed: u64,
    /// Whether each begins with BOS.
    pub bos: Bos,
}

impl Default for RankSettings {
    fn default() -> Self {
        Self { length: 50, batch: 4, seed: 0, bos: Bos::Auto }
    }
}

/// Tokens in a block of the 2022 paper's prefix matching.
const PREFIX_LENGTH: usize = 25;

/// A kind of sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `[BOS] r r`, for most scores.
    Repeat,
    /// `[BOS] r s`, where nothing repeats: the chance level of `induction`.
    Control,
    /// `[BOS] r r r r` with 25 tokens in `r`, for `prefix`.
    Prefix,
    /// `r r` without BOS, for `tl`.
    Stripe,
}

impl Kind {
    /// Every kind, the most wanted first.
    pub const ALL: [Self; 4] = [Self::Repeat, Self::Control, Self::Prefix, Self::Stripe];

    /// The kind of sequence that `score` is measured on.
    pub const fn of(score: Score) -> Self {
        match score {
            Score::Prefix => Self::Prefix,
            Score::Tl => Self::Stripe,
            _ => Self::Repeat,
        }
    }
}

/// Where the blocks of a sequence are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Position of the first block's first token: 1 after a BOS, else 0.
    pub start: usize,
    /// Tokens in a block.
    pub length: usize,
    /// Number of blocks.
    pub copies: usize,
}

/// Draws benchmark sequences for one model.
pub struct Benchmark {
    ordinary: Vec<u32>,
    bos: Option<u32>,
    settings: RankSettings,
    context: usize,
}

impl Benchmark {
    /// For a model whose tokens `ordinary` may be drawn and whose BOS is `bos`, with `context` positions.
    ///
    /// # Errors
    /// When the sequences do not fit, when too few tokens may be drawn, or when a BOS is asked for that is not there.
    pub fn new(ordinary: Vec<u32>, bos: Option<u32>, context: usize, settings: RankSettings) -> Result<Self> {
        let bos = match (settings.bos, bos) {
            (Bos::Off, _) => None,
            (Bos::On, None) => bail!("--bos on: the vocabulary names no BOS token; use --bos off"),
            (_, bos) => bos,
        };
        let (length, longest) = (settings.length, 2 * settings.length + usize::from(bos.is_some()));
        if settings.batch == 0 {
            bail!("--batch 0 measures nothing: use 1 or more");
        }
        if length < 2 {
            bail!(
                "a block of {length} tokens shows no repeat that could be told from chance: use --length 2 or more"
            );
        }
        if longest > context {
            bail!(
                "two blocks of {length} tokens do not fit in the context of {context}: use a shorter --length"
            );
        }
        if ordinary.len() < (2 * length).max(PREFIX_LENGTH) {
            bail!(
                "the vocabulary has {} ordinary tokens, too few for blocks of {length}: use a shorter --length",
                ordinary.len()
            );
        }
        Ok(Self { ordinary, bos, settings, context })
    }

    /// How they are drawn.
    pub fn settings(&self) -> RankSettings {
        self.settings
    }

    /// Draws so many sequences: what each of them is stays the same.
    pub fn set_batch(&mut self, batch: usize) {
        self.settings.batch = batch;
    }

    /// Whether sequences begin with a BOS.
    pub fn has_bos(&self) -> bool {
        self.bos.is_some()
    }

    /// The lowest and the highest token that may be drawn.
    pub fn vocabulary(&self) -> [u32; 2] {
        let lowest = self.ordinary.iter().min().copied().unwrap_or_default();
        [lowest, self.ordinary.iter().max().copied().unwrap_or_default()]
    }

    /// The blocks of a sequence of that kind.
    pub fn blocks(&self, kind: Kind) -> Blocks {
        let start = usize::from(self.bos.is_some());
        let length = self.settings.length;
        match kind {
            Kind::Repeat | Kind::Control => Blocks { start, length, copies: 2 },
            // Shorter only where four blocks of 25 do not fit.
            Kind::Prefix => {
                Blocks { start, length: PREFIX_LENGTH.min((self.context - start) / 4), copies: 4 }
            }
            Kind::Stripe => Blocks { start: 0, length, copies: 2 },
        }
    }

    /// How many sequences of that kind a ranking measures: the whole batch of repeats, a quarter of the others, which
    /// vary little and only stand beside them.
    pub fn draws(&self, kind: Kind) -> usize {
        match kind {
            Kind::Repeat => self.settings.batch,
            _ => self.settings.batch.div_ceil(4),
        }
    }

    /// Sequence `index` of a kind: the same for a seed, whatever else is drawn.
    pub fn sequence(&self, kind: Kind, index: usize) -> Vec<u32> {
        // Repeats and the others share no random numbers, and neither do two sequences of a kind.
        let mut random = ChaCha8Rng::seed_from_u64(self.settings.seed);
        random.set_stream((index as u64) << 2 | kind as u64);
        let blocks = self.blocks(kind);
        let distinct = if kind == Kind::Control { 2 * blocks.length } else { blocks.length };
        let mut pool = Vec::with_capacity(distinct);
        while pool.len() < distinct {
            let place = (u128::from(random.next_u64()) * self.ordinary.len() as u128) >> 64;
            let token = self.ordinary[place as usize];
            if !pool.contains(&token) {
                pool.push(token);
            }
        }
        let mut sequence = Vec::with_capacity(blocks.start + blocks.copies * blocks.length);
        if blocks.start == 1 {
            sequence.extend(self.bos);
        }
        match kind {
            Kind::Control => sequence.extend(&pool),
            _ => (0..blocks.copies).for_each(|_| sequence.extend(&pool)),
        }
        sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn benchmark(settings: RankSettings) -> Benchmark {
        Benchmark::new((10..200).collect(), Some(1), 512, settings).unwrap()
    }

    #[test]
    fn a_block_is_distinct_and_repeated() {
        let sequence = benchmark(RankSettings::default()).sequence(Kind::Repeat, 2);
        assert_eq!((sequence[0], sequence.len()), (1, 101));
        assert_eq!(sequence[1..51], sequence[51..]);
        let mut block = sequence[1..51].to_vec();
        block.sort_unstable();
        block.dedup();
        assert_eq!(block.len(), 50);
        assert!(block.iter().all(|id| (10..200).contains(id)));
    }

    #[test]
    fn a_control_repeats_nothing() {
        let mut control = benchmark(RankSettings::default()).sequence(Kind::Control, 0);
        control.sort_unstable();
        control.dedup();
        assert_eq!(control.len(), 101);
    }

    #[test]
    fn draws_depend_on_the_seed_and_their_number_alone() {
        let seeded = |seed| benchmark(RankSettings { seed, ..RankSettings::default() });
        assert_eq!(seeded(3).sequence(Kind::Repeat, 1), seeded(3).sequence(Kind::Repeat, 1));
        assert_ne!(seeded(3).sequence(Kind::Repeat, 1), seeded(4).sequence(Kind::Repeat, 1));
        assert_ne!(seeded(3).sequence(Kind::Repeat, 1), seeded(3).sequence(Kind::Repeat, 0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let small = |context, length| {
            let settings = RankSettings { length, ..RankSettings::default() };
            Benchmark::new((0..60).collect(), None, context, settings)
        };
        assert!(small(99, 50).is_err());
        assert!(small(200, 31).is_err());
        assert!(small(200, 30).is_ok());
        let on = RankSettings { bos: Bos::On, ..RankSettings::default() };
        assert!(Benchmark::new((0..200).collect(), None, 512, on).is_err());
    }
}
