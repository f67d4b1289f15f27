//! Windows of an image as columns (im2col), written with views.

use super::window::{Window, at_least_one, batched, unbatched};
use crate::error::{Error, Result};
use crate::shape::Pair;
use crate::tape::Tensor;

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
    /// The rank is not 3 or 4, a size is 0, or the window does not fit.
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
        at_least_one(op, "kernel_size", kernel)?;
        at_least_one(op, "dilation", dilation)?;
        at_least_one(op, "stride", stride)?;
        let (x, single) = batched(op, self)?;
        let axis =
            |size, kernel, stride, pad, dilation| Window { size, kernel, stride, before: pad, after: pad, dilation };
        let high = axis(x.dims()[2], kernel.h, stride.h, padding.h, dilation.h);
        let wide = axis(x.dims()[3], kernel.w, stride.w, padding.w, dilation.w);
        let (Some(_), Some(_), Some(h), Some(w)) =
            (high.places(false), wide.places(false), high.extent(), wide.extent())
        else {
            return Err(Error::shape(
                op,
                format!("window {kernel} (dilation {dilation}) does not fit in the input {:?}", self.shape()),
            ));
        };
        let (top, left) = (padding.h as isize, padding.w as isize);
        let padded = x.pad(&[left, left, top, top], crate::PadMode::Constant(0.0))?;
        // [N, C, rows, columns, h, w], then the places last.
        let windows = padded.unfold_dim(2, h, stride.h)?.unfold_dim(3, w, stride.w)?;
        let windows = windows.slice(4, 0, None, dilation.h)?.slice(5, 0, None, dilation.w)?;
        let columns = windows.permute([0, 1, 4, 5, 2, 3])?.flatten(4, 5)?.flatten(1, 3)?;
        unbatched(columns, single)
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[crate::testing::OpSpec] = &[crate::testing::OpSpec { name: "unfold", samples }];

#[cfg(any(test, feature = "testing"))]
fn samples() -> Vec<crate::testing::Sample> {
    use crate::testing::{Sample, numbers};
    type Options = (Pair, Pair, Pair, Pair);
    let case = |label, shape: &[usize], o: Options| {
        Sample::new(label, vec![numbers(shape, 1)], move |t| t[0].unfold(o.0, o.1, o.2, o.3))
            .oracle(move |t| plain(&t[0], o))
    };
    let p = |h, w| Pair { h, w };
    vec![
        case("plain", &[2, 2, 4, 3], (p(2, 2), p(1, 1), p(0, 0), p(1, 1))),
        case("padded, strided, dilated", &[1, 2, 5, 6], (p(2, 3), p(2, 1), p(1, 2), p(2, 1))),
        case("unbatched", &[3, 3, 3], (p(3, 1), p(1, 1), p(0, 1), p(1, 2))),
        case("empty batch", &[0, 1, 3, 3], (p(2, 2), p(1, 1), p(0, 0), p(1, 1))),
    ]
}

/// Each column by a convolution with a kernel that is 1 at one position.
#[cfg(any(test, feature = "testing"))]
fn plain(x: &Tensor, (kernel, dilation, padding, stride): (Pair, Pair, Pair, Pair)) -> Result<Tensor> {
    let channels = x.dims()[x.rank() - 3];
    let taps = channels * kernel.h * kernel.w;
    let one_hot = Tensor::eye(taps)?.to_dtype(crate::DType::F64)?;
    let kernels = one_hot.reshape(crate::Shape::from([taps, channels, kernel.h, kernel.w]))?;
    let options = crate::Conv2dOptions::new().stride(stride).padding(padding).dilation(dilation);
    x.conv2d(&kernels, None, &options)?.flatten(-2, -1)
}
