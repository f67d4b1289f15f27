//! The adjoint of max-pooling by the places of the maxima in their windows, and its own.
//!
//! The plain loop: each gradient is added to the element of its window that its tap names. Where windows are small it is turned
//! around: each element takes the gradients of the windows above it whose taps name it. For that, gradients and taps are written as
//! often as a window has columns before the next one begins, the taps less the column. Then the windows that cover a row of elements
//! lie side by side in a few rows, and each row has one number that names the element: vectors are compared, and where they are
//! equal the gradient is added. Taps are small whole numbers, so all vectors are of one type. Windows of 2x2 side by side need no more
//! than gradients and taps, many rows of them at a time (`halve`).

use super::far::{is_far, settle, stream};
use super::strip::{put, unrolls};
use super::{Covering, PoolGeometry, halve, planes_per_chunk};
use crate::buffer::Buffer;
use crate::element::{Float, compiled_here};
use crate::isa::{Simd, SimdBody, isa_of};
use crate::math::Arithmetic;
use crate::par;

compiled_here! {
    trait TapKernels for f32, f64 = {
        fn unpool_taps(geo: &PoolGeometry, g: &[Self], taps: &[u8], gx: &mut [Self]) = unpool_taps_of;
        fn pick_taps(geo: &PoolGeometry, x: &[Self], taps: &[u8], y: &mut [Self]) = pick_taps_of;
    }
}

/// The adjoint of [`pick_taps`]: adds each `g` to the element of its window that `taps` names; all others become 0.
///
/// # Panics
/// A slice has another length than the geometry says, the geometry has no [taps](PoolGeometry::has_taps), or a tap lies
/// outside of its plane.
pub fn unpool_taps<T: Float>(geo: &PoolGeometry, g: &[T], taps: &[u8], gx: &mut [T]) {
    <T as TapKernels>::unpool_taps(geo, g, taps, gx);
}

fn unpool_taps_of<T: Float>(geo: &PoolGeometry, g: &[T], taps: &[u8], gx: &mut [T]) {
    check(geo, gx.len(), g.len(), taps.len());
    let (plane, out) = geo.plane();
    let (chunk, far) = (planes_per_chunk(plane), is_far(gx));
    par::for_each_chunk(gx, chunk * plane, 12 * chunk.min(geo.planes) * plane, |i, gx| {
        let outputs = i * chunk * out..(i * chunk + gx.len() / plane) * out;
        Planes { geo, g: &g[outputs.clone()], taps: &taps[outputs], gx, far }.unpool();
    });
}

/// The elements of the windows of `x` that `taps` names.
///
/// # Panics
/// As [`unpool_taps`].
pub fn pick_taps<T: Float>(geo: &PoolGeometry, x: &[T], taps: &[u8], y: &mut [T]) {
    <T as TapKernels>::pick_taps(geo, x, taps, y);
}

fn pick_taps_of<T: Float>(geo: &PoolGeometry, x: &[T], taps: &[u8], y: &mut [T]) {
    check(geo, x.len(), y.len(), taps.len());
    let (plane, out) = geo.plane();
    let chunk = planes_per_chunk(plane);
    par::for_each_chunk(y, chunk * out, 12 * chunk.min(geo.planes) * out, |i, y| {
        let offsets = offsets(geo);
        let inputs = x[i * chunk * plane..].chunks_exact(plane).zip(taps[i * chunk * out..].chunks_exact(out));
        for (y, (x, taps)) in y.chunks_exact_mut(out).zip(inputs) {
            each_place(geo, &offsets, taps, |at, place| y[at] = x[place]);
        }
    });
}

fn check(geo: &PoolGeometry, input: usize, output: usize, taps: usize) {
    geo.check(input, output);
    assert_eq!(taps, output, "a tap for each output");
    assert!(geo.has_taps(), "taps say where each maximum is");
}

/// How far each tap is from the first one of its window.
fn offsets(geo: &PoolGeometry) -> [usize; 256] {
    let mut offsets = [0; 256];
    let places = (0..geo.kernel_h).flat_map(|h| (0..geo.kernel_w).map(move |w| h * geo.in_w + w));
    offsets.iter_mut().zip(places).for_each(|(offset, place)| *offset = place);
    offsets
}

