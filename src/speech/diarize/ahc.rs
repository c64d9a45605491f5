//! Agglomerative hierarchical clustering with centroid linkage: the two nearest clusters are merged, again and again; the distance of two clusters
//! is that of their centres.

use crate::speech::diarize::matrix::{Matrix, dot};

/// Clusters the rows of `points`: a row's label, numbered by first appearance.
///
/// Clusters within which no two parts were farther apart than `threshold` when they were merged are kept. Needs 8
/// bytes for each pair of rows.
pub(crate) fn centroid_linkage(points: &Matrix, threshold: f64) -> Vec<usize> {
    let count = points.height();
    let merges = Agglomeration::new(points).merge_all();
    // A later merge can be nearer than an earlier one, so the farthest merge below counts.
    let mut farthest = vec![0.0_f64; count];
    let mut parent: Vec<usize> = (0..2 * count).collect();
    for (node, merge) in (count..).zip(&merges) {
        let below = farthest[merge.left].max(farthest[merge.right]);
        farthest.push(merge.distance.max(below));
        if farthest[node] <= threshold {
            parent[merge.left] = node;
            parent[merge.right] = node;
        }
    }
    let root = |mut node: usize| {
        while parent[node] != node {
            node = parent[node];
        }
        node
    };
    numbered_by_appearance((0..count).map(root))
}

/// Labels from 0 on, in the order in which they first come.
pub(crate) fn numbered_by_appearance(labels: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut seen = std::collections::HashMap::new();
    let mut number = |label| {
        let next = seen.len();
        *seen.entry(label).or_insert(next)
    };
    labels.into_iter().map(&mut number).collect()
}

/// Two nodes of the merges that became one: rows count from 0, merges go on from there.
struct Merge {
    left: usize,
    right: usize,
    distance: f64,
}

/// What is not merged yet. A merged pair lives on in the later one's slot.
struct Agglomeration {
    /// Squared distances of each slot to the slots after it.
    squares: Vec<f64>,
    count: usize,
    /// Rows in the cluster at each slot; 0 where it has moved away.
    sizes: Vec<usize>,
    /// Nearest slot after each slot, with the squared distance to it.
    nearest: Vec<(usize, f64)>,
}

impl Agglomeration {
    fn new(points: &Matrix) -> Self {
        let count = points.height();
        let norms: Vec<f64> = points.rows().map(|row| dot(row, row)).collect();
        let mut squares = Vec::with_capacity(count * count.saturating_sub(1) / 2);
        for i in 0..count {
            for j in i + 1..count {
                let square = norms[i] + norms[j] - 2.0 * dot(points.row(i), points.row(j));
                squares.push(square.max(0.0));
            }
        }
        let mut clusters = Self { squares, count, sizes: vec![1; count], nearest: Vec::new() };
        clusters.nearest = (0..count).map(|slot| clusters.nearest_after(slot)).collect();
        clusters
    }

    fn merge_all(mut self) -> Vec<Merge> {
        let mut nodes: Vec<usize> = (0..self.count).collect();
        let mut merges = Vec::new();
        for node in self.count..(2 * self.count).saturating_sub(1) {
            let slots = (0..self.count).filter(|slot| self.sizes[*slot] > 0);
            let near = |slot: &usize| self.nearest[*slot].1;
            let Some(left) = slots.min_by(|a, b| near(a).total_cmp(&near(b))) else { break };
            let (right, square) = self.nearest[left];
            let distance = square.max(0.0).sqrt();
            merges.push(Merge { left: nodes[left], right: nodes[right], distance });
            nodes[right] = node;
            self.merge(left, right, square);
        }
        merges
    }

    fn at(&self, a: usize, b: usize) -> usize {
        let (a, b) = (a.min(b), a.max(b));
        a * (2 * self.count - a - 1) / 2 + b - a - 1
    }

    fn nearest_after(&self, slot: usize) -> (usize, f64) {
        let mut nearest = (self.count, f64::INFINITY);
        for other in (slot + 1..self.count).filter(|other| self.sizes[*other] > 0) {
            let square = self.squares[self.at(slot, other)];
            if square < nearest.1 {
                nearest = (other, square);
            }
        }
        nearest
    }

    /// Moves the cluster at `left` into the later slot `right`.
    fn merge(&mut self, left: usize, right: usize, square: f64) {
        let (small, large) = (self.sizes[left] as f64, self.sizes[right] as f64);
        let both = small + large;
        self.sizes[right] += self.sizes[left];
        self.sizes[left] = 0;
        for other in 0..self.count {
            if self.sizes[other] == 0 || other == right {
                continue;
            }
            let (to_left, to_right) = (self.at(other, left), self.at(other, right));
            let mean = (small * self.squares[to_left] + large * self.squares[to_right]) / both;
            let moved = mean - small * large / (both * both) * square;
            self.squares[to_right] = moved;
            if other > right {
                continue;
            }
            if moved < self.nearest[other].1 {
                self.nearest[other] = (right, moved);
            } else if self.nearest[other].0 == left || self.nearest[other].0 == right {
                self.nearest[other] = self.nearest_after(other);
            }
        }
        self.nearest[right] = self.nearest_after(right);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_points_share_a_label_and_far_ones_do_not() {
        let points = Matrix::new(1, vec![5.0, 0.0, 5.2, 0.1, 9.0, 5.1]);
        assert_eq!(centroid_linkage(&points, 0.5), [0, 1, 0, 1, 2, 0]);
        assert_eq!(centroid_linkage(&points, 100.0), [0; 6]);
        assert_eq!(centroid_linkage(&points, 0.0), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn one_point_or_none_needs_no_joining() {
        assert_eq!(centroid_linkage(&Matrix::zeros(1, 3), 0.6), [0]);
        assert!(centroid_linkage(&Matrix::zeros(0, 3), 0.6).is_empty());
    }

    #[test]
    fn the_nearest_two_are_always_joined_as_a_naive_search_finds_them() {
        let mut seed = 7_u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(seed >> 8) / f64::from(1 << 24)
        };
        let points = Matrix::new(3, (0..120).map(|_| random()).collect());
        let merges = Agglomeration::new(&points).merge_all();
        assert_eq!(merges.len(), 39);
        let mut clusters: Vec<Option<Vec<usize>>> = (0..40).map(|i| Some(vec![i])).collect();
        let centre = |rows: &[usize]| -> Vec<f64> {
            let mean =
                |d: usize| rows.iter().map(|i| points.row(*i)[d]).sum::<f64>() / rows.len() as f64;
            (0..3).map(mean).collect()
        };
        for merge in merges {
            let centres: Vec<_> = clusters.iter().flatten().map(|rows| centre(rows)).collect();
            let mut least = f64::INFINITY;
            for (i, a) in centres.iter().enumerate() {
                for b in &centres[..i] {
                    let square: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
                    least = least.min(square.sqrt());
                }
            }
            assert!((merge.distance - least).abs() < 1e-9);
            let mut rows = clusters[merge.left].take().unwrap();
            rows.extend(clusters[merge.right].take().unwrap());
            clusters.push(Some(rows));
        }
    }
}
