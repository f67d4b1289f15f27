//! The rows of depthwise convolutions at strides 2 and 3.
//!
//! The tricks: vectors of neighbouring pixels are parted into every second or third one, which are the pixels under a column of the
//! kernel, and added to all the rows of results that they are part of; the gradient by the input is computed for even and odd
//! columns apart, and put together.

use super::weights::Correlated;
use super::{Ahead, FEWER, Inside, MOST, Plane, Rows, Weights, next_row, within};
use crate::isa::Simd;

/// The pixels under column s of the kernel, and under the next one at stride 2.
#[inline(always)]
unsafe fn taps<S: Simd, const KW: usize, const D: usize>(
    x: *const S::T,
    inside: &Inside<S, KW, D>,
    s: usize,
) -> [S::V; 2] {
    let x = x.wrapping_add(s);
    // SAFETY: the caller's promise: masks leave out what is beside the row.
    unsafe {
        let (a, b) = (S::load_where(x, inside.0[s][0]), S::load_where(x.wrapping_add(S::N), inside.0[s][1]));
        if D == 2 {
            S::unzip(a, b)
        } else {
            [S::third(a, b, S::load_where(x.wrapping_add(2 * S::N), inside.0[s][2])); 2]
        }
    }
}

#[inline(always)]
pub(super) unsafe fn correlate<S: Simd, const KH: usize, const KW: usize, const D: usize>(c: Plane<'_, S>) {
    let p = c.planes;
    // SAFETY: the caller's promise: all rows are of planes and results, and masks leave out what is beside them.
    unsafe {
        let start = S::splat(c.start);
        let w = Weights::<S, KH, KW>::new(&c);
        let mut ahead = Ahead::new(&p, c.x, c.y);
        // So many rows of results are under way: rows[q] is the sum of row o - q.
        let under_way = KH.div_ceil(D);
        for (v, j) in p.columns(S::N).enumerate() {
            let inside = Inside::<S, KW, D>::new(c.inside, v * w.columns * D, w.columns);
            let x = c.x.wrapping_add(D * j).wrapping_sub(p.left);
            let mut y = Rows::<S>::new(&c, 0, j, 1);
            let mut rows = [start; KH];
            for o in 0..p.out_h + under_way - 1 {
                ahead.strided::<D>(S::N);
                for t in 0..D.min(KH) {
                    let i = (D * o + t).wrapping_sub(p.top);
                    if i < p.height {
                        let x = x.wrapping_add(i * p.width);
                        // At stride 2 two columns of the kernel are read together.
                        for s in (0..KW.min(FEWER)).step_by(if D == 2 { 2 } else { 1 }) {
                            if s >= w.columns {
                                break;
                            }
                            let taps = taps(x, &inside, s);
                            for q in 0..(KH - t).div_ceil(D) {
                                rows[q] = S::fma(w.at(t + D * q, s), taps[0], rows[q]);
                            }
                            if D == 2 && s + 1 < w.columns {
                                for q in 0..(KH - t).div_ceil(D) {
                                    rows[q] = S::fma(w.at(t + D * q, s + 1), taps[1], rows[q]);
                                }
                            }
                        }
                    }
                }
                if o + 1 >= under_way {
                    y.write(rows[under_way - 1]);
                }
                rows = next_row::<S, KH>(rows, start);
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn weight_sums<S: Simd, const KH: usize, const KW: usize, const D: usize>(c: Correlated<'_, S>) {
    let p = c.planes;
    // SAFETY: the caller's promise: all rows are of planes and gradients, and masks leave out what is beside them.
    unsafe {
        let mut sums = [[S::zero(); KW]; KH];
        let (mut done, end) = (0, p.out_w.min(S::N));
        let mut ahead = Ahead::new(&p, c.x, c.gy);
        for (v, j) in p.columns(S::N).enumerate() {
            let inside = Inside::<S, KW, D>::new(c.inside, (v * p.kernel.1 + c.first) * D, KW);
            // What the vector before has counted is left out.
            let fresh = S::mask(done - j, end);
            done = j + end;
            let x = c.x.wrapping_add(D * j + c.first).wrapping_sub(p.left);
            // Row o - q of the gradients: rows[q].
            let mut rows = [S::zero(); KH];
            for o in 0..p.out_h + KH.div_ceil(D) - 1 {
                ahead.strided::<D>(S::N);
                let mut row = S::zero();
                if o < p.out_h {
                    row = S::load_where(c.gy.wrapping_add(o * p.out_w + j), fresh);
                }
                rows = next_row::<S, KH>(rows, row);
                for t in 0..D.min(KH) {
                    let i = (D * o + t).wrapping_sub(p.top);
                    if i < p.height {
                        let x = x.wrapping_add(i * p.width);
                        for s in 0..KW {
                            let taps = taps(x, &inside, if D == 2 { s / 2 * 2 } else { s });
                            for q in 0..(KH - t).div_ceil(D) {
                                let sum = &mut sums[t + D * q][s];
                                *sum = S::fma(rows[q], taps[s % 2], *sum);
                            }
                        }
                    }
                }
            }
        }
        c.total(&sums);
    }
}

/// The gradient by the input, with kernels of KH rows and KW columns, or at most so many where KW is [`MOST`]: even columns and odd
/// columns of a row, `2 * l` and `2 * l + 1`, from gradients at `l + e`.
#[inline(always)]
pub(super) unsafe fn spread<S: Simd, const KH: usize, const KW: usize>(c: Plane<'_, S>) {
    /// Gradients that meet a result in a row, at most.
    const MET: usize = FEWER / 2 + 1;
    let (p, (height, columns)) = (c.planes, if KW < MOST { (KH, KW) } else { c.planes.kernel });
    // Gradients are read at e = last - q for q from 0 on, which are under column `2 * q + left - 2 * last` for even results.
    let (last, odd_left) = (p.left.div_ceil(2), p.left % 2 == 1);
    // SAFETY: the caller's promise: all rows are of planes and gradients, and masks leave out what is beside them.
    unsafe {
        let mut weights = [[[<S::T as Default>::default(); 2]; MET]; KH];
        for r in 0..height {
            for s in 0..columns {
                // Odd columns lie one to the right, so their gradients are under the next column of the kernel.
                let odd = (s % 2 == 1) != odd_left;
                weights[r][if odd { s / 2 } else { s.div_ceil(2) }][odd as usize] = *c.w.add(r * columns + s);
            }
        }
        let size = p.sizes().0;
        // The last vectors of a row may spill over the next row, which is written later.
        for l in (0..p.width.div_ceil(2)).step_by(S::N).rev() {
            let mut inside = [S::mask(0, 0); MET];
            for q in 0..columns / 2 + 1 {
                inside[q] = within::<S>(q, p.out_w, l + last, S::N);
            }
            let written = [within::<S>(0, p.width, 2 * l, S::N), within::<S>(0, p.width, 2 * l + S::N, S::N)];
            for i in 0..p.height {
                let (mut even, mut odd) = (S::zero(), S::zero());
                for r in 0..KH {
                    if r >= height {
                        break;
                    }
                    // Row i takes from the rows of gradients whose windows have it in row r.
                    let above = (i + p.top).wrapping_sub(r);
                    if above % 2 == 1 || above / 2 >= p.out_h {
                        continue;
                    }
                    let g = c.x.wrapping_add(above / 2 * p.out_w + l + last);
                    for q in 0..MET {
                        if q > columns / 2 {
                            break;
                        }
                        let g = S::load_where(g.wrapping_sub(q), inside[q]);
                        even = S::fma(S::splat(weights[r][q][0]), g, even);
                        odd = S::fma(S::splat(weights[r][q][1]), g, odd);
                    }
                }
                let [first, second] = S::zip(even, odd);
                let at = i * p.width + 2 * l;
                let y = c.y.wrapping_add(at);
                if at + 2 * S::N <= size {
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
