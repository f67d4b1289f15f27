//! Maximum over windows, with the positions of the maxima.
//!
//! `unpool` puts elements back to the positions, `pick` takes them from there. Pooling is `pick` at its own maxima; `unpool` and
//! `pick` are each other's adjoints, so the family is closed under differentiation. Ties go to the first element, NaN wins, and
//! padding is never chosen, as in PyTorch.

use kernels::adaptive_pool;
use kernels::pool::{self, PoolGeometry};

use super::advice;
use super::window::{Window, at_least_one, batched, unbatched};
use crate::dtype::{Element, Number, dispatch};
use crate::error::{Error, Result};
use crate::program::{compute, compute_two};
use crate::shape::{Pair, Shape};
use crate::tape::{Cx, Grads, Rule, Tensor, are_tracked, is_anomaly_enabled, record};
use crate::value::Value;

/// The arguments of max pooling.
///
/// ```
/// use gabor_tensor::{Pair, PoolOptions};
/// assert_eq!(PoolOptions::new(2).stride, Pair::from(2), "the stride is the kernel size unless it is given");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// The size of the window.
    pub kernel_size: Pair,
    /// Steps of the window.
    pub stride: Pair,
    /// Positions around the input that are never chosen.
    pub padding: Pair,
    /// Distance of the elements of a window.
    pub dilation: Pair,
    /// Whether a last window may reach over the edge.
    pub ceil_mode: bool,
}

impl PoolOptions {
    /// Windows of `kernel_size` side by side.
    pub fn new(kernel_size: impl Into<Pair>) -> Self {
        let kernel_size = kernel_size.into();
        PoolOptions {
            kernel_size,
            stride: kernel_size,
            padding: Pair::from(0),
            dilation: Pair::from(1),
            ceil_mode: false,
        }
    }

    /// Sets the steps of the window.
    #[must_use]
    pub fn stride(mut self, stride: impl Into<Pair>) -> Self {
        self.stride = stride.into();
        self
    }

    /// Sets the padding.
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Pair>) -> Self {
        self.padding = padding.into();
        self
    }

    /// Sets the distance of the elements of a window.
    #[must_use]
    pub fn dilation(mut self, dilation: impl Into<Pair>) -> Self {
        self.dilation = dilation.into();
        self
    }

    /// Sets whether a last window may reach over the edge.
    #[must_use]
    pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
        self.ceil_mode = ceil_mode;
        self
    }

    /// The windows over planes of the last two sizes of `x`, of shape `[N, C, H, W]`.
    pub(super) fn geometry(&self, op: &'static str, image: &Tensor) -> Result<PoolGeometry> {
        let x = image.shape();
        at_least_one(op, "kernel_size", self.kernel_size)?;
        at_least_one(op, "stride", self.stride)?;
        at_least_one(op, "dilation", self.dilation)?;
        if let Some(axis) = (1..4).find(|&a| x[a] == 0) {
            return Err(Error::shape(op, format!("dimension {axis} of input {x:?} is empty; only the batch may be")));
        }
        let axis =
            |size, kernel, stride, pad, dilation| Window { size, kernel, stride, before: pad, after: pad, dilation };
        let high = axis(x[2], self.kernel_size.h, self.stride.h, self.padding.h, self.dilation.h);
        let wide = axis(x[3], self.kernel_size.w, self.stride.w, self.padding.w, self.dilation.w);
        for window in [high, wide] {
            let extent = window.extent().ok_or_else(|| {
                Error::argument(
                    op,
                    format!("kernel {} with dilation {} is too large to compute with", self.kernel_size, self.dilation),
                )
            })?;
            if window.before > extent / 2 {
                let message = format!(
                    "padding {} is more than half of the window ({extent}), some windows would see only padding; at most {} is possible",
                    window.before,
                    extent / 2
                );
                return Err(Error::argument(op, message));
            }
        }
        if self.padding.h.max(self.padding.w) > i32::MAX as usize {
            let message =
                format!("padding {} is too large to compute with, at most {} is possible", self.padding, i32::MAX);
            return Err(Error::argument(op, message));
        }
        let places = (high.places(self.ceil_mode), wide.places(self.ceil_mode));
        let (Some(out_h), Some(out_w)) = places else {
            let message = format!(
                "the window {}x{} with dilation {} and padding {} does not fit in the input {}x{}",
                self.kernel_size.h, self.kernel_size.w, self.dilation, self.padding, x[2], x[3]
            );
            let larger = advice::larger_images(Some(image), high, wide, self.ceil_mode);
            return Err(Error::shape(op, format!("{message}; use {larger} or fewer pooling layers")));
        };
        if out_h == 0 || out_w == 0 {
            return Err(Error::shape(
                op,
                format!(
                    "the output for input {x:?} would be {out_h}x{out_w}; use larger images or fewer pooling layers"
                ),
            ));
        }
        let (high, wide) = (high.trimmed(), wide.trimmed());
        Ok(PoolGeometry {
            planes: x[0] * x[1],
            in_h: x[2],
            in_w: x[3],
            kernel_h: high.kernel,
            kernel_w: wide.kernel,
            stride: (high.stride, wide.stride),
            padding: (high.before, wide.before),
            dilation: (high.dilation, wide.dilation),
            out_h,
            out_w,
        })
    }
}

