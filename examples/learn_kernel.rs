//! Learns the edge-detecting kernel [1, -1] from an image and its edges alone.

use gabor::nn::functional::corr2d;
use gabor::prelude::*;

/// A 6x8 image, white with a black bar, and its vertical edges, both as a batch of one image with one channel.
fn image_and_edges() -> Result<(Tensor, Tensor)> {
    let mut x = Tensor::ones([6, 8])?;
    x.assign((.., 2..6), &Tensor::zeros(())?)?;
    let y = corr2d(&x, &Tensor::new([[1f32, -1.0]])?)?;
    Ok((x.reshape([1, 1, 6, 8])?, y.reshape([1, 1, 6, 7])?))
}

fn main() -> Result<()> {
    let (x, y) = image_and_edges()?;
    let conv2d = Conv2d::new(1, 1, (1, 2)).bias(false).build()?;
    for epoch in 1..=10 {
        let y_hat = conv2d.forward(&x)?;
        let l = (&y_hat - &y).square()?.sum()?;
        conv2d.zero_grad();
        l.backward()?;
        // PyTorch: conv2d.weight.data[:] -= 3e-2 * conv2d.weight.grad
        conv2d.weight.update(|w, grad| w - grad * 3e-2)?;
        println!("epoch {epoch}, loss {:.3}", l.item()?);
    }
    println!("kernel {}", conv2d.weight.tensor().detach().reshape([1, 2])?);
    Ok(())
}
