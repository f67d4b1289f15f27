//! Windows of an image as columns (im2col) and the way back, which adds them up: each is the other's adjoint.

use super::window::{Window, at_least_one, batched, unbatched};
use crate::dtype::{Element, Number, dispatch};
use crate::error::{Error, Result};
use crate::shape::{Pair, Shape};
use crate::tape::{Cx, Grads, Rule, Tensor, record};
use crate::value::Value;

/// The windows of an image, and how often they fit.
#[derive(Clone, Copy, Debug)]
struct Windows {
    image: Pair,
    kernel: Pair,
    dilation: Pair,
    padding: Pair,
    stride: Pair,
    places: Pair,
}

impl Windows {
    fn new(op: &'static str, image: Pair, kernel: Pair, dilation: Pair, padding: Pair, stride: Pair) -> Result<Self> {
        at_least_one(op, "kernel_size", kernel)?;
        at_least_one(op, "dilation", dilation)?;
        at_least_one(op, "stride", stride)?;
        let places = |size, kernel, stride, pad, dilation| {
            Window { size, kernel, stride, before: pad, after: pad, dilation }.places(false)
        };
        let high = places(image.h, kernel.h, stride.h, padding.h, dilation.h);
        let wide = places(image.w, kernel.w, stride.w, padding.w, dilation.w);
        let (Some(h), Some(w)) = (high, wide) else {
            let message = format!(
                "window {kernel} (dilation {dilation}, padding {padding}) does not fit in an image of ({}, {})",
                image.h, image.w
            );
            return Err(Error::shape(op, message));
        };
        Ok(Windows { image, kernel, dilation, padding, stride, places: Pair { h, w } })
    }

    /// The sizes of the columns of `channels` channels.
    fn columns(&self, op: &'static str, batch: usize, channels: usize) -> Result<Shape> {
        let all = |sizes: &[usize]| sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        match (all(&[channels, self.kernel.h, self.kernel.w]), all(&[self.places.h, self.places.w])) {
            (Some(rows), Some(places)) => Ok(Shape::from([batch, rows, places])),
            _ => Err(Error::TooLarge { op, shape: vec![batch, channels, self.image.h, self.image.w] }),
        }
    }

    /// Calls `f(image row, column row, u, v)` for each row of places of each position in the window that meets the image.
    fn each_row(&self, channels: usize, mut f: impl FnMut(usize, usize, usize)) {
        let mut row = 0;
        for c in 0..channels {
            for (u, v) in (0..self.kernel.h).flat_map(|u| (0..self.kernel.w).map(move |v| (u, v))) {
                for i in 0..self.places.h {
                    let r = (i * self.stride.h + u * self.dilation.h).checked_sub(self.padding.h);
                    if let Some(r) = r.filter(|&r| r < self.image.h) {
                        f(c * self.image.h + r, row, v);
                    }
                    row += 1;
                }
            }
        }
    }

    /// The places whose element `v` of a window's row lies inside of the image, and where the first of them lies.
    fn inside(&self, v: usize) -> (std::ops::Range<usize>, usize) {
        let shift = v * self.dilation.w;
        let first = self.padding.w.saturating_sub(shift).div_ceil(self.stride.w);
        let end = (self.image.w + self.padding.w).saturating_sub(shift).div_ceil(self.stride.w).min(self.places.w);
        (first.min(end)..end, first.saturating_mul(self.stride.w).saturating_add(shift).saturating_sub(self.padding.w))
    }
}

fn gathered<T: Element>(x: &[T], channels: usize, w: &Windows, y: &mut [T]) {
    y.fill(T::default());
    w.each_row(channels, |from, to, v| {
        let (places, start) = w.inside(v);
        let (x, y) = (&x[from * w.image.w..(from + 1) * w.image.w], &mut y[to * w.places.w..(to + 1) * w.places.w]);
        let source = x[start.min(x.len())..].iter().step_by(w.stride.w);
        y[places].iter_mut().zip(source).for_each(|(y, &x)| *y = x);
    });
}

fn added<T: Element + Number>(y: &[T], channels: usize, w: &Windows, x: &mut [T]) {
    x.fill(T::default());
    w.each_row(channels, |to, from, v| {
        let (places, start) = w.inside(v);
        let (x, y) = (&mut x[to * w.image.w..(to + 1) * w.image.w], &y[from * w.places.w..(from + 1) * w.places.w]);
        let start = start.min(x.len());
        let sums = x[start..].iter_mut().step_by(w.stride.w);
        sums.zip(&y[places]).for_each(|(x, &y)| *x = Number::add(*x, y));
    });
}