impl Tensor {
    /// The largest element of each window of `[N, C, H, W]` or `[C, H, W]`.
    ///
    /// ```
    /// use gabor_tensor::{PoolOptions, Tensor};
    /// let x = Tensor::arange(0f32, 16.0, 1.0)?.reshape([1, 4, 4])?;
    /// let y = x.max_pool2d(&PoolOptions::new(3).padding(1).stride(2))?;
    /// assert_eq!(y.to_vec::<f32>()?, [5.0, 7.0, 13.0, 15.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The rank is not 3 or 4, a window does not fit, padding is more than half of the window, or the dtype is bool.
    #[track_caller]
    pub fn max_pool2d(&self, options: &PoolOptions) -> Result<Tensor> {
        let op = "max_pool2d";
        let (x, single) = batched(op, self)?;
        let geometry = options.geometry(op, &x)?;
        let source = x.value.contiguous()?;
        let out = Shape::from([x.dims()[0], x.dims()[1], geometry.out_h, geometry.out_w]);
        let recorded = are_tracked(&[&x]) || is_anomaly_enabled();
        if !x.dtype().is_float() || (recorded && !geometry.has_taps()) {
            return Ok(self.max_pool2d_with_indices(options)?.0);
        }
        let y = if recorded {
            let (value, taps) = compute_two([&*source], move |[x]| {
                dispatch!(float op, x.dtype(), T => {
                    both_outputs(op, &out, |y: &mut [T], taps| pool::max_pool2d_taps(&geometry, x.slice(), y, taps))
                })
            })?;
            let places = Places::Taps(taps, geometry);
            record(value, &[&x], || Pick { places, from: x.shape().clone(), windows: Some(geometry) })?
        } else {
            Tensor::plain(compute([&*source], move |[x]| {
                dispatch!(float op, x.dtype(), T => {
                    Value::build(op, &out, |y: &mut [T]| pool::max_pool2d_values(&geometry, x.slice(), y))
                })
            })?)
        };
        unbatched(y, single)
    }

    /// As [`max_pool2d`](Self::max_pool2d), with the position of each maximum in its plane (`row * W + column`, of type i64).
    ///
    /// # Errors
    /// As [`max_pool2d`](Self::max_pool2d).
    #[track_caller]
    pub fn max_pool2d_with_indices(&self, options: &PoolOptions) -> Result<(Tensor, Tensor)> {
        let op = "max_pool2d";
        let (x, single) = batched(op, self)?;
        let geometry = options.geometry(op, &x)?;
        let out = Shape::from([x.dims()[0], x.dims()[1], geometry.out_h, geometry.out_w]);
        let source = x.value.contiguous()?;
        if !x.dtype().is_float() {
            let (value, index) = dispatch!(number op, x.dtype(), T => {
                both_outputs::<T, i64>(op, &out, |y, index| largest(&geometry, source.slice(), y, index))?
            });
            return pooled(value, index, &x, None, single);
        }
        let (value, index) = dispatch!(float op, x.dtype(), T => {
            both_outputs::<T, i64>(op, &out, |y, index| pool::max_pool2d(&geometry, source.slice(), y, index))?
        });
        pooled(value, index, &x, Some(geometry), single)
    }

