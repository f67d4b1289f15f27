//! Strips: some rows of windows of a plane, folded down first and then across.
//!
//! The plain loop: fold the rows of each window column by column, then its columns. The tricks: down, whole rows of the plane are
//! folded as they lie there, into rows with neutral elements around them. Those columns are sorted by their residue by the stride,
//! in one long loop over all rows. Then the n-th columns of all windows of a row lie side by side, and across is as down. The last
//! vector of a row overlaps the one before it, so rows of any length have no loop for their ends.

use super::PoolGeometry;
use crate::buffer::Buffer;
use crate::element::Float;
use crate::isa::{Simd, prefetch};
use crate::math::{Arithmetic, Real};

/// How the planes of a geometry are cut.
pub(super) struct Strips {
    /// Rows of windows of a strip.
    pub(super) rows: usize,
    /// Elements from row to row, a multiple of the stride, and the windows that begin there.
    pitch: usize,
    pub(super) per_row: usize,
    /// Elements of a residue.
    group: usize,
    /// Where the n-th columns of windows begin, among elements sorted by residue.
    columns: Buffer<i64>,
    /// Whether windows have two or three columns side by side, two or three from window to window.
    small: bool,
}

/// Elements of a strip: it stays in the first-level cache, sorted too.
const NEAR: usize = 2048;
/// What the elements of a residue are a multiple of, so that whole vectors are sorted.
const WHOLE: usize = 16;

/// Whether loops are compiled for windows of two and three rows or columns; for other vectors it would be code that is hardly used.
pub(super) const fn unrolls<S: Simd>() -> bool {
    size_of::<S::T>() == 4 && (S::REGISTERS > 8 || !cfg!(target_arch = "x86_64"))
}

/// Folds of windows.
pub(super) const SUM: u8 = 0;
pub(super) const MAX: u8 = 1;

impl Strips {
    /// None if strips would be much larger than what is in them.
    pub(super) fn new(geo: &PoolGeometry) -> Option<Strips> {
        let reach = (geo.kernel_w - 1).checked_mul(geo.dilation.1)?;
        let high = (geo.kernel_h - 1).checked_mul(geo.dilation.0)?;
        let stride = geo.stride.1;
        let width = (geo.out_w - 1).checked_mul(stride)?.checked_add(reach + 1)?;
        let pitch = width.checked_next_multiple_of(stride)?;
        if pitch > 64 + 4 * geo.in_w || high > 64 + 4 * geo.in_h {
            return None;
        }
        let per_row = pitch / stride;
        let rows = geo.out_h.div_ceil(geo.out_h.div_ceil((NEAR / pitch).clamp(1, geo.out_h)));
        let group = (rows * per_row + reach / stride).next_multiple_of(WHOLE);
        let mut columns = Buffer::zeroed(geo.kernel_w);
        for (tap, column) in columns.make_mut().iter_mut().enumerate() {
            let place = tap * geo.dilation.1;
            *column = (place % stride * group + place / stride) as i64;
        }
        let small = geo.dilation.1 == 1 && matches!((geo.kernel_w, stride), (2 | 3, 2 | 3));
        Some(Strips { rows, pitch, per_row, group, columns, small })
    }

    /// A strip with `around` everywhere, and some elements more.
    pub(super) fn buffer<T: Float>(&self, around: T) -> Buffer<T> {
        Buffer::filled(self.pitch / self.per_row * self.group + 2, around)
    }

