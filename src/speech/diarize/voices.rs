//! Which voices there are: a space in which speakers are easy to tell apart, and a variational mixture in it.

use crate::speech::diarize::matrix::{Matrix, add_scaled, dot, make_unit};
use crate::speech::diarize::weights::Weights;

/// Values of an embedding.
pub(crate) const EMBEDDING: usize = 256;
/// Values of an embedding in the space of the mixture.
const REDUCED: usize = 128;

/// How much the evidence of one embedding counts against the priors; tuned by the model's authors.
const EVIDENCE: f64 = 0.07;
/// How firm the responsibilities start at the labels of the linkage.
const SMOOTHING: f64 = 7.0;
const ROUNDS: usize = 20;
/// Less growth of the bound than this ends the rounds.
const LEAST_GROWTH: f64 = 1e-4;

/// A space in which speakers have the covariance diag(`spread`) and one speaker's embeddings the identity.
#[derive(Debug)]
pub(crate) struct SpeakerSpace {
    first_mean: Vec<f64>,
    /// Of [`EMBEDDING`] rows.
    reduce: Matrix,
    second_mean: Vec<f64>,
    centre: Vec<f64>,
    rotate: Matrix,
    pub(crate) spread: Vec<f64>,
}

impl SpeakerSpace {
    pub(crate) fn read(weights: &Weights) -> Result<Self, String> {
        let vector = |name: &str, length: usize| -> Result<Vec<f64>, String> {
            Ok(weights.values(name, &[length])?.collect())
        };
        let matrix = |name: &str, height: usize| -> Result<Matrix, String> {
            Ok(Matrix::new(REDUCED, weights.values(name, &[height, REDUCED])?.collect()))
        };
        Ok(Self {
            first_mean: vector("mean1", EMBEDDING)?,
            reduce: matrix("lda", EMBEDDING)?,
            second_mean: vector("mean2", REDUCED)?,
            centre: vector("mu", REDUCED)?,
            rotate: matrix("tr", REDUCED)?,
            spread: vector("psi", REDUCED)?,
        })
    }

    pub(crate) fn place(&self, embeddings: &Matrix) -> Matrix {
        let mut places = Matrix::zeros(0, REDUCED);
        for embedding in embeddings.rows() {
            let centred = scaled_unit(embedding, &self.first_mean);
            let mut reduced = vec![0.0; REDUCED];
            for (value, row) in centred.iter().zip(self.reduce.rows()) {
                add_scaled(&mut reduced, *value, row);
            }
            let mut place = scaled_unit(&reduced, &self.second_mean);
            place.iter_mut().zip(&self.centre).for_each(|(value, centre)| *value -= centre);
            let place: Vec<f64> = self.rotate.rows().map(|row| dot(row, &place)).collect();
            places.push(&place);
        }
        places
    }
}

/// `row - mean`, as long as the root of its number of values.
fn scaled_unit(row: &[f64], mean: &[f64]) -> Vec<f64> {
    let mut row: Vec<f64> = row.iter().zip(mean).map(|(value, mean)| value - mean).collect();
    make_unit(&mut row);
    let length = (row.len() as f64).sqrt();
    row.iter_mut().for_each(|value| *value *= length);
    row
}

/// What the mixture came to.
#[derive(Debug)]
pub(crate) struct Mixture {
    /// How much of each row belongs to each speaker.
    pub(crate) shares: Matrix,
    pub(crate) priors: Vec<f64>,
    /// Lower bound of the likelihood after each round.
    pub(crate) bounds: Vec<f64>,
}

/// VBx without the HMM: starts from `labels` and takes speakers away that the rows do not need.
///
/// `caution` is the price of a speaker (Fb in the papers).
pub(crate) fn mix(places: &Matrix, spread: &[f64], labels: &[usize], caution: f64) -> Mixture {
    let speakers = labels.iter().max().map_or(0, |last| last + 1);
    let mut mixture = Mixture {
        shares: first_shares(labels, speakers),
        priors: vec![1.0 / speakers as f64; speakers],
        bounds: Vec::new(),
    };
    let mut weighted = places.clone();
    for i in 0..places.height() {
        weighted
            .row_mut(i)
            .iter_mut()
            .zip(spread)
            .for_each(|(value, spread)| *value *= spread.sqrt());
    }
    let log_tau = std::f64::consts::TAU.ln();
    let constant = |row: &[f64]| -0.5 * (dot(row, row) + row.len() as f64 * log_tau);
    let constants: Vec<f64> = places.rows().map(constant).collect();
    for _ in 0..ROUNDS {
        let growth = round(&mut mixture, &weighted, &constants, spread, caution);
        if growth.is_some_and(|growth| growth < LEAST_GROWTH) {
            break;
        }
    }
    mixture
}

