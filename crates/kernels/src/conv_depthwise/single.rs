//! Depthwise convolution with kernels of one element: each channel has a factor of its own; in single precision.
//!
//! The plain loop: `y[n, c, i, j] = bias[c] + w[c] * x[n, c, i * stride, j * stride]`.
//!
//! The tricks: no plane is copied, and with stride 1 a plane is one row; every second or third element of a row is picked by
//! shuffles; the last vector of a row overlaps the one before it, and reads on into the next row.

// Loops over constant ranges unroll; iterators over arrays of vectors sometimes do not.
#![allow(clippy::needless_range_loop)]

use crate::buffer::Buffer;
use crate::conv::{ConvGeometry, Epilogue};
use crate::element::Float;
use crate::isa::{Isa, Simd, SimdBody, prefetch};
use crate::par::{self, Shared};
use std::ops::Range;

/// Planes of a channel whose products are summed apart.
const IMAGES: usize = 8;

/// Rows of results ahead that one is asked for.
const AHEAD: usize = 4;
/// Bytes of planes that are not in the cache any more when the last of them were written; asking for less costs more than it brings.
const FAR: usize = 16 << 20;

/// Whether a geometry that is depthwise is one of these.
pub(crate) fn fits<T: Float>(isa: Isa, g: &ConvGeometry) -> bool {
    size_of::<T>() == 4 && isa != Isa::Portable && g.kernel_h * g.kernel_w == 1 && g.padding == (0, 0, 0, 0)
}

/// The rows of a plane that windows meet, the results of each, and what is between them.
#[derive(Clone, Copy)]
struct Rows {
    count: usize,
    width: usize,
    pitch: usize,
    step: usize,
    /// Elements of a plane of the input, and of its results.
    plane: usize,
    out: usize,
}

impl Rows {
    fn new(g: &ConvGeometry) -> Rows {
        let (plane, out) = (g.in_h * g.in_w, g.out_h * g.out_w);
        match g.stride {
            (1, 1) => Rows { count: 1, width: out, pitch: plane, step: 1, plane, out },
            (down, step) => Rows { count: g.out_h, width: g.out_w, pitch: down * g.in_w, step, plane, out },
        }
    }

    /// Whether rows of an array that is not in the cache are left out.
    fn skips_far<T>(self, x: &[T]) -> bool {
        self.step > 1 && size_of_val(x) >= FAR
    }

    /// Asks for a row some rows below the one that `x` begins with. Others between them are skipped, and the hardware would bring those.
    #[inline(always)]
    fn ask<T>(self, x: &[T]) {
        let line = 64 / size_of::<T>();
        for k in (0..self.step * self.width + line).step_by(line) {
            prefetch(x.as_ptr(), AHEAD * self.pitch + k);
        }
    }

    /// How many columns vectors cover if `room` elements are left.
    #[inline(always)]
    fn covered(self, lanes: usize, room: usize) -> usize {
        if self.step > 3 || self.width < lanes {
            0
        } else if room >= self.step * self.width {
            self.width
        } else {
            Some(room / self.step).filter(|&n| n >= lanes).unwrap_or(0)
        }
    }
}

/// Every step-th of `step * N` elements, for steps up to three.
#[inline(always)]
unsafe fn pick<S: Simd>(x: *const S::T, step: usize) -> S::V {
    // SAFETY: the caller's promise.
    unsafe {
        match step {
            1 => S::load(x),
            2 => S::unzip(S::load(x), S::load(x.add(S::N)))[0],
            _ => S::third(S::load(x), S::load(x.add(S::N)), S::load(x.add(2 * S::N))),
        }
    }
}

/// [`crate::conv::conv2d`] where it [`fits`].
pub(crate) fn conv2d<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], w: &[T], epilogue: Epilogue<T>, y: &mut [T]) {
    let (rows, channels) = (Rows::new(g), g.in_channels);
    let planes = g.batch * channels;
    assert_eq!((x.len(), w.len(), y.len()), (planes * rows.plane, channels, planes * rows.out), "the arrays fit");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == channels), "each channel has a bias");
    let y = Shared(y.as_mut_ptr());
    par::for_each_range(planes, 4 * rows.out, |range| {
        let scale = Scale { rows, range, x, w, epilogue, y: y.get() };
        // SAFETY: the set comes from detection, the arrays have the planes, and this range alone writes its results.
        unsafe { T::simd(isa, scale) };
    });
}

