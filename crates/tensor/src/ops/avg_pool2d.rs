//! Average over windows, and average pooling to a given size. Both are linear; each is filed with its adjoint.

use kernels::adaptive_pool;
use kernels::pool::{self, PoolGeometry};

use super::max_pool2d::PoolOptions;
use super::window::{batched, unbatched};
use crate::dtype::dispatch;
use crate::error::{Error, Result};
use crate::program::compute;
use crate::shape::{Pair, Shape};
use crate::tape::{Cx, Grads, Rule, Tensor, record};
use crate::value::Value;

/// The arguments of average pooling.
///
/// ```
/// use gabor_tensor::AvgPoolOptions;
/// let options = AvgPoolOptions::new(3).stride(2).padding(1).count_include_pad(false);
/// assert_eq!(options.divisor_override, None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvgPoolOptions {
    /// The size of the window.
    pub kernel_size: Pair,
    /// Steps of the window.
    pub stride: Pair,
    /// Zeros around the input.
    pub padding: Pair,
    /// Whether a last window may reach over the edge.
    pub ceil_mode: bool,
    /// Whether the zeros of the padding count in the divisor.
    pub count_include_pad: bool,
    /// Divides by this number instead of the number of elements.
    pub divisor_override: Option<i64>,
}

impl AvgPoolOptions {
    /// Windows of `kernel_size` side by side.
    pub fn new(kernel_size: impl Into<Pair>) -> Self {
        let kernel_size = kernel_size.into();
        AvgPoolOptions {
            kernel_size,
            stride: kernel_size,
            padding: Pair::from(0),
            ceil_mode: false,
            count_include_pad: true,
            divisor_override: None,
        }
    }

    /// Sets the steps of the window.
    #[must_use]
    pub fn stride(mut self, stride: impl Into<Pair>) -> Self {
        self.stride = stride.into();
        self
    }

    /// Sets the zeros around the input.
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Pair>) -> Self {
        self.padding = padding.into();
        self
    }

    /// Sets whether a last window may reach over the edge.
    #[must_use]
    pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
        self.ceil_mode = ceil_mode;
        self
    }

    /// Sets whether the zeros of the padding count in the divisor.
    #[must_use]
    pub fn count_include_pad(mut self, count_include_pad: bool) -> Self {
        self.count_include_pad = count_include_pad;
        self
    }

    /// Sets the divisor.
    #[must_use]
    pub fn divisor_override(mut self, divisor: impl Into<Option<i64>>) -> Self {
        self.divisor_override = divisor.into();
        self
    }
}

/// The windows of an average pooling and what each is divided by.
#[derive(Clone, Copy, Debug)]
struct Averages {
    geometry: PoolGeometry,
    count_include_pad: bool,
    divisor_override: Option<i64>,
}

impl Tensor {
    /// The average of each window of `[N, C, H, W]` or `[C, H, W]`.
    ///
    /// ```
    /// use gabor_tensor::{AvgPoolOptions, Tensor};
    /// let x = Tensor::arange(0f32, 9.0, 1.0)?.reshape([1, 3, 3])?;
    /// let y = x.avg_pool2d(&AvgPoolOptions::new(2).stride(1))?;
    /// assert_eq!(y.to_vec::<f32>()?, [2.0, 3.0, 5.0, 6.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The rank is not 3 or 4, a window does not fit, padding is more than half of the window, the divisor is 0, or the dtype is
    /// not floating point.
    #[track_caller]
    pub fn avg_pool2d(&self, options: &AvgPoolOptions) -> Result<Tensor> {
        let op = "avg_pool2d";
        if options.divisor_override == Some(0) {
            return Err(Error::argument(op, "divisor_override is 0; leave it out to divide by the number of elements"));
        }
        let (x, single) = batched(op, self)?;
        let windows = PoolOptions {
            kernel_size: options.kernel_size,
            stride: options.stride,
            padding: options.padding,
            dilation: Pair::from(1),
            ceil_mode: options.ceil_mode,
        };
        let averages = Averages {
            geometry: windows.geometry(op, &x)?,
            count_include_pad: options.count_include_pad,
            divisor_override: options.divisor_override,
        };
        unbatched(average(&x, averages)?, single)
    }

