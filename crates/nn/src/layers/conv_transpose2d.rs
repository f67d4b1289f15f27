//! The transposed convolution layer.

use tensor::{ConvTranspose2dOptions, Error, Pair, Parameter, Result, Tensor};

use super::options;
use crate::sequential::{IntoLayer, Layer};
use crate::{Forward, Label, Module, init};

/// The transpose of a convolution, used to make images larger. PyTorch: `torch.nn.ConvTranspose2d`.
///
/// Input `[N, in_channels, H, W]` or without `N`; result `[N, out_channels, H', W']` with
/// `H' = (H - 1) * stride - 2 * padding + dilation * (kernel_size - 1) + output_padding + 1`.
///
/// ```
/// use gabor_nn::{ConvTranspose2d, Forward};
/// use tensor::Tensor;
/// let layer = ConvTranspose2d::new(8, 4, 2).stride(2).build()?;
/// assert_eq!(layer.forward(&Tensor::zeros([1, 8, 7, 7])?)?.shape(), &[1, 4, 14, 14]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct ConvTranspose2d {
    /// `[in_channels, out_channels / groups, height, width]`.
    pub weight: Parameter,
    /// `[out_channels]`.
    pub bias: Option<Parameter>,
    #[module(skip)]
    options: ConvTranspose2dOptions,
    label: Label,
}

/// Makes a [`ConvTranspose2d`].
#[derive(Clone, Copy, Debug)]
#[must_use = "call build, or put it into seq!"]
pub struct ConvTranspose2dBuilder {
    in_channels: usize,
    out_channels: usize,
    kernel_size: Pair,
    bias: bool,
    options: ConvTranspose2dOptions,
    lazy: bool,
}

/// A [`ConvTranspose2d`] whose `in_channels` is taken from its first input, from a file, or by
/// [`materialize`](crate::Forward::materialize). PyTorch: `torch.nn.LazyConvTranspose2d`.
///
/// ```
/// use gabor_nn::{Forward, LazyConvTranspose2d};
/// let layer = LazyConvTranspose2d::new(6, 2).stride(2).build()?;
/// assert_eq!(layer.materialize(&[1, 3, 8, 8])?.to_vec(), [1, 6, 16, 16]);
/// assert_eq!(layer.weight.shape().to_vec(), [3, 6, 2, 2]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LazyConvTranspose2d;

impl LazyConvTranspose2d {
    /// A layer with stride 1, no padding, dilation 1, one group and a bias.
    #[expect(clippy::new_ret_no_self, reason = "PyTorch's spelling; the options follow, then build")]
    pub fn new(out_channels: usize, kernel_size: impl Into<Pair>) -> ConvTranspose2dBuilder {
        ConvTranspose2dBuilder { lazy: true, ..ConvTranspose2d::new(0, out_channels, kernel_size) }
    }
}

impl ConvTranspose2d {
    /// A layer with stride 1, no padding, dilation 1, one group and a bias.
    #[expect(clippy::new_ret_no_self, reason = "PyTorch's spelling; the options follow, then build")]
    pub fn new(in_channels: usize, out_channels: usize, kernel_size: impl Into<Pair>) -> ConvTranspose2dBuilder {
        ConvTranspose2dBuilder {
            in_channels,
            out_channels,
            kernel_size: kernel_size.into(),
            bias: true,
            options: ConvTranspose2dOptions::new(),
            lazy: false,
        }
    }

    /// Stride, padding, output padding, groups and dilation.
    pub fn options(&self) -> &ConvTranspose2dOptions {
        &self.options
    }
}

impl ConvTranspose2dBuilder {
    /// Sets the steps of the kernel in the result.
    pub fn stride(mut self, stride: impl Into<Pair>) -> Self {
        self.options.stride = stride.into();
        self
    }

    /// Sets what is cut off from each side of the result.
    pub fn padding(mut self, padding: impl Into<Pair>) -> Self {
        self.options.padding = padding.into();
        self
    }

    /// Sets what is added to one side of the result.
    pub fn output_padding(mut self, output_padding: impl Into<Pair>) -> Self {
        self.options.output_padding = output_padding.into();
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

    /// Sets the distance of the kernel's elements.
    pub fn dilation(mut self, dilation: impl Into<Pair>) -> Self {
        self.options.dilation = dilation.into();
        self
    }

    /// The layer, with PyTorch's starting values.
    ///
    /// # Errors
    /// A size is 0, the groups do not divide the channels, the output padding is not smaller than stride or dilation, or
    /// the weight does not fit in memory.
    pub fn build(self) -> Result<ConvTranspose2d> {
        let (op, o) = ("conv_transpose2d", &self.options);
        options::sizes(op, &[("out_channels", self.out_channels)])?;
        if !self.lazy {
            options::sizes(op, &[("in_channels", self.in_channels)])?;
        }
        let pairs = [("kernel_size", self.kernel_size), ("stride", o.stride), ("dilation", o.dilation)];
        options::at_least_one(op, &pairs)?;
        options::divisible(op, "in_channels", self.in_channels, o.groups)?;
        options::divisible(op, "out_channels", self.out_channels, o.groups)?;
        let extra = o.output_padding;
        if extra.h >= o.stride.h.max(o.dilation.h) || extra.w >= o.stride.w.max(o.dilation.w) {
            let message =
                format!("output_padding {extra} must be smaller than stride {} or dilation {}", o.stride, o.dilation);
            return Err(Error::argument(op, message));
        }
        let shape = [self.in_channels, self.out_channels / o.groups, self.kernel_size.h, self.kernel_size.w];
        let start = if self.lazy { init::lazy_weight_and_bias } else { init::weight_and_bias };
        let (weight, bias) = start(op, &shape, self.bias.then_some(self.out_channels))?;
        Ok(ConvTranspose2d { weight, bias, options: self.options, label: Label::default() })
    }
}

impl Forward for ConvTranspose2d {
    /// # Errors
    /// Rank, channels or dtype do not fit, or the result would be empty.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        if self.weight.is_lazy() {
            self.label.named(self.size_from(&x))?;
        }
        let bias = self.bias.as_ref().map(Parameter::tensor);
        self.label.leave(&x, x.conv_transpose2d(&self.weight.tensor(), bias.as_ref(), &self.options))
    }

    fn per_image(&self) -> bool {
        true
    }
}

impl ConvTranspose2d {
    #[cold]
    fn size_from(&self, x: &Tensor) -> Result<()> {
        let op = "conv_transpose2d";
        let in_channels = options::channels(op, x)?;
        options::divisible(op, "in_channels", in_channels, self.options.groups)?;
        let mut shape = self.weight.shape().to_vec();
        shape[0] = in_channels;
        init::materialize(op, &self.weight, self.bias.as_ref(), &shape)
    }
}

impl IntoLayer for ConvTranspose2dBuilder {
    fn into_layer(self) -> Result<Layer> {
        Ok(Box::new(self.build()?))
    }
}