    /// Max pooling to a given output size: window `i` of an axis reaches from `floor(i * in / out)` to `ceil((i + 1) * in / out)`.
    /// Also gives the position of each maximum in its plane.
    ///
    /// # Errors
    /// The rank is not 3 or 4, a dimension is empty, or the dtype is not floating point.
    #[track_caller]
    pub fn adaptive_max_pool2d(&self, output_size: impl Into<Pair>) -> Result<(Tensor, Tensor)> {
        let op = "adaptive_max_pool2d";
        let (x, single) = batched(op, self)?;
        let size = output_size.into();
        if let Some(axis) = (1..4).find(|&a| x.dims()[a] == 0) {
            return Err(Error::shape(op, format!("dimension {axis} of input {:?} is empty", x.shape())));
        }
        let (planes, h, w) = (x.dims()[0] * x.dims()[1], x.dims()[2], x.dims()[3]);
        let out = Shape::from([x.dims()[0], x.dims()[1], size.h, size.w]);
        let source = x.value.contiguous()?;
        let (value, index) = dispatch!(float op, x.dtype(), T => {
            both_outputs::<T, i64>(op, &out, |y, index| {
                adaptive_pool::adaptive_max_pool2d(planes, h, w, size.h, size.w, source.slice(), y, index);
            })?
        });
        pooled(value, index, &x, None, single)
    }
}

/// A result and its positions, which one kernel writes together.
fn both_outputs<T: Element, P: Element>(
    op: &'static str,
    shape: &Shape,
    fill: impl FnOnce(&mut [T], &mut [P]),
) -> Result<(Value, Value)> {
    let mut value = None;
    let index =
        Value::build(op, shape, |index: &mut [P]| value = Some(Value::build(op, shape, |y: &mut [T]| fill(y, index))))?;
    Ok((value.expect("the closure ran")?, index))
}

/// Max pooling of integers, which are too rare to have a kernel: the first largest element of each window.
fn largest<T: Element + Number>(g: &PoolGeometry, x: &[T], y: &mut [T], index: &mut [i64]) {
    let lowest = <T as Element>::of_f64(f64::MIN);
    let taps = |at: usize, kernel: usize, stride: usize, padding: usize, dilation: usize, size: usize| {
        let inside = move |k: usize| (at * stride + k * dilation).checked_sub(padding).filter(|&i| i < size);
        (0..kernel).filter_map(inside)
    };
    let (plane, out) = (g.in_h * g.in_w, g.out_h * g.out_w);
    for (at, (y, index)) in y.iter_mut().zip(index).enumerate() {
        let (i, j) = (at % out / g.out_w, at % g.out_w);
        let x = &x[at / out * plane..];
        let mut best = None;
        for h in taps(i, g.kernel_h, g.stride.0, g.padding.0, g.dilation.0, g.in_h) {
            for w in taps(j, g.kernel_w, g.stride.1, g.padding.1, g.dilation.1, g.in_w) {
                let place = h * g.in_w + w;
                best = Some(best.filter(|&(v, _)| v >= x[place]).unwrap_or((x[place], place)));
            }
        }
        let (value, place) = best.unwrap_or((lowest, 0));
        (*y, *index) = (value, place as i64);
    }
}

