//! The learn-a-kernel program against its exact law.
//!
//! With X the two columns that the kernel sees, `X^T X = [[18, 12], [12, 18]]`: eigenvalues 30 along (1, 1) and 6 along (1, -1).
//! At rate 3e-2 a step multiplies the error along them by `1 - 2 * 0.03 * 30 = -0.8` and `1 - 2 * 0.03 * 6 = 0.64`, so the loss of
//! epoch n is `30 s^2 * 0.64^(n-1) + 6 d^2 * 0.4096^(n-1)` for the first errors s and d along these axes.

use gabor::nn::{Conv2d, Forward, Module};
use gabor::{DType, Parameter, Result, Tensor};

/// The losses of `epochs` epochs from a kernel of `start`, and the kernel at the end.
fn learn(start: [f64; 2], dtype: DType, epochs: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut x = Tensor::ones([1, 1, 6, 8])?;
    x.assign((.., .., .., 2..6), &Tensor::zeros(())?)?;
    let x = x.to_dtype(dtype)?;
    let y = x.i((.., .., .., ..-1))?.sub(&x.i((.., .., .., 1..))?)?;
    let mut conv2d = Conv2d::new(1, 1, (1, 2)).bias(false).build()?;
    conv2d.weight = Parameter::new(Tensor::new([[[start]]])?.to_dtype(dtype)?)?;
    let mut losses = Vec::new();
    for _ in 0..epochs {
        let l = (conv2d.forward(&x)? - &y).square()?.sum()?;
        conv2d.zero_grad();
        l.backward()?;
        conv2d.weight.update(|w, grad| w - grad * 3e-2)?;
        losses.push(l.item()?);
    }
    Ok((losses, conv2d.weight.tensor().to_dtype(DType::F64)?.to_vec::<f64>()?))
}

fn law(start: [f64; 2], epoch: i32) -> f64 {
    let error = [start[0] - 1.0, start[1] + 1.0];
    let (s, d) = ((error[0] + error[1]) / 2f64.sqrt(), (error[0] - error[1]) / 2f64.sqrt());
    30.0 * s * s * 0.64f64.powi(epoch) + 6.0 * d * d * 0.4096f64.powi(epoch)
}

#[test]
fn losses_follow_the_closed_form() -> Result<()> {
    for start in [[0.0, 0.0], [1.0, 1.0], [0.5, 0.25], [-0.3, 0.7], [0.6182, -0.2751]] {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            let (losses, _) = learn(start, dtype, 10)?;
            for (epoch, loss) in losses.into_iter().enumerate() {
                let expected = law(start, epoch as i32);
                let error = (loss - expected).abs();
                assert!(
                    error <= tolerance * expected.max(1.0),
                    "{start:?} {dtype} epoch {epoch}: {loss} for {expected}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn the_kernel_is_near_the_edge_detector() -> Result<()> {
    let (losses, kernel) = learn([0.0, 0.0], DType::F32, 10)?;
    // From zero, computed by hand from the law: epochs 2 and 10, and the kernel.
    assert!((losses[1] - 4.9152).abs() < 1e-5 && (losses[9] - 0.003894).abs() < 1e-5, "{losses:?}");
    assert!((kernel[0] - 0.988471).abs() < 1e-5 && (kernel[1] + 0.988471).abs() < 1e-5, "{kernel:?}");
    Ok(())
}
