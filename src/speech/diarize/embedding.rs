//! Runs the embedding network once over a recording and pools what it says for every voice that is asked for.

use std::ops::ControlFlow;

use crate::speech::SpeechError;
use crate::speech::diarize::filterbank::{BINS, FilterBank, frames_in};
use crate::speech::diarize::parallel::in_order;
use crate::speech::diarize::pooling::{FEATURES, Head, Pools, STEP_FRAMES, Voice};
use crate::speech::onnx::Network;

/// Frames of the filterbank that the network gets at a time: 10 s, as it was trained.
const BLOCK: usize = 1_000;
const BLOCK_STEPS: usize = BLOCK / STEP_FRAMES;

/// What one thread needs to go from sound to features.
pub(crate) struct Trunk {
    pub(crate) network: Network,
    pub(crate) filters: FilterBank,
}

/// Features of one block, a row for each step.
type Block = Vec<f32>;

/// One embedding for each of the `voices`, `None` where it has no step. Blocks that nobody needs are
/// left out; memory does not grow with the recording. `progress` gets 0 to 1.
pub(crate) fn embed(
    trunks: &mut [Trunk],
    head: &Head,
    sound: &[i16],
    voices: &[Voice<'_>],
    mut progress: impl FnMut(f32) -> ControlFlow<()>,
) -> Result<Vec<Option<Box<[f32]>>>, SpeechError> {
    let blocks = needed_blocks(voices, frames_in(sound.len()));
    let mut pools = Pools::new(voices, head);
    let work = |trunk: &mut Trunk, i: usize| features(trunk, sound, blocks[i]);
    in_order(trunks, blocks.len(), work, |i, features| {
        pools.add(blocks[i] * BLOCK_STEPS, &features);
        progress((i + 1) as f32 / blocks.len() as f32)
    })?;
    Ok(pools.finish())
}

fn needed_blocks(voices: &[Voice<'_>], frames: usize) -> Vec<usize> {
    let mut is_needed = vec![false; frames.div_ceil(BLOCK)];
    for voice in voices {
        for step in voice.steps().filter(|step| voice.is_in(*step)) {
            if let Some(is_needed) = is_needed.get_mut(step / BLOCK_STEPS) {
                *is_needed = true;
            }
        }
    }
    (0..is_needed.len()).filter(|block| is_needed[*block]).collect()
}

/// The network on one block, which is heard relative to its own mean.
pub(crate) fn features(
    trunk: &mut Trunk,
    sound: &[i16],
    block: usize,
) -> Result<Block, SpeechError> {
    let first = block * BLOCK;
    let count = BLOCK.min(frames_in(sound.len()) - first);
    let mut frames = Vec::with_capacity(count * BINS);
    trunk.filters.append(sound, first, count, &mut frames);
    take_mean_off(&mut frames);
    let steps = count.div_ceil(STEP_FRAMES);
    trunk.network.run([1, count, BINS], &frames, |shape, values| {
        if values.len() != FEATURES * steps {
            return Err(SpeechError::Engine(format!("the embedding network gave {shape:?}")));
        }
        Ok(turned(values, steps))
    })?
}

fn take_mean_off(frames: &mut [f32]) {
    let mut mean = [0.0_f64; BINS];
    let count = (frames.len() / BINS) as f64;
    for frame in frames.chunks_exact(BINS) {
        mean.iter_mut().zip(frame).for_each(|(mean, value)| *mean += f64::from(*value) / count);
    }
    let mean = mean.map(|mean| mean as f32);
    for frame in frames.chunks_exact_mut(BINS) {
        frame.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= mean);
    }
}

/// From a row for each feature to a row for each step, so that pooling runs along rows.
fn turned(values: &[f32], steps: usize) -> Block {
    /// Features that are turned at a time: few enough that the rows they are in stay in the cache.
    const STRIP: usize = 16;
    let mut block = vec![0.0; values.len()];
    for strip in (0..FEATURES).step_by(STRIP) {
        for (step, row) in block.chunks_exact_mut(FEATURES).enumerate() {
            for (i, value) in row[strip..strip + STRIP].iter_mut().enumerate() {
                *value = values[(strip + i) * steps + step];
            }
        }
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turning_puts_every_value_in_its_step() {
        let steps = 3;
        let values: Vec<f32> = (0..FEATURES * steps).map(|i| i as f32).collect();
        let block = turned(&values, steps);
        assert_eq!(block[1], 3.0);
        assert_eq!(block[FEATURES], 1.0);
        assert_eq!(block[2 * FEATURES + 2_559], (2_559 * 3 + 2) as f32);
    }

    #[test]
    fn the_mean_of_each_bin_is_taken_off() {
        let mut frames: Vec<f32> = (0..2 * BINS).map(|i| i as f32).collect();
        take_mean_off(&mut frames);
        assert!(frames[..BINS].iter().all(|value| *value == -40.0));
        assert!(frames[BINS..].iter().all(|value| *value == 40.0));
    }
}
