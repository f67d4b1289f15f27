//! The rows of depthwise convolutions at strides 2 and 3.
//!
//! The tricks: vectors of neighbouring pixels are parted into every second or third one, which are the pixels under a column of the
//! kernel, and added to all the rows of results that they are part of; the gradient by the input is computed for even and odd
//! columns apart, and put together.

use super::{Ahead, Correlated, Plane, Planes, next_row, within};
use crate::isa::Simd;

/// The masks of the vectors that [`taps`] reads for results from column j on.
#[inline(always)]
unsafe fn insides<S: Simd, const K: usize, const D: usize>(p: Planes, j: usize) -> [S::M; 9] {
    // SAFETY: the caller's promise: the set is enabled.
    unsafe {
        let mut inside = [S::mask(0, 0); 9];
        if D == 2 {
            for q in 0..K.div_ceil(2) {
                inside[2 * q] = p.inside::<S>(2 * j, 2 * q, S::N);
                inside[2 * q + 1] = p.inside::<S>(2 * j, 2 * q + S::N, S::N);
            }
        } else {
            for s in 0..K {
                for k in 0..3 {
                    inside[3 * s + k] = p.inside::<S>(3 * j, s + k * S::N, S::N);
                }
            }
        }
        inside
    }
}

/// The pixels under each column of the kernel.
#[inline(always)]
unsafe fn taps<S: Simd, const K: usize, const D: usize>(x: *const S::T, inside: &[S::M; 9]) -> [S::V; 6] {
    // SAFETY: the caller's promise: masks leave out what is beside the row.
    unsafe {
        let mut taps = [S::zero(); 6];
        if D == 2 {
            for q in 0..K.div_ceil(2) {
                let a = S::load_where(x.wrapping_add(2 * q), inside[2 * q]);
                let b = S::load_where(x.wrapping_add(2 * q + S::N), inside[2 * q + 1]);
                let [even, odd] = S::unzip(a, b);
                taps[2 * q] = even;
                taps[2 * q + 1] = odd;
            }
        } else {
            for s in 0..K {
                let x = x.wrapping_add(s);
                let a = S::load_where(x, inside[3 * s]);
                let b = S::load_where(x.wrapping_add(S::N), inside[3 * s + 1]);
                let c = S::load_where(x.wrapping_add(2 * S::N), inside[3 * s + 2]);
                taps[s] = S::third(a, b, c);
            }
        }
        taps
    }
}