#[track_caller]
fn pooled(
    value: Value,
    index: Value,
    x: &Tensor,
    windows: Option<PoolGeometry>,
    single: bool,
) -> Result<(Tensor, Tensor)> {
    let places = Places::Index(index.clone());
    let y = record(value, &[x], || Pick { places, from: x.shape().clone(), windows })?;
    Ok((unbatched(y, single)?, unbatched(Tensor::plain(index), single)?))
}

/// Elements of the planes of `x` at the places, of shape `[N, C, h, w]`.
#[track_caller]
fn pick(x: &Tensor, places: &Places) -> Result<Tensor> {
    let source = x.value.contiguous()?;
    let (planes, plane) = sizes(x.shape());
    let value = dispatch!(float "max_pool2d", x.dtype(), T => {
        Value::build("max_pool2d", places.value().shape(), |y: &mut [T]| match places {
            Places::Index(index) => pool::pick(planes, plane, source.slice(), index.slice(), y),
            Places::Taps(taps, windows) => pool::pick_taps(windows, source.slice(), taps.slice(), y),
        })?
    });
    record(value, &[x], || Pick { places: places.clone(), from: x.shape().clone(), windows: None })
}

/// Zeros of shape `to` with the elements of `g` added at the places of each plane.
#[track_caller]
fn unpool(g: &Tensor, places: &Places, to: &Shape) -> Result<Tensor> {
    let source = g.value.contiguous()?;
    let (planes, plane) = sizes(to);
    let (shape, windows) = (to.clone(), places.windows());
    let value = compute([&*source, places.value()], move |[g, places]| {
        dispatch!(float "max_pool2d", g.dtype(), T => {
            Value::build("max_pool2d", &shape, |x: &mut [T]| match &windows {
                None => pool::unpool(planes, plane, g.slice(), places.slice(), x),
                Some(windows) => pool::unpool_taps(windows, g.slice(), places.slice(), x),
            })
        })
    })?;
    record(value, &[g], || Unpool { places: places.clone() })
}

/// The number of planes of `[N, C, H, W]` and the elements of each.
fn sizes(shape: &Shape) -> (usize, usize) {
    (shape[0] * shape[1], shape[2] * shape[3])
}

/// Where the maxima are.
#[derive(Clone, Debug)]
enum Places {
    /// In the planes, of type i64.
    Index(Value),
    /// In the windows, of type u8.
    Taps(Value, PoolGeometry),
}

impl Places {
    fn value(&self) -> &Value {
        match self {
            Places::Index(value) | Places::Taps(value, _) => value,
        }
    }

    /// The windows, if they are places in them.
    fn windows(&self) -> Option<PoolGeometry> {
        match self {
            Places::Index(_) => None,
            Places::Taps(_, windows) => Some(*windows),
        }
    }
}

#[derive(Debug)]
pub(super) struct Pick {
    places: Places,
    from: Shape,
    /// What slid over the planes, if these are maxima of windows of one size.
    pub(super) windows: Option<PoolGeometry>,
}
impl Rule for Pick {
    fn name(&self) -> String {
        "max_pool2d".into()
    }

    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| unpool(g, &self.places, &self.from)])
    }
}

