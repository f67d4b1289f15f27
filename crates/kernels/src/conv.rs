//! Two-dimensional convolution of a batch of images `[N, C, H, W]` with `[K, C / groups, R, S]`, and its two adjoints.
//!
//! The plain loop: `y[n, k, i, j] = bias[k] + sum over c, r, s of w[k, c, r, s] * x[n, c, i*stride + r*dilation - padding, ..]`,
//! where what lies outside of the image is zero. With `L = <conv2d(x, w), gy>`, [`conv2d_input`] is the derivative of L by x
//! and [`conv2d_weight`] the one by w; the one by the bias is the sum of `gy` over images and pixels ([`crate::reduce::sum`]).
//!
//! The tricks: no patch matrix is built. The lanes of a vector are pixels, and a tap of the kernel is an offset into a copy of
//! one image with its padding; strides split that copy into one plane for each residue, so that every tap reads
//! neighbouring pixels (`planes`). Forward and backward-data are one routine over such planes (`conv_direct`), since the
//! gradient by the input is a convolution of the padded gradient; backward-weights has vectors of output channels
//! (`conv_weight_channels`) or of input channels (`conv_weight_inputs`), or for few of both a dot product for each weight
//! (`conv_weight`), of small images in large batches with vectors of images (`conv_weight_images`), whichever costs less
//! (`conv_weight_cost`). 1x1 kernels with stride 1 are matrix products (`conv_pointwise` with few registers). Kernels of 3x3 and more
//! with enough channels need a quarter or a third of the multiplications in single precision (`winograd`), depthwise kernels take a
//! plane at a time, or as many as a vector has elements (`conv_depthwise`), sizes for which it costs less take vectors of channels
//! (`conv_channels`, `conv_cost`), backward-data also those or a matrix product whose results are added up (`conv_input_channels`,
//! `conv_input_columns`, `conv_input_cost`), small images of which a kernel sees little a tile for the same position of several
//! (`conv_positions`), large batches vectors of images (`conv_images`), and problems of a few rows skip all
//! preparation (`conv_clipped`). Vectors of channels are
//! there in single precision only: double precision checks gradients.

use crate::conv_positions::Positions;
use crate::element::{Float, compiled_here};
use crate::isa::{self, Isa};
use crate::winograd::Pass;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::{
    conv_channels, conv_clipped, conv_cost, conv_depthwise, conv_direct, conv_images, conv_input_channels,
    conv_input_columns, conv_input_cost, conv_pointwise, conv_weight, conv_weight_channels, conv_weight_cost,
    conv_weight_images, conv_weight_inputs, winograd,
};

/// The sizes of a two-dimensional convolution, which go together: they are checked when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Images.
    pub(crate) batch: usize,
    /// Channels of an input image.
    pub(crate) in_channels: usize,
    /// Height of an input image.
    pub(crate) in_h: usize,
    /// Width of an input image.
    pub(crate) in_w: usize,
    /// Channels of an output image.
    pub(crate) out_channels: usize,
    /// Height of the kernel.
    pub(crate) kernel_h: usize,
    /// Width of the kernel.
    pub(crate) kernel_w: usize,
    /// Step down and right between outputs.
    pub(crate) stride: (usize, usize),
    /// Zeros around an image: top, bottom, left, right.
    pub(crate) padding: (usize, usize, usize, usize),
    /// Step down and right between elements of the kernel.
    pub(crate) dilation: (usize, usize),
    /// Groups of channels that do not see each other.
    pub(crate) groups: usize,
    /// Height of an output image.
    pub(crate) out_h: usize,
    /// Width of an output image.
    pub(crate) out_w: usize,
}

/// `n / divisor`; by 1, the usual one, without the time that a division takes. None if it is by zero.
fn quotient(n: usize, divisor: usize) -> Option<usize> {
    if divisor == 1 { Some(n) } else { n.checked_div(divisor) }
}