/// Calls `f` with each output of a plane and the position that its tap names.
#[inline(always)]
fn each_place(geo: &PoolGeometry, offsets: &[usize; 256], taps: &[u8], mut f: impl FnMut(usize, usize)) {
    let before = geo.padding.0 * geo.in_w + geo.padding.1;
    for (oh, taps) in taps.chunks_exact(geo.out_w).enumerate() {
        for (ow, &tap) in taps.iter().enumerate() {
            let start = oh * geo.stride.0 * geo.in_w + ow * geo.stride.1;
            f(oh * geo.out_w + ow, (start + offsets[usize::from(tap)]).wrapping_sub(before));
        }
    }
}

/// Some planes.
struct Planes<'a, T> {
    geo: &'a PoolGeometry,
    g: &'a [T],
    taps: &'a [u8],
    gx: &'a mut [T],
    /// Whether to write past the cache.
    far: bool,
}

impl<T: Float> Planes<'_, T> {
    fn unpool(self) {
        let geo = self.geo;
        // Short rows are not worth their set-up, and windows far apart leave little to compare. f64 has one way only.
        let close = geo.kernel_h.max(geo.kernel_w) <= 3 && geo.stride.1 <= 2;
        if T::ALL && close && (geo.in_w >= SHORT || halve::fits(geo)) && geo.out_h > 0 && geo.out_w > 0 {
            // SAFETY: isa_of never says more than what was detected.
            unsafe { T::simd(isa_of::<T>(), self) };
        } else {
            self.scatter();
        }
    }

    fn scatter(self) {
        let (plane, out) = self.geo.plane();
        if out == 0 {
            return self.gx.fill(T::ZERO);
        }
        let outputs = self.g.chunks_exact(out).zip(self.taps.chunks_exact(out));
        let offsets = offsets(self.geo);
        let mut near = Buffer::unfilled(if self.far { plane } else { 0 });
        let near = near.make_mut();
        for (gx, (g, taps)) in self.gx.chunks_exact_mut(plane).zip(outputs) {
            let to = if self.far { &mut *near } else { &mut *gx };
            to.fill(T::ZERO);
            each_place(self.geo, &offsets, taps, |at, place| to[place] = to[place] + g[at]);
            if self.far {
                stream(near, gx);
            }
        }
        if self.far {
            settle();
        }
    }
}

/// Elements of a row that fill a vector of any set.
const SHORT: usize = 16;
/// Elements of wide rows that stay in the first-level cache with their taps.
const NEAR: usize = 2048;

impl<T: Float> SimdBody<T> for Planes<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        if const { unrolls::<S>() } {
            // SAFETY: the caller's promise.
            unsafe {
                if halve::fits(self.geo) {
                    self.halves::<S>();
                } else {
                    self.compare::<S>();
                }
            }
        } else {
            self.scatter();
        }
    }
}

