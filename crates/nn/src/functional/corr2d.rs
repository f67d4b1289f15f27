//! The cross-correlation of the tutorial, for single images.

use tensor::{Conv2dOptions, Error, Result, Tensor};

/// Slides kernels over an image, without padding: the sum of products at each place.
///
/// | image | kernel | result |
/// |---|---|---|
/// | `[H, W]` | `[h, w]` | `[H - h + 1, W - w + 1]` |
/// | `[C, H, W]` | `[C, h, w]` | `[H - h + 1, W - w + 1]`, channels are summed |
/// | `[C, H, W]` | `[O, C, h, w]` | `[O, H - h + 1, W - w + 1]`, a plane for each kernel |
///
/// ```
/// use gabor_nn::functional::corr2d;
/// use tensor::Tensor;
/// let x = Tensor::arange(0f32, 9.0, 1.0)?.reshape([3, 3])?;
/// let k = Tensor::arange(0f32, 4.0, 1.0)?.reshape([2, 2])?;
/// assert_eq!(corr2d(&x, &k)?.to_vec::<f32>()?, [19.0, 25.0, 37.0, 43.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// The ranks are none of these pairs, the channels differ, or the kernel is larger than the image.
#[track_caller]
pub fn corr2d(x: &Tensor, kernel: &Tensor) -> Result<Tensor> {
    let options = Conv2dOptions::new();
    match (x.rank(), kernel.rank()) {
        (2, 2) => {
            let kernel = kernel.unsqueeze(0)?.unsqueeze(0)?;
            x.unsqueeze(0)?.conv2d(&kernel, None, &options)?.select(0, 0)
        }
        (3, 3) => x.conv2d(&kernel.unsqueeze(0)?, None, &options)?.select(0, 0),
        (3, 4) => x.conv2d(kernel, None, &options),
        _ => {
            let message = format!(
                "image {:?} and kernel {:?} do not fit; expected [H, W] with [h, w], or [C, H, W] with [C, h, w] or [O, C, h, w]",
                x.shape(),
                kernel.shape()
            );
            Err(Error::shape("corr2d", message))
        }
    }
}
