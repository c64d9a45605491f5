//! The second look: stretches of speech by one person, each named by its own embedding.
//!
//! Clustering names local speakers for a whole window, which blurs quick changes. An utterance has no such blur.

use crate::speech::diarize::clustering::nearness;
use crate::speech::diarize::matrix::{Matrix, position_of_largest};
use crate::speech::diarize::turns::Support;
use crate::speech::diarize::windows::{Bits, FRAMES, Segmentation};

/// Frames at both ends of a window that are not trusted.
const EDGE: usize = 10;
/// Frames by which windows may differ on where a speaker changes.
const REACH: usize = 4;
/// Two of five windows that cover a frame must see the change.
const SHARE: (u32, u32) = (2, 5);
/// Half a second; anything shorter has no voice of its own.
const SHORTEST: usize = 30;

/// Frames of one utterance, `first` to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: usize,
    pub(crate) end: usize,
}

impl Span {
    fn is_short(self) -> bool {
        self.end - self.first < SHORTEST
    }
}

/// The utterances of a recording, in order.
pub(crate) fn find(segmentation: &Segmentation, count: &[u8]) -> Vec<Span> {
    let changes = changes(segmentation);
    let mut spans: Vec<Span> = Vec::new();
    for speech in runs(count.iter().map(|count| *count > 0)) {
        let from = changes.partition_point(|frame| *frame <= speech.first);
        let to = changes.partition_point(|frame| *frame < speech.end);
        let mut first = speech.first;
        for end in changes[from..to].iter().copied().chain([speech.end]) {
            let span = Span { first, end };
            match spans.last_mut() {
                Some(before) if span.is_short() && first - before.end <= 1 => before.end = end,
                _ => spans.push(span),
            }
            first = end;
        }
    }
    spans
}

/// Frames where enough of the windows that cover them see the set of speakers change.
fn changes(segmentation: &Segmentation) -> Vec<usize> {
    let mut cover = vec![0_u32; segmentation.frames()];
    let mut hits = vec![0_u32; segmentation.frames()];
    for (first, bits) in segmentation.windows() {
        let near = local_change(bits);
        for i in EDGE..FRAMES - EDGE {
            cover[first + i] += 1;
            hits[first + i] += u32::from(near[i]);
        }
    }
    let agreed = |(hits, cover): (&u32, &u32)| *hits > 0 && hits * SHARE.1 >= cover * SHARE.0;
    let places = runs(hits.iter().zip(&cover).map(agreed));
    places.into_iter().map(|run| (run.first + run.end) / 2).collect()
}

/// Frames that are at most [`REACH`] from a change within the window.
fn local_change(bits: &Bits) -> [bool; FRAMES] {
    let mut near = [false; FRAMES];
    for i in (1..FRAMES).filter(|i| bits[*i] != bits[i - 1]) {
        near[i.saturating_sub(REACH)..(i + REACH + 1).min(FRAMES)].fill(true);
    }
    near
}

/// Stretches in which `is_on` holds.
fn runs(is_on: impl ExactSizeIterator<Item = bool>) -> Vec<Span> {
    let length = is_on.len();
    let mut runs = Vec::new();
    let mut open = None;
    for (i, is_on) in is_on.enumerate() {
        match open {
            None if is_on => open = Some(i),
            Some(first) if !is_on => {
                runs.push(Span { first, end: i });
                open = None;
            }
            _ => {}
        }
    }
    runs.extend(open.map(|first| Span { first, end: length }));
    runs
}

/// The speaker of each utterance, as a row of `centroids`.
pub(crate) fn name(
    spans: &[Span],
    embeddings: &[Option<Box<[f32]>>],
    centroids: &Matrix,
    support: &Support,
) -> Vec<usize> {
    let units = centroids.to_unit_rows();
    let mut before = 0;
    let mut named = Vec::with_capacity(spans.len());
    for (span, embedding) in spans.iter().zip(embeddings) {
        let nearest = match embedding {
            Some(embedding) if !span.is_short() => {
                position_of_largest(nearness(Some(embedding), &units))
            }
            _ => support.most_supported(span.first..span.end),
        };
        before = nearest.unwrap_or(before);
        named.push(before);
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(speakers: &[(usize, u8)]) -> Vec<(usize, usize)> {
        let mut bits = [0; FRAMES];
        let mut at = 0;
        for (length, who) in speakers {
            bits[at..at + length].fill(*who);
            at += length;
        }
        let segmentation = Segmentation { starts: vec![0], active: vec![bits] };
        let spans = find(&segmentation, &segmentation.speaker_count());
        spans.into_iter().map(|span| (span.first, span.end)).collect()
    }

    #[test]
    fn utterances_end_at_pauses_and_where_the_speaker_changes() {
        assert_eq!(
            spans(&[(50, 0), (100, 1), (50, 0), (60, 1), (60, 2)]),
            [(50, 150), (200, 260), (260, 320)]
        );
    }

    #[test]
    fn a_crumb_joins_the_one_before() {
        assert_eq!(spans(&[(100, 1), (20, 2), (100, 0)]), [(0, 120)]);
        assert_eq!(spans(&[(50, 0), (20, 2), (100, 0)]), [(50, 70)]);
    }

    #[test]
    fn silence_has_no_utterance() {
        assert!(spans(&[]).is_empty());
    }
}