/// The outputs along one axis; None if the kernel does not fit or something overflows.
#[inline]
fn places(size: usize, before: usize, after: usize, kernel: usize, dilation: usize, stride: usize) -> Option<usize> {
    let padded = size.checked_add(before)?.checked_add(after).filter(|&p| p < isize::MAX as usize / 4)?;
    let extent = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    quotient(padded.checked_sub(extent)?, stride)?.checked_add(1)
}

/// Whether no product of some of the sides overflows, even if another side is zero.
#[cold]
fn fit(sides: &[usize; 4]) -> bool {
    let all = sides.iter().try_fold(1usize, |n, &side| n.checked_mul(side.max(1)));
    all.is_some_and(|all| all <= isize::MAX as usize / 8)
}

impl ConvGeometry {
    /// The geometry for images `[batch, channels, h, w]` and weights `[channels, channels / groups, h, w]`.
    ///
    /// None if a stride, a dilation, a side of the kernel or the number of groups is zero, the channels do not divide into the
    /// groups, the kernel does not fit into the padded image, or a size overflows.
    #[inline]
    pub fn new(
        input: [usize; 4],
        weight: [usize; 4],
        stride: (usize, usize),
        padding: (usize, usize, usize, usize),
        dilation: (usize, usize),
        groups: usize,
    ) -> Option<Self> {
        let out_h = places(input[2], padding.0, padding.1, weight[2], dilation.0, stride.0)?;
        let out_w = places(input[3], padding.2, padding.3, weight[3], dilation.1, stride.1)?;
        let divides = groups == 1 || weight[0].checked_rem(groups)? == 0;
        let goes = divides && dilation.0 > 0 && dilation.1 > 0 && weight[1].checked_mul(groups)? == input[1];
        let output = [input[0], weight[0], out_h, out_w];
        let small =
            [input, weight, output].iter().flatten().fold(0, |all, side| all | side) < 1 << (usize::BITS / 4 - 2);
        if !goes || !(small || [input, weight, output].iter().all(fit)) {
            return None;
        }
        Some(ConvGeometry {
            batch: input[0],
            in_channels: input[1],
            in_h: input[2],
            in_w: input[3],
            out_channels: weight[0],
            kernel_h: weight[2],
            kernel_w: weight[3],
            stride,
            padding,
            dilation,
            groups,
            out_h,
            out_w,
        })
    }

    /// The same with outputs of `h` by `w` only, of which there must be as many: the gradient by the input is then that of fewer
    /// outputs.
    ///
    /// ```
    /// use gabor_kernels::conv::ConvGeometry;
    /// let g = ConvGeometry::new([1, 1, 4, 4], [1, 1, 3, 3], (1, 1), (0, 0, 0, 0), (1, 1), 1).ok_or("no geometry")?;
    /// assert_eq!(g.cut(1, 2).map(|g| g.output()), Some([1, 1, 1, 2]));
    /// assert_eq!(g.cut(1, 3), None);
    /// # Ok::<(), &str>(())
    /// ```
    pub fn cut(self, h: usize, w: usize) -> Option<Self> {
        (h <= self.out_h && w <= self.out_w).then_some(ConvGeometry { out_h: h, out_w: w, ..self })
    }

    /// The shape of the images, `[N, C, H, W]`.
    pub fn input(&self) -> [usize; 4] {
        [self.batch, self.in_channels, self.in_h, self.in_w]
    }

    /// The shape of the weights, `[K, C / groups, R, S]`.
    pub fn weight(&self) -> [usize; 4] {
        [self.out_channels, self.group_in(), self.kernel_h, self.kernel_w]
    }

    /// The shape of the result, `[N, K, H, W]`.
    pub fn output(&self) -> [usize; 4] {
        [self.batch, self.out_channels, self.out_h, self.out_w]
    }

    /// Step down and right between outputs.
    pub fn stride(&self) -> (usize, usize) {
        self.stride
    }

    /// Zeros around an image: top, bottom, left, right.
    pub fn padding(&self) -> (usize, usize, usize, usize) {
        self.padding
    }

    /// Step down and right between elements of the kernel.
    pub fn dilation(&self) -> (usize, usize) {
        self.dilation
    }

