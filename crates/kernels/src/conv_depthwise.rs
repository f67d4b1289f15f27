//! Depthwise convolution: each channel has a kernel of its own.
//!
//! Small kernels have a way of their own, [`rows`], and so have kernels of one element, [`single`]; another one holds a pixel of many
//! planes, [`across`]; the rest goes through frames. Which costs least is in [`cost`].
//!
//! The plain loop: `y[n, c, i, j] = sum over r, s of w[c, r, s] * x[n, c, i * stride + r * dilation - padding, ..]`.
//!
//! There are few multiplications for each pixel, so the work is to move planes. The tricks: one plane at a time is copied into
//! a frame of zeros that stays in the first-level cache, so that every tap reads neighbours; with a stride, the columns between
//! the results are computed too and left out, or for large kernels and for the weights columns are sorted by their remainder to it; the last vector of a row overlaps the one before it instead of being cut. The gradient by
//! the input is the same over a frame of gradients that are a stride apart. The gradient by the weights takes some
//! images of a channel at a time, so that sums stay vectors.

pub(crate) mod across;
mod cost;
pub(crate) mod rows;
mod single;

use crate::buffer::Buffer;
use crate::conv::{ConvGeometry, Epilogue};
use crate::conv_parts::lanes;
use crate::element::Float;
use crate::isa::{Isa, Simd, SimdBody};
use crate::par::{self, Shared};
use crate::planes::copy;
use crate::tile::{Ahead, Dots, Start, Sweep};
use across::Pass;
use cost::Way;

/// Bytes of frames that the gradient by the weights has at hand.
const NEAR: usize = 24 << 10;

/// Elements of a kernel for which it costs less to sort columns than to compute those between the results.
const MANY: usize = 24;

/// Whether the geometry is depthwise and its frames are small enough to stay in the cache.
pub(crate) fn fits(g: &ConvGeometry) -> bool {
    let reach = |kernel: usize, dilation: usize| (kernel - 1).saturating_mul(dilation);
    let (down, right) = (reach(g.kernel_h, g.dilation.0), reach(g.kernel_w, g.dilation.1));
    let size = |size: usize, before: usize, after: usize, reach: usize| {
        size.saturating_add(before.saturating_add(after).max(reach))
    };
    let frame = size(g.in_h, g.padding.0, g.padding.1, down)
        .saturating_mul(size(g.in_w, g.padding.2, g.padding.3, right).saturating_add(64));
    g.groups > 1
        && g.groups == g.in_channels
        && g.groups == g.out_channels
        && g.padding.0 <= down
        && g.padding.2 <= right
        && frame <= 1 << 18
}

/// A plane with zeros around and between its pixels.
struct Frame {
    /// The pixels of the plane.
    height: usize,
    width: usize,
    /// Where the first pixel is, and how far apart pixels are.
    origin: (usize, usize),
    step: (usize, usize),
    /// How many columns apart the results are: columns are sorted by their remainder to it.
    stride: usize,
    /// Rows and columns of the frame.
    rows: usize,
    columns: usize,
    /// Between rows of one remainder.
    pitch: usize,
}

impl Frame {
    /// Elements of one remainder.
    fn part(&self) -> usize {
        self.rows * self.pitch
    }

    /// All elements, with room to read a vector at the end.
    fn len(&self) -> usize {
        self.part() * self.stride + 64
    }

    /// Where (row, column) is.
    fn at(&self, row: usize, column: usize) -> usize {
        column % self.stride * self.part() + row * self.pitch + column / self.stride
    }

    /// Copies a plane into a frame; the zeros around it are there already.
    fn fill<T: Float>(&self, isa: Isa, plane: &[T], frame: &mut [T]) {
        assert_eq!(plane.len(), self.height * self.width, "the plane has its size");
        assert_eq!(frame.len(), self.len(), "the frame has its size");
        // SAFETY: the set comes from detection, and the lengths were checked.
        unsafe { T::simd(isa, Fill { frame: self, from: plane.as_ptr(), to: frame.as_mut_ptr() }) };
    }
}

struct Fill<'a, T> {
    frame: &'a Frame,
    from: *const T,
    to: *mut T,
}

impl<T: Float> SimdBody<T> for Fill<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) {
        let f = self.frame;
        let rows = f.height.min((f.rows - f.origin.0).div_ceil(f.step.0));
        let columns = f.width.min((f.columns - f.origin.1).div_ceil(f.step.1));
        for i in 0..rows {
            // SAFETY: rows and columns that lie in the frame, of a plane that has them.
            unsafe {
                let from = self.from.add(i * f.width);
                let row = f.origin.0 + i * f.step.0;
                if f.stride == 1 && f.step.1 == 1 {
                    copy::<S, H>(from, self.to.add(row * f.pitch + f.origin.1), columns);
                } else if f.stride == 1 {
                    let to = self.to.add(row * f.pitch + f.origin.1);
                    for j in 0..columns {
                        *to.add(j * f.step.1) = *from.add(j);
                    }
                } else {
                    // Pixels are neighbours here: every stride-th one goes to the same part.
                    for first in 0..f.stride.min(columns) {
                        let to = self.to.add(f.at(row, f.origin.1 + first));
                        for j in 0..(columns - first).div_ceil(f.stride) {
                            *to.add(j) = *from.add(first + j * f.stride);
                        }
                    }
                }
            }
        }
    }
}