    /// Folds the columns of each window of the rows from `first` on, which lie in the first plane of `x`, and asks for what comes a
    /// plane later. If there are `ranks`, also `kernel_w` times the number of rows from that of the first maximum to the last one.
    ///
    /// # Safety
    /// The instruction set is enabled in the caller; `x` begins with a plane, the others have the length of [`buffer`](Self::buffer).
    #[inline(always)]
    pub(super) unsafe fn down<S: Simd, H: Simd<T = S::T>, const FOLD: u8>(
        &self,
        geo: &PoolGeometry,
        x: &[S::T],
        first: usize,
        around: S::T,
        strip: &mut [S::T],
        mut ranks: Option<&mut [S::T]>,
    ) {
        let axis = geo.down();
        // What lies behind the last window is not needed.
        let width = geo.in_w.min(self.pitch.saturating_sub(geo.padding.1));
        for i in 0..self.rows.min(geo.out_h - first) {
            // The taps of the window that lie inside of the plane; divisions would take longer than the sums.
            let start = (first + i) * axis.stride;
            let steps = |n: usize| if axis.dilation == 1 { n } else { n.div_ceil(axis.dilation) };
            let above = steps(axis.padding.saturating_sub(start));
            let end = steps((axis.input + axis.padding).saturating_sub(start)).min(axis.kernel);
            let (count, top) = (end.saturating_sub(above), (start + above * axis.dilation).wrapping_sub(axis.padding));
            let at = i * self.pitch + geo.padding.1;
            let to = &mut strip[at..at + width];
            if count == 0 {
                to.fill(around);
                continue;
            }
            for row in start..start + axis.stride {
                for column in (0..geo.in_w).step_by(64 / size_of::<S::T>()) {
                    prefetch(x.as_ptr(), (geo.in_h + row) * geo.in_w + column);
                }
            }
            let x = &x[top * geo.in_w..];
            let step = geo.dilation.0 * geo.in_w;
            assert!(x.len() >= (count - 1) * step + width);
            // SAFETY: `count` rows of `width` elements are inside of `x`, and as many in `to` and `ranks`.
            unsafe {
                let Some(ranks) = &mut ranks else {
                    fold::<S, H, FOLD>(x.as_ptr(), |tap| tap * step, count, width, to.as_mut_ptr());
                    continue;
                };
                let rank = ((geo.kernel_h + 1 - end) * geo.kernel_w, geo.kernel_w);
                let rank = (S::T::real(f64::from(rank.0 as i32)), S::T::real(f64::from(rank.1 as i32)));
                let (x, at, to) = (x.as_ptr(), |tap| tap * step, (to.as_mut_ptr(), ranks[at..at + width].as_mut_ptr()));
                match count {
                    2 if const { unrolls::<S>() } => rank_down::<S, H, 2>(x, at, rank, 2, width, to),
                    3 if const { unrolls::<S>() } => rank_down::<S, H, 3>(x, at, rank, 3, width, to),
                    _ => rank_down::<S, H, 0>(x, at, rank, count, width, to),
                }
            }
        }
    }

    /// Whether columns are sorted on the way, in registers: timed with AVX2 only.
    #[inline(always)]
    fn in_registers<S: Simd>(&self) -> bool {
        let timed = const { unrolls::<S>() && S::REGISTERS == 16 };
        timed && self.small
    }

    /// Sorts a strip by residue.
    ///
    /// # Safety
    /// The instruction set is enabled in the caller; both have the length of [`buffer`](Self::buffer).
    #[inline(always)]
    pub(super) unsafe fn sort<'a, S: Simd>(&self, strip: &'a [S::T], sorted: &'a mut [S::T]) -> &'a [S::T] {
        let (stride, group) = (self.pitch / self.per_row, self.group);
        assert!(strip.len() > stride * group + 1 && sorted.len() == strip.len());
        if self.in_registers::<S>() {
            return strip;
        }
        let (from, to) = (strip.as_ptr(), sorted.as_mut_ptr());
        // SAFETY: groups consist of whole vectors, and the strip has two elements more.
        unsafe {
            match stride {
                1 => return strip,
                2 => {
                    for i in (0..group).step_by(S::N) {
                        let [even, odd] = S::unzip(S::load(from.add(2 * i)), S::load(from.add(2 * i + S::N)));
                        S::store(to.add(i), even);
                        S::store(to.add(group + i), odd);
                    }
                }
                3 => {
                    for i in (0..group).step_by(S::N) {
                        for residue in 0..3 {
                            let from = from.add(3 * i + residue);
                            let v = S::third(S::load(from), S::load(from.add(S::N)), S::load(from.add(2 * S::N)));
                            S::store(to.add(residue * group + i), v);
                        }
                    }
                }
                _ => {
                    for residue in 0..stride {
                        for i in 0..group {
                            *to.add(residue * group + i) = *from.add(stride * i + residue);
                        }
                    }
                }
            }
        }
        sorted
    }