#[derive(Debug)]
struct Unpool {
    places: Places,
}
impl Rule for Unpool {
    fn backward(&self, cx: &Cx<'_>, h: &Tensor) -> Result<Grads> {
        cx.each([&|| pick(h, &self.places)])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[crate::testing::OpSpec] = &[
    crate::testing::OpSpec { name: "max_pool2d", samples },
    crate::testing::OpSpec { name: "adaptive_max_pool2d", samples: adaptives },
];

#[cfg(any(test, feature = "testing"))]
fn samples() -> Vec<crate::testing::Sample> {
    use crate::testing::{Sample, indices, numbers};
    let case = |label, shape: &[usize], o: PoolOptions| {
        Sample::new(label, vec![numbers(shape, 1)], move |t| t[0].max_pool2d(&o)).oracle(move |t| plain(&t[0], &o))
    };
    let o = PoolOptions::new;
    let mut all = vec![
        case("two by two", &[2, 3, 6, 4], o(2)),
        case("odd sides", &[1, 2, 7, 5], o(2)),
        case("overlapping, padded", &[1, 2, 6, 7], o(3).stride(2).padding(1)),
        case("tutorial windows", &[1, 1, 4, 4], PoolOptions::new((2, 3)).stride((2, 3)).padding((0, 1))),
        case("dilated", &[1, 1, 7, 7], o(2).stride(1).dilation((2, 3))),
        case("ceil mode", &[1, 2, 6, 6], o(3).stride(2).ceil_mode(true)),
        case("ceil mode, window outside", &[1, 1, 2, 2], o(1).stride(2).ceil_mode(true)),
        case("ceil mode, window above the image", &[1, 2, 2, 3], o(4).stride(3).ceil_mode(true)),
        case("stride beyond everything", &[1, 1, 2, 3], o(2).stride((1, usize::MAX))),
        case("unbatched", &[2, 4, 4], o(2)),
        case("empty batch", &[0, 2, 4, 4], o(2)),
        Sample::new("integers", vec![indices([2, 1, 5, 4], 4, 2)], |t| {
            t[0].max_pool2d_with_indices(&PoolOptions::new(3).stride(2).padding(1).dilation((1, 2))).map(|y| y.1)
        })
        .oracle(|t| {
            let options = PoolOptions::new(3).stride(2).padding(1).dilation((1, 2));
            Ok(t[0].to_dtype(crate::DType::F64)?.max_pool2d_with_indices(&options)?.1)
        })
        .order(0),
    ];
    let tied = Tensor::full([1, 1, 4, 4], 1f64).expect("sixteen numbers");
    let positions = move |t: &[Tensor]| Ok(t[0].max_pool2d_with_indices(&o(2))?.1);
    let firsts = |_: &[Tensor]| Tensor::from_slice(&[0i64, 2, 8, 10], [1, 1, 2, 2]);
    all.push(Sample::new("positions of ties", vec![tied.clone()], positions).oracle(firsts).order(0));
    all.push(Sample::new("ties", vec![tied], move |t| t[0].max_pool2d(&o(2))).order(0));
    all
}

#[cfg(any(test, feature = "testing"))]
fn adaptives() -> Vec<crate::testing::Sample> {
    use crate::testing::{Sample, numbers};
    let case = |label, shape: &[usize], size: (usize, usize)| {
        Sample::new(label, vec![numbers(shape, 2)], move |t| Ok(t[0].adaptive_max_pool2d(size)?.0))
    };
    vec![
        case("global", &[2, 2, 3, 4], (1, 1)),
        case("uneven", &[1, 2, 7, 5], (3, 2)),
        case("larger", &[1, 2, 2], (3, 3)),
    ]
}

/// The definition, element by element.
#[cfg(any(test, feature = "testing"))]
fn plain(x: &Tensor, o: &PoolOptions) -> Result<Tensor> {
    let (x, single) = batched("max_pool2d", x)?;
    let g = o.geometry("max_pool2d", &x)?;
    let xs = x.to_vec::<f64>()?;
    let mut y = Vec::new();
    for (p, i, j) in (0..g.planes).flat_map(|p| (0..g.out_h).flat_map(move |i| (0..g.out_w).map(move |j| (p, i, j)))) {
        let mut best = f64::NEG_INFINITY;
        for (u, v) in (0..g.kernel_h).flat_map(|u| (0..g.kernel_w).map(move |v| (u, v))) {
            let row = (i * g.stride.0 + u * g.dilation.0).checked_sub(g.padding.0).filter(|&r| r < g.in_h);
            let column = (j * g.stride.1 + v * g.dilation.1).checked_sub(g.padding.1).filter(|&s| s < g.in_w);
            if let (Some(r), Some(s)) = (row, column) {
                best = best.max(xs[(p * g.in_h + r) * g.in_w + s]);
            }
        }
        y.push(best);
    }
    unbatched(Tensor::from_vec(y, [x.dims()[0], x.dims()[1], g.out_h, g.out_w])?, single)
}
