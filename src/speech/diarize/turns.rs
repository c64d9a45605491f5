//! From named voices back to time: who is on in each frame, and the turns that this makes.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::model::{SpeakerId, Turn};
use crate::speech::SAMPLE_RATE;
use crate::speech::diarize::matrix::position_of_largest;
use crate::speech::diarize::windows::{FRAME, LOCAL, Segmentation};

/// Samples that a frame sees; its middle is its time.
const SEEN: usize = 991;

/// How many windows say that a speaker is on, for each frame.
#[derive(Debug)]
pub(crate) struct Support {
    speakers: usize,
    votes: Vec<u8>,
}

impl Support {
    pub(crate) fn count(
        segmentation: &Segmentation,
        assignment: &[[Option<usize>; LOCAL]],
        speakers: usize,
    ) -> Self {
        let mut votes = vec![0; segmentation.frames() * speakers];
        for ((first, bits), assigned) in segmentation.windows().zip(assignment) {
            for speaker in 0..speakers {
                let local = (0..LOCAL).filter(|k| assigned[*k] == Some(speaker));
                let mask = local.fold(0, |mask, k| mask | 1 << k);
                if mask == 0 {
                    continue;
                }
                for (i, bits) in bits.iter().enumerate() {
                    votes[(first + i) * speakers + speaker] += u8::from(bits & mask != 0);
                }
            }
        }
        Self { speakers, votes }
    }

    pub(crate) fn frame(&self, frame: usize) -> &[u8] {
        &self.votes[frame * self.speakers..][..self.speakers]
    }

    /// The speaker with most support over these frames; `None` where there is none at all.
    pub(crate) fn most_supported(&self, frames: Range<usize>) -> Option<usize> {
        let mut sums = vec![0_u64; self.speakers];
        for frame in frames {
            let votes = self.frame(frame).iter();
            sums.iter_mut().zip(votes).for_each(|(sum, votes)| *sum += u64::from(*votes));
        }
        let is_supported = sums.iter().any(|sum| *sum > 0);
        let largest = position_of_largest(sums.into_iter().map(|sum| sum as f64));
        largest.filter(|_| is_supported)
    }
}

/// A turn by a column of [`Support`], or by one beyond them: a voice without a name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Run {
    pub(crate) start: f64,
    pub(crate) end: f64,
    pub(crate) column: usize,
}

/// Puts the best `count` speakers on in each frame: first the one of the utterance (`main`), then by support, on
/// equal support who was on before, then the lower number. `columns` is the number of speakers and unnamed voices.
pub(crate) fn runs(
    support: &Support,
    count: &[u8],
    main: &[Option<usize>],
    columns: usize,
    samples: usize,
) -> Vec<Run> {
    let mut on: Vec<(usize, usize)> = Vec::new();
    let mut runs = Vec::new();
    for (frame, (count, main)) in count.iter().zip(main).enumerate() {
        let wanted = usize::from(*count).min(columns);
        let now = best(support.frame(frame), &on, *main, columns, wanted);
        let gone = on.iter().filter(|(column, _)| !now.contains(column));
        runs.extend(gone.filter_map(|(column, first)| run(*first, frame, *column, samples)));
        let since =
            |column: usize| on.iter().find(|(on, _)| *on == column).map_or(frame, |on| on.1);
        on = now.into_iter().map(|column| (column, since(column))).collect();
    }
    let last = count.len().saturating_sub(1);
    runs.extend(on.iter().filter_map(|(column, first)| run(*first, last, *column, samples)));
    runs.sort_by(earlier);
    runs
}

fn best(
    votes: &[u8],
    before: &[(usize, usize)],
    main: Option<usize>,
    columns: usize,
    wanted: usize,
) -> Vec<usize> {
    let mut best = Vec::with_capacity(wanted);
    let weight = |column: usize| {
        let votes = votes.get(column).copied().unwrap_or(0);
        let was_on = before.iter().any(|(on, _)| *on == column);
        (main == Some(column), votes, was_on)
    };
    while best.len() < wanted {
        let left = (0..columns).rev().filter(|column| !best.contains(column));
        // The last of the largest is the lowest number.
        let Some(next) = left.max_by_key(|column| weight(*column)) else { break };
        best.push(next);
    }
    best
}