    /// The elements of input, weight and output.
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        let size = |sides: [usize; 4]| sides.iter().product();
        (size(self.input()), size(self.weight()), size(self.output()))
    }

    /// Input channels of a group.
    pub(crate) fn group_in(&self) -> usize {
        quotient(self.in_channels, self.groups).expect("some groups")
    }

    /// Output channels of a group.
    pub(crate) fn group_out(&self) -> usize {
        quotient(self.out_channels, self.groups).expect("some groups")
    }

    /// The pairs of an output and an element of the kernel, for one image and a pair of channels, that see the inside of the image.
    pub(crate) fn seen(&self) -> usize {
        let (p, d, s) = (self.padding, self.dilation, self.stride);
        let down = |e| conv_clipped::inside(self.in_h, p.0, e, d.0, s.0, self.out_h).len();
        let right = |e| conv_clipped::inside(self.in_w, p.2, e, d.1, s.1, self.out_w).len();
        (0..self.kernel_h).map(down).sum::<usize>() * (0..self.kernel_w).map(right).sum::<usize>()
    }

    /// Multiplications and additions for one image.
    pub(crate) fn work(&self) -> usize {
        let taps = self.group_in().saturating_mul(self.kernel_h).saturating_mul(self.kernel_w);
        self.out_channels.saturating_mul(self.out_h * self.out_w).saturating_mul(taps).saturating_mul(2)
    }

    /// Checks the lengths of the three operands and gives whether there is anything to multiply.
    fn check(&self, op: &str, x: usize, w: usize, y: usize) -> bool {
        if self.sizes() != (x, w, y) {
            self.refuse(op, x, w, y);
        }
        x > 0 && w > 0 && y > 0
    }

    #[cold]
    fn refuse(&self, op: &str, x: usize, w: usize, y: usize) -> ! {
        panic!("{op}: slices of {x}, {w} and {y} elements do not have the sizes of {self:?}");
    }
}

/// What is done to each result before it is written: a pass over memory less than if it is done after.
///
/// ```
/// use gabor_kernels::conv::{ConvGeometry, Epilogue, conv2d};
/// let one = ConvGeometry::new([1, 1, 1, 2], [1, 1, 1, 1], (1, 1), (0, 0, 0, 0), (1, 1), 1).ok_or("no geometry")?;
/// let mut y = [0.0f32; 2];
/// conv2d(&one, &[1.0, -3.0], &[2.0], Epilogue { bias: Some(&[1.0]), relu: true }, &mut y);
/// assert_eq!(y, [3.0, 0.0]);
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a, T> {
    /// What is added, for each output channel.
    pub bias: Option<&'a [T]>,
    /// Whether what is not above zero becomes zero, after the bias; NaN stays NaN.
    pub relu: bool,
}

impl<T> Epilogue<'_, T> {
    /// The result as it is.
    pub const NONE: Self = Epilogue { bias: None, relu: false };
}

/// How a convolution is computed; which one is best follows from the geometry alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Loops over rows, clipped to the image: a small problem, or one whose padded copy would be huge.
    Clipped,
    /// Tiles over prepared planes.
    Tiled,
    /// Tiles over panels of pixels: 1x1 kernels with stride 1, forward and backward-data in single precision only.
    Pointwise,
    /// Tiles over prepared planes with vectors of channels instead of pixels; single precision only.
    Channels,
    /// A matrix product whose results are added to where they belong; backward-data in single precision only.
    Columns,
    /// Tiles over several images with the taps of one position; forward and backward-data in single precision only.
    Positions,
    /// Tiles over vectors of images; in single precision only.
    Images,
    /// Tiles with vectors of input channels; backward-weights in single precision only.
    Inputs,
    /// A plane at a time: each channel has a kernel of its own.
    Depthwise,
    /// Winograd's minimal filtering, single precision only.
    Winograd,
}