/// Some planes of results.
struct Scale<'a, T> {
    rows: Rows,
    range: Range<usize>,
    x: &'a [T],
    w: &'a [T],
    epilogue: Epilogue<'a, T>,
    y: *mut T,
}

impl<T: Float> SimdBody<T> for Scale<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // What does not fit is not compiled.
        if const { size_of::<T>() != 4 || S::REGISTERS <= 8 } {
            return;
        }
        let (rows, relu) = (self.rows, self.epilogue.relu);
        let skips_far = rows.skips_far(self.x);
        let lowest = if relu { T::ZERO } else { T::LOWEST };
        for plane in self.range {
            let channel = plane % self.w.len();
            let factor = self.w[channel];
            let bias = if let Some(bias) = self.epilogue.bias { bias[channel] } else { T::ZERO };
            // SAFETY: the caller's promise: the set is enabled.
            let (w, start, floor) = unsafe { (S::splat(factor), S::splat(bias), S::splat(lowest)) };
            for i in 0..rows.count {
                let x = &self.x[plane * rows.plane + i * rows.pitch..];
                // SAFETY: the caller's promise: the plane has this row of results, and x so many elements.
                unsafe {
                    let y = self.y.add(plane * rows.out + i * rows.width);
                    let covered = rows.covered(S::N, x.len());
                    if skips_far {
                        rows.ask(x);
                    }
                    let mut j = 0;
                    while j < covered {
                        let at = j.min(covered - S::N);
                        let v = S::fma(w, pick::<S>(x.as_ptr().add(at * rows.step), rows.step), start);
                        S::store(y.add(at), S::add(S::max(floor, v), S::zero()));
                        j += S::N;
                    }
                    for j in covered..rows.width {
                        let v = factor.times(x[j * rows.step]).plus(bias);
                        *y.add(j) = if relu && v <= T::ZERO { T::ZERO } else { v };
                    }
                }
            }
        }
    }
}

/// [`crate::conv::conv2d_input`] where it [`fits`].
pub(crate) fn conv2d_input<T: Float>(isa: Isa, g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) {
    let (rows, channels) = (Rows::new(g), g.in_channels);
    if rows.step == 1 && rows.plane == rows.out {
        let same = ConvGeometry { stride: (1, 1), ..*g };
        return conv2d(isa, &same, gy, w, Epilogue::NONE, gx);
    }
    assert_eq!(
        (gx.len(), gy.len()),
        (g.batch * channels * rows.plane, g.batch * channels * rows.out),
        "the arrays fit"
    );
    par::for_each_chunk(gx, rows.plane, 2 * rows.plane, |plane, gx| {
        let gy = &gy[plane * rows.out..][..rows.out];
        // SAFETY: the set comes from detection.
        unsafe { T::simd(isa, Spread { rows, w: w[plane % channels], gy, gx }) };
    });
}

/// A plane of gradients, which goes between zeros.
struct Spread<'a, T> {
    rows: Rows,
    w: T,
    gy: &'a [T],
    gx: &'a mut [T],
}

impl<T: Float> SimdBody<T> for Spread<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // What does not fit is not compiled.
        if const { size_of::<T>() != 4 || S::REGISTERS <= 8 } {
            return;
        }
        let rows = self.rows;
        for (gx, gy) in self.gx.chunks_mut(rows.pitch).zip(self.gy.chunks_exact(rows.width)) {
            let mut done = 0;
            if rows.step == 2 {
                // SAFETY: the caller's promise; both rows have so many elements.
                unsafe {
                    let w = S::splat(self.w);
                    while done + S::N <= rows.width && 2 * (done + S::N) <= gx.len() {
                        let v = S::fma(w, S::load(gy.as_ptr().add(done)), S::zero());
                        let [first, second] = S::zip(v, S::zero());
                        S::store(gx.as_mut_ptr().add(2 * done), first);
                        S::store(gx.as_mut_ptr().add(2 * done + S::N), second);
                        done += S::N;
                    }
                }
            }
            gx[2 * done..].fill(T::ZERO);
            for j in done..rows.width {
                gx[j * rows.step] = gy[j].times(self.w);
            }
        }
        // Rows below all windows.
        let met = (self.gy.len() / rows.width * rows.pitch).min(self.gx.len());
        self.gx[met..].fill(T::ZERO);
    }
}

