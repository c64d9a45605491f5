//! Who is who: from embeddings of local speakers to the speakers of the recording.

use crate::model::SpeakerBounds;
use crate::speech::SAMPLE_RATE;
use crate::speech::diarize::ahc::centroid_linkage;
use crate::speech::diarize::kmeans::{kmeans, means_by_label};
use crate::speech::diarize::matrix::{Matrix, add_scaled, dot, position_of_largest};
use crate::speech::diarize::plda::{EMBEDDING, PldaTransform};
use crate::speech::diarize::vbx::vbx;
use crate::speech::diarize::windows::{Bits, FRAMES, LOCAL, STEP, Segmentation, is_heard};

/// Share of a window that must be clean for an embedding to be clustered; others are only assigned.
const CLEAN_SHARE: f64 = 0.2;
/// More embeddings than this are thinned out: the linkage's memory and time grow with the square.
const MOST_CLUSTERED: usize = 3_000;
/// Distance of unit embeddings at which the linkage ends.
const LINKAGE_CUT: f64 = 0.6;
/// Price of a speaker in the posterior (Fb), and the seconds of clean speech from which it is asked in full: with
/// less it would merge everybody.
const FB: f64 = 0.8;
const FULL_FB_SECONDS: f64 = 120.0;
/// Speakers with less of the embeddings than this are gone.
const LEAST_PRIOR: f64 = 1e-7;
/// Two local speakers who are active together in more frames than this are two people.
const TOGETHER_FRAMES: usize = 20;

/// Embeddings of local speakers, by window; `None` where nothing was heard.
pub(crate) type Embeddings = Vec<[Option<Box<[f32]>>; LOCAL]>;

/// Who each local speaker is.
#[derive(Debug)]
pub(crate) struct Clustering {
    /// A voice for each speaker.
    pub(crate) centroids: Matrix,
    /// For each window and local speaker, the row of `centroids`.
    pub(crate) assignment: Vec<[Option<usize>; LOCAL]>,
}

/// Finds the speakers of a recording, as many as `bounds` allow.
pub(crate) fn cluster(
    segmentation: &Segmentation,
    clean_frames: &[[usize; LOCAL]],
    embeddings: &Embeddings,
    bounds: SpeakerBounds,
    plda: &PldaTransform,
) -> Clustering {
    let chosen = thinned(chosen(clean_frames));
    let rows = chosen.iter().map(|(window, k)| embeddings[*window][*k].as_deref());
    // An active speaker whose frames fall between the steps of the network has no embedding.
    let training = Matrix::from_rows(EMBEDDING, rows.map(|row| row.unwrap_or(&[0.0; EMBEDDING])));
    if training.height() < 2 {
        return everybody_is_one(segmentation, embeddings, training);
    }
    let found = find_centroids(&training, plda);
    let wanted = within(bounds, found.height()).min(training.height());
    if wanted != found.height() {
        let labels = kmeans(&training.to_unit_rows(), wanted);
        let centroids = means_by_label(&training, &labels, &Matrix::zeros(wanted, EMBEDDING));
        let assignment = assign(segmentation, embeddings, &centroids, free);
        return Clustering { centroids, assignment };
    }
    let apart = |bits: &Bits, scores: &[Option<Vec<f64>>; LOCAL]| {
        if are_together(bits) { one_to_one(scores) } else { free(bits, scores) }
    };
    let assignment = assign(segmentation, embeddings, &found, apart);
    Clustering { centroids: found, assignment }
}

/// The (window, local speaker) pairs whose embeddings are good enough to cluster.
pub(crate) fn chosen(clean_frames: &[[usize; LOCAL]]) -> Vec<(usize, usize)> {
    let mut chosen = Vec::new();
    for (window, clean) in clean_frames.iter().enumerate() {
        let good = (0..LOCAL).filter(|k| clean[*k] as f64 >= CLEAN_SHARE * FRAMES as f64);
        chosen.extend(good.map(|k| (window, k)));
    }
    chosen
}

/// At most [`MOST_CLUSTERED`] of them, spread evenly.
fn thinned(chosen: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    if chosen.len() <= MOST_CLUSTERED {
        return chosen;
    }
    let (last, gaps) = (chosen.len() - 1, MOST_CLUSTERED - 1);
    (0..MOST_CLUSTERED).map(|i| chosen[(i * last + gaps / 2) / gaps]).collect()
}

/// Too little clean speech to tell speakers apart.
fn everybody_is_one(
    segmentation: &Segmentation,
    embeddings: &Embeddings,
    training: Matrix,
) -> Clustering {
    let mut centroids = training;
    if centroids.height() == 0 {
        let all =
            Matrix::from_rows(EMBEDDING, embeddings.iter().flatten().flatten().map(AsRef::as_ref));
        let labels = vec![0; all.height()];
        centroids = means_by_label(&all, &labels, &Matrix::zeros(1, EMBEDDING));
    }
    let one = |bits: &Bits| std::array::from_fn(|k| is_heard(bits, k).then_some(0));
    Clustering { centroids, assignment: segmentation.active.iter().map(one).collect() }
}

fn within(bounds: SpeakerBounds, found: usize) -> usize {
    let most = bounds.at_most.map_or(usize::MAX, |most| usize::from(most.max(1)));
    let least = bounds.at_least.map_or(1, |least| usize::from(least.max(1)));
    found.max(least).min(most)
}

