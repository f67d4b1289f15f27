//! The convolution layer.

use tensor::{Conv2dOptions, Error, PadMode, Padding, Pair, Parameter, Result, Tensor};

use super::options;
use crate::sequential::{IntoLayer, Layer};
use crate::{Forward, Label, Module, init};

/// What the margins of an image are filled with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PaddingMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The image mirrored at its edge, without the edge itself.
    Reflect,
    /// The elements at the edge.
    Replicate,
    /// The image from its other end.
    Circular,
}

/// Slides `out_channels` learned kernels over an image. PyTorch: `torch.nn.Conv2d`.
///
/// Input `[N, in_channels, H, W]` or without `N`; result `[N, out_channels, H', W']` with
/// `H' = (H + 2 * padding - dilation * (kernel_size - 1) - 1) / stride + 1`, rounded down.
/// Weight and bias start uniform within `1 / sqrt(in_channels / groups * height * width)`.
///
/// ```
/// use gabor_nn::{Conv2d, Forward};
/// use tensor::Tensor;
/// let layer = Conv2d::new(1, 6, 5).padding(2).build()?;
/// assert_eq!(layer.forward(&Tensor::zeros([8, 1, 28, 28])?)?.shape(), &[8, 6, 28, 28]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Conv2d {
    /// `[out_channels, in_channels / groups, height, width]`.
    pub weight: Parameter,
    /// `[out_channels]`.
    pub bias: Option<Parameter>,
    #[module(skip)]
    options: Conv2dOptions,
    #[module(skip)]
    padding_mode: PaddingMode,
    label: Label,
}

/// Makes a [`Conv2d`].
#[derive(Clone, Copy, Debug)]
#[must_use = "call build, or put it into seq!"]
pub struct Conv2dBuilder {
    in_channels: usize,
    out_channels: usize,
    kernel_size: Pair,
    bias: bool,
    options: Conv2dOptions,
    padding_mode: PaddingMode,
    lazy: bool,
}

/// A [`Conv2d`] whose `in_channels` is taken from its first input, from a file, or by
/// [`materialize`](crate::Forward::materialize). PyTorch: `torch.nn.LazyConv2d`.
///
/// The layer is a `Conv2d` from the beginning; until its size is known, its parameters are empty and optimizers refuse
/// them.
///
/// ```
/// use gabor_nn::{Forward, LazyConv2d, Module};
/// use tensor::Tensor;
/// let layer = LazyConv2d::new(6, 5).padding(2).build()?;
/// assert_eq!(layer.num_parameters(), 0);
/// layer.forward(&Tensor::zeros([8, 3, 28, 28])?)?;
/// assert_eq!(layer.weight.shape().to_vec(), [6, 3, 5, 5]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LazyConv2d;

impl LazyConv2d {
    /// A layer with stride 1, no padding, dilation 1, one group and a bias.
    #[expect(clippy::new_ret_no_self, reason = "PyTorch's spelling; the options follow, then build")]
    pub fn new(out_channels: usize, kernel_size: impl Into<Pair>) -> Conv2dBuilder {
        Conv2dBuilder { lazy: true, ..Conv2d::new(0, out_channels, kernel_size) }
    }
}

impl Conv2d {
    /// A layer with stride 1, no padding, dilation 1, one group and a bias.
    #[expect(clippy::new_ret_no_self, reason = "PyTorch's spelling; the options follow, then build")]
    pub fn new(in_channels: usize, out_channels: usize, kernel_size: impl Into<Pair>) -> Conv2dBuilder {
        Conv2dBuilder {
            in_channels,
            out_channels,
            kernel_size: kernel_size.into(),
            bias: true,
            options: Conv2dOptions::new(),
            padding_mode: PaddingMode::Zeros,
            lazy: false,
        }
    }

    /// Stride, padding, dilation and groups.
    pub fn options(&self) -> &Conv2dOptions {
        &self.options
    }
}

impl Conv2dBuilder {
    /// Sets the steps of the kernel.
    pub fn stride(mut self, stride: impl Into<Pair>) -> Self {
        self.options.stride = stride.into();
        self
    }

