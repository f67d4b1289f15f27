//! Two-dimensional convolution (cross-correlation).
//!
//! The convolution is the trilinear form `L(x, w, g) = <conv2d(x, w), g>`. `conv2d`, `conv2d_input` and `conv2d_weight` are
//! its three partial derivatives, so each one's gradients are the other two, at every order.

use kernels::conv::{self, ConvGeometry, Epilogue};

use super::activation::rectified;
use super::advice;
use super::window::{Padding, Window, at_least_one, batched, channels, unbatched};
use crate::dtype::dispatch;
use crate::error::{Error, Result};
use crate::program::compute_by;
use crate::shape::{Pair, Shape};
use crate::tape::{Cx, Grads, Rule, Tensor, in_owner, is_anomaly_enabled, record};
use crate::value::Value;

/// The arguments of a convolution besides its tensors.
///
/// ```
/// use gabor_tensor::{Conv2dOptions, Padding};
/// let options = Conv2dOptions::new().stride(2).padding((1, 2));
/// assert_eq!(options.padding, Padding::from((1, 2)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Steps of the window.
    pub stride: Pair,
    /// Zeros around the input.
    pub padding: Padding,
    /// Distance of the kernel's elements.
    pub dilation: Pair,
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl Default for Conv2dOptions {
    fn default() -> Self {
        Conv2dOptions { stride: Pair::from(1), padding: Padding::default(), dilation: Pair::from(1), groups: 1 }
    }
}

impl Conv2dOptions {
    /// Stride 1, no padding, dilation 1, one group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the steps of the window.
    #[must_use]
    pub fn stride(mut self, stride: impl Into<Pair>) -> Self {
        self.stride = stride.into();
        self
    }

    /// Sets the zeros around the input.
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Padding>) -> Self {
        self.padding = padding.into();
        self
    }

    /// Sets the distance of the kernel's elements.
    #[must_use]
    pub fn dilation(mut self, dilation: impl Into<Pair>) -> Self {
        self.dilation = dilation.into();
        self
    }

    /// Sets the number of groups.
    #[must_use]
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    #[inline]
    pub(super) fn check(&self, op: &'static str) -> Result<()> {
        at_least_one(op, "stride", self.stride)?;
        at_least_one(op, "dilation", self.dilation)?;
        if self.groups == 0 {
            return Err(Error::argument(op, "groups is 0; use 1 for an ordinary convolution"));
        }
        if self.padding == Padding::Same && self.stride != Pair::from(1) {
            return Err(Error::argument(
                op,
                format!("padding 'same' needs stride 1, got {}; give the padding as numbers", self.stride),
            ));
        }
        Ok(())
    }

    /// Padding above, below, left and right, for a kernel of `h` by `w`.
    fn sides(&self, h: usize, w: usize) -> Option<(usize, usize, usize, usize)> {
        match self.padding {
            Padding::Valid => Some((0, 0, 0, 0)),
            Padding::Size(pair) => Some((pair.h, pair.h, pair.w, pair.w)),
            Padding::Same => {
                let high = h.saturating_sub(1).checked_mul(self.dilation.h)?;
                let wide = w.saturating_sub(1).checked_mul(self.dilation.w)?;
                Some((high / 2, high - high / 2, wide / 2, wide - wide / 2))
            }
        }
    }

    /// The geometry of a convolution of `x` of shape `[N, C, H, W]` with `w` of shape `[O, C / groups, h, w]`.
    /// `image` is `x` itself where errors shall look at where it comes from.
    pub(super) fn geometry(
        &self,
        op: &'static str,
        x: &Shape,
        w: &Shape,
        image: Option<&Tensor>,
    ) -> Result<ConvGeometry> {
        let four = |shape: &Shape| <[usize; 4]>::try_from(&shape[..]).expect("both have four dimensions");
        let (images, weight) = (four(x), four(w));
        let Some(sides) = self.sides(weight[2], weight[3]) else {
            return Err(Error::TooLarge { op, shape: x.to_vec() });
        };
        let (stride, dilation) = ((self.stride.h, self.stride.w), (self.dilation.h, self.dilation.w));
        match ConvGeometry::new(images, weight, stride, sides, dilation, self.groups) {
            Some(geometry) => Ok(geometry),
            None => Err(self.does_not_fit(op, x, w, image, sides)),
        }
    }

    /// Why there is no geometry, where the channels go together.
    #[cold]
    fn does_not_fit(
        &self,
        op: &'static str,
        x: &Shape,
        w: &Shape,
        image: Option<&Tensor>,
        (top, bottom, left, right): (usize, usize, usize, usize),
    ) -> Error {
        let (stride, dilation) = (self.stride, self.dilation);
        let high =
            Window { size: x[2], kernel: w[2], stride: stride.h, before: top, after: bottom, dilation: dilation.h };
        let wide =
            Window { size: x[3], kernel: w[3], stride: stride.w, before: left, after: right, dilation: dilation.w };
        let places = (high.places(false), wide.places(false));
        if let (Some(out_h), Some(out_w)) = places
            && let Err(error) = Shape::from([x[0], w[0], out_h, out_w]).checked_numel(op)
        {
            return error;
        }
        let (Some(h), Some(v), Some(eh), Some(ew), (None, _) | (_, None)) =
            (high.padded(), wide.padded(), high.extent(), wide.extent(), places)
        else {
            return Error::argument(
                op,
                format!("kernel {}x{} with its dilation and padding is too large to compute with", w[2], w[3]),
            );
        };
        let message = format!(
            "the input is {}x{} ({h}x{v} with padding) but the kernel covers {eh}x{ew} (size {}x{}, dilation {}x{}); add padding, \
             drop a pooling layer, or use {}",
            high.size,
            wide.size,
            w[2],
            w[3],
            high.dilation,
            wide.dilation,
            advice::larger_images(image, high, wide, false)
        );
        Error::shape(op, message)
    }
}

