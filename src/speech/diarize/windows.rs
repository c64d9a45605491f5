//! Windows of 10 s over a recording, and what the segmentation network saw in each.
//!
//! The network tells up to three *local* speakers apart in a window; who they are across windows is for the
//! clustering to say. Its frames are 270 samples apart.

/// Samples of a window.
pub(crate) const WINDOW: usize = 160_000;
/// Samples between the starts of two windows. Published is 1 s; 2 s halves the price at the same error rate.
pub(crate) const STEP: usize = 32_000;
/// Frames of a window.
pub(crate) const FRAMES: usize = 589;
/// Speakers that the network can tell apart in a window.
pub(crate) const LOCAL: usize = 3;
/// Samples from one frame to the next.
pub(crate) const FRAME: usize = 270;
/// Fewer clean frames than this give no embedding; the mask is then all of the speaker's frames.
const MIN_CLEAN: usize = 3;

/// One byte for each frame of a window: bit `k` stands for local speaker `k`.
pub(crate) type Bits = [u8; FRAMES];

/// First samples of the windows over so many samples; the last one may reach past the end.
pub(crate) fn starts(samples: usize) -> Vec<usize> {
    let steps = samples.saturating_sub(WINDOW).div_ceil(STEP);
    (0..=steps).map(|step| step * STEP).collect()
}

/// What was seen in all windows of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segmentation {
    pub(crate) starts: Vec<usize>,
    /// Who is active, for each window.
    pub(crate) active: Vec<Bits>,
}

impl Segmentation {
    /// Frames of the whole recording.
    pub(crate) fn frames(&self) -> usize {
        nearest_frame(self.starts.last().map_or(0, |last| last + WINDOW)) + 1
    }

    /// The windows, each with its first frame in the recording.
    pub(crate) fn windows(&self) -> impl Iterator<Item = (usize, &Bits)> {
        self.starts.iter().map(|start| nearest_frame(*start)).zip(&self.active)
    }

    /// How many speak at a time: for each frame the mean over the windows that cover it.
    pub(crate) fn speaker_count(&self) -> Vec<u8> {
        let mut total = vec![0_u8; self.frames()];
        let mut cover = vec![0_u8; self.frames()];
        for (first, bits) in self.windows() {
            for (i, bits) in bits.iter().enumerate() {
                // At most six windows cover a frame, so these sums stay small.
                total[first + i] += bits.count_ones() as u8;
                cover[first + i] += 1;
            }
        }
        let means = total.iter().zip(&cover);
        let means = means.map(|(total, cover)| f64::from(*total) / f64::from((*cover).max(1)));
        means.map(|mean| mean.round_ties_even() as u8).collect()
    }

    /// Where the voice of each local speaker is best heard: alone, unless that is hardly ever.
    pub(crate) fn masks(&self) -> Masks {
        let mut masks = Masks { bits: Vec::new(), clean_frames: Vec::new() };
        for bits in &self.active {
            let mut clean = [0; LOCAL];
            for (k, clean) in clean.iter_mut().enumerate() {
                *clean = bits.iter().filter(|bits| **bits == 1 << k).count();
            }
            let alone_will_do =
                (0..LOCAL).filter(|k| clean[*k] >= MIN_CLEAN).fold(0, |all, k| all | 1 << k);
            let mask = |bits: u8| if bits.count_ones() == 1 { bits } else { bits & !alone_will_do };
            masks.bits.push(bits.map(mask));
            masks.clean_frames.push(clean);
        }
        masks
    }
}

/// Which frames an embedding is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Masks {
    pub(crate) bits: Vec<Bits>,
    /// For each window and local speaker, the frames in which nobody else is active.
    pub(crate) clean_frames: Vec<[usize; LOCAL]>,
}

/// Whether local speaker `k` is active anywhere in a window.
pub(crate) fn is_heard(bits: &Bits, k: usize) -> bool {
    bits.iter().any(|bits| bits >> k & 1 == 1)
}

fn nearest_frame(sample: usize) -> usize {
    (sample as f64 / FRAME as f64).round_ties_even() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_window(bits: impl Fn(usize) -> u8) -> Segmentation {
        Segmentation { starts: vec![0], active: vec![std::array::from_fn(bits)] }
    }

    #[test]
    fn windows_start_every_two_seconds_and_cover_the_end() {
        assert_eq!(starts(0), [0]);
        assert_eq!(starts(160_000), [0]);
        assert_eq!(starts(160_001), [0, 32_000]);
        assert_eq!(starts(192_000), [0, 32_000]);
        assert_eq!(starts(192_001), [0, 32_000, 64_000]);
    }

    #[test]
    fn a_speaker_is_masked_alone_where_that_is_enough() {
        // Speaker 0 alone for 5 frames, then with speaker 1, who is alone for 2 frames only.
        let bits = |i| match i {
            0..5 => 0b01,
            5..10 => 0b11,
            10..12 => 0b10,
            _ => 0,
        };
        let masks = one_window(bits).masks();
        assert_eq!(masks.clean_frames[0], [5, 2, 0]);
        assert_eq!(masks.bits[0][..13], [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 0]);
    }

    #[test]
    fn halves_are_rounded_to_even() {
        // Two windows cover a frame: one hears nobody and one hears one, two, three speakers.
        let second: Bits = std::array::from_fn(|i| [0b1, 0b11, 0b111][i % 3]);
        let both = Segmentation { starts: vec![0, 32_000], active: vec![[0; FRAMES], second] };
        let count = both.speaker_count();
        assert_eq!(count[..3], [0, 0, 0]);
        // Frame 119 is the first of the second window: 0.5, 1 and 1.5.
        assert_eq!(count[119..122], [0, 1, 2]);
    }
}
