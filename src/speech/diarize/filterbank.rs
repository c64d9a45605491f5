//! Log mel filterbank as in Kaldi: the input of the embedding network.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// Values of a frame.
pub(crate) const BINS: usize = 80;
/// Samples from one frame to the next: 10 ms.
pub(crate) const HOP: usize = 160;
/// Samples of a frame: 25 ms.
const LENGTH: usize = 400;
const FFT: usize = 512;
const PREEMPHASIS: f32 = 0.97;
const LOWEST_HZ: f32 = 20.0;
const HIGHEST_HZ: f32 = 8_000.0;
/// The network was not made for fewer samples; shorter sound is followed by silence.
const SHORTEST: usize = 1_680;

/// Frames of so many samples.
pub(crate) fn frames_in(samples: usize) -> usize {
    (samples.max(SHORTEST) - LENGTH) / HOP + 1
}

/// One triangle on the mel scale.
struct Filter {
    /// First line of the spectrum under it.
    first: usize,
    weights: Vec<f32>,
}

/// Makes frames; keeps its tables and buffers from call to call.
pub(crate) struct FilterBank {
    window: Vec<f32>,
    filters: Vec<Filter>,
    fft: Arc<dyn RealToComplex<f32>>,
    frame: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    power: Vec<f32>,
}

impl FilterBank {
    pub(crate) fn new() -> Self {
        let fft = RealFftPlanner::<f32>::new().plan_fft_forward(FFT);
        let turn = std::f64::consts::TAU / (LENGTH - 1) as f64;
        let window = (0..LENGTH).map(|i| (0.54 - 0.46 * (turn * i as f64).cos()) as f32).collect();
        Self {
            window,
            filters: filters(),
            frame: fft.make_input_vec(),
            spectrum: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            power: vec![0.0; FFT / 2],
            fft,
        }
    }

    /// Appends `count` frames from frame `first` on; silence follows the end of `sound`.
    pub(crate) fn append(&mut self, sound: &[i16], first: usize, count: usize, out: &mut Vec<f32>) {
        for frame in first..first + count {
            let samples = sound.get(frame * HOP..).unwrap_or_default();
            self.load(&samples[..samples.len().min(LENGTH)]);
            let done = self.fft.process_with_scratch(
                &mut self.frame,
                &mut self.spectrum,
                &mut self.scratch,
            );
            done.expect("the buffers were made for this transform");
            for (power, line) in self.power.iter_mut().zip(&self.spectrum) {
                *power = line.norm_sqr();
            }
            out.extend(self.filters.iter().map(|filter| {
                let lines = &self.power[filter.first..];
                let sum: f32 =
                    filter.weights.iter().zip(lines).map(|(weight, line)| weight * line).sum();
                sum.max(f32::EPSILON).ln()
            }));
        }
    }

    /// Takes the mean off, lifts the treble, and fades both ends.
    fn load(&mut self, samples: &[i16]) {
        let sum: i32 = samples.iter().map(|sample| i32::from(*sample)).sum();
        let mean = sum as f32 / LENGTH as f32;
        let centred = |i: usize| samples.get(i).copied().map_or(0.0, f32::from) - mean;
        self.frame[LENGTH..].fill(0.0);
        let mut before = centred(0);
        for (i, (value, fade)) in self.frame[..LENGTH].iter_mut().zip(&self.window).enumerate() {
            let here = centred(i);
            *value = (here - PREEMPHASIS * before) * fade;
            before = here;
        }
    }
}

fn filters() -> Vec<Filter> {
    let mel = |hertz: f32| 1127.0 * (1.0 + hertz / 700.0).ln();
    let line_hertz = 16_000.0 / FFT as f32;
    let lowest = mel(LOWEST_HZ);
    let width = (mel(HIGHEST_HZ) - lowest) / (BINS + 1) as f32;
    let triangle = |bin: usize| {
        let left = lowest + bin as f32 * width;
        let (centre, right) = (left + width, left + 2.0 * width);
        let height = |line: usize| {
            let at = mel(line as f32 * line_hertz);
            ((at - left) / width).min((right - at) / width)
        };
        debug_assert!(left < centre);
        let under: Vec<usize> = (0..FFT / 2).filter(|line| height(*line) > 0.0).collect();
        let first = under.first().copied().unwrap_or(0);
        Filter { first, weights: under.into_iter().map(height).collect() }
    };
    (0..BINS).map(triangle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_loudest_in_its_own_bin() {
        let tone = |i: usize| (1_000.0 * (i as f64 * std::f64::consts::TAU / 16.0).sin()) as i16;
        let sound: Vec<i16> = (0..1_680).map(tone).collect();
        let mut frames = Vec::new();
        FilterBank::new().append(&sound, 0, 2, &mut frames);
        assert_eq!(frames.len(), 2 * BINS);
        let loudest = |frame: &[f32]| (0..BINS).max_by(|a, b| frame[*a].total_cmp(&frame[*b]));
        // 1 kHz is 1000 mel; 81 steps of 34.7 mel begin at 31.7 mel.
        assert_eq!(loudest(&frames[..BINS]), Some(27));
        assert_eq!(loudest(&frames[BINS..]), Some(27));
    }

    #[test]
    fn silence_is_the_floor() {
        let mut frames = Vec::new();
        FilterBank::new().append(&[], 0, frames_in(0), &mut frames);
        assert_eq!(frames.len(), 9 * BINS);
        assert!(frames.iter().all(|value| *value == f32::EPSILON.ln()));
    }
}