/// The channels of the image are not those of the weight.
#[cold]
pub(super) fn wrong_channels(op: &'static str, x: &Tensor, weight: &Tensor, groups: usize, expected: usize) -> Error {
    let (got, shape) = (x.dims()[x.rank() - 3], x.shape());
    let hint = match *x.dims() {
        [.., last] if last == expected => {
            let order = if x.rank() == 4 { "[0, 3, 1, 2]" } else { "[2, 0, 1]" };
            format!("the channels seem to be last, use permute({order})")
        }
        _ => format!("change the layer before, or let this one take {got}"),
    };
    let groups = if groups == 1 { String::new() } else { format!(" in {groups} groups") };
    let message = format!(
        "input has {} (shape {shape:?}), the weight {:?} expects {expected}{groups}; {hint}",
        channels(got),
        weight.shape()
    );
    Error::shape(op, message)
}

#[inline]
pub(super) fn check_tensors(
    op: &'static str,
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    expected: &str,
) -> Result<()> {
    let other = |t: &&Tensor| t.dtype() != x.dtype();
    if let Some(other) = Some(w).filter(other).or_else(|| bias.filter(other)) {
        return Err(Error::DTypes { op, lhs: x.dtype(), rhs: other.dtype() });
    }
    if w.rank() != 4 {
        return Err(Error::shape(
            op,
            format!("weight has shape {:?} ({} dimensions); expected {expected}", w.shape(), w.rank()),
        ));
    }
    match *x.dims() {
        [n, c, h, w] if n > 0 && c > 0 && (h == 0 || w == 0) => {
            let side = if h == 0 { 2 } else { 3 };
            let message = format!("dimension {side} of input {:?} is empty; only the batch may be", x.shape());
            Err(Error::shape(op, message))
        }
        _ => Ok(()),
    }
}

pub(super) fn check_bias(op: &'static str, bias: Option<&Tensor>, channels: usize) -> Result<()> {
    match bias.filter(|b| b.dims() != [channels]) {
        Some(b) => {
            let message = format!("bias has shape {:?}; expected [{channels}], one for each output channel", b.shape());
            Err(Error::shape(op, message))
        }
        None => Ok(()),
    }
}

