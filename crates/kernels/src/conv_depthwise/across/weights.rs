//! The gradient of depthwise convolutions by the weights, across planes.
//!
//! The plain loop: `gw[r, s] += gy[i, j] * x[i * stride + r * dilation - top, ..]` over pixels, for a vector of planes.
//!
//! The tricks: those of [`super`]; gradients are transposed too. Four or five taps of two pixels are summed in registers,
//! over some rows at a time, which stay in the first-level cache. Each vector of sums belongs to planes that are a
//! whole number of images apart, so that its elements are of the same channels throughout.

use super::{Axis, BAND, Grid, forward};
use crate::buffer::Buffer;
use crate::conv::ConvGeometry;
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::{Isa, Simd, SimdBody};
use crate::par;
use std::ops::Range;

/// Sums that can be computed apart, at least, if there are planes.
const APART: usize = 8;

/// Taps that are summed together, and the pixels whose gradients they meet.
struct Tile {
    first: usize,
    five: bool,
    pixels: Range<usize>,
}

/// Divides taps into fives and fours; the last one may have less.
fn tiles(taps: usize, rows: &Axis, columns: &Axis) -> Vec<Tile> {
    let fives = if taps >= 5 * (taps % 4) { taps % 4 } else { 0 };
    let mut tiles = Vec::new();
    let mut first = 0;
    while first < taps {
        let five = tiles.len() < fives;
        let end = taps.min(first + if five { 5 } else { 4 });
        let row = |t: usize| rows.classes[0][t / columns.classes[0].len()].1;
        let (lowest, highest) = (row(first), row(end - 1));
        // Result i is at i * step; the highest row must not end above the plane, nor the lowest begin below it.
        let from = rows.before.saturating_sub(highest).div_ceil(rows.step).min(rows.results);
        let to = (rows.before + rows.size).saturating_sub(lowest).div_ceil(rows.step).min(rows.results);
        tiles.push(Tile { first, five, pixels: from * columns.results..to.max(from) * columns.results });
        first = end;
    }
    tiles
}

/// Planes whose products are added to one vector for each tap: the first one of each time, and what was counted before.
struct Item {
    first: usize,
    step: usize,
    times: usize,
    skip: usize,
}

/// Divides all planes among sums. Which planes go together follows from the sizes alone.
fn items(total: usize, channels: usize, n: usize) -> Vec<Item> {
    let (mut a, mut b) = (channels, n);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    let (groups, period) = (total / n, channels / a);
    let apart = (period * APART.div_ceil(period)).min(groups.div_ceil(period) * period);
    let one = |i: usize| Item { first: i * n, step: apart * n, times: (groups - i).div_ceil(apart), skip: 0 };
    let mut items: Vec<Item> = (0..apart.min(groups)).map(one).collect();
    if groups * n < total {
        items.push(Item { first: total - n, step: n, times: 1, skip: n - (total - groups * n) });
    }
    items
}

