//! Padded copies of an image in which every tap of a strided convolution reads neighbouring elements.
//!
//! The plain loop: `plane[c][a][b][i][j] = image[c][i*stride + a - before][j*stride + b - before]`, zero outside, for the
//! residues a and b that the taps of the kernel have modulo the stride. With stride 1 that is the image in a frame of zeros; with
//! stride 2, up to four planes of a quarter of its size. An image that needs no frame is used where it is.
//!
//! The tricks: the frame is zeroed once for many images; rows are copied by whole vectors with the last one overlapping, every second
//! or third element of a row by shuffles of them; planes of several KiB are a whole odd number of cache lines apart, so that the
//! same pixel of neighbouring channels does not fall into one set of the cache.

use crate::element::Float;
use crate::isa::{Isa, Simd, SimdBody};
use std::ops::Range;

/// One axis of the planes.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// Elements of the image.
    pub(crate) size: usize,
    /// Zeros before the first element; negative if the first elements are never read.
    pub(crate) before: isize,
    /// Distance in the image of neighbours in a plane.
    pub(crate) stride: usize,
    /// The residues that have a plane.
    pub(crate) residues: Vec<usize>,
    /// Elements of a plane.
    pub(crate) len: usize,
}

impl Axis {
    /// The axis of an image that a kernel is slid over.
    pub(crate) fn slid(size: usize, before: usize, kernel: usize, dilation: usize, stride: usize, out: usize) -> Axis {
        let mut residues = vec![0];
        if stride > 1 {
            residues = (0..kernel).map(|r| r * dilation % stride).collect();
            residues.sort_unstable();
            residues.dedup();
        }
        Axis { size, before: before as isize, stride, residues, len: (kernel - 1) * dilation / stride + out }
    }

    /// The plane and the offset in it of a distance in the image.
    pub(crate) fn tap(&self, distance: usize) -> (usize, usize) {
        let residue = distance % self.stride;
        let plane = self.residues.iter().position(|&r| r == residue).unwrap_or(0);
        (plane, distance / self.stride)
    }

    /// Whether planes and image are the same.
    fn is_whole(&self) -> bool {
        self.stride == 1 && self.before == 0 && self.len <= self.size
    }

    /// The elements of the plane of a residue that are inside of the image, and where the first one is in the image.
    pub(crate) fn inside(&self, residue: usize) -> (Range<usize>, usize) {
        let stride = self.stride as isize;
        let lack = self.before - residue as isize;
        let first = ((lack + stride - 1).div_euclid(stride)).clamp(0, self.len as isize);
        let end = ((self.size as isize + lack + stride - 1).div_euclid(stride)).clamp(first, self.len as isize);
        let start = if first < end { first * stride - lack } else { 0 };
        (first as usize..end as usize, start as usize)
    }
}

/// The planes of an image.
#[derive(Clone, Debug)]
pub(crate) struct Planes {
    /// Channels of the image.
    pub(crate) channels: usize,
    /// Rows of a plane.
    pub(crate) rows: Axis,
    /// Columns of a plane.
    pub(crate) columns: Axis,
    /// Elements between rows.
    pub(crate) pitch: usize,
    /// Elements between planes.
    pub(crate) plane: usize,
    /// Whether the image itself serves as its planes.
    pub(crate) in_place: bool,
}

impl Planes {
    /// Planes for the two axes. The image is used in place if it may be and has the form.
    pub(crate) fn new(channels: usize, rows: Axis, columns: Axis, may_be_in_place: bool) -> Planes {
        let in_place = may_be_in_place && rows.is_whole() && columns.is_whole();
        let (pitch, plane) = if in_place {
            (columns.size, rows.size * columns.size)
        } else {
            let lines = (rows.len * columns.len).div_ceil(16);
            let lines = if lines >= 16 { lines | 1 } else { lines };
            (columns.len, lines * 16)
        };
        Planes { channels, rows, columns, pitch, plane, in_place }
    }