impl Tensor {
    /// Slides `weight` over the image: `y[n, o, i, j] = bias[o] + sum over c, u, v of x[n, c, i*s + u*d - p, j*s + v*d - p] * w[o, c, u, v]`.
    ///
    /// `self` is `[N, C, H, W]` or `[C, H, W]`, `weight` is `[O, C / groups, h, w]`, `bias` is `[O]`.
    ///
    /// ```
    /// use gabor_tensor::{Conv2dOptions, Tensor};
    /// let x = Tensor::arange(0f32, 9.0, 1.0)?.reshape([1, 3, 3])?;
    /// let k = Tensor::arange(0f32, 4.0, 1.0)?.reshape([1, 1, 2, 2])?;
    /// let y = x.conv2d(&k, None, &Conv2dOptions::new())?;
    /// assert_eq!(y.to_vec::<f32>()?, [19.0, 25.0, 37.0, 43.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// Ranks, channels, groups, bias or dtypes do not fit, or the kernel is larger than the padded input.
    #[track_caller]
    pub fn conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, options: &Conv2dOptions) -> Result<Tensor> {
        self.convolve(weight, bias, options, false).map_err(|error| in_owner(error, &[weight]))
    }

    /// [`conv2d`](Self::conv2d), then [`relu`](Self::relu), whose pass over memory is saved; the results have the same bits.
    ///
    /// ```
    /// use gabor_tensor::{Conv2dOptions, Tensor};
    /// let x = Tensor::new([[[1f32, 2.0, 0.0]]])?;
    /// let edges = x.conv2d_relu(&Tensor::new([[[[1f32, -1.0]]]])?, None, &Conv2dOptions::new())?;
    /// assert_eq!(edges.to_vec::<f32>()?, [0.0, 2.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As of `conv2d`.
    #[track_caller]
    pub fn conv2d_relu(&self, weight: &Tensor, bias: Option<&Tensor>, options: &Conv2dOptions) -> Result<Tensor> {
        // Anomaly mode wants to see what lies between.
        if is_anomaly_enabled() {
            return self.conv2d(weight, bias, options)?.relu();
        }
        self.convolve(weight, bias, options, true).map_err(|error| in_owner(error, &[weight]))
    }

    #[track_caller]
    fn convolve(&self, weight: &Tensor, bias: Option<&Tensor>, options: &Conv2dOptions, relu: bool) -> Result<Tensor> {
        let op = "conv2d";
        options.check(op)?;
        let batch;
        let x = if self.rank() == 4 {
            self
        } else {
            batch = batched(op, self)?.0;
            &*batch
        };
        check_tensors(op, x, weight, bias, "[out, in / groups, h, w]")?;
        let (got, w, groups) = (x.dims()[1], weight.dims(), options.groups);
        if w[0] < groups || w[0] % groups != 0 {
            let message = format!(
                "{} of the weight {:?} cannot be divided into {groups} groups; use a divisor of both numbers of channels",
                channels(w[0]).replace("channel", "output channel"),
                weight.shape()
            );
            return Err(Error::shape(op, message));
        }
        if w[1].checked_mul(groups) != Some(got) {
            return Err(wrong_channels(op, self, weight, groups, w[1].saturating_mul(groups)));
        }
        check_bias(op, bias, w[0])?;
        // Not by `?`, which would copy it.
        let y = match options.geometry(op, x.shape(), weight.shape(), Some(x)) {
            Ok(ref geometry) => conv(x, weight, bias, relu, geometry),
            Err(error) => return Err(error),
        };
        if self.rank() == 4 { y } else { unbatched(y?, true) }
    }
}

/// `conv2d`, its arguments checked: the partial derivative of `L` by `g`; and ReLU if it follows.
#[track_caller]
fn conv(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, relu: bool, geometry: &ConvGeometry) -> Result<Tensor> {
    let (xs, ws, bs) = (x.value.contiguous()?, w.value.contiguous()?, bias.map(|b| b.value.contiguous()).transpose()?);
    let value = match &bs {
        Some(b) => compute_by(geometry, [&*xs, &*ws, &**b], move |g, [x, w, b]| convolved(x, w, Some(b), relu, g))?,
        None => compute_by(geometry, [&*xs, &*ws], move |g, [x, w]| convolved(x, w, None, relu, g))?,
    };
    let rule = || Conv2d { x: x.clone(), w: w.clone(), geometry: *geometry };
    // Neither the gradient of a convolution nor that of ReLU looks at what lies between them.
    let y = match bias {
        Some(b) => record(value, &[x, w, b], rule),
        None => record(value, &[x, w], rule),
    }?;
    if relu { rectified(y) } else { Ok(y) }
}

fn convolved(x: &Value, w: &Value, bias: Option<&Value>, relu: bool, g: &ConvGeometry) -> Result<Value> {
    dispatch!(float "conv2d", x.dtype(), T => {
        let epilogue = Epilogue { bias: bias.map(|b| b.slice()), relu };
        Value::build("conv2d", &g.output().into(), |y: &mut [T]| conv::conv2d(g, x.slice(), w.slice(), epilogue, y))
    })
}