impl<T: Float> Planes<'_, T> {
    /// Windows of 2x2 side by side: the rows of a block as if they were one, the upper elements of all windows and then the lower
    /// ones, which are copied out row by row. Short rows fill no vector by themselves.
    ///
    /// # Safety
    /// The set of S is enabled in the caller.
    #[inline(always)]
    unsafe fn halves<S: Simd<T = T>>(self) {
        let (width, half) = (self.geo.in_w, self.geo.out_w);
        let rows = halve::rows_per_block(self.geo);
        let mut places = [T::ZERO; halve::BLOCK / 4];
        let mut lines = [[T::ZERO; halve::BLOCK / 2]; 2];
        let outputs = self.g.chunks(rows * half).zip(self.taps.chunks(rows * half));
        for (gx, (g, taps)) in self.gx.chunks_mut(rows * 2 * width).zip(outputs) {
            let places = &mut places[..g.len()];
            places.iter_mut().zip(taps).for_each(|(place, &tap)| *place = T::real(f64::from(tap)));
            for (line, first) in lines.iter_mut().zip([T::ZERO, T::ONE + T::ONE]) {
                // SAFETY: the set of S is enabled here.
                unsafe { alternate::<S>(g, places, first, &mut line[..2 * g.len()]) };
            }
            for (i, pair) in gx.chunks_exact_mut(2 * width).enumerate() {
                for (line, gx) in lines.iter().zip(pair.chunks_exact_mut(width)) {
                    let from = &line[i * width..][..width];
                    if self.far { stream(from, gx) } else { put(from, gx) }
                }
            }
        }
        if self.far {
            settle();
        }
    }

    #[inline(always)]
    unsafe fn compare<S: Simd<T = T>>(self) {
        let geo = self.geo;
        let ((plane, out), down) = (geo.plane(), geo.down());
        let (kernel, stride, left, width) = (geo.kernel_w, geo.stride.1, geo.padding.1, geo.in_w);
        // So many windows of a row cover a column. They are found at distance `stride` to the left, where a row begins with none.
        let backs = kernel.div_ceil(stride);
        let before = (backs - 1) * stride;
        let pitch = before + (geo.out_w * stride).max(width + left);
        // Rows of the plane that are computed together, and the most rows of windows that cover them.
        let rows = (NEAR / pitch).max(1) * down.stride;
        let most = (rows / down.stride + down.kernel.div_ceil(down.stride)).min(geo.out_h);
        let (mut wide, mut named) = (Buffer::filled(most * pitch, T::ZERO), Buffer::filled(most * pitch, -T::ONE));
        let (wide, named) = (wide.make_mut(), named.make_mut());
        // Where each row finds the gradients of its windows, and what is there in `named` if they name it: the tap, counted as if a
        // window had `backs * stride` columns, less the column that it names of those below the window's own.
        let (mut plan, mut names) = (Buffer::zeroed(10 * geo.in_h), Buffer::filled(9 * geo.in_h, T::ZERO));
        let plans = plan.make_mut().as_chunks_mut::<10>().0.iter_mut();
        for (h, ([n, at @ ..], names)) in plans.zip(names.make_mut().as_chunks_mut::<9>().0).enumerate() {
            for oh in down.covering(h) {
                let row = h + down.padding - oh * down.stride;
                for back in (0..backs).rev() {
                    at[*n as usize] = (oh * pitch + before + left - back * stride) as i64;
                    names[*n as usize] = T::real(((row * backs + back) * stride) as f64);
                    *n += 1;
                }
            }
        }
        let (plan, names) = (plan.as_chunks::<10>().0, names.as_chunks::<9>().0);
        let (covering, more) = (Covering::new(down), (backs * stride - kernel) as i32);
        let place = |tap: u8| {
            let (tap, kernel) = (i32::from(tap), kernel as i32);
            T::real(f64::from(tap + more * (i32::from(tap >= kernel) + i32::from(tap >= 2 * kernel))))
        };
        let mut block = Buffer::filled(width, T::ZERO);
        let block = block.make_mut();
        let mut places = Buffer::filled(out, T::ZERO);
        let places = places.make_mut();
        let outputs = self.g.chunks_exact(out).zip(self.taps.chunks_exact(out));
        for (gx, (g, taps)) in self.gx.chunks_exact_mut(plane).zip(outputs) {
            places.iter_mut().zip(taps).for_each(|(v, &tap)| *v = place(tap));
            for (i, gx) in gx.chunks_mut(rows * width).enumerate() {
                let inside = i * rows..i * rows + gx.len() / width;
                let windows = covering.of(inside.start).start..covering.of(inside.end - 1).end;
                assert!(windows.len() <= most);
                for (i, oh) in windows.clone().enumerate() {
                    let from = oh * geo.out_w..(oh + 1) * geo.out_w;
                    let to = i * pitch + before..i * pitch + before + geo.out_w * stride;
                    // SAFETY: the set of S is enabled here.
                    unsafe {
                        widen::<S>(stride, &g[from.clone()], T::ZERO, &mut wide[to.clone()]);
                        widen::<S>(stride, &places[from], T::ONE, &mut named[to]);
                    }
                }
                let above = windows.start * pitch;
                let from = (wide.as_ptr().wrapping_sub(above), named.as_ptr().wrapping_sub(above));
                for (h, gx) in inside.zip(gx.chunks_exact_mut(width)) {
                    let to = if self.far { &mut *block } else { &mut *gx };
                    let ([n, at @ ..], names) = (&plan[h], &names[h]);
                    // SAFETY: the set of S is enabled here; each place is in the row of one of these windows, at most `pitch - width`
                    // from its start, and a row is not shorter than a vector.
                    unsafe {
                        match *n {
                            0 => to.fill(T::ZERO),
                            1 => gather::<S, 1>(from, at, names, to),
                            2 => gather::<S, 2>(from, at, names, to),
                            3 => gather::<S, 3>(from, at, names, to),
                            4 => gather::<S, 4>(from, at, names, to),
                            6 => gather::<S, 6>(from, at, names, to),
                            _ => gather::<S, 9>(from, at, names, to),
                        }
                    }
                    if self.far {
                        stream(block, gx);
                    }
                }
            }
        }
        if self.far {
            settle();
        }
    }
}

