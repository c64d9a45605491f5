//! Two channels compared: the same twice, one party on each, or a room in stereo.

use std::io;

use crate::audio::Sound;
use crate::audio::scratch::{Pcm, PcmWriter, Scratch};

/// Samples of one look at the levels: 30 ms.
const FRAME: usize = 480;

/// Channels that are this alike are one.
const SAME: f64 = 0.95;
/// Opposed channels would silence each other.
const OPPOSED: f64 = -0.5;
/// A channel this far below the other has nothing to say (60 dB, in energy).
const SILENT: f64 = 1e-6;

/// Level below which nobody speaks: -55 dB of full scale, in energy.
const QUIET: f32 = 3.2e-6;
/// Who speaks is this much louder on his own side: 12 dB, in energy.
const DOMINANT: f32 = 16.0;
/// Of the time in which somebody speaks, one side must be dominant for so much ...
const MOSTLY: f64 = 0.7;
/// ... and each side for so much,
const EACH: f64 = 0.05;
/// and for so many frames at least: 0.6 s.
const LEAST_FRAMES: usize = 20;
/// Parties on the telephone have nothing in common but an echo.
const UNLIKE: f64 = 0.4;

/// Samples that are mixed at once.
const BLOCK: usize = 1 << 16;

/// Writes two channels, and learns how they differ.
pub(crate) struct ChannelWriter {
    writers: [PcmWriter; 2],
    /// Products: left with left, right with right, left with right.
    products: [f64; 3],
    frame: [Vec<f32>; 2],
    /// Mean energy of each whole frame, left and right.
    energies: Vec<[f32; 2]>,
}

impl ChannelWriter {
    pub(crate) fn new(scratch: &Scratch) -> io::Result<Self> {
        Ok(Self {
            writers: [PcmWriter::new(scratch)?, PcmWriter::new(scratch)?],
            products: [0.0; 3],
            frame: [Vec::new(), Vec::new()],
            energies: Vec::new(),
        })
    }

    pub(crate) fn write(&mut self, left: &[f32], right: &[f32]) -> io::Result<()> {
        self.writers[0].write(left.iter().copied())?;
        self.writers[1].write(right.iter().copied())?;
        for (left, right) in left.iter().zip(right) {
            let (l, r) = (f64::from(*left), f64::from(*right));
            self.products[0] += l * l;
            self.products[1] += r * r;
            self.products[2] += l * r;
            self.frame[0].push(*left);
            self.frame[1].push(*right);
            if self.frame[0].len() == FRAME {
                self.energies.push([mean_energy(&self.frame[0]), mean_energy(&self.frame[1])]);
                self.frame.iter_mut().for_each(Vec::clear);
            }
        }
        Ok(())
    }

    /// What an engine is to listen to.
    pub(crate) fn finish(self, scratch: &Scratch) -> io::Result<Sound> {
        let relation = self.relation();
        let [left, right] = self.writers;
        let (left, right) = (left.finish()?, right.finish()?);
        Ok(match relation {
            ChannelLayout::Left => Sound::Mixed(left),
            ChannelLayout::Right => Sound::Mixed(right),
            ChannelLayout::Parties => Sound::Parties(vec![left, right]),
            ChannelLayout::Room => Sound::Mixed(mixed(&left, &right, scratch)?),
        })
    }

    fn relation(&self) -> ChannelLayout {
        let [left, right, both] = self.products;
        if right <= left * SILENT {
            return ChannelLayout::Left;
        }
        if left <= right * SILENT {
            return ChannelLayout::Right;
        }
        let likeness = both / (left * right).sqrt();
        if !(OPPOSED..=SAME).contains(&likeness) {
            return if left < right { ChannelLayout::Right } else { ChannelLayout::Left };
        }
        if likeness.abs() < UNLIKE && self.is_one_party_each() {
            return ChannelLayout::Parties;
        }
        ChannelLayout::Room
    }

    fn is_one_party_each(&self) -> bool {
        let loud = |[left, right]: &&[f32; 2]| QUIET < left.max(*right);
        let spoken: Vec<&[f32; 2]> = self.energies.iter().filter(loud).collect();
        let left = spoken.iter().filter(|[l, r]| r * DOMINANT < *l).count();
        let right = spoken.iter().filter(|[l, r]| l * DOMINANT < *r).count();
        let all = spoken.len() as f64;
        MOSTLY * all <= (left + right) as f64
            && [left, right].iter().all(|side| LEAST_FRAMES <= *side && EACH * all <= *side as f64)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChannelLayout {
    /// One channel says all there is.
    Left,
    Right,
    Parties,
    /// Everybody on both.
    Room,
}

fn mean_energy(frame: &[f32]) -> f32 {
    frame.iter().map(|value| value * value).sum::<f32>() / FRAME as f32
}

fn mixed(left: &Pcm, right: &Pcm, scratch: &Scratch) -> io::Result<Pcm> {
    let mut writer = PcmWriter::new(scratch)?;
    for (left, right) in left.chunks(BLOCK).zip(right.chunks(BLOCK)) {
        let both = left.iter().zip(right);
        writer.write(both.map(|(l, r)| (f32::from(*l) + f32::from(*r)) / 65_534.0))?;
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something like speech: a tone with a noise of its own, on for the given seconds.
    fn voice(seed: u32, on: &[(usize, usize)]) -> Vec<f32> {
        let mut state = seed;
        let mut sound = vec![0.0; 16_000 * 12];
        for (from, to) in on {
            for sample in &mut sound[from * 16_000..to * 16_000] {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *sample = (state >> 8) as f32 / (1 << 24) as f32 * 0.4 - 0.2;
            }
        }
        sound
    }

    fn relation(left: &[f32], right: &[f32]) -> ChannelLayout {
        let dir = tempfile::tempdir().unwrap();
        let mut sides = ChannelWriter::new(&Scratch::below(dir.path()).unwrap()).unwrap();
        sides.write(left, right).unwrap();
        sides.relation()
    }

    #[test]
    fn a_telephone_call_has_one_party_on_each_channel() {
        let left = voice(1, &[(0, 3), (7, 9)]);
        let right = voice(2, &[(3, 7), (8, 12)]);
        assert_eq!(relation(&left, &right), ChannelLayout::Parties);
    }

    #[test]
    fn a_room_in_stereo_is_mixed() {
        let (a, b) = (voice(1, &[(0, 5)]), voice(2, &[(5, 12)]));
        let left: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + 0.6 * b).collect();
        let right: Vec<f32> = a.iter().zip(&b).map(|(a, b)| 0.6 * a + b).collect();
        assert_eq!(relation(&left, &right), ChannelLayout::Room);
    }

    #[test]
    fn the_same_twice_the_same_upside_down_and_one_side_only_are_one() {
        let sound = voice(1, &[(0, 12)]);
        let opposed: Vec<f32> = sound.iter().map(|value| -value).collect();
        let nothing = vec![0.0; sound.len()];
        assert_eq!(relation(&sound, &sound), ChannelLayout::Left);
        assert_eq!(relation(&sound, &opposed), ChannelLayout::Left);
        assert_eq!(relation(&nothing, &sound), ChannelLayout::Right);
        assert_eq!(relation(&sound, &nothing), ChannelLayout::Left);
    }
}