    /// Average pooling to a given output size: window `i` of an axis reaches from `floor(i * in / out)` to
    /// `ceil((i + 1) * in / out)`.
    ///
    /// # Errors
    /// The rank is not 3 or 4, a dimension is empty, or the dtype is not floating point.
    #[track_caller]
    pub fn adaptive_avg_pool2d(&self, output_size: impl Into<Pair>) -> Result<Tensor> {
        let op = "adaptive_avg_pool2d";
        let (x, single) = batched(op, self)?;
        if let Some(axis) = (1..4).find(|&a| x.dims()[a] == 0) {
            return Err(Error::shape(
                op,
                format!("dimension {axis} of input {:?} is empty; only the batch may be", x.shape()),
            ));
        }
        unbatched(adaptive(&x, output_size.into())?, single)
    }
}

/// `[N, C]` of `x` with other planes.
fn planes_of(x: &Tensor, h: usize, w: usize) -> Shape {
    Shape::from([x.dims()[0], x.dims()[1], h, w])
}

#[track_caller]
fn average(x: &Tensor, a: Averages) -> Result<Tensor> {
    let source = x.value.contiguous()?;
    let shape = planes_of(x, a.geometry.out_h, a.geometry.out_w);
    let value = compute([&*source], move |[x]| {
        dispatch!(float "avg_pool2d", x.dtype(), T => {
            Value::build("avg_pool2d", &shape, |y: &mut [T]| {
                pool::avg_pool2d(&a.geometry, a.count_include_pad, a.divisor_override, x.slice(), y);
            })
        })
    })?;
    record(value, &[x], || AvgPool(a))
}

/// The adjoint of [`average`]: each element of `g` spread over its window.
#[track_caller]
fn spread(g: &Tensor, a: Averages) -> Result<Tensor> {
    let source = g.value.contiguous()?;
    let shape = planes_of(g, a.geometry.in_h, a.geometry.in_w);
    let value = compute([&*source], move |[g]| {
        dispatch!(float "avg_pool2d", g.dtype(), T => {
            Value::build("avg_pool2d", &shape, |x: &mut [T]| {
                pool::avg_pool2d_grad(&a.geometry, a.count_include_pad, a.divisor_override, g.slice(), x);
            })
        })
    })?;
    record(value, &[g], || AvgSpread(a))
}

#[derive(Debug)]
pub(super) struct AvgPool(Averages);
impl AvgPool {
    pub(super) fn geometry(&self) -> &PoolGeometry {
        &self.0.geometry
    }
}
impl Rule for AvgPool {
    fn name(&self) -> String {
        "avg_pool2d".into()
    }

    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| spread(g, self.0)])
    }
}

#[derive(Debug)]
struct AvgSpread(Averages);
impl Rule for AvgSpread {
    fn backward(&self, cx: &Cx<'_>, h: &Tensor) -> Result<Grads> {
        cx.each([&|| average(h, self.0)])
    }
}

#[track_caller]
fn adaptive(x: &Tensor, size: Pair) -> Result<Tensor> {
    let source = x.value.contiguous()?;
    let (planes, h, w) = (x.dims()[0] * x.dims()[1], x.dims()[2], x.dims()[3]);
    let value = dispatch!(float "adaptive_avg_pool2d", x.dtype(), T => {
        Value::build("adaptive_avg_pool2d", &planes_of(x, size.h, size.w), |y: &mut [T]| {
            adaptive_pool::adaptive_avg_pool2d(planes, h, w, size.h, size.w, source.slice(), y);
        })?
    });
    record(value, &[x], || Adaptive { from: Pair { h, w } })
}

/// The adjoint of [`adaptive`].
#[track_caller]
fn adaptive_spread(g: &Tensor, to: Pair) -> Result<Tensor> {
    let source = g.value.contiguous()?;
    let (planes, h, w) = (g.dims()[0] * g.dims()[1], g.dims()[2], g.dims()[3]);
    let value = dispatch!(float "adaptive_avg_pool2d", g.dtype(), T => {
        Value::build("adaptive_avg_pool2d", &planes_of(g, to.h, to.w), |x: &mut [T]| {
            adaptive_pool::adaptive_avg_pool2d_grad(planes, to.h, to.w, h, w, source.slice(), x);
        })?
    });
    record(value, &[g], || AdaptiveSpread { from: Pair { h, w } })
}

#[derive(Debug)]
struct Adaptive {
    from: Pair,
}
impl Rule for Adaptive {
    fn name(&self) -> String {
        "adaptive_avg_pool2d".into()
    }

    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| adaptive_spread(g, self.from)])
    }
}

