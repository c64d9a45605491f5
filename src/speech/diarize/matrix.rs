//! Rows of numbers, and the little arithmetic that the clustering needs.

/// A table of f64, row after row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Matrix {
    width: usize,
    values: Vec<f64>,
}

impl Matrix {
    pub(crate) fn zeros(height: usize, width: usize) -> Self {
        Self { width, values: vec![0.0; height * width] }
    }

    /// `values` are whole rows of `width`, which is not 0.
    pub(crate) fn new(width: usize, values: Vec<f64>) -> Self {
        debug_assert_eq!(values.len() % width, 0);
        Self { width, values }
    }

    pub(crate) fn from_rows<'a>(width: usize, rows: impl IntoIterator<Item = &'a [f32]>) -> Self {
        let values = rows.into_iter().flatten().copied().map(f64::from);
        Self::new(width, values.collect())
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn height(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    pub(crate) fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.width..][..self.width]
    }

    pub(crate) fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.values[i * self.width..][..self.width]
    }

    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.values.chunks_exact(self.width.max(1))
    }

    pub(crate) fn push(&mut self, row: &[f64]) {
        debug_assert_eq!(row.len(), self.width);
        self.values.extend_from_slice(row);
    }

    /// The same rows, each of length 1.
    pub(crate) fn to_unit_rows(&self) -> Self {
        let mut units = self.clone();
        units.values.chunks_exact_mut(self.width.max(1)).for_each(make_unit);
        units
    }
}

/// Several sums side by side, so that the processor need not wait for one before the next.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_parts, b_parts) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a_parts.remainder().iter().zip(b_parts.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_parts.zip(b_parts) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// Adds `factor` times `b` to `a`.
pub(crate) fn add_scaled(a: &mut [f64], factor: f64, b: &[f64]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += factor * b;
    }
}

pub(crate) fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Scales to length 1; a row of zeros stays.
pub(crate) fn make_unit(row: &mut [f64]) {
    let length = dot(row, row).sqrt().max(1e-12);
    row.iter_mut().for_each(|value| *value /= length);
}

/// The first of the largest.
pub(crate) fn position_of_largest(values: impl IntoIterator<Item = f64>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (i, value) in values.into_iter().enumerate() {
        if best.is_none_or(|(_, largest)| value > largest) {
            best = Some((i, value));
        }
    }
    best.map(|(i, _)| i)
}