/// As many speakers as the linkage and the posterior find.
fn find_centroids(training: &Matrix, plda: &PldaTransform) -> Matrix {
    let labels = centroid_linkage(&training.to_unit_rows(), LINKAGE_CUT);
    let posterior = vbx(&plda.transform(training), &plda.phi, &labels, fb(training.height()));
    let mut centroids = Matrix::zeros(0, training.width());
    for (k, prior) in posterior.priors.iter().enumerate() {
        if *prior <= LEAST_PRIOR {
            continue;
        }
        let mut centroid = vec![0.0; training.width()];
        let mut whole = 0.0;
        for (row, shares) in training.rows().zip(posterior.responsibilities.rows()) {
            add_scaled(&mut centroid, shares[k], row);
            whole += shares[k];
        }
        centroid.iter_mut().for_each(|value| *value /= whole);
        centroids.push(&centroid);
    }
    centroids
}

pub(crate) fn fb(embeddings: usize) -> f64 {
    let seconds = (embeddings * STEP) as f64 / SAMPLE_RATE as f64;
    FB * (seconds / FULL_FB_SECONDS).min(1.0)
}

/// Lets `choose` decide in each window, given how near each local speaker who is heard is to each centroid.
fn assign(
    segmentation: &Segmentation,
    embeddings: &Embeddings,
    centroids: &Matrix,
    choose: impl Fn(&Bits, &[Option<Vec<f64>>; LOCAL]) -> [Option<usize>; LOCAL],
) -> Vec<[Option<usize>; LOCAL]> {
    let units = centroids.to_unit_rows();
    let windows = segmentation.active.iter().zip(embeddings);
    let score = |(bits, embeddings): (&Bits, &[Option<Box<[f32]>>; LOCAL])| {
        let scores = std::array::from_fn(|k| {
            is_heard(bits, k).then(|| nearness(embeddings[k].as_deref(), &units))
        });
        choose(bits, &scores)
    };
    windows.map(score).collect()
}

/// Cosine of an embedding to each of the unit rows; 0 where there is no embedding.
pub(crate) fn nearness(embedding: Option<&[f32]>, units: &Matrix) -> Vec<f64> {
    let Some(embedding) = embedding else { return vec![0.0; units.height()] };
    let unit = Matrix::from_rows(embedding.len(), [embedding]).to_unit_rows();
    units.rows().map(|row| dot(unit.row(0), row)).collect()
}

fn are_together(bits: &Bits) -> bool {
    let both = |pair: u8| bits.iter().filter(|bits| **bits & pair == pair).count();
    [0b011, 0b101, 0b110].into_iter().any(|pair| both(pair) > TOGETHER_FRAMES)
}

/// Everybody is whom they sound like most.
fn free(_: &Bits, scores: &[Option<Vec<f64>>; LOCAL]) -> [Option<usize>; LOCAL] {
    let nearest = |scores: &Option<Vec<f64>>| position_of_largest(scores.iter().flatten().copied());
    scores.each_ref().map(nearest)
}

/// No two are the same person: as many as possible are somebody, and then they sound alike as much as possible.
fn one_to_one(scores: &[Option<Vec<f64>>; LOCAL]) -> [Option<usize>; LOCAL] {
    let options = scores.each_ref().map(|scores| most_alike(scores.as_deref().unwrap_or_default()));
    let mut best = ((0, f64::NEG_INFINITY), [None; LOCAL]);
    for a in &options[0] {
        for b in &options[1] {
            for c in &options[2] {
                let picks = [*a, *b, *c];
                let people = picks.iter().flatten().count();
                let is_clash =
                    (0..LOCAL).any(|k| picks[k].is_some() && picks[..k].contains(&picks[k]));
                let score = |k: usize| Some(scores[k].as_ref()?[picks[k]?]);
                let sum = (0..LOCAL).filter_map(score).sum();
                if !is_clash && (people, sum) > best.0 {
                    best = ((people, sum), picks);
                }
            }
        }
    }
    best.1
}

/// Nobody, or one of the [`LOCAL`] largest: with as many to place, no other can be in the best assignment.
fn most_alike(scores: &[f64]) -> Vec<Option<usize>> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order.truncate(LOCAL);
    order.into_iter().map(Some).chain([None]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_who_speak_together_are_two_people() {
        let scores = [Some(vec![0.9, 0.8, 0.1]), Some(vec![0.9, 0.2, 0.3]), None];
        assert_eq!(one_to_one(&scores), [Some(1), Some(0), None]);
        assert_eq!(free(&[0; FRAMES], &scores), [Some(0), Some(0), None]);
    }

    #[test]
    fn who_is_left_over_is_nobody() {
        let scores = [Some(vec![0.5]), Some(vec![0.9]), None];
        assert_eq!(one_to_one(&scores), [None, Some(0), None]);
    }

    #[test]
    fn bounds_hold_and_most_wins() {
        let bounds = |at_least, at_most| SpeakerBounds { at_least, at_most };
        assert_eq!(within(bounds(None, None), 3), 3);
        assert_eq!(within(bounds(Some(4), None), 3), 4);
        assert_eq!(within(bounds(None, Some(2)), 3), 2);
        assert_eq!(within(bounds(Some(5), Some(2)), 3), 2);
        assert_eq!(within(bounds(Some(0), Some(0)), 3), 1);
    }

    #[test]
    fn a_long_recording_is_thinned_evenly() {
        let all: Vec<(usize, usize)> = (0..10_000).map(|i| (i, 0)).collect();
        let few = thinned(all);
        assert_eq!(few.len(), MOST_CLUSTERED);
        assert_eq!((few[0].0, few[MOST_CLUSTERED - 1].0), (0, 9_999));
        assert!(few.windows(2).all(|pair| (3..=4).contains(&(pair[1].0 - pair[0].0))));
    }
}