    /// Folds the windows of row `i` of a sorted strip.
    ///
    /// # Safety
    /// The instruction set is enabled in the caller; `sorted` comes from [`sort`](Self::sort).
    #[inline(always)]
    pub(super) unsafe fn across<S: Simd, H: Simd<T = S::T>, const FOLD: u8>(
        &self,
        i: usize,
        sorted: &[S::T],
        y: &mut [S::T],
    ) {
        assert!(i < self.rows && y.len() <= self.per_row);
        if self.in_registers::<S>() {
            let (stride, taps) = (self.pitch / self.per_row, self.columns.len());
            let x = sorted[i * self.pitch..(i + 1) * self.pitch + 2].as_ptr();
            // SAFETY: the windows of a row lie inside of it, and vectors of their columns end at most two elements behind.
            return unsafe {
                if stride == 2 {
                    fold_small::<S, H, FOLD, 2>(x, taps, y.len(), y.as_mut_ptr());
                } else {
                    fold_small::<S, H, FOLD, 3>(x, taps, y.len(), y.as_mut_ptr());
                }
            };
        }
        let x = sorted[i * self.per_row..].as_ptr();
        let (columns, to) = (&self.columns[..], y.as_mut_ptr());
        // SAFETY: a row of windows at each column is inside of the strip.
        unsafe {
            match *columns {
                [a, b] if const { unrolls::<S>() } => fold::<S, H, FOLD>(x, |tap| [a, b][tap] as usize, 2, y.len(), to),
                [a, b, c] if const { unrolls::<S>() } => {
                    fold::<S, H, FOLD>(x, |tap| [a, b, c][tap] as usize, 3, y.len(), to)
                }
                _ => fold::<S, H, FOLD>(x, |tap| columns[tap] as usize, columns.len(), y.len(), to),
            }
        }
    }

    /// The maxima of the windows of row `i`, and their ranks: how many elements come from the first maximum to the last element.
    ///
    /// # Safety
    /// The instruction set is enabled in the caller; `sorted` and `ranks` come from [`sort`](Self::sort).
    #[inline(always)]
    pub(super) unsafe fn ranks<S: Simd, H: Simd<T = S::T>>(
        &self,
        i: usize,
        (sorted, ranks): (&[S::T], &[S::T]),
        y: &mut [S::T],
        to: &mut [S::T],
    ) {
        assert!(i < self.rows && y.len() <= self.per_row && to.len() == y.len() && ranks.len() == sorted.len());
        if self.in_registers::<S>() {
            let (stride, taps) = (self.pitch / self.per_row, self.columns.len());
            let row = i * self.pitch..(i + 1) * self.pitch + 2;
            let (from, n) = ((sorted[row.clone()].as_ptr(), ranks[row].as_ptr()), y.len());
            // SAFETY: as in `across`.
            return unsafe {
                if stride == 2 {
                    rank_small::<S, H, 2>(from, taps, n, (y.as_mut_ptr(), to.as_mut_ptr()));
                } else {
                    rank_small::<S, H, 3>(from, taps, n, (y.as_mut_ptr(), to.as_mut_ptr()));
                }
            };
        }
        // SAFETY: the caller's promise.
        unsafe { self.across::<S, H, MAX>(i, sorted, y) };
        let start = i * self.per_row;
        let (x, ranks) = (sorted[start..].as_ptr(), ranks[start..].as_ptr());
        let (columns, n, y, to) = (&self.columns[..], y.len(), y.as_ptr(), to.as_mut_ptr());
        // SAFETY: as in `across`.
        unsafe {
            match *columns {
                [a, b] if const { unrolls::<S>() } => {
                    rank_across::<S, H, 2>((x, ranks), |tap| [a, b][tap] as usize, 2, n, y, to)
                }
                [a, b, c] if const { unrolls::<S>() } => {
                    rank_across::<S, H, 3>((x, ranks), |tap| [a, b, c][tap] as usize, 3, n, y, to)
                }
                _ => rank_across::<S, H, 0>((x, ranks), |tap| columns[tap] as usize, columns.len(), n, y, to),
            }
        }
    }
}

// Below, rows of n elements at x are folded whose n-th ones begin at `at(tap)`: K of them, or as many as there are `taps` if K is 0.
// All elements are inside of what the callers have checked.

