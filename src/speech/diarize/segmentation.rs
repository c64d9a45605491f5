//! Runs the segmentation network over a recording: who of three local speakers is active in each window.

use std::ops::ControlFlow;

use crate::speech::SpeechError;
use crate::speech::diarize::parallel::in_order;
use crate::speech::diarize::windows::{Bits, FRAMES, LOCAL, Segmentation, WINDOW, starts};
use crate::speech::onnx::Network;

/// Windows that run best together.
const BATCH: usize = 8;

/// Looks at every window of `sound`; `progress` gets 0 to 1.
pub(crate) fn segment(
    networks: &mut [Network],
    sound: &[i16],
    mut progress: impl FnMut(f32) -> ControlFlow<()>,
) -> Result<Segmentation, SpeechError> {
    let starts = starts(sound.len());
    // A short recording is shared out evenly.
    let batch = starts.len().div_ceil(networks.len()).min(BATCH);
    let batches: Vec<&[usize]> = starts.chunks(batch).collect();
    let mut active = Vec::with_capacity(starts.len());
    let work = |network: &mut Network, i: usize| look(network, sound, batches[i]);
    in_order(networks, batches.len(), work, |_, bits| {
        active.extend(bits);
        progress(active.len() as f32 / starts.len() as f32)
    })?;
    Ok(Segmentation { starts, active })
}

fn look(network: &mut Network, sound: &[i16], starts: &[usize]) -> Result<Vec<Bits>, SpeechError> {
    let mut waves = Vec::with_capacity(starts.len() * WINDOW);
    for (i, start) in starts.iter().enumerate() {
        let samples = sound.iter().skip(*start).take(WINDOW);
        waves.extend(samples.map(|sample| f32::from(*sample) / 32_768.0));
        waves.resize((i + 1) * WINDOW, 0.0);
    }
    let cells = starts.len() * FRAMES * LOCAL;
    network.run([starts.len(), 1, WINDOW], &waves, |shape, values| {
        if values.len() != cells {
            return Err(SpeechError::Engine(format!("the segmentation network gave {shape:?}")));
        }
        Ok(values.chunks_exact(FRAMES * LOCAL).map(bits).collect())
    })?
}

fn bits(window: &[f32]) -> Bits {
    let frame = |i: usize| {
        let local = (0..LOCAL).filter(|k| window[i * LOCAL + k] > 0.5);
        local.fold(0, |bits, k| bits | 1 << k)
    };
    std::array::from_fn(frame)
}