/// What computes a convolution in single precision for which Winograd's filtering needs fewer multiplications: of up to 32 groups, with a
/// kernel of up to 12x12, with stride 1, dilated or not, or with strides up to 4. All others are summed
/// directly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConvAlgorithm {
    /// Whichever is faster, which follows from the sizes alone.
    #[default]
    Auto,
    /// The sum of products as it is defined.
    Direct,
    /// Winograd's minimal filtering, F(4x4, 3x3) with a quarter of the multiplications or F(2x2, 5x5) with about a third, and an
    /// error of 1e-6 to 4e-6 of the largest result, more than that of the direct sum. Other kernels and strides, and 5x5 where it is
    /// faster, are put together from these and F(3x3, 4x4): 7x7 with about a third, also with stride 2, and 5x5 with stride 2 too,
    /// 3x3 with stride 2 with two thirds, with an error of up to 1e-5, or 3e-5 of a result of a few pixels from many pieces.
    Winograd,
}

/// The algorithm that is asked for, as its position in the enum.
static ALGORITHM: AtomicU8 = AtomicU8::new(0);

/// The algorithm that [`set_conv_algorithm`] asked for.
pub fn conv_algorithm() -> ConvAlgorithm {
    match ALGORITHM.load(Ordering::Relaxed) {
        0 => ConvAlgorithm::Auto,
        1 => ConvAlgorithm::Direct,
        _ => ConvAlgorithm::Winograd,
    }
}

/// Asks for an algorithm for all convolutions of this process that are started from now on.
///
/// ```
/// use gabor_kernels::conv::{ConvAlgorithm, conv_algorithm, set_conv_algorithm};
/// assert_eq!(conv_algorithm(), ConvAlgorithm::Auto);
/// set_conv_algorithm(ConvAlgorithm::Direct);
/// assert_eq!(conv_algorithm(), ConvAlgorithm::Direct);
/// ```
pub fn set_conv_algorithm(algorithm: ConvAlgorithm) {
    ALGORITHM.store(algorithm as u8, Ordering::Relaxed);
}

/// The way for a geometry with something to compute.
fn way<T: Float>(g: &ConvGeometry, pass: Pass) -> Way {
    if size_of::<T>() == 4 && winograd::fits(g) {
        match conv_algorithm() {
            ConvAlgorithm::Winograd => return Way::Winograd,
            ConvAlgorithm::Auto if winograd::pays(g, pass, isa::isa()) => return Way::Winograd,
            _ => {}
        }
    }
    direct_way(g)
}

fn direct_way(g: &ConvGeometry) -> Way {
    // Neither product overflows, only their own.
    let taps = g.group_in() * g.kernel_h * g.kernel_w;
    if (g.batch * g.out_channels * g.out_h).saturating_mul(taps) <= 64 {
        return Way::Clipped;
    }
    let reach = |kernel: usize, dilation: usize| (kernel - 1).saturating_mul(dilation);
    let copy = |h: usize, w: usize| h.saturating_mul(w);
    let padded = copy(
        g.in_h.max(g.out_h).saturating_add(reach(g.kernel_h, g.dilation.0)),
        g.in_w.max(g.out_w).saturating_add(reach(g.kernel_w, g.dilation.1)),
    );
    let bound = (1 << 16) + copy(g.in_h, g.in_w).max(copy(g.out_h, g.out_w)).saturating_mul(64);
    if padded > bound {
        Way::Clipped
    } else if conv_depthwise::fits(g) {
        Way::Depthwise
    } else {
        Way::Tiled
    }
}

/// The cheapest of the direct ways. A kernel of one element with stride 1 is a matrix product.
fn forward_way<T>(isa: Isa, g: &ConvGeometry) -> Way {
    let product = g.kernel_h * g.kernel_w == 1 && g.stride == (1, 1);
    if product || size_of::<T>() != 4 || isa == Isa::Portable {
        return Way::Tiled;
    }
    let pixels = conv_cost::pixels::<T>(isa, g);
    let channels = if conv_channels::fits::<T>(isa, g) { conv_cost::channels::<T>(isa, g) } else { f64::INFINITY };
    let least = pixels.min(channels);
    let images = conv_images::cost::<T>(isa, g, false, least);
    if Positions::pays::<T>(isa, g, false, least.min(images)) {
        Way::Positions
    } else if images < least {
        Way::Images
    } else if channels < pixels {
        Way::Channels
    } else {
        Way::Tiled
    }
}

