//! Mean and spread of the embedding network's features over the steps of a voice, kept as running sums.

use std::ops::Range;

use crate::speech::diarize::filterbank::HOP;
use crate::speech::diarize::plda::EMBEDDING;
use crate::speech::diarize::utterances::Span;
use crate::speech::diarize::weights::Weights;
use crate::speech::diarize::windows::{Bits, FRAME, FRAMES, WINDOW};

/// Values of one step.
pub(crate) const FEATURES: usize = 2_560;
/// Frames of the filterbank for one step.
pub(crate) const STEP_FRAMES: usize = 8;
/// Samples from one step to the next.
const STEP: usize = STEP_FRAMES * HOP;
/// An utterance with fewer steps has no embedding; with fewer steps alone, others may speak in it too.
const FEWEST_STEPS: usize = 3;

/// Whose voice an embedding is to be made of, as steps of the embedding network.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Voice<'a> {
    /// A local speaker: the frames of the window at `start` that have this `bit`.
    Local {
        start: usize,
        mask: &'a Bits,
        bit: u8,
    },
    /// An utterance: where one person speaks according to `count`, or everywhere.
    Alone {
        span: Span,
        count: &'a [u8],
    },
    Whole {
        span: Span,
    },
    /// An utterance too short to say anything.
    Unheard,
}

impl<'a> Voice<'a> {
    pub(crate) fn of_utterance(span: Span, count: &'a [u8]) -> Self {
        let alone = Self::Alone { span, count };
        if alone.steps().len() < FEWEST_STEPS {
            return Self::Unheard;
        }
        let steps = alone.steps().filter(|step| alone.is_in(*step)).count();
        if steps < FEWEST_STEPS { Self::Whole { span } } else { alone }
    }

    /// Where its steps lie; not all of them are its own.
    pub(crate) fn steps(&self) -> Range<usize> {
        match self {
            Self::Local { start, .. } => {
                let first = start.div_ceil(STEP);
                first..first + WINDOW / STEP
            }
            Self::Alone { span, .. } | Self::Whole { span } => {
                (span.first * FRAME).div_ceil(STEP)..span.end * FRAME / STEP
            }
            Self::Unheard => 0..0,
        }
    }

    pub(crate) fn is_in(&self, step: usize) -> bool {
        match self {
            Self::Local { start, mask, bit } => {
                let frame = (step * STEP).saturating_sub(*start) / FRAME;
                mask[frame.min(FRAMES - 1)] & bit != 0
            }
            Self::Alone { count, .. } => {
                let frame = (step * STEP / FRAME).min(count.len() - 1);
                count[frame] == 1
            }
            Self::Whole { .. } => true,
            Self::Unheard => false,
        }
    }
}

/// The last layer: from pooled features to an embedding.
#[derive(Debug)]
pub(crate) struct Head {
    /// A row for each value, of the means and then of the deviations.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Head {
    pub(crate) fn read(weights: &Weights) -> Result<Self, String> {
        let floats = |name: &str, shape: &[usize]| -> Result<Vec<f32>, String> {
            // The file has f32, so nothing is lost on the way back.
            Ok(weights.values(name, shape)?.map(|value| value as f32).collect())
        };
        let weight = floats("weight", &[EMBEDDING, 2 * FEATURES])?;
        Ok(Self { weight, bias: floats("bias", &[EMBEDDING])? })
    }

    fn embedding(&self, statistics: &[f32]) -> Box<[f32]> {
        let rows = self.weight.chunks_exact(2 * FEATURES);
        rows.zip(&self.bias).map(|(row, bias)| dot(row, statistics) + bias).collect()
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 16];
    for (a, b) in a.chunks_exact(16).zip(b.chunks_exact(16)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// Sums over steps that all count alike.
struct Pool {
    steps: usize,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Pool {
    fn new() -> Self {
        Self { steps: 0, sums: vec![0.0; FEATURES], squares: vec![0.0; FEATURES] }
    }

    fn add(&mut self, features: &[f32]) {
        self.steps += 1;
        let sums = self.sums.iter_mut().zip(&mut self.squares);
        for ((sum, square), value) in sums.zip(features) {
            let value = f64::from(*value);
            *sum += value;
            *square += value * value;
        }
    }

    fn embedding(&self, head: &Head) -> Option<Box<[f32]>> {
        if self.steps == 0 {
            return None;
        }
        let steps = self.steps as f64;
        let count = steps + 1e-8;
        let means = self.sums.iter().map(|sum| (sum / count) as f32);
        let deviations = self.sums.iter().zip(&self.squares).map(|(sum, square)| {
            let mean = sum / count;
            let spread = square - 2.0 * mean * sum + mean * mean * steps;
            (spread.max(0.0) / (count - steps / count + 1e-8)).sqrt() as f32
        });
        let statistics: Vec<f32> = means.chain(deviations).collect();
        Some(head.embedding(&statistics))
    }
}

/// The sums of all voices whose steps have begun and not ended.
pub(crate) struct Pools<'a> {
    voices: &'a [Voice<'a>],
    head: &'a Head,
    /// Voices that have not begun, the next one last.
    waiting: Vec<usize>,
    open: Vec<(usize, Pool)>,
    done: Vec<Option<Box<[f32]>>>,
}

impl<'a> Pools<'a> {
    pub(crate) fn new(voices: &'a [Voice<'a>], head: &'a Head) -> Self {
        let mut waiting: Vec<usize> = (0..voices.len()).collect();
        waiting.sort_by_key(|voice| std::cmp::Reverse(voices[*voice].steps().start));
        let done = voices.iter().map(|_| None).collect();
        Self { voices, head, waiting, open: Vec::new(), done }
    }

    /// Adds the steps from `first` on, a row of [`FEATURES`] each. Blocks come in order; voices that end in this
    /// one are finished.
    pub(crate) fn add(&mut self, first: usize, features: &[f32]) {
        let end = first + features.len() / FEATURES;
        while let Some(voice) = self.waiting.pop_if(|voice| self.voices[*voice].steps().start < end)
        {
            if self.voices[voice].steps().end > first {
                self.open.push((voice, Pool::new()));
            }
        }
        for (voice, pool) in &mut self.open {
            let voice = &self.voices[*voice];
            let steps = voice.steps();
            for step in
                (steps.start.max(first)..steps.end.min(end)).filter(|step| voice.is_in(*step))
            {
                pool.add(&features[(step - first) * FEATURES..][..FEATURES]);
            }
        }
        for (voice, pool) in
            self.open.extract_if(.., |(voice, _)| self.voices[*voice].steps().end <= end)
        {
            self.done[voice] = pool.embedding(self.head);
        }
    }

    /// The embeddings, in the order of the voices.
    pub(crate) fn finish(mut self) -> Vec<Option<Box<[f32]>>> {
        for (voice, pool) in &self.open {
            self.done[*voice] = pool.embedding(self.head);
        }
        self.done
    }
}
