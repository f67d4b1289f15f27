//! Runs: walks several layouts of one shape together, an inner stretch at a time.
//!
//! Neighbouring dimensions that are contiguous in every layout are merged first, so that kernels get the longest
//! possible stretches and never an index for each element.

use smallvec::SmallVec;

use crate::layout::Layout;

/// The plan of a walk through `N` layouts of the same shape.
#[derive(Debug)]
pub(crate) struct Runs<const N: usize> {
    /// Outer dimensions after merging: size and the strides of each layout.
    outer: SmallVec<[(usize, [usize; N]); 6]>,
    /// The length of each run.
    pub(crate) len: usize,
    /// The strides inside of a run.
    pub(crate) strides: [usize; N],
    offsets: [usize; N],
}

impl<const N: usize> Runs<N> {
    pub(crate) fn new(layouts: [&Layout; N]) -> Self {
        let mut dims: SmallVec<[(usize, [usize; N]); 6]> = SmallVec::new();
        for (axis, &size) in layouts[0].shape.iter().enumerate() {
            let strides = layouts.map(|l| l.strides[axis]);
            if size == 1 {
                continue;
            }
            match dims.last_mut() {
                Some((n, s)) if (0..N).all(|i| s[i] == strides[i].saturating_mul(size)) => {
                    (*n, *s) = (*n * size, strides)
                }
                _ => dims.push((size, strides)),
            }
        }
        let (len, strides) = dims.pop().unwrap_or((1, [1; N]));
        Runs { outer: dims, len, strides, offsets: layouts.map(|l| l.offset) }
    }

    /// Calls `visit` with the offset of each run in each layout, in row-major order.
    pub(crate) fn for_each(&self, mut visit: impl FnMut([usize; N])) {
        if self.len == 0 || self.outer.iter().any(|d| d.0 == 0) {
            return;
        }
        let mut offsets = self.offsets;
        let mut counters: SmallVec<[usize; 6]> = SmallVec::from_elem(0, self.outer.len());
        loop {
            visit(offsets);
            let mut axis = self.outer.len();
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                let (size, strides) = &self.outer[axis];
                counters[axis] += 1;
                if counters[axis] < *size {
                    (0..N).for_each(|i| offsets[i] += strides[i]);
                    break;
                }
                counters[axis] = 0;
                (0..N).for_each(|i| offsets[i] -= strides[i] * (size - 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;

    #[test]
    fn a_contiguous_layout_is_one_run() {
        let layout = Layout::contiguous(Shape::from([2, 3, 4]));
        let runs = Runs::new([&layout, &layout]);
        let mut seen = Vec::new();
        runs.for_each(|o| seen.push(o));
        assert_eq!((runs.len, seen), (24, vec![[0, 0]]));
    }

    #[test]
    fn a_broadcast_row_is_a_run_for_each_row() {
        let x = Layout::contiguous(Shape::from([2, 3]));
        let row = Layout::contiguous(Shape::from([3])).expand(&x.shape);
        let column = Layout::contiguous(Shape::from([2, 1])).expand(&x.shape);
        let runs = Runs::new([&x, &row, &column]);
        let mut seen = Vec::new();
        runs.for_each(|o| seen.push(o));
        assert_eq!((runs.len, runs.strides, seen), (3, [1, 1, 0], vec![[0, 0, 0], [3, 0, 1]]));
    }

    #[test]
    fn empty_shapes_have_no_runs() {
        let layout = Layout::contiguous(Shape::from([2, 0, 3]));
        Runs::new([&layout]).for_each(|_| panic!("a run in an empty layout"));
    }
}