compiled_here! {
    trait ConvKernels for f32, f64 = {
        fn conv2d(geometry: &ConvGeometry, x: &[Self], w: &[Self], epilogue: Epilogue<Self>, y: &mut [Self]) = conv2d_of;
        fn conv2d_input(geometry: &ConvGeometry, w: &[Self], gy: &[Self], gx: &mut [Self]) = conv2d_input_of;
        fn conv2d_weight(geometry: &ConvGeometry, x: &[Self], gy: &[Self], gw: &mut [Self]) = conv2d_weight_of;
    }
}

/// Writes the convolution of `x` `[N, C, H, W]` with `w` `[K, C / groups, R, S]`, after the epilogue, to `y`.
///
/// # Panics
/// A slice does not have the size that the geometry gives it.
pub fn conv2d<T: Float>(geometry: &ConvGeometry, x: &[T], w: &[T], epilogue: Epilogue<T>, y: &mut [T]) {
    <T as ConvKernels>::conv2d(geometry, x, w, epilogue, y);
}

fn conv2d_of<T: Float>(geometry: &ConvGeometry, x: &[T], w: &[T], epilogue: Epilogue<T>, y: &mut [T]) {
    let g = geometry;
    let some = g.check("conv2d", x.len(), w.len(), y.len());
    assert!(epilogue.bias.is_none_or(|b| b.len() == g.out_channels), "conv2d: a bias for each output channel");
    let isa = isa::isa_of::<T>();
    let way = match if some { way::<T>(g, Pass::Forward) } else { Way::Clipped } {
        Way::Tiled if conv_pointwise::pays::<T>(isa, g, g.group_out()) => Way::Pointwise,
        Way::Tiled => forward_way::<T>(isa, g),
        way => way,
    };
    forward(g, x, w, epilogue, y, way, isa);
}

fn forward<T: Float>(g: &ConvGeometry, x: &[T], w: &[T], epilogue: Epilogue<T>, y: &mut [T], way: Way, isa: Isa) {
    match way {
        Way::Clipped => conv_clipped::conv2d(g, x, w, epilogue, y),
        Way::Depthwise => conv_depthwise::conv2d(isa, g, x, w, epilogue, y),
        Way::Winograd if const { size_of::<T>() == 4 } => {
            if !winograd::conv2d(isa, g, x, w, epilogue, y) {
                forward(g, x, w, epilogue, y, direct_way(g), isa);
            }
        }
        Way::Channels if const { size_of::<T>() == 4 } => conv_channels::conv2d(isa, g, x, w, epilogue, y),
        Way::Positions if const { size_of::<T>() == 4 } => Positions::forward(g).run(isa, g.batch, x, w, epilogue, y),
        Way::Pointwise if const { size_of::<T>() == 4 } => conv_pointwise::conv2d(isa, g, x, w, epilogue, y),
        Way::Images if const { size_of::<T>() == 4 } => {
            conv_images::run(isa, &Positions::forward(g), g.batch, x, w, epilogue, y);
        }
        // What only single precision has is not reached by other types.
        _ => conv_direct::conv2d(isa, g, x, w, epilogue, y),
    }
}

/// Writes the gradient of `<conv2d(x, w), gy>` by x to `gx`; it is also the transposed convolution of `gy`.
///
/// # Panics
/// A slice does not have the size that the geometry gives it.
pub fn conv2d_input<T: Float>(geometry: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) {
    <T as ConvKernels>::conv2d_input(geometry, w, gy, gx);
}