/// The partial derivative of `L` by `x`.
#[track_caller]
pub(super) fn conv_input(grad: &Tensor, w: &Tensor, geometry: &ConvGeometry) -> Result<Tensor> {
    let (gs, ws) = (grad.value.contiguous()?, w.value.contiguous()?);
    let value = compute_by(geometry, [&*gs, &*ws], |g, [grad, w]| {
        dispatch!(float "conv2d", grad.dtype(), T => {
            Value::build("conv2d", &g.input().into(), |x: &mut [T]| conv::conv2d_input(g, w.slice(), grad.slice(), x))
        })
    })?;
    record(value, &[grad, w], || Conv2dInput { grad: grad.clone(), w: w.clone(), geometry: *geometry })
}

/// The partial derivative of `L` by `w`.
#[track_caller]
fn conv_weight(x: &Tensor, grad: &Tensor, geometry: &ConvGeometry) -> Result<Tensor> {
    let (xs, gs) = (x.value.contiguous()?, grad.value.contiguous()?);
    let value = compute_by(geometry, [&*xs, &*gs], |g, [x, grad]| {
        dispatch!(float "conv2d", x.dtype(), T => {
            Value::build("conv2d", &g.weight().into(), |w: &mut [T]| conv::conv2d_weight(g, x.slice(), grad.slice(), w))
        })
    })?;
    record(value, &[x, grad], || Conv2dWeight { x: x.clone(), grad: grad.clone(), geometry: *geometry })
}

/// The sum of a gradient over the batch and the image, for the bias.
#[track_caller]
fn conv_bias(grad: &Tensor) -> Result<Tensor> {
    grad.sum_dim([0, 2, 3], false)
}

#[derive(Debug)]
pub(super) struct Conv2d {
    x: Tensor,
    pub(super) w: Tensor,
    pub(super) geometry: ConvGeometry,
}
impl Rule for Conv2d {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        let mut grads = Grads::new();
        for i in 0..cx.inputs() {
            grads.push(match i {
                _ if !cx.needs(i) => None,
                0 => Some(conv_input(g, &self.w, &self.geometry)?),
                1 => Some(conv_weight(&self.x, g, &self.geometry)?),
                _ => Some(conv_bias(g)?),
            });
        }
        Ok(grads)
    }
}

#[derive(Debug)]
struct Conv2dInput {
    grad: Tensor,
    w: Tensor,
    geometry: ConvGeometry,
}
impl Rule for Conv2dInput {
    fn name(&self) -> String {
        "conv_transpose2d".into()
    }

    fn backward(&self, cx: &Cx<'_>, h: &Tensor) -> Result<Grads> {
        cx.each([&|| conv(h, &self.w, None, false, &self.geometry), &|| conv_weight(h, &self.grad, &self.geometry)])
    }
}

