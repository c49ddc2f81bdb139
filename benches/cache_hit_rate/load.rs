//! Loads: which answer is wanted next, and how large each answer is.
//!
//! It does not know what a cache does with them.

use std::collections::HashSet;

use tidegate::model::rng::SeededRng;

/// The same draws in every run.
const SEED: u64 = 1;

/// After this many draws some prompts are popular that were not.
const DRIFT_EVERY: usize = 50_000;

/// Of the hundred most popular prompts ten change places with any each time; of all others one in a hundred.
const DRIFT_TOP: (usize, usize) = (100, 10);

/// What an entry of drawn prompts takes in memory: a completion of some 400 tokens with all that is kept beside it. One size
/// for all, because only then is the best possible known exactly.
const ENTRY: u32 = 2048;

/// A sequence of questions.
pub(crate) struct Load {
    /// What it is called.
    pub(crate) name: String,
    /// Which answer each call wants.
    pub(crate) draws: Vec<u32>,
    /// Bytes that each answer takes.
    pub(crate) sizes: Vec<u32>,
    /// Draws that are not counted, because the cache is still empty.
    pub(crate) warm_up: usize,
}

impl Load {
    /// Independent draws, the k-th prompt in proportion to 1/k^skew. The cache begins empty, and that counts.
    pub(crate) fn zipf(prompts: usize, draws: usize, skew: f64) -> Self {
        Self::drawn(prompts, draws, skew, SEED, false)
    }

    /// The same with other draws; `drifts` where what is popular changes now and then.
    pub(crate) fn drawn(prompts: usize, draws: usize, skew: f64, seed: u64, drifts: bool) -> Self {
        let mut sum = 0.0;
        let sums: Vec<f64> = (1..=prompts)
            .map(|rank| {
                sum += (rank as f64).powf(-skew);
                sum
            })
            .collect();
        let chance = SeededRng::new(seed);
        let any = |below: usize| (chance.fraction() * below as f64) as usize;
        let mut prompt: Vec<u32> = (0..prompts as u32).collect();
        let draw = |number: usize| {
            if drifts && number % DRIFT_EVERY == DRIFT_EVERY - 1 {
                let (top, count) = DRIFT_TOP;
                (0..count).for_each(|_| prompt.swap(any(top), any(prompts)));
                (0..prompts / 100).for_each(|_| prompt.swap(any(prompts), any(prompts)));
            }
            let point = chance.fraction() * sum;
            prompt[sums.partition_point(|so_far| *so_far <= point).min(prompts - 1)]
        };
        let drift = if drifts { ", and what is popular changes" } else { "" };
        Self {
            name: format!("{draws} draws of {prompts} prompts, Zipf s = {skew}{drift} (seed {seed})"),
            draws: (0..draws).map(draw).collect(),
            sizes: vec![ENTRY; prompts],
            warm_up: 0,
        }
    }

    /// The load test of the canvas application: ten prompts, three models, at random; counted after a tenth.
    pub(crate) fn canvas() -> Self {
        const KINDS: usize = 10 * 3;
        const DRAWS: usize = 3_000;
        let chance = SeededRng::new(SEED);
        let draw = |_| (chance.fraction() * KINDS as f64) as u32;
        Self {
            name: format!("canvas load: {DRAWS} calls of 10 prompts x 3 models at random, the first tenth not counted"),
            draws: (0..DRAWS).map(draw).collect(),
            sizes: vec![ENTRY; KINDS],
            warm_up: DRAWS / 10,
        }
    }

    /// How many different answers are wanted.
    pub(crate) fn kinds(&self) -> usize {
        self.draws.iter().collect::<HashSet<_>>().len()
    }
}