fn conv2d_input_of<T: Float>(geometry: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T]) {
    let some = geometry.check("conv2d_input", gx.len(), w.len(), gy.len());
    let isa = isa::isa_of::<T>();
    let way = match if some { way::<T>(geometry, Pass::Input) } else { Way::Clipped } {
        Way::Tiled if conv_pointwise::pays::<T>(isa, geometry, geometry.group_in()) => Way::Pointwise,
        Way::Tiled => conv_input_cost::way::<T>(isa, geometry),
        way => way,
    };
    input(geometry, w, gy, gx, way, isa);
}

fn input<T: Float>(g: &ConvGeometry, w: &[T], gy: &[T], gx: &mut [T], way: Way, isa: Isa) {
    match way {
        Way::Clipped => conv_clipped::conv2d_input(g, w, gy, gx),
        Way::Depthwise => conv_depthwise::conv2d_input(isa, g, w, gy, gx),
        Way::Winograd if const { size_of::<T>() == 4 } => {
            if !winograd::conv2d_input(isa, g, w, gy, gx) {
                input(g, w, gy, gx, direct_way(g), isa);
            }
        }
        Way::Channels if const { size_of::<T>() == 4 } => conv_input_channels::conv2d_input(isa, g, w, gy, gx),
        Way::Positions if const { size_of::<T>() == 4 } => {
            Positions::backward(g).run(isa, g.batch, gy, w, Epilogue::NONE, gx);
        }
        Way::Columns if const { size_of::<T>() == 4 } => conv_input_columns::conv2d_input(isa, g, w, gy, gx),
        Way::Pointwise if const { size_of::<T>() == 4 } => conv_pointwise::conv2d_input(isa, g, w, gy, gx),
        Way::Images if const { size_of::<T>() == 4 } => {
            conv_images::run(isa, &Positions::backward(g), g.batch, gy, w, Epilogue::NONE, gx);
        }
        // What only single precision has is not reached by other types.
        _ => conv_direct::conv2d_input(isa, g, w, gy, gx),
    }
}

/// Writes the gradient of `<conv2d(x, w), gy>` by w to `gw`.
///
/// # Panics
/// A slice does not have the size that the geometry gives it.
pub fn conv2d_weight<T: Float>(geometry: &ConvGeometry, x: &[T], gy: &[T], gw: &mut [T]) {
    <T as ConvKernels>::conv2d_weight(geometry, x, gy, gw);
}

fn conv2d_weight_of<T: Float>(geometry: &ConvGeometry, x: &[T], gy: &[T], gw: &mut [T]) {
    let some = geometry.check("conv2d_weight", x.len(), gw.len(), gy.len());
    let isa = isa::isa_of::<T>();
    let way = match if some { way::<T>(geometry, Pass::Weight) } else { Way::Clipped } {
        Way::Tiled => conv_weight_cost::way::<T>(isa, geometry),
        way => way,
    };
    weight(geometry, x, gy, gw, way, isa);
}

fn weight<T: Float>(g: &ConvGeometry, x: &[T], gy: &[T], gw: &mut [T], way: Way, isa: Isa) {
    match way {
        Way::Clipped => conv_clipped::conv2d_weight(g, x, gy, gw),
        Way::Depthwise => conv_depthwise::conv2d_weight(isa, g, x, gy, gw),
        Way::Winograd if const { size_of::<T>() == 4 } => {
            if !winograd::conv2d_weight(isa, g, x, gy, gw) {
                weight(g, x, gy, gw, direct_way(g), isa);
            }
        }
        Way::Channels if const { size_of::<T>() == 4 } => conv_weight_channels::conv2d_weight(isa, g, x, gy, gw),
        Way::Inputs if const { size_of::<T>() == 4 } => conv_weight_inputs::conv2d_weight(isa, g, x, gy, gw),
        Way::Images if const { size_of::<T>() == 4 } && conv_weight_images::fits::<T>(isa, g) => {
            conv_weight_images::conv2d_weight(isa, g, x, gy, gw);
        }
        // What only single precision has is not reached by other types.
        _ => conv_weight::conv2d_weight(isa, g, x, gy, gw),
    }
}

#[cfg(test)]
#[path = "conv_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "conv_way_tests.rs"]
mod way_tests;
