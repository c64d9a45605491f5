//! Probabilistic linear discriminant analysis (PLDA): maps embeddings into a space in which speakers are easy to
//! tell apart. S. Ioffe, ECCV 2006.

use crate::speech::diarize::matrix::{Matrix, add_scaled, dot, make_unit};
use crate::speech::diarize::weights::Weights;

/// Values of an embedding.
pub(crate) const EMBEDDING: usize = 256;
/// Values of an embedding in the space after the transform.
pub(crate) const FEATURES: usize = 128;

/// Into a space in which the covariance between speakers is diag(`phi`) and within a speaker the identity.
#[derive(Debug)]
pub(crate) struct PldaTransform {
    embedding_mean: Vec<f64>,
    /// Of [`EMBEDDING`] rows.
    lda: Matrix,
    lda_mean: Vec<f64>,
    mu: Vec<f64>,
    rotation: Matrix,
    pub(crate) phi: Vec<f64>,
}

impl PldaTransform {
    pub(crate) fn read(weights: &Weights) -> Result<Self, String> {
        let vector = |name: &str, length: usize| -> Result<Vec<f64>, String> {
            Ok(weights.values(name, &[length])?.collect())
        };
        let matrix = |name: &str, height: usize| -> Result<Matrix, String> {
            Ok(Matrix::new(FEATURES, weights.values(name, &[height, FEATURES])?.collect()))
        };
        Ok(Self {
            embedding_mean: vector("mean1", EMBEDDING)?,
            lda: matrix("lda", EMBEDDING)?,
            lda_mean: vector("mean2", FEATURES)?,
            mu: vector("mu", FEATURES)?,
            rotation: matrix("tr", FEATURES)?,
            phi: vector("psi", FEATURES)?,
        })
    }

    /// [`EMBEDDING`] values a row become [`FEATURES`].
    pub(crate) fn transform(&self, embeddings: &Matrix) -> Matrix {
        let mut features = Matrix::zeros(0, FEATURES);
        for embedding in embeddings.rows() {
            let centred = scaled_unit(embedding, &self.embedding_mean);
            let mut projected = vec![0.0; FEATURES];
            for (value, row) in centred.iter().zip(self.lda.rows()) {
                add_scaled(&mut projected, *value, row);
            }
            let mut feature = scaled_unit(&projected, &self.lda_mean);
            feature.iter_mut().zip(&self.mu).for_each(|(value, mu)| *value -= mu);
            let feature: Vec<f64> = self.rotation.rows().map(|row| dot(row, &feature)).collect();
            features.push(&feature);
        }
        features
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