/// Writes the folds to `to`.
#[inline(always)]
unsafe fn fold<S: Simd, H: Simd<T = S::T>, const FOLD: u8>(
    x: *const S::T,
    at: impl Fn(usize) -> usize + Copy,
    taps: usize,
    n: usize,
    to: *mut S::T,
) {
    // SAFETY: the callers' promise.
    unsafe {
        match taps {
            2 if const { unrolls::<S>() } => fold_row::<S, H, FOLD, 2>(x, at, 2, n, to),
            3 if const { unrolls::<S>() } => fold_row::<S, H, FOLD, 3>(x, at, 3, n, to),
            _ => fold_row::<S, H, FOLD, 0>(x, at, taps, n, to),
        }
    }
}

#[inline(always)]
unsafe fn fold_row<S: Simd, H: Simd<T = S::T>, const FOLD: u8, const K: usize>(
    x: *const S::T,
    at: impl Fn(usize) -> usize + Copy,
    taps: usize,
    n: usize,
    to: *mut S::T,
) {
    // SAFETY: the callers' promise; the last vector ends with the row.
    unsafe {
        if n >= S::N {
            for i in (0..n).step_by(S::N) {
                let i = i.min(n - S::N);
                S::store(to.add(i), folded::<S, FOLD, K>(x.add(i), at, taps));
            }
        } else if const { H::N < S::N } && n >= H::N {
            for i in (0..n).step_by(H::N) {
                let i = i.min(n - H::N);
                H::store(to.add(i), folded::<H, FOLD, 0>(x.add(i), at, taps));
            }
        } else {
            for i in 0..n {
                *to.add(i) = folded_one::<S::T, FOLD>(x.add(i), at, taps);
            }
        }
    }
}

/// A vector of folds. Of equal maxima the first one is taken.
#[inline(always)]
unsafe fn folded<S: Simd, const FOLD: u8, const K: usize>(
    x: *const S::T,
    at: impl Fn(usize) -> usize,
    taps: usize,
) -> S::V {
    // SAFETY: the callers' promise.
    unsafe {
        let mut all = S::load(x.add(at(0)));
        for tap in 1..if K == 0 { taps } else { K } {
            let v = S::load(x.add(at(tap)));
            all = if FOLD == SUM { S::add(all, v) } else { S::max(v, all) };
        }
        all
    }
}

#[inline(always)]
unsafe fn folded_one<T: Float, const FOLD: u8>(x: *const T, at: impl Fn(usize) -> usize, taps: usize) -> T {
    // SAFETY: the callers' promise.
    let x = |tap: usize| unsafe { *x.add(at(tap)) };
    let both = |all: T, v: T| match FOLD {
        SUM => all + v,
        _ if v > all => v,
        _ => all,
    };
    (1..taps).fold(x(0), |all, tap| both(all, x(tap)))
}

/// Writes the maxima to `to`, and the rank of the first of them to `ranks`; the last row has the first of `rank`, and each one above the second one more.
#[inline(always)]
unsafe fn rank_down<S: Simd, H: Simd<T = S::T>, const K: usize>(
    x: *const S::T,
    at: impl Fn(usize) -> usize + Copy,
    rank: (S::T, S::T),
    taps: usize,
    n: usize,
    (to, ranks): (*mut S::T, *mut S::T),
) {
    // SAFETY: the callers' promise; the last vector ends with the row.
    unsafe {
        if n >= S::N {
            for i in (0..n).step_by(S::N) {
                let i = i.min(n - S::N);
                rank_of_columns::<S, K>(x.add(i), at, rank, taps, (to.add(i), ranks.add(i)));
            }
        } else if const { H::N < S::N } && n >= H::N {
            for i in (0..n).step_by(H::N) {
                let i = i.min(n - H::N);
                rank_of_columns::<H, 0>(x.add(i), at, rank, taps, (to.add(i), ranks.add(i)));
            }
        } else {
            for i in 0..n {
                let best = folded_one::<S::T, MAX>(x.add(i), at, taps);
                let first = (0..taps).find(|&tap| *x.add(at(tap) + i) == best).unwrap_or(0);
                (*to.add(i), *ranks.add(i)) = (best, rank.0 + rank.1 * S::T::real((taps - 1 - first) as f64));
            }
        }
    }
}

