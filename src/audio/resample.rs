//! From any rate to 16 kHz, in constant memory, one or two channels at a time.

use rubato::audioadapter_buffers::direct::SequentialSliceOfVecs;
use rubato::{Fft, FixedSync, Indexing, Resampler};

const TARGET: usize = 16_000;

/// Frames that go through at once. With two sub-chunks its filter is 512 frames long: steep enough for
/// speech, and a delay of 16 ms that is taken out again.
const CHUNK: usize = 1024;
const SUB_CHUNKS: usize = 2;

/// Resamples planar sound piece by piece.
pub(crate) struct SpeechResampler {
    /// `None` where the rate is right as it is.
    fft: Option<Fft<f32>>,
    waiting: Vec<Vec<f32>>,
    out: Vec<Vec<f32>>,
    rate: u32,
    /// Frames of the delay that are still to be dropped.
    to_skip: usize,
    frames_in: u64,
    frames_out: u64,
}

impl SpeechResampler {
    /// `None` where no filter can be made for that rate.
    pub(crate) fn new(rate: u32, channels: usize) -> Option<Self> {
        let from = usize::try_from(rate).ok()?;
        let fft = if from == TARGET {
            None
        } else {
            let window = rubato::WindowFunction::BlackmanHarris2;
            let fixed = FixedSync::Input;
            Some(Fft::new_custom(from, TARGET, CHUNK, SUB_CHUNKS, channels, window, fixed).ok()?)
        };
        let to_skip = fft.as_ref().map_or(0, Resampler::output_delay);
        Some(Self {
            fft,
            waiting: vec![Vec::new(); channels],
            out: vec![Vec::new(); channels],
            rate,
            to_skip,
            frames_in: 0,
            frames_out: 0,
        })
    }

    /// Takes in planar sound; `give` gets what comes out, planar too, perhaps nothing yet.
    pub(crate) fn push<E>(
        &mut self,
        planes: &[Vec<f32>],
        give: &mut impl FnMut(&[Vec<f32>]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.frames_in += planes.first().map_or(0, Vec::len) as u64;
        if self.fft.is_none() {
            self.frames_out = self.frames_in;
            return give(planes);
        }
        for (waiting, plane) in self.waiting.iter_mut().zip(planes) {
            waiting.extend_from_slice(plane);
        }
        while CHUNK <= self.waiting[0].len() {
            self.run(None);
            self.waiting.iter_mut().for_each(|waiting| drop(waiting.drain(..CHUNK)));
            self.hand_on(u64::MAX, give)?;
        }
        Ok(())
    }

    /// The rest: as many frames in all as the sound is long.
    pub(crate) fn finish<E>(
        mut self,
        give: &mut impl FnMut(&[Vec<f32>]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.fft.is_none() {
            return Ok(());
        }
        let wanted = (self.frames_in * TARGET as u64).div_ceil(u64::from(self.rate.max(1)));
        let mut rest = self.waiting[0].len();
        while self.frames_out < wanted {
            self.waiting.iter_mut().for_each(|waiting| waiting.resize(CHUNK, 0.0));
            self.run(Some(rest));
            self.waiting.iter_mut().for_each(|waiting| waiting.fill(0.0));
            rest = 0;
            let before = self.frames_out;
            self.hand_on(wanted, give)?;
            if self.frames_out == before && self.to_skip == 0 {
                break;
            }
        }
        Ok(())
    }

    /// One chunk from `waiting` to `out`.
    fn run(&mut self, partial: Option<usize>) {
        let Some(fft) = &mut self.fft else { return };
        let channels = self.out.len();
        let room = fft.output_frames_next();
        self.out.iter_mut().for_each(|out| out.resize(room, 0.0));
        let input = SequentialSliceOfVecs::new(&self.waiting, channels, CHUNK);
        let output = SequentialSliceOfVecs::new_mut(&mut self.out, channels, room);
        let (Ok(input), Ok(mut output)) = (input, output) else { return };
        let mut indexing = Indexing::new();
        indexing.partial_len = partial;
        let made = fft.process_into_buffer(&input, &mut output, Some(&indexing));
        let made = made.map_or(0, |(_, made)| made);
        self.out.iter_mut().for_each(|out| out.truncate(made));
    }

    fn hand_on<E>(
        &mut self,
        most: u64,
        give: &mut impl FnMut(&[Vec<f32>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let skipped = self.to_skip.min(self.out[0].len());
        self.to_skip -= skipped;
        let left = usize::try_from(most - self.frames_out.min(most)).unwrap_or(usize::MAX);
        for out in &mut self.out {
            out.drain(..skipped);
            out.truncate(left);
        }
        self.frames_out += self.out[0].len() as u64;
        give(&self.out)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::f64::consts::TAU;

    use super::*;

    /// A tone of `hertz` through the resampler, in pieces of odd size.
    fn resampled(rate: u32, hertz: f64, seconds: f64) -> Vec<f32> {
        let frames = (f64::from(rate) * seconds) as usize;
        let tone: Vec<f32> =
            (0..frames).map(|n| (TAU * hertz * n as f64 / f64::from(rate)).sin() as f32).collect();
        let mut resampler = SpeechResampler::new(rate, 1).unwrap();
        let mut out = Vec::new();
        let mut give = |planes: &[Vec<f32>]| {
            out.extend_from_slice(&planes[0]);
            Ok::<(), Infallible>(())
        };
        for piece in tone.chunks(777) {
            resampler.push(&[piece.to_vec()], &mut give).unwrap();
        }
        resampler.finish(&mut give).unwrap();
        out
    }

    #[test]
    fn a_tone_keeps_its_length_place_and_level_at_every_rate() {
        for rate in [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000] {
            let out = resampled(rate, 440.0, 1.5);
            assert_eq!(out.len(), 24_000, "{rate}");
            let wrong = (4_000..20_000).map(|n| {
                let wanted = (TAU * 440.0 * n as f64 / 16_000.0).sin() as f32;
                (out[n] - wanted).abs()
            });
            // The delay may be half a sample more than it is taken for.
            assert!(wrong.fold(0.0, f32::max) < 0.1, "{rate}");
        }
    }

    #[test]
    fn what_is_too_high_does_not_come_back_as_something_else() {
        let out = resampled(48_000, 11_000.0, 1.0);
        let loudest = out[2_000..14_000].iter().fold(0.0_f32, |peak, x| peak.max(x.abs()));
        assert!(loudest < 0.01, "{loudest}");
    }

    #[test]
    fn a_sound_shorter_than_a_chunk_keeps_its_length() {
        assert_eq!(resampled(48_000, 440.0, 0.01).len(), 160);
        assert_eq!(resampled(44_100, 440.0, 0.0).len(), 0);
    }
}