#[inline(always)]
pub(super) unsafe fn correlate<S: Simd, const K: usize, const D: usize>(c: Plane<'_, S::T>) {
    let p = c.planes;
    // SAFETY: the caller's promise: all rows are of planes and results, and masks leave out what is beside them.
    unsafe {
        let start = S::splat(c.start);
        let mut w = [[S::zero(); K]; K];
        for r in 0..K {
            for s in 0..K {
                w[r][s] = S::splat(*c.w.add(r * K + s));
            }
        }
        let written = S::mask(0, p.out_w.min(S::N));
        let mut ahead = Ahead::new(&p, c.x, c.y);
        // So many rows of results are under way: rows[q] is the sum of row o - q.
        let under_way = K.div_ceil(D);
        for j in p.columns(S::N) {
            let inside = insides::<S, K, D>(p, j);
            let x = c.x.wrapping_add(D * j).wrapping_sub(p.left);
            let mut rows = [start; K];
            for o in 0..p.out_h + under_way - 1 {
                ahead.strided::<D>(S::N);
                for t in 0..D.min(K) {
                    let i = (D * o + t).wrapping_sub(p.top);
                    if i < p.height {
                        let taps = taps::<S, K, D>(x.wrapping_add(i * p.width), &inside);
                        for q in 0..(K - t).div_ceil(D) {
                            for s in 0..K {
                                rows[q] = S::fma(w[t + D * q][s], taps[s], rows[q]);
                            }
                        }
                    }
                }
                if o + 1 >= under_way {
                    let sum = S::add(S::max(S::splat(c.floor), rows[under_way - 1]), S::zero());
                    let y = c.y.wrapping_add((o + 1 - under_way) * p.out_w + j);
                    if p.out_w >= S::N {
                        S::store(y, sum);
                    } else {
                        S::store_where(y, written, sum);
                    }
                }
                rows = next_row::<S, K>(rows, start);
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn weight_sums<S: Simd, const K: usize, const D: usize>(c: Correlated<'_, S::T>) {
    let p = c.planes;
    // SAFETY: the caller's promise: all rows are of planes and gradients, and masks leave out what is beside them.
    unsafe {
        let mut sums = [[S::zero(); K]; K];
        let (mut done, end) = (0, p.out_w.min(S::N));
        let mut ahead = Ahead::new(&p, c.x, c.gy);
        for j in p.columns(S::N) {
            let inside = insides::<S, K, D>(p, j);
            // What the vector before has counted is left out.
            let fresh = S::mask(done - j, end);
            done = j + end;
            let x = c.x.wrapping_add(D * j).wrapping_sub(p.left);
            // Row o - q of the gradients: rows[q].
            let mut rows = [S::zero(); K];
            for o in 0..p.out_h + K.div_ceil(D) - 1 {
                ahead.strided::<D>(S::N);
                let mut row = S::zero();
                if o < p.out_h {
                    row = S::load_where(c.gy.wrapping_add(o * p.out_w + j), fresh);
                }
                rows = next_row::<S, K>(rows, row);
                for t in 0..D.min(K) {
                    let i = (D * o + t).wrapping_sub(p.top);
                    if i < p.height {
                        let taps = taps::<S, K, D>(x.wrapping_add(i * p.width), &inside);
                        for q in 0..(K - t).div_ceil(D) {
                            for s in 0..K {
                                sums[t + D * q][s] = S::fma(rows[q], taps[s], sums[t + D * q][s]);
                            }
                        }
                    }
                }
            }
        }
        for r in 0..K {
            for s in 0..K {
                let total = c.sums.add((r * K + s) * S::N);
                S::store(total, S::add(S::load(total), sums[r][s]));
            }
        }
    }
}

/// The gradient by the input: even columns and odd columns of a row, `2 * l` and `2 * l + 1`, from gradients at `l + e`.
#[inline(always)]
pub(super) unsafe fn spread<S: Simd, const K: usize>(c: Plane<'_, S::T>) {
    let p = c.planes;
    // Gradients are read at e = last - q for q from 0 on, which are under column `2 * q + left - 2 * last` for even results.
    let (last, odd_left) = (p.left.div_ceil(2), p.left % 2 == 1);
    // SAFETY: the caller's promise: all rows are of planes and gradients, and masks leave out what is beside them.
    unsafe {
        let mut even_w = [[S::zero(); 3]; K];
        let mut odd_w = [[S::zero(); 3]; K];
        for r in 0..K {
            for s in 0..K {
                let w = S::splat(*c.w.add(r * K + s));
                // Odd columns lie one to the right, so their gradients are under the next column of the kernel.
                if (s % 2 == 1) == odd_left {
                    even_w[r][s.div_ceil(2)] = w;
                } else {
                    odd_w[r][s / 2] = w;
                }
            }
        }
        for l in (0..p.width.div_ceil(2)).step_by(S::N) {
            let mut inside = [S::mask(0, 0); 3];
            for q in 0..K / 2 + 1 {
                inside[q] = within::<S>(q, p.out_w, l + last, S::N);
            }
            let written = [within::<S>(0, p.width, 2 * l, S::N), within::<S>(0, p.width, 2 * l + S::N, S::N)];
            let whole = 2 * (l + S::N) <= p.width;
            for i in 0..p.height {
                let (mut even, mut odd) = (S::zero(), S::zero());
                for r in 0..K {
                    // Row i takes from the rows of gradients whose windows have it in row r.
                    let above = (i + p.top).wrapping_sub(r);
                    if above % 2 == 1 || above / 2 >= p.out_h {
                        continue;
                    }
                    let g = c.x.wrapping_add(above / 2 * p.out_w + l + last);
                    for q in 0..K / 2 + 1 {
                        let g = S::load_where(g.wrapping_sub(q), inside[q]);
                        even = S::fma(even_w[r][q], g, even);
                        odd = S::fma(odd_w[r][q], g, odd);
                    }
                }
                let [first, second] = S::zip(even, odd);
                let y = c.y.wrapping_add(i * p.width + 2 * l);
                if whole {
                    S::store(y, first);
                    S::store(y.wrapping_add(S::N), second);
                } else {
                    S::store_where(y, written[0], first);
                    S::store_where(y.wrapping_add(S::N), written[1], second);
                }
            }
        }
    }
}