    /// Planes without some of the first rows and so many rows in all, both multiples of the stride; None if that is all of them
    /// or the image serves as its planes.
    pub(crate) fn of_rows(&self, first: usize, fewer: usize) -> Option<Planes> {
        if self.in_place || fewer == 0 {
            return None;
        }
        let mut rows = self.rows.clone();
        rows.before -= first as isize;
        rows.len -= fewer / rows.stride;
        Some(Planes::new(self.channels, rows, self.columns.clone(), false))
    }

    /// Planes of one channel.
    pub(crate) fn of_channel(&self) -> usize {
        self.rows.residues.len() * self.columns.residues.len()
    }

    /// Elements of the planes of one channel.
    pub(crate) fn channel(&self) -> usize {
        self.of_channel() * self.plane
    }

    /// The offset of a tap in the planes of a channel.
    pub(crate) fn tap(&self, down: usize, right: usize) -> usize {
        let ((a, i), (b, j)) = (self.rows.tap(down), self.columns.tap(right));
        (a * self.columns.residues.len() + b) * self.plane + i * self.pitch + j
    }

    /// Copies some channels of an image into planes that were all zero or held another image: `image` begins with the first
    /// channel, `to` has `channels * self.channel()` elements.
    pub(crate) fn fill<T: Float>(&self, isa: Isa, channels: usize, image: &[T], to: &mut [T]) {
        self.fill_rows(isa, channels, image, to, 0..self.rows.len);
    }

    /// [`Planes::fill`] for some rows of each plane.
    pub(crate) fn fill_rows<T: Float>(&self, isa: Isa, channels: usize, image: &[T], to: &mut [T], rows: Range<usize>) {
        assert!(image.len() >= channels * self.rows.size * self.columns.size, "the image has its channels");
        assert!(to.len() >= channels * self.channel(), "there is room for the planes");
        // SAFETY: the set comes from detection; the lengths were checked, and rows and columns inside of the image
        // are inside of the slices.
        unsafe { T::simd(isa, Fill { planes: self, channels, rows, image: image.as_ptr(), to: to.as_mut_ptr() }) }
    }
}

struct Fill<'a, T> {
    planes: &'a Planes,
    channels: usize,
    rows: Range<usize>,
    image: *const T,
    to: *mut T,
}

impl<T: Float> SimdBody<T> for Fill<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        let p = self.planes;
        for c in 0..self.channels {
            for (a, &down) in p.rows.residues.iter().enumerate() {
                let (inside, first_row) = p.rows.inside(down);
                let rows = inside.start.max(self.rows.start)..inside.end.min(self.rows.end);
                if rows.is_empty() {
                    continue;
                }
                let first_row = first_row + (rows.start - inside.start) * p.rows.stride;
                for (b, &right) in p.columns.residues.iter().enumerate() {
                    let (columns, first_column) = p.columns.inside(right);
                    let at = (c * p.of_channel() + a * p.columns.residues.len() + b) * p.plane;
                    let row = (c * p.rows.size + first_row) * p.columns.size;
                    // SAFETY: the caller's promise: the plane is inside of `to`, and so are the rows and columns in the image.
                    unsafe {
                        let line = Lines {
                            from: self.image.add(row + first_column),
                            from_line: p.rows.stride * p.columns.size,
                            to: self.to.add(at + rows.start * p.pitch + columns.start),
                            to_line: p.pitch,
                            count: rows.len(),
                        };
                        let (n, stride) = (columns.len(), p.columns.stride);
                        match stride {
                            1 => line.each(
                                #[inline(always)]
                                |from, to| copy::<S, H>(from, to, n),
                            ),
                            2 if n >= H::N => line.each(
                                #[inline(always)]
                                |from, to| copy_strided::<S, H, 2>(from, to, n),
                            ),
                            3 if n >= H::N => line.each(
                                #[inline(always)]
                                |from, to| copy_strided::<S, H, 3>(from, to, n),
                            ),
                            _ => line.each(
                                #[inline(always)]
                                |from, to| (0..n).for_each(|j| *to.add(j) = *from.add(j * stride)),
                            ),
                        }
                    }
                }
            }
        }
    }
}

/// Rows of an image and where they go.
struct Lines<T> {
    from: *const T,
    from_line: usize,
    to: *mut T,
    to_line: usize,
    count: usize,
}