impl Tensor {
    /// The windows of `[N, C, H, W]` or `[C, H, W]` as columns: `[N, C * h * w, places]`. PyTorch: `F.unfold`.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::arange(0f32, 9.0, 1.0)?.reshape([1, 3, 3])?;
    /// let columns = x.unfold(2, 1, 0, 1)?;
    /// assert_eq!(columns.shape(), &[4, 4]);
    /// assert_eq!(columns.select(-1, 0)?.to_vec::<f32>()?, [0.0, 1.0, 3.0, 4.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The rank is not 3 or 4, a size is 0, the window does not fit, or the columns do not fit in memory.
    #[track_caller]
    pub fn unfold(
        &self,
        kernel_size: impl Into<Pair>,
        dilation: impl Into<Pair>,
        padding: impl Into<Pair>,
        stride: impl Into<Pair>,
    ) -> Result<Tensor> {
        let (op, kernel, dilation, padding, stride) =
            ("unfold", kernel_size.into(), dilation.into(), padding.into(), stride.into());
        let (x, single) = batched(op, self)?;
        if let Some(axis) = (1..4).find(|&a| x.dims()[a] == 0) {
            let axis = axis - usize::from(single);
            return Err(Error::shape(op, format!("dimension {axis} of input {:?} is empty", self.shape())));
        }
        let image = Pair { h: x.dims()[2], w: x.dims()[3] };
        let windows = Windows::new(op, image, kernel, dilation, padding, stride)?;
        unbatched(unfolded(&x, windows)?, single)
    }

    /// The images `[N, C, H, W]` of columns `[N, C * h * w, places]`, or one image of `[C * h * w, places]`: what windows
    /// share is added up. `output_size` is (H, W). The adjoint of [`unfold`](Self::unfold). PyTorch: `F.fold`.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let columns = Tensor::ones([1, 4, 4])?;
    /// let y = columns.fold(3, 2, 1, 0, 1)?;
    /// assert_eq!(y.shape(), &[1, 1, 3, 3]);
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The rank is not 2 or 3, a dimension other than the batch is empty, a size is 0, the columns are not as many as there
    /// are places for the window, their length is no multiple of the window's, or the dtype is bool.
    #[track_caller]
    pub fn fold(
        &self,
        output_size: impl Into<Pair>,
        kernel_size: impl Into<Pair>,
        dilation: impl Into<Pair>,
        padding: impl Into<Pair>,
        stride: impl Into<Pair>,
    ) -> Result<Tensor> {
        let (op, image, kernel, dilation, padding, stride) =
            ("fold", output_size.into(), kernel_size.into(), dilation.into(), padding.into(), stride.into());
        let columns = match self.rank() {
            2 => self.unsqueeze(0)?,
            3 => self.clone(),
            rank => {
                let message = format!(
                    "input has shape {:?} ({rank} dimensions); expected [N, C * h * w, places] or [C * h * w, places]",
                    self.shape()
                );
                return Err(Error::shape(op, message));
            }
        };
        at_least_one(op, "output_size", image)?;
        let windows = Windows::new(op, image, kernel, dilation, padding, stride)?;
        let (rows, places) = (columns.dims()[1], columns.dims()[2]);
        let one = windows.columns(op, 1, 1)?;
        if rows == 0 || rows % one[1] != 0 {
            let message =
                format!("columns of {rows} elements do not hold whole windows of {kernel} ({} elements)", one[1]);
            return Err(Error::shape(op, message));
        }
        if places != one[2] {
            let message = format!(
                "got {places} columns, an image of ({}, {}) has {} * {} places for the window {kernel} (dilation {dilation}, padding {padding}, stride {stride})",
                image.h, image.w, windows.places.h, windows.places.w
            );
            return Err(Error::shape(op, message));
        }
        unbatched(folded(&columns, windows)?, self.rank() == 2)
    }
}

#[track_caller]
fn unfolded(x: &Tensor, w: Windows) -> Result<Tensor> {
    let (batch, channels) = (x.dims()[0], x.dims()[1]);
    let (source, shape) = (x.value.contiguous()?, w.columns("unfold", batch, channels)?);
    let value = dispatch!(x.dtype(), T => {
        Value::build("unfold", &shape, |y: &mut [T]| gathered(source.slice(), batch * channels, &w, y))?
    });
    record(value, &[x], || Unfolded(w))
}

/// The adjoint of [`unfolded`].
#[track_caller]
fn folded(columns: &Tensor, w: Windows) -> Result<Tensor> {
    let (batch, channels) = (columns.dims()[0], columns.dims()[1] / (w.kernel.h * w.kernel.w));
    let (source, shape) = (columns.value.contiguous()?, Shape::from([batch, channels, w.image.h, w.image.w]));
    let value = dispatch!(number "fold", columns.dtype(), T => {
        Value::build("fold", &shape, |x: &mut [T]| added(source.slice(), batch * channels, &w, x))?
    });
    record(value, &[columns], || Folded(w))
}

#[derive(Debug)]
struct Unfolded(Windows);
impl Rule for Unfolded {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| folded(g, self.0)])
    }
}

#[derive(Debug)]
struct Folded(Windows);
impl Rule for Folded {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| unfolded(g, self.0)])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[crate::testing::OpSpec] =
    &[crate::testing::OpSpec { name: "unfold", samples }, crate::testing::OpSpec { name: "fold", samples: folds }];