#[derive(Debug)]
struct AdaptiveSpread {
    from: Pair,
}
impl Rule for AdaptiveSpread {
    fn backward(&self, cx: &Cx<'_>, h: &Tensor) -> Result<Grads> {
        cx.each([&|| adaptive(h, self.from)])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[crate::testing::OpSpec] = &[
    crate::testing::OpSpec { name: "avg_pool2d", samples },
    crate::testing::OpSpec { name: "adaptive_avg_pool2d", samples: adaptives },
];

#[cfg(any(test, feature = "testing"))]
fn samples() -> Vec<crate::testing::Sample> {
    use crate::testing::{Sample, numbers};
    let case = |label, shape: &[usize], o: AvgPoolOptions| {
        Sample::new(label, vec![numbers(shape, 1)], move |t| t[0].avg_pool2d(&o)).oracle(move |t| plain(&t[0], &o))
    };
    let o = AvgPoolOptions::new;
    vec![
        case("two by two", &[2, 3, 6, 4], o(2)),
        case("odd sides", &[1, 2, 7, 5], o(2)),
        case("overlapping, padded", &[1, 2, 6, 7], o(3).stride(2).padding(1)),
        case("padding not counted", &[1, 2, 6, 7], o(3).stride(2).padding(1).count_include_pad(false)),
        case("divisor", &[1, 1, 4, 4], o(2).divisor_override(-3)),
        case("ceil mode", &[1, 2, 6, 6], o(3).stride(2).padding(1).ceil_mode(true)),
        case("last window starts on the padding", &[1, 1, 2, 2], o(3).stride(3).padding(1).ceil_mode(true)),
        case("ceil mode, window above the image", &[1, 2, 2, 3], o(4).stride(3).ceil_mode(true)),
        case("stride beyond everything", &[1, 1, 2, 3], o(2).stride((1, usize::MAX))),
        case("unbatched", &[2, 4, 4], AvgPoolOptions::new((2, 1))),
        case("empty batch", &[0, 2, 4, 4], o(2)),
    ]
}

#[cfg(any(test, feature = "testing"))]
fn adaptives() -> Vec<crate::testing::Sample> {
    use crate::testing::{Sample, numbers};
    let case = |label, shape: &[usize], size: (usize, usize)| {
        Sample::new(label, vec![numbers(shape, 2)], move |t| t[0].adaptive_avg_pool2d(size))
    };
    let global = Sample::new("global", vec![numbers([2, 2, 3, 4], 3)], |t| t[0].adaptive_avg_pool2d(1))
        .oracle(|t| t[0].mean_dim([2, 3], true));
    vec![global, case("uneven", &[1, 2, 7, 5], (3, 2)), case("larger", &[1, 2, 2], (3, 3))]
}

/// The definition, element by element: the divisor is the window cut to the padded input.
#[cfg(any(test, feature = "testing"))]
fn plain(x: &Tensor, o: &AvgPoolOptions) -> Result<Tensor> {
    let (x, single) = batched("avg_pool2d", x)?;
    let windows = PoolOptions::new(o.kernel_size).stride(o.stride).padding(o.padding).ceil_mode(o.ceil_mode);
    let g = windows.geometry("avg_pool2d", &x)?;
    let xs = x.to_vec::<f64>()?;
    let mut y = Vec::new();
    for (p, i, j) in (0..g.planes).flat_map(|p| (0..g.out_h).flat_map(move |i| (0..g.out_w).map(move |j| (p, i, j)))) {
        let (mut sum, mut inside, mut padded) = (0.0, 0.0, 0.0);
        for (u, v) in (0..g.kernel_h).flat_map(|u| (0..g.kernel_w).map(move |v| (u, v))) {
            let (r, s) = (i * g.stride.0 + u, j * g.stride.1 + v);
            if r < g.in_h + 2 * g.padding.0 && s < g.in_w + 2 * g.padding.1 {
                padded += 1.0;
            }
            let row = r.checked_sub(g.padding.0).filter(|&r| r < g.in_h);
            let column = s.checked_sub(g.padding.1).filter(|&s| s < g.in_w);
            if let (Some(r), Some(s)) = (row, column) {
                inside += 1.0;
                sum += xs[(p * g.in_h + r) * g.in_w + s];
            }
        }
        let counted = if o.count_include_pad { padded } else { inside };
        y.push(if inside == 0.0 { 0.0 } else { sum / o.divisor_override.map_or(counted, |d| d as f64) });
    }
    unbatched(Tensor::from_vec(y, [x.dims()[0], x.dims()[1], g.out_h, g.out_w])?, single)
}