/// A correlation of framed planes, and where its taps are.
struct Plan {
    frame: Frame,
    out_h: usize,
    out_w: usize,
    stride: (usize, usize),
    taps: Vec<i64>,
}

impl Plan {
    /// With `sorted` columns the results of a row read neighbours.
    fn forward(g: &ConvGeometry, sorted: bool) -> Plan {
        let stride = if sorted { g.stride.1 } else { 1 };
        let rows = g.in_h + g.padding.0 + g.padding.1;
        let columns = g.in_w + g.padding.2 + g.padding.3;
        let frame = Frame {
            height: g.in_h,
            width: g.in_w,
            origin: (g.padding.0, g.padding.2),
            step: (1, 1),
            stride,
            rows,
            columns,
            pitch: columns.div_ceil(stride),
        };
        let element = |t: usize| frame.at(t / g.kernel_w * g.dilation.0, t % g.kernel_w * g.dilation.1) as i64;
        let taps = (0..g.kernel_h * g.kernel_w).map(element).collect();
        Plan { frame, out_h: g.out_h, out_w: g.out_w, stride: g.stride, taps }
    }

    /// The correlation of gradients that gives the gradient by the input.
    fn backward(g: &ConvGeometry) -> Plan {
        let reach = ((g.kernel_h - 1) * g.dilation.0, (g.kernel_w - 1) * g.dilation.1);
        let (rows, columns) = (g.in_h + reach.0, g.in_w + reach.1);
        let frame = Frame {
            height: g.out_h,
            width: g.out_w,
            origin: (reach.0 - g.padding.0, reach.1 - g.padding.2),
            step: g.stride,
            stride: 1,
            rows,
            columns,
            pitch: columns,
        };
        let element = |t: usize| {
            let (down, right) = (t / g.kernel_w * g.dilation.0, t % g.kernel_w * g.dilation.1);
            frame.at(reach.0 - down, reach.1 - right) as i64
        };
        let taps = (0..g.kernel_h * g.kernel_w).map(element).collect();
        Plan { frame, out_h: g.in_h, out_w: g.in_w, stride: (1, 1), taps }
    }

    /// Correlates each plane of `x` with the kernel of its channel. Where columns are not sorted, those between the results are computed
    /// too.
    fn run<T: Float>(&self, isa: Isa, channels: usize, x: &[T], w: &[T], epilogue: Epilogue<T>, y: &mut [T]) {
        let (plane, out) = (self.frame.height * self.frame.width, self.out_h * self.out_w);
        let full = lanes::<T>(isa);
        let half = if isa == Isa::Portable { full } else { full / 2 };
        // Sorted columns have nothing between them.
        let step = self.stride.1 / self.frame.stride;
        let width = (self.out_w - 1) * step + 1;
        let narrow = width < full && width.div_ceil(half) * half < full;
        let vector = if narrow { half } else { full };
        // A row that is shorter than a vector, or has columns that are left out, goes through memory of whole vectors.
        let apart = width < vector || step > 1;
        let across = width.div_ceil(vector);
        let begin = |v: usize| (v * vector).min(width.saturating_sub(vector));
        let places = || (0..self.out_h).flat_map(|i| (0..across).map(move |v| (i, v)));
        let from: Vec<i64> = places().map(|(i, v)| (i * self.stride.0 * self.frame.pitch + begin(v)) as i64).collect();
        let pitch = width.max(vector);
        let to: Vec<i64> = places().map(|(i, v)| (i * pitch + begin(v)) as i64).collect();
        let taps = self.taps.len();
        let (frames, y) = (y.len() / out, Shared(y.as_mut_ptr()));
        par::for_each_range(frames, 2 * plane + self.out_h * width * (2 * taps + 2), |range| {
            let mut frame = Buffer::zeroed(self.frame.len());
            let frame = frame.make_mut();
            let mut rows = Buffer::unfilled(if apart { self.out_h * pitch } else { 0 });
            let rows = rows.make_mut();
            for i in range {
                self.frame.fill(isa, &x[i * plane..(i + 1) * plane], frame);
                // SAFETY: plane i of the result is this range's own.
                let y = unsafe { std::slice::from_raw_parts_mut(y.get().add(i * out), out) };
                let sweep = Sweep {
                    x: frame.as_ptr(),
                    from: from.as_ptr(),
                    y: if apart { rows.as_mut_ptr() } else { y.as_mut_ptr() },
                    to: to.as_ptr(),
                    vectors: from.len(),
                    taps: self.taps.as_ptr(),
                    tap_count: taps,
                    w: w[i % channels * taps..][..taps].as_ptr(),
                    start: epilogue.bias.map_or(Start::Zero, |bias| Start::Bias(&raw const bias[i % channels])),
                    relu: epilogue.relu,
                    row: 0,
                    narrow,
                    ahead: Ahead::NONE,
                };
                // SAFETY: the set comes from detection; taps of rows of results are inside of the frame, which has room for a
                // vector at its end, and the result has rows of whole vectors or vectors that begin early enough.
                unsafe { sweep.run(isa, 1) };
                if apart {
                    for (y, row) in y.chunks_exact_mut(self.out_w).zip(rows.chunks_exact(pitch)) {
                        if step == 1 {
                            y.copy_from_slice(&row[..self.out_w]);
                        } else {
                            y.iter_mut().zip(row.iter().step_by(step)).for_each(|(y, &v)| *y = v);
                        }
                    }
                }
            }
        });
    }
}

