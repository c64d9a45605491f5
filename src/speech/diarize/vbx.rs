//! VBx without its HMM: variational Bayes over a mixture of speakers with a PLDA prior, which drops speakers that the
//! embeddings do not need. F. Landini et al., Computer Speech & Language 71 (2022); names as in the paper.

use crate::speech::diarize::matrix::{Matrix, add_scaled, dot};

/// Weight of the evidence of one embedding against the priors; tuned by the model's authors.
const FA: f64 = 0.07;
/// How firm the responsibilities start at the given labels.
const INIT_SMOOTHING: f64 = 7.0;
const MAX_ITERATIONS: usize = 20;
/// A smaller growth of the lower bound ends the iterations.
const EPSILON: f64 = 1e-4;

/// What the iterations came to.
#[derive(Debug)]
pub(crate) struct Vbx {
    /// Of each row for each speaker; a row sums to 1.
    pub(crate) responsibilities: Matrix,
    pub(crate) priors: Vec<f64>,
    /// Evidence lower bound after each iteration.
    pub(crate) elbo: Vec<f64>,
}

/// Starts from `labels`, numbered from 0. `fb` (Fb) is the price of a speaker: more of it leaves fewer.
pub(crate) fn vbx(features: &Matrix, phi: &[f64], labels: &[usize], fb: f64) -> Vbx {
    let speakers = labels.iter().max().map_or(0, |last| last + 1);
    let mut posterior = Vbx {
        responsibilities: initial_responsibilities(labels, speakers),
        priors: vec![1.0 / speakers as f64; speakers],
        elbo: Vec::new(),
    };
    let mut weighted = features.clone();
    for i in 0..features.height() {
        weighted.row_mut(i).iter_mut().zip(phi).for_each(|(value, phi)| *value *= phi.sqrt());
    }
    let log_tau = std::f64::consts::TAU.ln();
    let constant = |row: &[f64]| -0.5 * (dot(row, row) + row.len() as f64 * log_tau);
    let constants: Vec<f64> = features.rows().map(constant).collect();
    for _ in 0..MAX_ITERATIONS {
        let growth = iterate(&mut posterior, &weighted, &constants, phi, fb);
        if growth.is_some_and(|growth| growth < EPSILON) {
            break;
        }
    }
    posterior
}

fn initial_responsibilities(labels: &[usize], speakers: usize) -> Matrix {
    let mut responsibilities = Matrix::zeros(labels.len(), speakers);
    let whole = INIT_SMOOTHING.exp() + speakers as f64 - 1.0;
    for (i, label) in labels.iter().enumerate() {
        responsibilities.row_mut(i).fill(1.0 / whole);
        responsibilities.row_mut(i)[*label] = INIT_SMOOTHING.exp() / whole;
    }
    responsibilities
}

/// One iteration; returns by how much the bound has grown, where there was one before.
fn iterate(
    posterior: &mut Vbx,
    weighted: &Matrix,
    constants: &[f64],
    phi: &[f64],
    fb: f64,
) -> Option<f64> {
    let speakers = posterior.priors.len();
    let models = SpeakerPosteriors::fit(&posterior.responsibilities, weighted, phi, fb);
    let mut bound = 0.5 * fb * models.gain;
    posterior.priors.iter_mut().for_each(|prior| *prior = (*prior + 1e-8).ln());
    for (i, row) in weighted.rows().enumerate() {
        let responsibilities = posterior.responsibilities.row_mut(i);
        for (k, responsibility) in responsibilities.iter_mut().enumerate() {
            let fit = dot(row, models.means.row(k)) - models.penalties[k] + constants[i];
            *responsibility = FA * fit + posterior.priors[k];
        }
        let largest = responsibilities.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = responsibilities.iter().map(|score| (score - largest).exp()).sum();
        let total = largest + sum.ln();
        responsibilities.iter_mut().for_each(|score| *score = (*score - total).exp());
        bound += total;
    }
    let sums = column_sums(&posterior.responsibilities, speakers);
    let whole: f64 = sums.iter().sum();
    posterior.priors = sums.into_iter().map(|sum| sum / whole).collect();
    let before = posterior.elbo.last().copied();
    posterior.elbo.push(bound);
    before.map(|before| bound - before)
}

/// Posterior of each speaker's latent variable, given the responsibilities.
struct SpeakerPosteriors {
    means: Matrix,
    penalties: Vec<f64>,
    /// Their part of the bound.
    gain: f64,
}

impl SpeakerPosteriors {
    fn fit(responsibilities: &Matrix, weighted: &Matrix, phi: &[f64], fb: f64) -> Self {
        let ratio = FA / fb;
        let sums = column_sums(responsibilities, responsibilities.width());
        let mut means = Matrix::zeros(responsibilities.width(), phi.len());
        for (row, responsibilities) in weighted.rows().zip(responsibilities.rows()) {
            for (k, responsibility) in responsibilities.iter().enumerate() {
                add_scaled(means.row_mut(k), *responsibility, row);
            }
        }
        let mut penalties = Vec::with_capacity(sums.len());
        let mut gain = 0.0;
        for (k, sum) in sums.iter().enumerate() {
            let mut penalty = 0.0;
            for (mean, phi) in means.row_mut(k).iter_mut().zip(phi) {
                let variance = 1.0 / (1.0 + ratio * sum * phi);
                *mean *= ratio * variance;
                let square = *mean * *mean;
                penalty += 0.5 * (variance + square) * phi;
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
    fn two_speakers() -> Matrix {
        let row = |i: usize| {
            let side = if i.is_multiple_of(2) { 3.0 } else { -3.0 };
            [side * 4.0, (i % 5) as f64 * 0.1, 0.3, -0.2]
        };
        Matrix::new(4, (0..60).flat_map(row).collect())
    }

    #[test]
    fn a_speaker_too_many_is_taken_away() {
        let labels: Vec<usize> = (0..60).map(|i| if i == 6 { 2 } else { i % 2 }).collect();
        let posterior = vbx(&two_speakers(), &[20.0, 1.0, 1.0, 1.0], &labels, 0.8);
        let kept = posterior.priors.iter().filter(|prior| **prior > 1e-3).count();
        assert_eq!(kept, 2, "{:?}", posterior.priors);
    }

    #[test]
    fn the_bound_never_falls() {
        let labels: Vec<usize> = (0..60).map(|i| i % 5).collect();
        let posterior = vbx(&two_speakers(), &[20.0, 1.0, 1.0, 1.0], &labels, 0.8);
        assert!(posterior.elbo.len() > 1);
        assert!(
            posterior.elbo.windows(2).all(|pair| pair[1] >= pair[0] - 1e-3),
            "{:?}",
            posterior.elbo
        );
    }

    #[test]
    fn responsibilities_of_a_row_sum_to_one() {
        let posterior = vbx(&two_speakers(), &[20.0, 1.0, 1.0, 1.0], &vec![0; 60], 0.8);
        assert!(
            posterior
                .responsibilities
                .rows()
                .all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-12)
        );
        assert_eq!(posterior.priors, [1.0]);
    }
}