#[cfg(any(test, feature = "testing"))]
type Options = (Pair, Pair, Pair, Pair);

#[cfg(any(test, feature = "testing"))]
fn pair(h: usize, w: usize) -> Pair {
    Pair { h, w }
}

#[cfg(any(test, feature = "testing"))]
fn samples() -> Vec<crate::testing::Sample> {
    use crate::testing::{Sample, numbers};
    let p = pair;
    let case = |label, shape: &[usize], o: Options| {
        Sample::new(label, vec![numbers(shape, 1)], move |t| t[0].unfold(o.0, o.1, o.2, o.3))
            .oracle(move |t| plain(&t[0], o))
    };
    vec![
        case("plain", &[2, 2, 4, 3], (p(2, 2), p(1, 1), p(0, 0), p(1, 1))),
        case("padded, strided, dilated", &[1, 2, 5, 6], (p(2, 3), p(2, 1), p(1, 2), p(2, 1))),
        case("places in the padding only", &[1, 1, 2, 2], (p(1, 2), p(1, 3), p(3, 4), p(2, 3))),
        case("unbatched", &[3, 3, 3], (p(3, 1), p(1, 1), p(0, 1), p(1, 2))),
        case("empty batch", &[0, 1, 3, 3], (p(2, 2), p(1, 1), p(0, 0), p(1, 1))),
    ]
}

#[cfg(any(test, feature = "testing"))]
fn folds() -> Vec<crate::testing::Sample> {
    use crate::testing::{Sample, indices, numbers};
    let p = pair;
    let case = |label, shape: &[usize], size: Pair, o: Options| {
        Sample::new(label, vec![numbers(shape, 1)], move |t| t[0].fold(size, o.0, o.1, o.2, o.3))
            .oracle(move |t| plain_fold(&t[0], size, o))
    };
    vec![
        case("plain", &[2, 8, 6], p(4, 3), (p(2, 2), p(1, 1), p(0, 0), p(1, 1))),
        case("padded, strided, dilated", &[1, 12, 24], p(5, 6), (p(2, 3), p(2, 1), p(1, 2), p(2, 1))),
        case("gaps", &[1, 4, 4], p(5, 5), (p(2, 2), p(1, 1), p(0, 0), p(3, 3))),
        case("unbatched", &[4, 4], p(3, 3), (p(2, 2), p(1, 1), p(0, 0), p(1, 1))),
        case("empty batch", &[0, 4, 4], p(3, 3), (p(2, 2), p(1, 1), p(0, 0), p(1, 1))),
        Sample::new("integers", vec![indices([4, 4], 9, 2)], |t| t[0].fold(3, 2, 1, 0, 1)).order(0),
    ]
}

/// Each column by a convolution with a kernel that is 1 at one position.
#[cfg(any(test, feature = "testing"))]
fn plain(x: &Tensor, (kernel, dilation, padding, stride): Options) -> Result<Tensor> {
    let channels = x.dims()[x.rank() - 3];
    let taps = channels * kernel.h * kernel.w;
    let one_hot = Tensor::eye(taps)?.to_dtype(crate::DType::F64)?;
    let kernels = one_hot.reshape(Shape::from([taps, channels, kernel.h, kernel.w]))?;
    let options = crate::Conv2dOptions::new().stride(stride).padding(padding).dilation(dilation);
    x.conv2d(&kernels, None, &options)?.flatten(-2, -1)
}

/// The images by a transposed convolution with such kernels, cut or filled up to their size.
#[cfg(any(test, feature = "testing"))]
fn plain_fold(x: &Tensor, size: Pair, (kernel, dilation, padding, stride): Options) -> Result<Tensor> {
    let windows = Windows::new("fold", size, kernel, dilation, padding, stride)?;
    let taps = x.dims()[x.rank() - 2];
    let channels = taps / (kernel.h * kernel.w);
    let kernels = Tensor::eye(taps)?.to_dtype(crate::DType::F64)?;
    let kernels = kernels.reshape(Shape::from([taps, channels, kernel.h, kernel.w]))?;
    let batch = if x.rank() == 3 { x.dims()[0] } else { 1 };
    let columns = x.reshape(Shape::from([batch, taps, windows.places.h, windows.places.w]))?;
    let options = crate::ConvTranspose2dOptions::new().stride(stride).dilation(dilation);
    let whole = columns.conv_transpose2d(&kernels, None, &options)?;
    let after = |size: usize, pad: usize, have: usize| (size + pad) as isize - have as isize;
    let (below, right) = (after(size.h, padding.h, whole.dims()[2]), after(size.w, padding.w, whole.dims()[3]));
    let margins = [-(padding.w as isize), right, -(padding.h as isize), below];
    let y = whole.pad(&margins, crate::PadMode::Constant(0.0))?;
    unbatched(y, x.rank() == 2)
}