/// [`crate::conv::conv2d_weight`] where it [`fits`].
pub(crate) fn conv2d_weight<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], gy: &[T], gw: &mut [T]) {
    let (rows, channels) = (Rows::new(g), g.in_channels);
    let planes = g.batch * channels;
    assert_eq!((x.len(), gw.len(), gy.len()), (planes * rows.plane, channels, planes * rows.out), "the arrays fit");
    // Sums of some images each, then of all.
    let parts = g.batch.div_ceil(IMAGES);
    let mut sums = Buffer::<T>::unfilled(parts * channels);
    let to = Shared(sums.make_mut().as_mut_ptr());
    par::for_each_range(parts * channels, g.batch.min(IMAGES) * 2 * rows.out, |range| {
        // SAFETY: the sums of the range are its own.
        let sums = unsafe { std::slice::from_raw_parts_mut(to.get().add(range.start), range.len()) };
        // SAFETY: the set comes from detection, and the arrays have the planes.
        unsafe { T::simd(isa, Dots { rows, channels, images: g.batch, first: range.start, x, gy, sums }) };
    });
    gw.fill(T::ZERO);
    for sums in sums.chunks_exact(channels) {
        gw.iter_mut().zip(sums).for_each(|(gw, &sum)| *gw = gw.plus(sum));
    }
}

/// Sums from the first on: those of the channels over some images, then over the next ones.
struct Dots<'a, T> {
    rows: Rows,
    channels: usize,
    images: usize,
    first: usize,
    x: &'a [T],
    gy: &'a [T],
    sums: &'a mut [T],
}

impl<T: Float> SimdBody<T> for Dots<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        // What does not fit is not compiled.
        if const { size_of::<T>() != 4 || S::REGISTERS <= 8 } {
            return;
        }
        let Dots { rows, channels, images, mut first, x, gy, mut sums } = self;
        let skips_far = rows.skips_far(x);
        // The channels of an image one after the other, as they lie in memory.
        while !sums.is_empty() {
            let (part, channel) = (first / channels, first % channels);
            let totals;
            (totals, sums) = sums.split_at_mut((channels - channel).min(sums.len()));
            first += totals.len();
            totals.fill(T::ZERO);
            for image in part * IMAGES..images.min((part + 1) * IMAGES) {
                for (total, plane) in totals.iter_mut().zip(image * channels + channel..) {
                    let mut rest = T::ZERO;
                    // SAFETY: the caller's promise: x and gy have so many elements.
                    unsafe {
                        let mut four = [S::zero(); 4];
                        for i in 0..rows.count {
                            let x = &x[plane * rows.plane + i * rows.pitch..];
                            if skips_far {
                                rows.ask(x);
                            }
                            let gy = &gy[plane * rows.out + i * rows.width..][..rows.width];
                            let mut room = rows.width;
                            if rows.step > 3 {
                                room = 0;
                            } else if x.len() < rows.step * rows.width {
                                room = x.len() / rows.step;
                            }
                            let mut j = 0;
                            while j + 4 * S::N <= room {
                                for k in 0..4 {
                                    let at = j + k * S::N;
                                    let v = pick::<S>(x.as_ptr().add(at * rows.step), rows.step);
                                    four[k] = S::fma(S::load(gy.as_ptr().add(at)), v, four[k]);
                                }
                                j += 4 * S::N;
                            }
                            while j + S::N <= room {
                                let v = pick::<S>(x.as_ptr().add(j * rows.step), rows.step);
                                four[0] = S::fma(S::load(gy.as_ptr().add(j)), v, four[0]);
                                j += S::N;
                            }
                            for j in j..rows.width {
                                rest = rest.plus(gy[j].times(x[j * rows.step]));
                            }
                        }
                        let all = S::add(S::add(four[0], four[1]), S::add(four[2], four[3]));
                        *total = total.plus(S::sum(all).plus(rest));
                    }
                }
            }
        }
    }
}
