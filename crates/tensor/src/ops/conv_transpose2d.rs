//! The transpose of two-dimensional convolution, as an operator; its rule is that of the gradient by the input in [`super::conv2d`].

use super::conv2d::{Conv2dOptions, check_bias, check_tensors, conv_input, wrong_channels};
use super::window::{batched, unbatched};
use crate::error::{Error, Result};
use crate::shape::{Pair, Shape};
use crate::tape::{Tensor, in_owner};

/// The arguments of a transposed convolution besides its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTranspose2dOptions {
    /// Steps of the window in the output.
    pub stride: Pair,
    /// What is cut off from each side of the output.
    pub padding: Pair,
    /// What is added to one side of the output.
    pub output_padding: Pair,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Distance of the kernel's elements.
    pub dilation: Pair,
}

impl Default for ConvTranspose2dOptions {
    fn default() -> Self {
        let (zero, one) = (Pair::from(0), Pair::from(1));
        ConvTranspose2dOptions { stride: one, padding: zero, output_padding: zero, groups: 1, dilation: one }
    }
}

impl ConvTranspose2dOptions {
    /// Stride 1, no padding, dilation 1, one group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the steps of the window in the output.
    #[must_use]
    pub fn stride(mut self, stride: impl Into<Pair>) -> Self {
        self.stride = stride.into();
        self
    }

    /// Sets what is cut off from each side of the output.
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Pair>) -> Self {
        self.padding = padding.into();
        self
    }

    /// Sets what is added to one side of the output.
    #[must_use]
    pub fn output_padding(mut self, output_padding: impl Into<Pair>) -> Self {
        self.output_padding = output_padding.into();
        self
    }

    /// Sets the number of groups.
    #[must_use]
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Sets the distance of the kernel's elements.
    #[must_use]
    pub fn dilation(mut self, dilation: impl Into<Pair>) -> Self {
        self.dilation = dilation.into();
        self
    }
}

impl Tensor {
    /// The transpose of a convolution: the gradient of [`conv2d`](Self::conv2d) with respect to its input, as an operator.
    ///
    /// `self` is `[N, C, H, W]` or `[C, H, W]`, `weight` is `[C, O / groups, h, w]`, `bias` is `[O]`; each output side is
    /// `(in - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1`.
    ///
    /// ```
    /// use gabor_tensor::{ConvTranspose2dOptions, Tensor};
    /// let x = Tensor::ones([1, 1, 2, 2])?;
    /// let y = x.conv_transpose2d(&Tensor::ones([1, 1, 2, 2])?, None, &ConvTranspose2dOptions::new().stride(2))?;
    /// assert_eq!((y.dims(), y.sum()?.item()?), (&[1, 1, 4, 4][..], 16.0));
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Ranks, channels, groups, bias or dtypes do not fit, the output would be empty, or the output padding is not smaller than
    /// stride or dilation.
    #[track_caller]
    pub fn conv_transpose2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        options: &ConvTranspose2dOptions,
    ) -> Result<Tensor> {
        self.convolve_transposed(weight, bias, options).map_err(|error| in_owner(error, &[weight]))
    }

    #[track_caller]
    fn convolve_transposed(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        options: &ConvTranspose2dOptions,
    ) -> Result<Tensor> {
        let op = "conv_transpose2d";
        let inner = Conv2dOptions {
            stride: options.stride,
            padding: options.padding.into(),
            dilation: options.dilation,
            groups: options.groups,
        };
        inner.check(op)?;
        let (g, single) = batched(op, self)?;
        let groups = options.groups;
        check_tensors(op, &g, weight, bias, "[in, out / groups, h, w]")?;
        let (channels, w) = (g.dims()[1], weight.dims());
        if w[0] != channels || channels % groups != 0 {
            if w[0] == channels {
                let message =
                    format!("{channels} input channels cannot be divided into {groups} groups; use a divisor");
                return Err(Error::shape(op, message));
            }
            return Err(wrong_channels(op, self, weight, groups, w[0]));
        }
        check_bias(op, bias, w[1].saturating_mul(groups))?;
        let extra = options.output_padding;
        if extra.h >= options.stride.h.max(options.dilation.h) || extra.w >= options.stride.w.max(options.dilation.w) {
            return Err(Error::argument(
                op,
                format!(
                    "output_padding {extra} must be smaller than stride {} or dilation {}",
                    options.stride, options.dilation
                ),
            ));
        }
        let side = |size: usize, kernel: usize, s: usize, p: usize, d: usize, extra: usize| -> Option<usize> {
            let span = size
                .checked_sub(1)?
                .checked_mul(s)?
                .checked_add(kernel.checked_sub(1)?.checked_mul(d)?)?
                .checked_add(extra)?
                .checked_add(1)?;
            span.checked_sub(p.checked_mul(2)?).filter(|&n| n > 0)
        };
        let (stride, pad, dilation) = (options.stride, options.padding, options.dilation);
        let h = side(g.dims()[2], w[2], stride.h, pad.h, dilation.h, extra.h);
        let v = side(g.dims()[3], w[3], stride.w, pad.w, dilation.w, extra.w);
        let (Some(h), Some(v), Some(out)) = (h, v, w[1].checked_mul(groups)) else {
            return Err(Error::shape(
                op,
                format!(
                    "the output for input {:?} and weight {:?} would be empty or too large; reduce the padding",
                    self.shape(),
                    weight.shape()
                ),
            ));
        };
        let target = Shape::from([g.dims()[0], out, h, v]);
        target.checked_numel(op)?;
        let geometry = inner.geometry(op, &target, weight.shape(), None)?;
        // The convolution of the target may have places that this input does not fill; there are none to add to.
        let geometry = geometry.cut(g.dims()[2], g.dims()[3]).expect("the target has a place for each pixel");
        let y = conv_input(&g, weight, &geometry)?;
        let y = match bias {
            Some(b) => y.add(&b.reshape([-1, 1, 1])?)?,
            None => y,
        };
        unbatched(y, single)
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[crate::testing::OpSpec] = &[crate::testing::OpSpec { name: "conv_transpose2d", samples }];

#[cfg(any(test, feature = "testing"))]
fn samples() -> Vec<crate::testing::Sample> {
    use crate::testing::{Sample, numbers};
    let options = ConvTranspose2dOptions::new;
    let case = |label, x: [usize; 4], w: [usize; 4], o: ConvTranspose2dOptions| {
        let inputs = vec![numbers(x, 4), numbers(w, 5), numbers([w[1] * o.groups], 6)];
        Sample::new(label, inputs, move |t| t[0].conv_transpose2d(&t[1], t.get(2), &o))
    };
    vec![
        case("plain", [2, 3, 3, 4], [3, 2, 2, 3], options()),
        case("strided, output padding", [1, 2, 3, 3], [2, 3, 3, 3], options().stride(2).padding(1).output_padding(1)),
        case("grouped, dilated", [1, 4, 3, 4], [4, 1, 2, 2], options().groups(2).dilation((2, 3)).stride((1, 2))),
        case("empty batch", [0, 2, 3, 3], [2, 1, 2, 2], options()),
    ]
}