#[derive(Debug)]
struct Conv2dWeight {
    x: Tensor,
    grad: Tensor,
    geometry: ConvGeometry,
}
impl Rule for Conv2dWeight {
    fn backward(&self, cx: &Cx<'_>, v: &Tensor) -> Result<Grads> {
        cx.each([&|| conv_input(&self.grad, v, &self.geometry), &|| conv(&self.x, v, None, false, &self.geometry)])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[crate::testing::OpSpec] = &[
    crate::testing::OpSpec { name: "conv2d", samples },
    crate::testing::OpSpec { name: "conv2d_relu", samples: rectified_samples },
];

#[cfg(any(test, feature = "testing"))]
fn samples() -> Vec<crate::testing::Sample> {
    use crate::testing::{Sample, numbers};
    let options = Conv2dOptions::new;
    let case = |label, x: [usize; 4], w: [usize; 4], bias: bool, o: Conv2dOptions| {
        let mut inputs = vec![numbers(x, 1), numbers(w, 2)];
        inputs.extend(bias.then(|| numbers([w[0]], 3)));
        Sample::new(label, inputs, move |t| t[0].conv2d(&t[1], t.get(2), &o))
            .oracle(move |t| plain(&t[0], &t[1], t.get(2), &o))
    };
    vec![
        case("the learned kernel", [1, 1, 6, 8], [1, 1, 1, 2], false, options()),
        case("padded", [2, 3, 5, 4], [4, 3, 3, 3], true, options().padding(1)),
        case("strided", [2, 2, 7, 6], [3, 2, 3, 2], true, options().stride((2, 3)).padding((1, 0))),
        case("dilated", [1, 2, 7, 8], [2, 2, 3, 2], false, options().dilation((2, 3)).padding(2)),
        case("grouped", [2, 4, 5, 5], [6, 2, 3, 3], true, options().groups(2).padding(1)),
        case("depthwise, strided", [1, 3, 6, 7], [6, 1, 3, 3], true, options().groups(3).stride(2).padding(1)),
        case("same, even kernel", [1, 2, 4, 5], [2, 2, 2, 4], false, options().padding(Padding::Same)),
        case("one by one", [2, 3, 3, 2], [4, 3, 1, 1], true, options()),
        case("stride above the kernel", [1, 1, 9, 9], [2, 1, 2, 2], false, options().stride(4)),
        case("padding above half of the kernel", [1, 1, 3, 3], [1, 1, 3, 3], false, options().padding(4)),
        case("empty batch", [0, 2, 4, 4], [3, 2, 3, 3], true, options()),
        case("one pixel", [3, 2, 1, 1], [2, 2, 1, 1], true, options()),
    ]
}

#[cfg(any(test, feature = "testing"))]
fn rectified_samples() -> Vec<crate::testing::Sample> {
    use crate::testing::{Sample, numbers};
    let case = |label, x: [usize; 4], w: [usize; 4], bias: bool, o: Conv2dOptions| {
        let mut inputs = vec![numbers(x, 1), numbers(w, 2)];
        inputs.extend(bias.then(|| numbers([w[0]], 3)));
        Sample::new(label, inputs, move |t| t[0].conv2d_relu(&t[1], t.get(2), &o))
            .oracle(move |t| plain(&t[0], &t[1], t.get(2), &o)?.relu())
    };
    let options = Conv2dOptions::new;
    vec![
        case("padded", [2, 3, 5, 4], [4, 3, 3, 3], true, options().padding(1)),
        case("strided", [2, 2, 7, 6], [3, 2, 3, 2], false, options().stride((2, 3)).padding((1, 0))),
        case("depthwise", [1, 3, 6, 7], [3, 1, 3, 3], true, options().groups(3).padding(1)),
        case("one by one", [2, 3, 3, 2], [4, 3, 1, 1], true, options()),
        case("empty batch", [0, 2, 4, 4], [3, 2, 3, 3], true, options()),
    ]
}

/// The definition, element by element.
#[cfg(any(test, feature = "testing"))]
fn plain(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, o: &Conv2dOptions) -> Result<Tensor> {
    let g = o.geometry("conv2d", x.shape(), w.shape(), None)?;
    let ([_, in_channels, in_h, in_w], [_, _, kernel_h, kernel_w]) = (g.input(), g.weight());
    let ([batch, out_channels, out_h, out_w], stride, dilation, padding) =
        (g.output(), g.stride(), g.dilation(), g.padding());
    let (xs, ws) = (x.to_vec::<f64>()?, w.to_vec::<f64>()?);
    let bs = bias.map_or_else(|| Ok(vec![0.0; out_channels]), Tensor::to_vec::<f64>)?;
    let (per_group_in, per_group_out) = (in_channels / o.groups, out_channels / o.groups);
    let mut y = Vec::new();
    for (n, o) in (0..batch).flat_map(|n| (0..out_channels).map(move |o| (n, o))) {
        for (i, j) in (0..out_h).flat_map(|i| (0..out_w).map(move |j| (i, j))) {
            let mut sum = bs[o];
            for (c, u, v) in
                (0..per_group_in).flat_map(|c| (0..kernel_h).flat_map(move |u| (0..kernel_w).map(move |v| (c, u, v))))
            {
                let row = (i * stride.0 + u * dilation.0).checked_sub(padding.0).filter(|&r| r < in_h);
                let column = (j * stride.1 + v * dilation.1).checked_sub(padding.2).filter(|&s| s < in_w);
                if let (Some(r), Some(s)) = (row, column) {
                    let channel = o / per_group_out * per_group_in + c;
                    sum += xs[((n * in_channels + channel) * in_h + r) * in_w + s]
                        * ws[((o * per_group_in + c) * kernel_h + u) * kernel_w + v];
                }
            }
            y.push(sum);
        }
    }
    Tensor::from_vec(y, [batch, out_channels, out_h, out_w])
}
