//! k-means: clusters of a number that the user has given.

use crate::speech::diarize::matrix::{Matrix, add_scaled, squared_distance};

/// Starts tried; the tightest clusters win.
const RESTARTS: u64 = 3;
const MAX_ITERATIONS: usize = 300;
/// Centres that move less than this have converged. Points are of length 1.
const TOLERANCE: f64 = 1e-7;

/// A label below `clusters` for each row of `points`; always the same for the same points.
pub(crate) fn kmeans(points: &Matrix, clusters: usize) -> Vec<usize> {
    let mut best: Option<(f64, Vec<usize>)> = None;
    for seed in 1..=RESTARTS {
        let (cost, labels) = lloyd(points, first_centres(points, clusters, &mut Rng(seed)));
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            best = Some((cost, labels));
        }
    }
    best.map_or_else(Vec::new, |(_, labels)| labels)
}

/// k-means++: a point becomes a centre the more easily the farther it is from the centres so far.
fn first_centres(points: &Matrix, clusters: usize, rng: &mut Rng) -> Matrix {
    let mut centres = Matrix::zeros(0, points.width());
    let mut distances = vec![1.0; points.height()];
    for cluster in 0..clusters {
        let centre = points.row(rng.pick(&distances));
        centres.push(centre);
        for (far, point) in distances.iter_mut().zip(points.rows()) {
            let square = squared_distance(point, centre);
            *far = if cluster == 0 { square } else { square.min(*far) };
        }
    }
    centres
}

/// Lloyd's rounds. Returns the sum of squared distances and the labels.
fn lloyd(points: &Matrix, mut centres: Matrix) -> (f64, Vec<usize>) {
    let mut labels = vec![0; points.height()];
    let mut cost = 0.0;
    for _ in 0..MAX_ITERATIONS {
        cost = 0.0;
        for (label, point) in labels.iter_mut().zip(points.rows()) {
            let squares = centres.rows().map(|centre| squared_distance(point, centre)).enumerate();
            let (nearest, square) =
                squares.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, f64::INFINITY));
            *label = nearest;
            cost += square;
        }
        let moved = means_by_label(points, &labels, &centres);
        let farthest = moved.rows().zip(centres.rows()).map(|(a, b)| squared_distance(a, b));
        let has_converged = farthest.fold(0.0, f64::max) < TOLERANCE * TOLERANCE;
        centres = moved;
        if has_converged {
            break;
        }
    }
    (cost, labels)
}

/// The mean of the rows with each label; where there are none, the row of `otherwise`.
pub(crate) fn means_by_label(points: &Matrix, labels: &[usize], otherwise: &Matrix) -> Matrix {
    let mut means = Matrix::zeros(otherwise.height(), points.width());
    let mut counts = vec![0_usize; otherwise.height()];
    for (label, point) in labels.iter().zip(points.rows()) {
        add_scaled(means.row_mut(*label), 1.0, point);
        counts[*label] += 1;
    }
    for (label, count) in counts.into_iter().enumerate() {
        match count {
            0 => means.row_mut(label).copy_from_slice(otherwise.row(label)),
            _ => means.row_mut(label).iter_mut().for_each(|value| *value /= count as f64),
        }
    }
    means
}

/// A small generator of numbers that look random (splitmix64).
struct Rng(u64);

impl Rng {
    fn below_one(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ bits >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A position, each as likely as its weight; the first where all weights are 0.
    fn pick(&mut self, weights: &[f64]) -> usize {
        let mut left = self.below_one() * weights.iter().sum::<f64>();
        for (i, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return i;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_whatever_the_start() {
        let near = |i: usize| (i % 3) as f64 * 10.0 + (i % 7) as f64 * 0.1;
        let points = Matrix::new(1, (0..60).map(near).collect());
        let labels = kmeans(&points, 3);
        for (i, label) in labels.iter().enumerate() {
            assert_eq!(*label, labels[i % 3]);
        }
        assert_ne!(labels[0], labels[1]);
        assert_ne!(labels[1], labels[2]);
        assert_eq!(labels, kmeans(&points, 3));
    }

    #[test]
    fn equal_points_can_be_asked_for_two_clusters() {
        let labels = kmeans(&Matrix::new(2, vec![1.0; 8]), 2);
        assert!(labels.iter().all(|label| *label < 2));
    }
}