    /// Sets the margins: numbers, [`Padding::Same`] or [`Padding::Valid`].
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.options.padding = padding.into();
        self
    }

    /// Sets the distance of the kernel's elements.
    pub fn dilation(mut self, dilation: impl Into<Pair>) -> Self {
        self.options.dilation = dilation.into();
        self
    }

    /// Sets the number of groups of channels that do not see each other.
    pub fn groups(mut self, groups: usize) -> Self {
        self.options.groups = groups;
        self
    }

    /// Sets whether there is a bias.
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Sets what the margins are filled with.
    pub fn padding_mode(mut self, padding_mode: PaddingMode) -> Self {
        self.padding_mode = padding_mode;
        self
    }

    /// The layer, with PyTorch's starting values.
    ///
    /// # Errors
    /// A size is 0, the groups do not divide the channels, padding `Same` meets a stride, or the weight does not fit in
    /// memory.
    pub fn build(self) -> Result<Conv2d> {
        let (op, o) = ("conv2d", &self.options);
        options::sizes(op, &[("out_channels", self.out_channels)])?;
        if !self.lazy {
            options::sizes(op, &[("in_channels", self.in_channels)])?;
        }
        let pairs = [("kernel_size", self.kernel_size), ("stride", o.stride), ("dilation", o.dilation)];
        options::at_least_one(op, &pairs)?;
        options::divisible(op, "in_channels", self.in_channels, o.groups)?;
        options::divisible(op, "out_channels", self.out_channels, o.groups)?;
        if o.padding == Padding::Same && o.stride != Pair::from(1) {
            let message = format!("padding 'same' needs stride 1, got {}; give the padding as numbers", o.stride);
            return Err(Error::argument(op, message));
        }
        let shape = [self.out_channels, self.in_channels / o.groups, self.kernel_size.h, self.kernel_size.w];
        let start = if self.lazy { init::lazy_weight_and_bias } else { init::weight_and_bias };
        let (weight, bias) = start(op, &shape, self.bias.then_some(self.out_channels))?;
        Ok(Conv2d { weight, bias, options: self.options, padding_mode: self.padding_mode, label: Label::default() })
    }
}

impl Forward for Conv2d {
    /// # Errors
    /// Rank, channels or dtype do not fit, or the kernel is larger than the padded image.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        if self.weight.is_lazy() {
            self.label.named(self.size_from(&x))?;
        }
        self.label.leave(&x, self.convolve(&x))
    }

    fn per_image(&self) -> bool {
        true
    }
}

impl Conv2d {
    #[cold]
    fn size_from(&self, x: &Tensor) -> Result<()> {
        let (op, groups) = ("conv2d", self.options.groups);
        let in_channels = options::channels(op, x)?;
        options::divisible(op, "in_channels", in_channels, groups)?;
        let mut shape = self.weight.shape().to_vec();
        shape[1] = in_channels / groups;
        init::materialize(op, &self.weight, self.bias.as_ref(), &shape)
    }

    /// Whether a hook is set on this layer.
    pub(crate) fn hooked(&self) -> bool {
        !self.label.hooks().is_empty()
    }

    /// What lies around the image.
    pub(crate) fn padding_mode(&self) -> PaddingMode {
        self.padding_mode
    }

    /// The result with this weight and bias instead of its own, and ReLU after it if asked for.
    #[track_caller]
    pub(crate) fn with(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, relu: bool) -> Result<Tensor> {
        self.label.named(match relu {
            true => x.conv2d_relu(weight, bias, &self.options),
            false => x.conv2d(weight, bias, &self.options),
        })
    }

    /// The result after ReLU; None if something wants to see what lies between, or the weight has no size yet.
    #[track_caller]
    pub(crate) fn forward_relu(&self, x: &Tensor) -> Option<Result<Tensor>> {
        if self.weight.is_lazy() || self.padding_mode != PaddingMode::Zeros || self.hooked() {
            return None;
        }
        let (weight, bias) = (self.weight.tensor(), self.bias.as_ref().map(Parameter::tensor));
        Some(self.with(x, &weight, bias.as_ref(), true))
    }

    #[track_caller]
    fn convolve(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (self.weight.tensor(), self.bias.as_ref().map(Parameter::tensor));
        let mode = match self.padding_mode {
            PaddingMode::Zeros => return x.conv2d(&weight, bias.as_ref(), &self.options),
            PaddingMode::Reflect => PadMode::Reflect,
            PaddingMode::Replicate => PadMode::Replicate,
            PaddingMode::Circular => PadMode::Circular,
        };
        let [top, bottom, left, right] = self.margins(weight.dims())?;
        let padded = x.pad(&[left, right, top, bottom], mode)?;
        padded.conv2d(&weight, bias.as_ref(), &self.options.padding(0))
    }

    fn margins(&self, weight: &[usize]) -> Result<[isize; 4]> {
        let sides = |kernel: usize, dilation: usize, size: &dyn Fn(Pair) -> usize| match self.options.padding {
            Padding::Valid => Some([0, 0]),
            Padding::Size(pair) => Some([size(pair), size(pair)]),
            Padding::Same => {
                let total = (kernel - 1).checked_mul(dilation)?;
                Some([total / 2, total - total / 2])
            }
        };
        let dilation = self.options.dilation;
        let sizes = sides(weight[2], dilation.h, &|p| p.h).zip(sides(weight[3], dilation.w, &|p| p.w));
        let margins = sizes.and_then(|([top, bottom], [left, right])| {
            let signed = |size: usize| isize::try_from(size).ok();
            Some([signed(top)?, signed(bottom)?, signed(left)?, signed(right)?])
        });
        margins.ok_or_else(|| Error::argument("conv2d", "the padding is too large to compute with"))
    }
}

impl IntoLayer for Conv2dBuilder {
    fn into_layer(self) -> Result<Layer> {
        Ok(Box::new(self.build()?))
    }
}
