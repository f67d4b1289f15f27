//! Convolution forward and backward-data of 1x1 kernels with stride 1 and without padding: a matrix product for each image.
//!
//! The plain loop, over pixels p of an image: `y[k][p] = bias[k] + sum over channels c of w[k][c] * x[c][p]`; by input the same
//! with the weights transposed.
//!
//! The tricks: where rows of tiles are narrow, the same pixels of all channels are copied next to each other, in panels as wide as
//! a tile. Read where they are, they would be a plane apart, often a power of two, which is few sets of the first-level cache: the
//! same tiles over panels are up to 1.3 times as fast on Zen 3. As many panels are made at once as leave the
//! second-level cache room for weights and results, from neighbouring images if these are small.

use crate::buffer::Buffer;
use crate::conv::{ConvGeometry, Epilogue};
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::gemm::{MatRef, pack_rows};
use crate::isa::{Isa, Simd, SimdBody};
use crate::par::{self, Shared};
use crate::tile::{Ahead, Start, Sweep, blocks};

/// Bytes of panels that are made at once.
const PANEL_BYTES: usize = 192 << 10;
/// Vectors of a panel: those of the tiles of most rows.
const PANEL: usize = 2;
/// The fewest rows of results that copies pay for.
const FEWEST_ROWS: usize = 24;

/// Whether this is a product that gains from panels, for so many rows of results in a group. Sets with more
/// registers have wider tiles, which gain nothing.
pub(crate) fn pays<T>(isa: Isa, g: &ConvGeometry, rows: usize) -> bool {
    let product = (g.kernel_h, g.kernel_w, g.stride, g.padding) == (1, 1, (1, 1), (0, 0, 0, 0));
    product && isa == Isa::Avx2 && size_of::<T>() == 4 && rows >= FEWEST_ROWS && g.out_h * g.out_w >= lanes::<T>(isa)
}

/// [`crate::conv::conv2d`] for a geometry with something to compute whose planes hold a vector.
pub(crate) fn conv2d<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], w: &[T], epilogue: Epilogue<T>, y: &mut [T]) {
    run(isa, g, (g.group_out(), g.group_in()), w, (g.group_in(), 1), x, epilogue, y);
}

/// [`crate::conv::conv2d_input`] for a geometry with something to compute whose planes hold a vector.
pub(crate) fn conv2d_input<T: Float>(isa: Isa, g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) {
    run(isa, g, (g.group_in(), g.group_out()), w, (1, g.group_in()), gy, Epilogue::NONE, gx);
}

