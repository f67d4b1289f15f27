//! Changes to images on their way into a net.

use tensor::{DType, Error, Result, Tensor};

/// `(x - mean) / std` for each channel of images `[.., C, H, W]`, with one mean and deviation for each channel or one
/// for all.
///
/// ```
/// use gabor_data::normalize;
/// use tensor::Tensor;
///
/// let x = Tensor::new([[[0f32, 1.0]], [[2.0, 4.0]]])?; // two channels of one row
/// let y = normalize(&x, &[0.5, 3.0], &[0.5, 1.0])?;
/// assert_eq!(y.to_vec::<f32>()?, [-1.0, 1.0, -1.0, 1.0]);
/// # Ok::<(), gabor_data::Error>(())
/// ```
///
/// # Errors
/// `x` is not f32 or f64 or has fewer than three dimensions; `mean` and `std` are neither one number nor one for each
/// channel; a mean is not finite, or a deviation is not a finite number above 0.
pub fn normalize(x: &Tensor, mean: &[f64], std: &[f64]) -> Result<Tensor> {
    const OP: &str = "normalize";
    if !x.dtype().is_float() {
        return Err(Error::DType { op: OP, dtype: x.dtype(), expected: "f32 or f64" });
    }
    let &[.., channels, _, _] = x.dims() else {
        return Err(Error::shape(OP, format!("images of shape {:?}, expected [.., C, H, W]", x.shape())));
    };
    for (what, numbers) in [("mean", mean), ("std", std)] {
        if numbers.len() != 1 && numbers.len() != channels {
            return Err(Error::argument(
                OP,
                format!("{what} has {} numbers for {channels} channels; give one, or one for each", numbers.len()),
            ));
        }
    }
    if let Some(bad) = mean.iter().find(|m| !m.is_finite()) {
        return Err(Error::argument(OP, format!("a mean is {bad}; it must be finite")));
    }
    if let Some(bad) = std.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
        return Err(Error::argument(OP, format!("a std is {bad}; it must be finite and above 0")));
    }
    if let (&[mean], &[std]) = (mean, std) {
        return x.sub_scalar(mean)?.div_scalar(std);
    }
    x.sub(&per_channel(mean, x.dtype())?)?.div(&per_channel(std, x.dtype())?)
}

fn per_channel(numbers: &[f64], dtype: DType) -> Result<Tensor> {
    Tensor::from_slice(numbers, [numbers.len(), 1, 1])?.to_dtype(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_serves_all_channels_and_lists_mix_with_it() {
        let x = Tensor::new([[[[1f64, 2.0]], [[3.0, 4.0]]]]).unwrap();
        let y = |mean: &[f64], std: &[f64]| normalize(&x, mean, std).unwrap().to_vec::<f64>().unwrap();
        assert_eq!(y(&[1.0], &[2.0]), [0.0, 0.5, 1.0, 1.5]);
        assert_eq!(y(&[1.0, 3.0], &[2.0]), [0.0, 0.5, 0.0, 0.5]);
        assert_eq!(y(&[0.0], &[1.0, 2.0]), [1.0, 2.0, 1.5, 2.0]);
    }

    #[test]
    fn wrong_arguments_are_errors() {
        let x = Tensor::zeros([2, 3, 1, 1]).unwrap();
        let text = |x: &Tensor, mean: &[f64], std: &[f64]| normalize(x, mean, std).unwrap_err().to_string();
        assert_eq!(
            text(&x, &[0.0, 0.0], &[1.0]),
            "normalize: mean has 2 numbers for 3 channels; give one, or one for each"
        );
        assert_eq!(text(&x, &[0.0], &[]), "normalize: std has 0 numbers for 3 channels; give one, or one for each");
        assert_eq!(text(&x, &[0.0], &[0.0]), "normalize: a std is 0; it must be finite and above 0");
        assert_eq!(text(&x, &[f64::NAN], &[1.0]), "normalize: a mean is NaN; it must be finite");
        let flat = Tensor::zeros([3, 3]).unwrap();
        assert_eq!(text(&flat, &[0.0], &[1.0]), "normalize: images of shape [3, 3], expected [.., C, H, W]");
        let bytes = x.to_dtype(DType::U8).unwrap();
        assert!(text(&bytes, &[0.0], &[1.0]).starts_with("normalize: u8 is not supported"));
    }
}