/// [`crate::conv::conv2d_weight`] where it [`fits`](super::fits).
pub(crate) fn conv2d_weight<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], gy: &[T], gw: &mut [T]) {
    let (n, taps, channels) = (lanes::<T>(isa), g.kernel_h * g.kernel_w, g.in_channels);
    let (plane, out) = (g.in_h * g.in_w, g.out_h * g.out_w);
    let total = g.batch * channels;
    assert_eq!((x.len(), gy.len()), (total * plane, total * out), "the arrays have the planes");
    assert_eq!(gw.len(), channels * taps, "the result has all taps");
    let (rows, columns) = forward(g);
    let grid = Grid::framed(&rows, &columns, n);
    let gradients = Grid {
        plane: out,
        len: out * n,
        at: (0..out).map(|q| (q * n) as u32).collect(),
        squares: (0..out as u32).step_by(8).collect(),
    };
    let from = |i: usize| (0..g.out_w).map(move |j| (i, j));
    let place = |(i, j): (usize, usize)| ((i * rows.step * columns.len + j * columns.step) * n) as u32;
    let from: Vec<u32> = (0..g.out_h).flat_map(from).map(place).collect();
    // A tile may go over the end: it has the last tap several times.
    let shift = |t: usize| (t / g.kernel_w * g.dilation.0 * columns.len + t % g.kernel_w * g.dilation.1) * n;
    let shifts: Vec<usize> = (0..taps + 4).map(|t| shift(t.min(taps - 1))).collect();
    let tiles = tiles(taps, &rows, &columns);
    let items = items(total, channels, n);
    let size = (taps + 4) * n;
    let mut sums = Buffer::<T>::unfilled(items.len() * size);
    let sums = sums.make_mut();
    let height = (BAND / n).div_ceil(g.out_w).min(g.out_h);
    let work = n * (2 * (plane + out) + 2 * out * taps);
    par::for_each_chunk(sums, size, work * items[0].times, |i, sums| {
        let (mut frame, mut gradient) = (Buffer::zeroed(grid.len), Buffer::unfilled(gradients.len));
        let (frame, gradient) = (frame.make_mut(), gradient.make_mut());
        let item = &items[i];
        sums.fill(T::ZERO);
        for time in 0..item.times {
            let first = item.first + time * item.step;
            let mut done = (0, 0);
            for top in (0..g.out_h).step_by(height) {
                let end = g.out_h.min(top + height);
                let below = ((end - 1) * rows.step + rows.classes[0][g.kernel_h - 1].1 + 1).saturating_sub(rows.before);
                let squares = (grid.squares(below.min(g.in_h) * g.in_w), gradients.squares(end * g.out_w));
                grid.fill(isa, n, &x[first * plane..], done.0..squares.0, frame);
                gradients.fill(isa, n, &gy[first * out..], done.1..squares.1, gradient);
                done = squares;
                let products = Products {
                    x: frame.as_ptr(),
                    gy: gradient.as_ptr(),
                    from: &from,
                    shifts: &shifts,
                    tiles: &tiles,
                    pixels: top * g.out_w..end * g.out_w,
                    sums: sums.as_mut_ptr(),
                };
                // SAFETY: the set comes from detection; taps of results are inside of the frame, and there is a vector of
                // sums for each tap of the tiles.
                unsafe { T::simd(isa, products) };
            }
        }
    });
    gw.fill(T::ZERO);
    for (item, sums) in items.iter().zip(sums.chunks_exact(size)) {
        for lane in item.skip..n {
            let gw = &mut gw[(item.first + lane) % channels * taps..][..taps];
            gw.iter_mut().zip(sums[lane..].iter().step_by(n)).for_each(|(gw, &sum)| *gw = gw.plus(sum));
        }
    }
}

/// Tiles of taps over some pixels of vectors of planes.
struct Products<'a, T> {
    x: *const T,
    gy: *const T,
    from: &'a [u32],
    shifts: &'a [usize],
    tiles: &'a [Tile],
    pixels: Range<usize>,
    sums: *mut T,
}

impl<T: Float> SimdBody<T> for Products<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // What does not fit is not compiled.
        if const { size_of::<T>() == 4 && S::REGISTERS > 8 } {
            for tile in self.tiles {
                let pixels = tile.pixels.start.max(self.pixels.start)..tile.pixels.end.min(self.pixels.end);
                // SAFETY: the caller's promise.
                unsafe {
                    match tile.five {
                        true => sum::<S, 5>(&self, tile.first, pixels),
                        false => sum::<S, 4>(&self, tile.first, pixels),
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn sum<S: Simd, const K: usize>(p: &Products<'_, S::T>, first: usize, pixels: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut x = [p.x; K];
        for k in 0..K {
            x[k] = p.x.add(p.shifts[first + k]);
        }
        let mut sums = [[S::zero(); K]; 2];
        let mut q = pixels.start;
        while q + 1 < pixels.end {
            for i in 0..2 {
                let (g, from) = (S::load(p.gy.add((q + i) * S::N)), *p.from.get_unchecked(q + i) as usize);
                for k in 0..K {
                    sums[i][k] = S::fma(g, S::load(x[k].add(from)), sums[i][k]);
                }
            }
            q += 2;
        }
        if q < pixels.end {
            let (g, from) = (S::load(p.gy.add(q * S::N)), *p.from.get_unchecked(q) as usize);
            for k in 0..K {
                sums[0][k] = S::fma(g, S::load(x[k].add(from)), sums[0][k]);
            }
        }
        for k in 0..K {
            let total = p.sums.add((first + k) * S::N);
            S::store(total, S::add(S::load(total), S::add(sums[0][k], sums[1][k])));
        }
    }
}
