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

/// The sizes of a two-dimensional convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Images.
    pub batch: usize,
    /// Channels of an input image.
    pub in_channels: usize,
    /// Height of an input image.
    pub in_h: usize,
    /// Width of an input image.
    pub in_w: usize,
    /// Channels of an output image.
    pub out_channels: usize,
    /// Height of the kernel.
    pub kernel_h: usize,
    /// Width of the kernel.
    pub kernel_w: usize,
    /// Step down and right between outputs.
    pub stride: (usize, usize),
    /// Zeros around an image: top, bottom, left, right.
    pub padding: (usize, usize, usize, usize),
    /// Step down and right between elements of the kernel.
    pub dilation: (usize, usize),
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Height of an output image.
    pub out_h: usize,
    /// Width of an output image.
    pub out_w: usize,
}

/// `n / divisor`; by 1, the usual one, without the time that a division takes. None if it is by zero.
fn quotient(n: usize, divisor: usize) -> Option<usize> {
    if divisor == 1 { Some(n) } else { n.checked_div(divisor) }
}

/// The outputs along one axis; None if the kernel does not fit or something overflows.
fn places(size: usize, before: usize, after: usize, kernel: usize, dilation: usize, stride: usize) -> Option<usize> {
    let padded = size.checked_add(before)?.checked_add(after).filter(|&p| p < isize::MAX as usize / 4)?;
    let extent = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    quotient(padded.checked_sub(extent)?, stride)?.checked_add(1)
}

impl ConvGeometry {
    /// The geometry for images `[batch, channels, h, w]` and weights `[channels, channels / groups, h, w]`.
    ///
    /// None if a stride, a dilation, a side of the kernel or the number of groups is zero, the channels do not divide into the
    /// groups, the kernel does not fit into the padded image, or a size overflows.
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
        let geometry = ConvGeometry {
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
        };
        (weight[1].checked_mul(groups)? == input[1] && geometry.sizes().is_some()).then_some(geometry)
    }

    /// The elements of input, weight and output; None if the geometry is not consistent or something overflows.
    pub(crate) fn sizes(&self) -> Option<(usize, usize, usize)> {
        let (p, k, s, d) = (self.padding, (self.kernel_h, self.kernel_w), self.stride, self.dilation);
        let divides = |n: usize| self.groups == 1 || n.checked_rem(self.groups) == Some(0);
        let fits = self.out_h <= places(self.in_h, p.0, p.1, k.0, d.0, s.0)?
            && self.out_w <= places(self.in_w, p.2, p.3, k.1, d.1, s.1)?;
        if !fits || d.0 == 0 || d.1 == 0 || !divides(self.in_channels) || !divides(self.out_channels) {
            return None;
        }
        let size = |sides: [usize; 4]| {
            if sides.iter().fold(0, |all, side| all | side) < 1 << (usize::BITS / 4 - 2) {
                return Some(sides.iter().product());
            }
            // No product of some of the sides may overflow either, even if another side is zero.
            let all = sides.iter().try_fold(1usize, |n, &side| n.checked_mul(side.max(1)))?;
            (all <= isize::MAX as usize / 8).then(|| sides.iter().product())
        };
        let x = size([self.batch, self.in_channels, self.in_h, self.in_w])?;
        let w = size([self.out_channels, self.group_in(), k.0, k.1])?;
        let y = size([self.batch, self.out_channels, self.out_h, self.out_w])?;
        Some((x, w, y))
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
        let sizes = self.sizes();
        assert!(sizes.is_some(), "{op}: the sizes of {self:?} do not go together");
        assert_eq!(sizes, Some((x, w, y)), "{op}: the slices do not have the sizes of {self:?}");
        x > 0 && w > 0 && y > 0
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
/// kernel of up to 12x12, with stride 1, dilated or not, or for kernels larger than 3x3 with strides up to 4. All others are summed
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
    /// 3x3 with stride 2 with two thirds, with an error of up to 1e-5.
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
    let taps = g.group_in().saturating_mul(g.kernel_h).saturating_mul(g.kernel_w);
    let rows = g.batch.saturating_mul(g.out_channels).saturating_mul(g.out_h).saturating_mul(taps);
    let reach = |kernel: usize, dilation: usize| (kernel - 1).saturating_mul(dilation);
    let copy = |h: usize, w: usize| h.saturating_mul(w);
    let padded = copy(
        g.in_h.max(g.out_h).saturating_add(reach(g.kernel_h, g.dilation.0)),
        g.in_w.max(g.out_w).saturating_add(reach(g.kernel_w, g.dilation.1)),
    );
    let bound = (1 << 16) + copy(g.in_h, g.in_w).max(copy(g.out_h, g.out_w)).saturating_mul(64);
    if rows <= 64 || padded > bound {
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
/// The geometry is inconsistent or a slice does not have its size.
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
/// The geometry is inconsistent or a slice does not have its size.
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
/// The geometry is inconsistent or a slice does not have its size.
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