/// [`crate::conv::conv2d`] where it [`fits`].
pub(crate) fn conv2d<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], w: &[T], epilogue: Epilogue<T>, y: &mut [T]) {
    if single::fits::<T>(isa, g) {
        return single::conv2d(isa, g, x, w, epilogue, y);
    }
    match cost::cheapest::<T>(isa, g, Pass::Forward) {
        Way::Across => return across::conv2d(isa, g, x, w, epilogue, y),
        Way::Rows => return rows::conv2d(isa, g, x, w, epilogue, y),
        Way::Frames => {}
    }
    Plan::forward(g, g.kernel_h * g.kernel_w > MANY).run(isa, g.in_channels, x, w, epilogue, y);
}

/// [`crate::conv::conv2d_input`] where it [`fits`].
pub(crate) fn conv2d_input<T: Float>(isa: Isa, g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) {
    if single::fits::<T>(isa, g) {
        return single::conv2d_input(isa, g, w, gy, gx);
    }
    match cost::cheapest::<T>(isa, g, Pass::Input) {
        Way::Across => return across::conv2d_input(isa, g, w, gy, gx),
        Way::Rows => return rows::conv2d_input(isa, g, w, gy, gx),
        Way::Frames => {}
    }
    Plan::backward(g).run(isa, g.in_channels, gy, w, Epilogue::NONE, gx);
}

/// [`crate::conv::conv2d_weight`] where it [`fits`].
pub(crate) fn conv2d_weight<T: Float>(isa: Isa, g: &ConvGeometry, x: &[T], gy: &[T], gw: &mut [T]) {
    if single::fits::<T>(isa, g) {
        return single::conv2d_weight(isa, g, x, gy, gw);
    }
    match cost::cheapest::<T>(isa, g, Pass::Weight) {
        Way::Across => return across::weights::conv2d_weight(isa, g, x, gy, gw),
        Way::Rows => return rows::weights::conv2d_weight(isa, g, x, gy, gw),
        Way::Frames => {}
    }
    let plan = Plan::forward(g, true);
    let taps = plan.taps.len();
    let (plane, out) = (g.in_h * g.in_w, g.out_h * g.out_w);
    let full = lanes::<T>(isa);
    let narrow = isa != Isa::Portable && g.out_w.div_ceil(full / 2) * (full / 2) < g.out_w.div_ceil(full) * full;
    let together = (NEAR / size_of::<T>() / plan.frame.len()).clamp(1, g.batch);
    par::for_each_chunk(gw, taps, g.batch.saturating_mul(2 * plane + 2 * out * taps), |c, gw| {
        let mut frames = Buffer::zeroed(together * plan.frame.len());
        let frames = frames.make_mut();
        let mut sums = Buffer::unfilled(taps * full);
        for first in (0..g.batch).step_by(together) {
            let images = together.min(g.batch - first);
            for (i, frame) in frames.chunks_exact_mut(plan.frame.len()).take(images).enumerate() {
                plan.frame.fill(isa, &x[((first + i) * g.in_channels + c) * plane..][..plane], frame);
            }
            let gy = &gy[first * g.out_channels * out..(first + images) * g.out_channels * out];
            let dots = Dots {
                g: gy[c * out..].as_ptr(),
                g_row: 0,
                g_line: g.out_w,
                g_image: g.out_channels * out,
                x: frames.as_ptr(),
                x_line: g.stride.0 * plan.frame.pitch,
                x_image: plan.frame.len(),
                taps: plan.taps.as_ptr(),
                tap_count: taps,
                images,
                lines: g.out_h,
                pixels: g.out_w,
                y: gw.as_mut_ptr(),
                row: taps,
                sums: sums.make_mut().as_mut_ptr(),
                add: first > 0,
                narrow,
            };
            // SAFETY: the set comes from detection; rows of results shifted by a tap are inside of the frames, masks keep the ends
            // of rows from being overrun, and the channel alone writes its weights.
            unsafe { dots.run(isa, 1) };
        }
    });
}