#[inline(always)]
unsafe fn rank_of_columns<S: Simd, const K: usize>(
    x: *const S::T,
    at: impl Fn(usize) -> usize + Copy,
    rank: (S::T, S::T),
    taps: usize,
    (to, ranks): (*mut S::T, *mut S::T),
) {
    let taps = if K == 0 { taps } else { K };
    // SAFETY: the callers' promise.
    unsafe {
        let best = folded::<S, MAX, K>(x, at, taps);
        let (mut here, more) = (S::splat(rank.0), S::splat(rank.1));
        let mut most = here;
        for tap in (0..taps - 1).rev() {
            here = S::add(here, more);
            most = S::max(S::where_equal(S::load(x.add(at(tap))), best, here), most);
        }
        S::store(to, best);
        S::store(ranks, most);
    }
}

/// Writes the largest rank of those columns that have the maximum; it falls by one from column to column.
#[inline(always)]
unsafe fn rank_across<S: Simd, H: Simd<T = S::T>, const K: usize>(
    (x, ranks): (*const S::T, *const S::T),
    at: impl Fn(usize) -> usize + Copy,
    taps: usize,
    n: usize,
    y: *const S::T,
    to: *mut S::T,
) {
    // SAFETY: the callers' promise; the last vector ends with the row.
    unsafe {
        if n >= S::N {
            for i in (0..n).step_by(S::N) {
                let i = i.min(n - S::N);
                let top = S::load(y.add(i));
                S::store(to.add(i), rank_of_windows::<S, K>((x.add(i), ranks.add(i)), at, taps, top));
            }
        } else if const { H::N < S::N } && n >= H::N {
            for i in (0..n).step_by(H::N) {
                let i = i.min(n - H::N);
                let top = H::load(y.add(i));
                H::store(to.add(i), rank_of_windows::<H, 0>((x.add(i), ranks.add(i)), at, taps, top));
            }
        } else {
            for i in 0..n {
                let rank = |tap: usize| *ranks.add(at(tap) + i) - S::T::real(tap as f64);
                let most = |most: S::T, tap: usize| if rank(tap) > most { rank(tap) } else { most };
                let first = (0..taps).filter(|&tap| *x.add(at(tap) + i) == *y.add(i));
                *to.add(i) = first.fold(S::T::ZERO, most);
            }
        }
    }
}

#[inline(always)]
unsafe fn rank_of_windows<S: Simd, const K: usize>(
    (x, ranks): (*const S::T, *const S::T),
    at: impl Fn(usize) -> usize,
    taps: usize,
    top: S::V,
) -> S::V {
    // SAFETY: the callers' promise.
    unsafe {
        let (mut most, mut beside, one) = (S::zero(), S::zero(), S::splat(-S::T::ONE));
        for tap in 0..if K == 0 { taps } else { K } {
            let rank = S::add(S::load(ranks.add(at(tap))), beside);
            most = S::max(S::where_equal(S::load(x.add(at(tap))), top, rank), most);
            beside = S::add(beside, one);
        }
        most
    }
}

// The same for windows of two or three columns, at distance D, which is two or three too, in a row that is not sorted.

/// The first, second and third columns of a vector of windows; the second ones twice if there are no third ones.
#[inline(always)]
unsafe fn columns<S: Simd, const D: usize>(x: *const S::T, taps: usize) -> [S::V; 3] {
    // SAFETY: the callers' promise.
    unsafe {
        if D == 2 {
            let [a, b] = S::unzip(S::load(x), S::load(x.add(S::N)));
            let [c, _] = if taps == 2 { [b; 2] } else { S::unzip(S::load(x.add(2)), S::load(x.add(2 + S::N))) };
            return [a, b, c];
        }
        let a = S::third(S::load(x), S::load(x.add(S::N)), S::load(x.add(2 * S::N)));
        let x = x.add(1);
        let b = S::third(S::load(x), S::load(x.add(S::N)), S::load(x.add(2 * S::N)));
        if taps == 2 {
            return [a, b, b];
        }
        let x = x.add(1);
        [a, b, S::third(S::load(x), S::load(x.add(S::N)), S::load(x.add(2 * S::N)))]
    }
}