fn first_shares(labels: &[usize], speakers: usize) -> Matrix {
    let mut shares = Matrix::zeros(labels.len(), speakers);
    let whole = SMOOTHING.exp() + speakers as f64 - 1.0;
    for (i, label) in labels.iter().enumerate() {
        shares.row_mut(i).fill(1.0 / whole);
        shares.row_mut(i)[*label] = SMOOTHING.exp() / whole;
    }
    shares
}

/// One round; returns by how much the bound has grown, where there was one before.
fn round(
    mixture: &mut Mixture,
    weighted: &Matrix,
    constants: &[f64],
    spread: &[f64],
    caution: f64,
) -> Option<f64> {
    let speakers = mixture.priors.len();
    let models = SpeakerModels::fit(&mixture.shares, weighted, spread, caution);
    let mut bound = 0.5 * caution * models.gain;
    mixture.priors.iter_mut().for_each(|prior| *prior = (*prior + 1e-8).ln());
    for (i, row) in weighted.rows().enumerate() {
        let shares = mixture.shares.row_mut(i);
        for (k, share) in shares.iter_mut().enumerate() {
            let fit = dot(row, models.means.row(k)) - models.penalties[k] + constants[i];
            *share = EVIDENCE * fit + mixture.priors[k];
        }
        let largest = shares.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = shares.iter().map(|score| (score - largest).exp()).sum();
        let total = largest + sum.ln();
        shares.iter_mut().for_each(|score| *score = (*score - total).exp());
        bound += total;
    }
    let sums = column_sums(&mixture.shares, speakers);
    let whole: f64 = sums.iter().sum();
    mixture.priors = sums.into_iter().map(|sum| sum / whole).collect();
    let before = mixture.bounds.last().copied();
    mixture.bounds.push(bound);
    before.map(|before| bound - before)
}

/// What is believed of each speaker, given the shares.
struct SpeakerModels {
    means: Matrix,
    penalties: Vec<f64>,
    /// Their part of the bound.
    gain: f64,
}

impl SpeakerModels {
    fn fit(shares: &Matrix, weighted: &Matrix, spread: &[f64], caution: f64) -> Self {
        let ratio = EVIDENCE / caution;
        let sums = column_sums(shares, shares.width());
        let mut means = Matrix::zeros(shares.width(), spread.len());
        for (row, shares) in weighted.rows().zip(shares.rows()) {
            for (k, share) in shares.iter().enumerate() {
                add_scaled(means.row_mut(k), *share, row);
            }
        }
        let mut penalties = Vec::with_capacity(sums.len());
        let mut gain = 0.0;
        for (k, sum) in sums.iter().enumerate() {
            let mut penalty = 0.0;
            for (mean, spread) in means.row_mut(k).iter_mut().zip(spread) {
                let variance = 1.0 / (1.0 + ratio * sum * spread);
                *mean *= ratio * variance;
                let square = *mean * *mean;
                penalty += 0.5 * (variance + square) * spread;
                gain += variance.ln() - variance - square + 1.0;
            }
            penalties.push(penalty);
        }
        Self { means, penalties, gain }
    }
}

fn column_sums(matrix: &Matrix, width: usize) -> Vec<f64> {
    let mut sums = vec![0.0; width];
    matrix.rows().for_each(|row| add_scaled(&mut sums, 1.0, row));
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows around +3 and -3 in the first direction, in turn.
    fn two_voices() -> Matrix {
        let row = |i: usize| {
            let side = if i.is_multiple_of(2) { 3.0 } else { -3.0 };
            [side * 4.0, (i % 5) as f64 * 0.1, 0.3, -0.2]
        };
        Matrix::new(4, (0..60).flat_map(row).collect())
    }

    #[test]
    fn a_speaker_too_many_is_taken_away() {
        let labels: Vec<usize> = (0..60).map(|i| if i == 6 { 2 } else { i % 2 }).collect();
        let mixture = mix(&two_voices(), &[20.0, 1.0, 1.0, 1.0], &labels, 0.8);
        let kept = mixture.priors.iter().filter(|prior| **prior > 1e-3).count();
        assert_eq!(kept, 2, "{:?}", mixture.priors);
    }

    #[test]
    fn the_bound_never_falls() {
        let labels: Vec<usize> = (0..60).map(|i| i % 5).collect();
        let mixture = mix(&two_voices(), &[20.0, 1.0, 1.0, 1.0], &labels, 0.8);
        assert!(mixture.bounds.len() > 1);
        assert!(
            mixture.bounds.windows(2).all(|pair| pair[1] >= pair[0] - 1e-3),
            "{:?}",
            mixture.bounds
        );
    }

    #[test]
    fn shares_of_a_row_sum_to_one() {
        let mixture = mix(&two_voices(), &[20.0, 1.0, 1.0, 1.0], &vec![0; 60], 0.8);
        assert!(mixture.shares.rows().all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-12));
        assert_eq!(mixture.priors, [1.0]);
    }
}