/// Writes each element `stride` times, less `step` each time.
///
/// # Safety
/// The instruction set is enabled in the caller.
#[inline(always)]
unsafe fn widen<S: Simd>(stride: usize, from: &[S::T], step: S::T, to: &mut [S::T]) {
    let n = from.len();
    assert_eq!(to.len(), n * stride);
    if stride <= 2 && n >= S::N {
        let (from, to) = (from.as_ptr(), to.as_mut_ptr());
        for i in (0..n).step_by(S::N) {
            let i = i.min(n - S::N);
            // SAFETY: S::N elements from i on, and `stride` times as many, are inside.
            unsafe {
                let v = S::load(from.add(i));
                if stride == 1 {
                    S::store(to.add(i), v);
                    continue;
                }
                let [low, high] = S::zip(v, S::add(v, S::splat(-step)));
                S::store(to.add(2 * i), low);
                S::store(to.add(2 * i + S::N), high);
            }
        }
        return;
    }
    for (to, &v) in to.chunks_exact_mut(stride).zip(from) {
        let mut v = v;
        for to in to {
            *to = v;
            v = v - step;
        }
    }
}

/// Writes pairs: the gradients where the tap is `first`, and those where it is the next one.
///
/// # Safety
/// The instruction set is enabled in the caller.
#[inline(always)]
unsafe fn alternate<S: Simd>(g: &[S::T], taps: &[S::T], first: S::T, to: &mut [S::T]) {
    let n = g.len();
    assert!(taps.len() == n && to.len() == 2 * n);
    if n < S::N {
        for ((to, &g), &tap) in to.as_chunks_mut::<2>().0.iter_mut().zip(g).zip(taps) {
            *to = [first, first + S::T::ONE].map(|at| if tap == at { g } else { S::T::ZERO });
        }
        return;
    }
    for i in (0..n).step_by(S::N) {
        let i = i.min(n - S::N);
        // SAFETY: S::N elements from i on, and twice as many of the row, are inside.
        unsafe {
            let (g, tap) = (S::load(g.as_ptr().add(i)), S::load(taps.as_ptr().add(i)));
            let left = S::where_equal(tap, S::splat(first), g);
            let right = S::where_equal(tap, S::splat(first + S::T::ONE), g);
            let [low, high] = S::zip(left, right);
            S::store(to.as_mut_ptr().add(2 * i), low);
            S::store(to.as_mut_ptr().add(2 * i + S::N), high);
        }
    }
}

/// Adds the gradients of the windows that name an element, for a row of them. There are N: each begins at a place of both, and
/// names the element by the number that is found in the second one.
///
/// # Safety
/// The instruction set is enabled in the caller, and both have as many elements from each place on as the row, at least a vector.
#[inline(always)]
unsafe fn gather<S: Simd, const N: usize>(
    (wide, named): (*const S::T, *const S::T),
    at: &[i64; 9],
    names: &[S::T; 9],
    to: &mut [S::T],
) {
    let n = to.len();
    // SAFETY: the caller's promise; i + S::N is at most n.
    unsafe {
        let terms: [_; N] =
            std::array::from_fn(|i| (wide.wrapping_add(at[i] as usize), named.wrapping_add(at[i] as usize), names[i]));
        for i in (0..n).step_by(S::N) {
            let i = i.min(n - S::N);
            let mut sum = S::zero();
            for (k, (wide, named, name)) in terms.into_iter().enumerate() {
                let g = S::where_equal(S::load(named.add(i)), S::splat(name), S::load(wide.add(i)));
                sum = if k == 0 { g } else { S::add(sum, g) };
            }
            S::store(to.as_mut_ptr().add(i), sum);
        }
    }
}