/// From the middle of the frame `first` to the middle of `end`, but not past the end of the sound.
fn run(first: usize, end: usize, column: usize, samples: usize) -> Option<Run> {
    let middle = |frame: usize| {
        (frame * FRAME) as f64 / SAMPLE_RATE as f64 + SEEN as f64 / (2 * SAMPLE_RATE) as f64
    };
    let sound = samples as f64 / SAMPLE_RATE as f64;
    let run = Run { start: middle(first), end: middle(end).min(sound), column };
    (run.start < run.end).then_some(run)
}

/// Numbers speakers in the order in which they first speak. Columns from `speakers` on stay unnamed.
pub(crate) fn order_of_appearance(
    runs: &[Run],
    exclusive: &[Run],
    speakers: usize,
) -> BTreeMap<usize, SpeakerId> {
    let mut all: Vec<&Run> = runs.iter().chain(exclusive).collect();
    all.retain(|run| run.column < speakers);
    all.sort_by(|a, b| earlier(a, b));
    let mut ids = BTreeMap::new();
    for run in all {
        let next = SpeakerId(u16::try_from(ids.len()).unwrap_or(u16::MAX));
        ids.entry(run.column).or_insert(next);
    }
    ids
}

fn earlier(a: &Run, b: &Run) -> Ordering {
    let times = a.start.total_cmp(&b.start).then(a.end.total_cmp(&b.end));
    times.then(a.column.cmp(&b.column))
}

pub(crate) fn named(runs: Vec<Run>, ids: &BTreeMap<usize, SpeakerId>) -> Vec<Turn> {
    let turn = |run: Run| {
        let speaker = ids.get(&run.column).copied();
        Turn { speaker, start: run.start, end: run.end }
    };
    runs.into_iter().map(turn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn support(frames: &[[u8; 2]]) -> Support {
        Support { speakers: 2, votes: frames.as_flattened().to_vec() }
    }

    fn columns(support: &Support, count: &[u8], columns: usize) -> Vec<(usize, usize, usize)> {
        let main = vec![None; count.len()];
        let frame = |time: f64| ((time - 0.030_968_75) / 0.016_875).round() as usize;
        let runs = runs(support, count, &main, columns, 1_000_000);
        runs.iter().map(|run| (frame(run.start), frame(run.end), run.column)).collect()
    }

    #[test]
    fn on_equal_support_who_was_on_goes_on() {
        let votes = support(&[[0, 2], [2, 2], [3, 2], [2, 2], [0, 0]]);
        assert_eq!(columns(&votes, &[1, 1, 1, 1, 0], 2), [(0, 2, 1), (2, 4, 0)]);
    }

    #[test]
    fn more_voices_than_speakers_are_unnamed() {
        let votes = support(&[[2, 1], [2, 1], [0, 0]]);
        let found = columns(&votes, &[3, 3, 0], 3);
        assert_eq!(found, [(0, 2, 0), (0, 2, 1), (0, 2, 2)]);
        let runs =
            [Run { start: 0.0, end: 1.0, column: 2 }, Run { start: 0.5, end: 1.0, column: 1 }];
        let ids = order_of_appearance(&runs, &[], 2);
        let turns = named(runs.to_vec(), &ids);
        assert_eq!([turns[0].speaker, turns[1].speaker], [None, Some(SpeakerId(0))]);
    }

    #[test]
    fn the_speaker_of_the_utterance_comes_first() {
        let votes = support(&[[2, 1], [2, 1]]);
        let found = runs(&votes, &[1, 0], &[Some(1), None], 2, 1_000_000);
        assert_eq!(found.iter().map(|run| run.column).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn turns_end_with_the_sound() {
        let votes = support(&[[1, 0], [1, 0], [1, 0]]);
        let main = [None; 3];
        assert_eq!(runs(&votes, &[1, 1, 1], &main, 2, 600)[0].end, 600.0 / 16_000.0);
        assert!(runs(&votes, &[1, 1, 1], &main, 2, 400).is_empty());
    }
}