/// Products of the weights of each group, `rows` by `inner` with the given distances, and of `inner` planes of each image.
#[allow(clippy::too_many_arguments)]
fn run<T: Float>(
    isa: Isa,
    g: &ConvGeometry,
    (rows, inner): (usize, usize),
    w: &[T],
    strides: (usize, usize),
    x: &[T],
    epilogue: Epilogue<T>,
    y: &mut [T],
) {
    let (pixels, full) = (g.out_h * g.out_w, lanes::<T>(isa));
    assert!(pixels >= full, "a plane holds a vector");
    assert_eq!(x.len(), g.batch * g.groups * inner * pixels, "the source has its size");
    assert_eq!(y.len(), g.batch * g.groups * rows * pixels, "the result has its size");
    let starts = blocks(isa, rows);
    let per_group = starts.len() - 1;
    let weights = rows * inner;
    let mut packed: Buffer<T> = Buffer::unfilled(w.len());
    assert_eq!(packed.len(), g.groups * weights, "there are the weights of each group");
    let to = Shared(packed.make_mut().as_mut_ptr());
    par::for_each_range(g.groups * per_group, 8 * weights / per_group, |range| {
        for b in range {
            let (group, block) = (b / per_group, &starts[b % per_group..][..2]);
            let w = MatRef::new(&w[group * weights..], rows, inner, strides.0, strides.1);
            let (at, len) = (group * weights + block[0] * inner, (block[1] - block[0]) * inner);
            // SAFETY: the block is inside of the buffer and has this stretch for itself.
            let to = unsafe { std::slice::from_raw_parts_mut(to.get().add(at), len) };
            pack_rows(isa, &w.expect("a group has its weights"), block[0], &[0, block[1] - block[0]], 0..inner, to);
        }
    });
    // The vectors of all images in one row; the last one of an image overlaps.
    let of_image = pixels.div_ceil(full);
    let vectors = g.batch * of_image;
    let most = (PANEL_BYTES / size_of::<T>() / full / inner).max(PANEL);
    let wanted = 2 * par::num_threads();
    let pieces = vectors.div_ceil(most).max(wanted.min(vectors.div_ceil(2 * PANEL)));
    let step = vectors.div_ceil(pieces).next_multiple_of(PANEL);
    let pieces = vectors.div_ceil(step);
    // The last vector of an image goes with the one that it overlaps, as two threads must not write the same elements.
    let overlaps = !pixels.is_multiple_of(full);
    let cut = |v: usize| if overlaps && v % of_image == of_image - 1 { v + 1 } else { v };
    // Few pieces: the rows are divided too, in blocks.
    let splits = if pieces >= par::num_threads() { 1 } else { wanted.div_ceil(pieces).min(per_group) };
    let work = (2 * weights * g.groups).saturating_mul(step * full) / splits;
    let y = Shared(y.as_mut_ptr());
    par::for_each_range(pieces * splits, work, |range| {
        let (width, room) = (PANEL * full, step + PANEL);
        let mut panels = Buffer::unfilled(room * full * inner);
        let mut offsets: Buffer<i64> = Buffer::unfilled(3 * room + inner);
        let (taps, offsets) = offsets.make_mut().split_at_mut(inner);
        taps.iter_mut().enumerate().for_each(|(c, tap)| *tap = (c * width) as i64);
        let (from, rest) = offsets.split_at_mut(room);
        let (source, to) = rest.split_at_mut(room);
        for (v, from) in from.iter_mut().enumerate() {
            *from = (v / PANEL * inner * width + v % PANEL * full) as i64;
        }
        for unit in range {
            let (piece, split) = (unit / splits, unit % splits);
            let first = cut(piece * step);
            let count = cut(vectors.min((piece + 1) * step)).min(vectors) - first;
            for v in 0..count {
                let (image, at) = ((first + v) / of_image, ((first + v) % of_image * full).min(pixels - full));
                source[v] = (image * g.groups * inner * pixels + at) as i64;
                to[v] = (image * g.groups * rows * pixels + at) as i64;
            }
            for group in 0..g.groups {
                let mine = split * per_group / splits..(split + 1) * per_group / splits;
                let fill = Fill {
                    x: x[group * inner * pixels..].as_ptr(),
                    source: &source[..count],
                    plane: pixels,
                    channels: inner,
                    panels: panels.make_mut().as_mut_ptr(),
                };
                // SAFETY: the set comes from detection; each vector lies inside of the plane of an image, whose channels
                // follow, and the panels have room for all of them.
                unsafe { T::simd(isa, fill) };
                for b in mine {
                    let (start, count_rows) = (starts[b], starts[b + 1] - starts[b]);
                    let channel = group * rows + start;
                    let sweep = Sweep {
                        x: panels.as_ptr(),
                        from: from.as_ptr(),
                        // SAFETY: the plane is one of the first image.
                        y: unsafe { y.get().add(channel * pixels) },
                        to: to.as_ptr(),
                        vectors: count,
                        taps: taps.as_ptr(),
                        tap_count: inner,
                        w: packed[group * weights + start * inner..][..count_rows * inner].as_ptr(),
                        start: match epilogue.bias {
                            Some(bias) => Start::Bias(bias[channel..channel + count_rows].as_ptr()),
                            None => Start::Zero,
                        },
                        relu: epilogue.relu,
                        row: pixels,
                        narrow: false,
                        ahead: Ahead::NONE,
                    };
                    // SAFETY: the set comes from detection; the panels were filled above; each vector of results lies inside
                    // of planes of these rows, which this unit alone writes.
                    unsafe { sweep.run(isa, count_rows) };
                }
            }
        }
    });
}

/// Copies vectors of pixels of all channels into panels.
struct Fill<'a, T> {
    x: *const T,
    /// Where each vector begins in the first plane.
    source: &'a [i64],
    plane: usize,
    channels: usize,
    panels: *mut T,
}

impl<T: Float> SimdBody<T> for Fill<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        let width = PANEL * S::N;
        // Planes are read in order, some lines at a time.
        for c in 0..self.channels {
            for (v, &at) in self.source.iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe {
                    let to = self.panels.add((v / PANEL * self.channels + c) * width + v % PANEL * S::N);
                    S::store(to, S::load(self.x.add(c * self.plane).offset(at as isize)));
                }
            }
        }
    }
}
