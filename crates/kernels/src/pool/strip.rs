//! Strips: some rows of a plane with what lies around them, laid out so that windows are found in two long loops.
//!
//! Rows of small images are short (7 or 14 windows, say), and a loop for each would spend its time on the ends. In a strip the rows
//! follow each other at a distance that is a multiple of the stride, so one loop over all of it folds the columns of the windows
//! of every row. Rows of the same residue by the stride stand together, so a second one folds the rows.

use super::PoolGeometry;
use crate::buffer::Buffer;
use crate::element::Float;
use crate::isa::prefetch;

/// How the planes of a geometry are cut.
pub(super) struct Strips {
    /// Rows of windows of a strip.
    pub(super) rows: usize,
    /// Elements from row to row, a multiple of the stride, and the windows that begin there.
    pitch: usize,
    pub(super) per_row: usize,
    /// Residues of rows that windows read, and the rows of each.
    residues: usize,
    group: usize,
    /// Elements between the first and the last column of a window.
    reach: usize,
}

/// Elements of a strip: what fits into the first-level cache with what is found from it.
const NEAR: usize = 4096;

impl Strips {
    /// None if strips would be much larger than what is in them.
    pub(super) fn new(geo: &PoolGeometry) -> Option<Strips> {
        let reach = (geo.kernel_w - 1).checked_mul(geo.dilation.1)?;
        let high = (geo.kernel_h - 1).checked_mul(geo.dilation.0)?;
        let width = (geo.out_w - 1).checked_mul(geo.stride.1)?.checked_add(reach + 1)?;
        let pitch = width.checked_next_multiple_of(geo.stride.1)?;
        let residues = geo.stride.0.min(high + 1);
        let more = high / geo.stride.0;
        let most = (NEAR / pitch / residues).saturating_sub(more).clamp(1, geo.out_h);
        let rows = geo.out_h.div_ceil(geo.out_h.div_ceil(most));
        let (group, near) = (rows + more, 64 + 4 * geo.in_w);
        let fits = pitch <= near && high <= 64 + 4 * geo.in_h;
        fits.then(|| Strips { rows, pitch, per_row: pitch / geo.stride.1, residues, group, reach })
    }

    /// A strip with `around` everywhere.
    pub(super) fn buffer<T: Float>(&self, around: T) -> Buffer<T> {
        Buffer::filled(self.residues * self.group * self.pitch + self.reach, around)
    }

    /// The windows of all rows of a strip, of one row high.
    pub(super) fn windows(&self) -> usize {
        self.residues * self.group * self.per_row
    }

    /// Where the elements `tap` rows below the first row of the first window begin, in windows.
    pub(super) fn below(&self, geo: &PoolGeometry, tap: usize) -> usize {
        let row = tap * geo.dilation.0;
        (row % geo.stride.0 * self.group + row / geo.stride.0) * self.per_row
    }

    /// Fills a strip whose first row of windows is `first` from the first plane of `x`, and asks for what comes a plane later.
    #[inline(always)]
    pub(super) fn fill<T: Float>(&self, geo: &PoolGeometry, x: &[T], first: usize, around: T, strip: &mut [T]) {
        let left = geo.padding.1;
        let width = geo.in_w.min(self.pitch.saturating_sub(left));
        for residue in 0..self.residues {
            for i in 0..self.group {
                let at = (residue * self.group + i) * self.pitch;
                let row = ((first + i) * geo.stride.0 + residue).wrapping_sub(geo.padding.0);
                if row < geo.in_h {
                    for column in (0..width).step_by(64 / size_of::<T>()) {
                        prefetch(x.as_ptr(), (geo.in_h + row) * geo.in_w + column);
                    }
                    put(&x[row * geo.in_w..][..width], &mut strip[at + left..][..width]);
                } else {
                    strip[at..at + self.pitch].fill(around);
                }
            }
        }
    }
}

/// Copies a short row, without the call that `copy_from_slice` is.
#[inline(always)]
pub(super) fn put<T: Copy>(from: &[T], to: &mut [T]) {
    match from.len() {
        16.. => chunks::<T, 16>(from, to),
        4.. => chunks::<T, 4>(from, to),
        n => to[..n].iter_mut().zip(from).for_each(|(to, &from)| *to = from),
    }
}

/// Copies N elements at a time; the last ones may be some of those before again.
#[inline(always)]
fn chunks<T: Copy, const N: usize>(from: &[T], to: &mut [T]) {
    let n = from.len();
    let mut done = 0;
    while done < n {
        let at = done.min(n - N);
        let chunk = from[at..].first_chunk::<N>().expect("n is at least N");
        *to[at..].first_chunk_mut::<N>().expect("as long as the source") = *chunk;
        done += N;
    }
}