impl<T> Lines<T> {
    /// Calls `f(from, to)` for each row; a loop of its own for each way to copy one.
    #[inline(always)]
    fn each(&self, f: impl Fn(*const T, *mut T)) {
        for i in 0..self.count {
            f(self.from.wrapping_add(i * self.from_line), self.to.wrapping_add(i * self.to_line));
        }
    }
}

/// Copies every second or third element from `from` on, at least half a vector of them.
#[inline(always)]
unsafe fn copy_strided<S: Simd, H: Simd<T = S::T>, const STRIDE: usize>(from: *const S::T, to: *mut S::T, n: usize) {
    // SAFETY: the caller's promise; nothing after the last element that is copied is read.
    unsafe {
        if n >= S::N {
            for i in (0..n).step_by(S::N) {
                let i = i.min(n - S::N);
                S::store(to.add(i), strided::<S, STRIDE>(from.add(STRIDE * i)));
            }
        } else {
            for i in [0, n - H::N] {
                H::store(to.add(i), strided::<H, STRIDE>(from.add(STRIDE * i)));
            }
        }
    }
}

/// A vector of every second or third element from `x` on.
#[inline(always)]
unsafe fn strided<S: Simd, const STRIDE: usize>(x: *const S::T) -> S::V {
    const { assert!(STRIDE == 2 || STRIDE == 3) };
    // SAFETY: the caller's promise; the last element that is read is the last one wanted.
    unsafe {
        let last = S::load_first(x.add((STRIDE - 1) * S::N), (S::N + 1).saturating_sub(STRIDE));
        if STRIDE == 2 { S::unzip(S::load(x), last)[0] } else { S::third(S::load(x), S::load(x.add(S::N)), last) }
    }
}

/// Copies a short row.
#[inline(always)]
pub(crate) unsafe fn copy<S: Simd, H: Simd<T = S::T>>(from: *const S::T, to: *mut S::T, n: usize) {
    // SAFETY: the caller's promise; vectors lie inside of the n elements.
    unsafe {
        if n >= S::N {
            let mut i = 0;
            while i + S::N <= n {
                S::store(to.add(i), S::load(from.add(i)));
                i += S::N;
            }
            if i < n {
                S::store(to.add(n - S::N), S::load(from.add(n - S::N)));
            }
        } else if n >= H::N {
            H::store(to, H::load(from));
            H::store(to.add(n - H::N), H::load(from.add(n - H::N)));
        } else {
            for i in 0..n {
                *to.add(i) = *from.add(i);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::available;

    #[test]
    fn planes_hold_what_the_plain_loop_says() {
        // Images whose last row ends with the memory, of all widths around the lengths of vectors.
        for (width, stride, before) in (1..70).flat_map(|w| (1..5).flat_map(move |s| [(w, s, 0), (w, s, 2)])) {
            let (kernel, height) = (3.min(width + before), 3);
            let axis = |size: usize| Axis::slid(size, before, kernel, 1, stride, (size + before - kernel) / stride + 1);
            let planes = Planes::new(2, axis(height), axis(width), false);
            let image: Vec<f32> = (0..2 * height * width).map(|i| i as f32 + 1.0).collect();
            for &isa in available() {
                let mut filled = vec![0.0; 2 * planes.channel()];
                planes.fill(isa, 2, &image, &mut filled);
                let (mut expected, pixel) =
                    (vec![0.0; filled.len()], |size: usize, at: usize| at.checked_sub(before).filter(|&i| i < size));
                for (c, i, j) in (0..2).flat_map(|c| {
                    (0..stride * planes.rows.len)
                        .flat_map(move |i| (0..stride * planes.columns.len).map(move |j| (c, i, j)))
                }) {
                    let planned = |axis: &Axis, at: usize| axis.residues.contains(&(at % stride));
                    if let (Some(y), Some(x), true, true) =
                        (pixel(height, i), pixel(width, j), planned(&planes.rows, i), planned(&planes.columns, j))
                    {
                        expected[c * planes.channel() + planes.tap(i, j)] = image[(c * height + y) * width + x];
                    }
                }
                assert_eq!(filled, expected, "width {width}, stride {stride}, before {before}, {isa:?}");
            }
        }
    }
}
