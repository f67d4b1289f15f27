//! Cross-correlation, which deep learning calls convolution: from scratch, differentiable, and as an operator.

use gabor::prelude::*;

/// The sum over the window of `x` times `k`, for each place where the window fits. One product for each element of the
/// kernel: the part of `x` that this element meets, as a view. The tape records it like any other arithmetic.
fn corr2d(x: &Tensor, k: &Tensor) -> Result<Tensor> {
    let (h, w) = (k.dim(0)?, k.dim(1)?);
    let (out_h, out_w) = (x.dim(0)? - h + 1, x.dim(1)? - w + 1);
    let mut y = Tensor::zeros([out_h, out_w])?;
    for i in 0..h as isize {
        for j in 0..w as isize {
            let part = x.narrow(0, i, out_h)?.narrow(1, j, out_w)?;
            y = &y + &part * &k.i((i, j))?;
        }
    }
    Ok(y)
}

fn main() -> Result<()> {
    let x = Tensor::arange(0f32, 9.0, 1.0)?.reshape([3, 3])?;
    let k = Tensor::arange(0f32, 4.0, 1.0)?.reshape([2, 2])?;
    let y = corr2d(&x, &k)?;
    println!("corr2d(\n{x},\n{k})\n= {y}");
    assert_eq!(y.to_vec::<f32>()?, [19.0, 25.0, 37.0, 43.0]);
    assert_eq!(functional::corr2d(&x, &k)?.to_vec::<f32>()?, y.to_vec::<f32>()?);

    // Nothing had to be said about gradients: each element of the kernel met a 2x2 part of x.
    let k = k.requires_grad_()?;
    corr2d(&x, &k)?.sum()?.backward()?;
    let from_scratch = k.grad().expect("backward fills the leaf");
    k.zero_grad();
    functional::corr2d(&x, &k)?.sum()?.backward()?;
    let operator = k.grad().expect("backward fills the leaf");
    println!("gradient of its sum for the kernel = {from_scratch}");
    assert_eq!(from_scratch.to_vec::<f32>()?, [8.0, 12.0, 20.0, 24.0]);
    assert_eq!(operator.to_vec::<f32>()?, from_scratch.to_vec::<f32>()?);

    // A white image with a black bar, and a kernel that compares each pixel with its right neighbour.
    let mut image = Tensor::ones([6, 8])?;
    image.assign((.., 2..6), &Tensor::zeros(())?)?;
    let k = Tensor::new([[1f32, -1.0]])?;
    let edges = corr2d(&image, &k)?;
    println!("image = {image}\nedges, 1 from white to black and -1 from black to white = {edges}");
    assert_eq!(edges.i(0)?.to_vec::<f32>()?, [0.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0]);

    // The kernel sees vertical edges only: in the transposed image there are none.
    let none = corr2d(&image.t()?, &k)?;
    println!("edges of the transposed image = {none}");
    assert_eq!(none.abs()?.sum()?.item()?, 0.0);
    Ok(())
}