/// A vector of folds of columns.
#[inline(always)]
unsafe fn folded_columns<S: Simd, const FOLD: u8>([a, b, c]: [S::V; 3], taps: usize) -> S::V {
    // SAFETY: the callers' promise.
    unsafe {
        if FOLD == MAX {
            return S::max(c, S::max(b, a));
        }
        let all = S::add(a, b);
        if taps == 2 { all } else { S::add(all, c) }
    }
}

/// Writes the folds to `to`.
#[inline(always)]
unsafe fn fold_small<S: Simd, H: Simd<T = S::T>, const FOLD: u8, const D: usize>(
    x: *const S::T,
    taps: usize,
    n: usize,
    to: *mut S::T,
) {
    // SAFETY: the callers' promise; the last vector ends with the row.
    unsafe {
        if n >= S::N {
            for i in (0..n).step_by(S::N) {
                let i = i.min(n - S::N);
                S::store(to.add(i), folded_columns::<S, FOLD>(columns::<S, D>(x.add(D * i), taps), taps));
            }
        } else if const { H::N < S::N } && n >= H::N {
            for i in (0..n).step_by(H::N) {
                let i = i.min(n - H::N);
                H::store(to.add(i), folded_columns::<H, FOLD>(columns::<H, D>(x.add(D * i), taps), taps));
            }
        } else {
            for i in 0..n {
                *to.add(i) = folded_one::<S::T, FOLD>(x.add(D * i), |tap| tap, taps);
            }
        }
    }
}

/// Writes the maxima and their ranks.
#[inline(always)]
unsafe fn rank_small<S: Simd, H: Simd<T = S::T>, const D: usize>(
    (x, ranks): (*const S::T, *const S::T),
    taps: usize,
    n: usize,
    (y, to): (*mut S::T, *mut S::T),
) {
    // SAFETY: the callers' promise; the last vector ends with the row.
    unsafe {
        if n >= S::N {
            for i in (0..n).step_by(S::N) {
                let i = i.min(n - S::N);
                rank_of_small::<S, D>((x.add(D * i), ranks.add(D * i)), taps, (y.add(i), to.add(i)));
            }
        } else if const { H::N < S::N } && n >= H::N {
            for i in (0..n).step_by(H::N) {
                let i = i.min(n - H::N);
                rank_of_small::<H, D>((x.add(D * i), ranks.add(D * i)), taps, (y.add(i), to.add(i)));
            }
        } else {
            for i in 0..n {
                let at = D * i;
                let best = folded_one::<S::T, MAX>(x.add(at), |tap| tap, taps);
                let rank = |tap: usize| *ranks.add(at + tap) - S::T::real(tap as f64);
                let most = |most: S::T, tap: usize| if rank(tap) > most { rank(tap) } else { most };
                *to.add(i) = (0..taps).filter(|&tap| *x.add(at + tap) == best).fold(S::T::ZERO, most);
                *y.add(i) = best;
            }
        }
    }
}

#[inline(always)]
unsafe fn rank_of_small<S: Simd, const D: usize>(
    (x, ranks): (*const S::T, *const S::T),
    taps: usize,
    (y, to): (*mut S::T, *mut S::T),
) {
    // SAFETY: the callers' promise.
    unsafe {
        let (x, ranks) = (columns::<S, D>(x, taps), columns::<S, D>(ranks, taps));
        let (best, one) = (folded_columns::<S, MAX>(x, taps), S::splat(-S::T::ONE));
        let most = S::max(S::where_equal(x[0], best, ranks[0]), S::where_equal(x[1], best, S::add(ranks[1], one)));
        // The second ones again if there are no third ones: they come to less.
        let last = S::where_equal(x[2], best, S::add(ranks[2], S::add(one, one)));
        S::store(y, best);
        S::store(to, S::max(last, most));
    }
}

/// Copies a short row, without the call that `copy_from_slice` is.
#[inline(always)]
pub(super) fn put<T: Copy>(from: &[T], to: &mut [T]) {
    match from.len() {
        16.. => chunks::<T, 16>(from, to),
        8.. => chunks::<T, 8>(from, to),
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
