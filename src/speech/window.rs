//! Windows: what a recognizer gets at once. Contiguous original sound with one offset, cut where nobody
//! speaks; nothing is carried over from one to the next.

use std::ops::Range;

use crate::model::{SpeakerId, Turn};
use crate::speech::{SAMPLE_RATE, loudness};

/// Gap between turns of one speaker that still make one window, in seconds.
const GAP: f64 = 2.0;
/// Longest window before padding, in seconds: engines are made for 30.
const LONGEST: f64 = 28.0;
/// A turn that is longer is cut at the quietest place after so many seconds.
const CUT_AFTER: f64 = 18.0;
const SHORTEST: f64 = 0.25;
/// Padding on both sides of the turns, up to the neighbour's.
const PAD: f64 = 0.3;

/// One window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Window {
    /// Which of the signals it is cut from.
    pub(crate) party: usize,
    /// Who speaks; `None` where several may.
    pub(crate) speaker: Option<SpeakerId>,
    /// Where somebody speaks, in seconds: not empty, in order, without overlap.
    pub(crate) pieces: Vec<(f64, f64)>,
    /// First and last second that the recognizer gets: the pieces and a little around them.
    pub(crate) padded: (f64, f64),
}

impl Window {
    fn new(party: usize, speaker: Option<SpeakerId>, piece: (f64, f64)) -> Self {
        Self { party, speaker, pieces: vec![piece], padded: piece }
    }

    pub(crate) fn start(&self) -> f64 {
        self.pieces[0].0
    }

    pub(crate) fn end(&self) -> f64 {
        self.pieces[self.pieces.len() - 1].1
    }

    /// The samples that the recognizer gets.
    pub(crate) fn samples(&self, length: usize) -> Range<usize> {
        let sample = |seconds: f64| ((seconds * SAMPLE_RATE as f64) as usize).min(length);
        sample(self.padded.0)..sample(self.padded.1)
    }
}

/// Windows of one speaker each, for engines without word times. `turns` do not overlap.
pub(crate) fn by_speaker(party: usize, turns: &[Turn], sound: &[i16]) -> Vec<Window> {
    build(party, turns, sound, |window, turn| {
        window.speaker == turn.speaker && turn.start - window.end() <= GAP
    })
}

/// Windows across speakers, for engines whose words are told apart afterwards.
pub(crate) fn by_pause(party: usize, turns: &[Turn], sound: &[i16]) -> Vec<Window> {
    let mut windows = build(party, turns, sound, |window, turn| turn.start - window.end() <= GAP);
    windows.iter_mut().for_each(|window| window.speaker = None);
    windows
}

fn build(
    party: usize,
    turns: &[Turn],
    sound: &[i16],
    belongs: impl Fn(&Window, &Turn) -> bool,
) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for turn in turns {
        for turn in cut(*turn, sound) {
            match windows.last_mut() {
                Some(window) if belongs(window, &turn) && turn.end - window.start() <= LONGEST => {
                    window.pieces.push((turn.start, turn.end));
                }
                _ => windows.push(Window::new(party, turn.speaker, (turn.start, turn.end))),
            }
        }
    }
    windows.retain(|window| window.end() - window.start() >= SHORTEST);
    pad(&mut windows, sound.len() as f64 / SAMPLE_RATE as f64);
    windows
}

/// A turn in parts that fit, cut at quiet places.
fn cut(turn: Turn, sound: &[i16]) -> Vec<Turn> {
    let mut parts = Vec::new();
    let mut rest = turn;
    while rest.end - rest.start > LONGEST {
        let from = sample(rest.start + CUT_AFTER, sound);
        let to = sample(rest.start + LONGEST, sound);
        let at = (from + loudness::quiet_place(&sound[from..to])) as f64 / SAMPLE_RATE as f64;
        // Sound that ends before the turn does cannot be cut any further.
        if at <= rest.start {
            break;
        }
        parts.push(Turn { end: at, ..rest });
        rest.start = at;
    }
    parts.push(rest);
    parts
}

fn sample(seconds: f64, sound: &[i16]) -> usize {
    ((seconds * SAMPLE_RATE as f64) as usize).min(sound.len())
}

fn pad(windows: &mut [Window], total: f64) {
    for at in 0..windows.len() {
        let before = if at == 0 { 0.0 } else { windows[at - 1].end() };
        let after = windows.get(at + 1).map_or(total, Window::start);
        let window = &mut windows[at];
        let (start, end) = (window.start(), window.end());
        window.padded =
            ((start - PAD).max(before.min(start)).max(0.0), (end + PAD).min(after.max(end)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(speaker: u16, start: f64, end: f64) -> Turn {
        Turn { speaker: Some(SpeakerId(speaker)), start, end }
    }

    fn spans(windows: &[Window]) -> Vec<(f64, f64)> {
        windows.iter().map(|window| (window.start(), window.end())).collect()
    }

    #[test]
    fn turns_of_one_speaker_are_joined_over_short_gaps() {
        let sound = vec![0; 60 * SAMPLE_RATE];
        let turns = [turn(0, 1.0, 3.0), turn(0, 4.5, 6.0), turn(1, 6.1, 8.0), turn(1, 11.0, 12.0)];
        let windows = by_speaker(0, &turns, &sound);
        assert_eq!(spans(&windows), [(1.0, 6.0), (6.1, 8.0), (11.0, 12.0)]);
        assert_eq!(windows[0].padded, (0.7, 6.1));
        assert_eq!(windows[1].padded, (6.0, 8.3));
        assert_eq!(spans(&by_pause(0, &turns, &sound)), [(1.0, 8.0), (11.0, 12.0)]);
    }

    #[test]
    fn a_long_turn_is_cut_where_it_is_quiet() {
        let mut sound = vec![1_000_i16; 70 * SAMPLE_RATE];
        sound[20 * SAMPLE_RATE..21 * SAMPLE_RATE].fill(1);
        let windows = by_speaker(0, &[turn(0, 0.0, 65.0)], &sound);
        assert!(windows.iter().all(|window| window.end() - window.start() <= LONGEST));
        assert!((20.0..21.0).contains(&windows[0].end()), "{windows:?}");
        assert_eq!((windows[0].start(), windows[windows.len() - 1].end()), (0.0, 65.0));
    }

    #[test]
    fn what_is_too_short_to_be_a_word_is_no_window() {
        assert_eq!(by_speaker(0, &[turn(0, 1.0, 1.2)], &[0; 32_000]), []);
        assert_eq!(by_speaker(0, &[], &[]), []);
    }
}
