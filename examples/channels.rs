//! Several channels: inputs are summed, each output has kernels of its own, and 1x1 mixes channels pixel by pixel.

use gabor::prelude::*;

/// The sum over the channels of x [C, H, W] and k [C, h, w].
fn corr2d_multi_in(x: &Tensor, k: &Tensor) -> Result<Tensor> {
    let mut y = functional::corr2d(&x.i(0)?, &k.i(0)?)?;
    for c in 1..x.dim(0)? as isize {
        y = &y + &functional::corr2d(&x.i(c)?, &k.i(c)?)?;
    }
    Ok(y)
}

/// One plane for each kernel of k [O, C, h, w].
fn corr2d_multi_in_out(x: &Tensor, k: &Tensor) -> Result<Tensor> {
    let planes: Vec<Tensor> = (0..k.dim(0)? as isize).map(|o| corr2d_multi_in(x, &k.i(o)?)).collect::<Result<_>>()?;
    Tensor::stack(&planes.iter().collect::<Vec<_>>(), 0)
}

/// A 1x1 kernel k [O, C, 1, 1] is a matrix product over the channels: [O, C] by [C, H*W].
fn corr2d_multi_in_out_1x1(x: &Tensor, k: &Tensor) -> Result<Tensor> {
    let &[channels, h, w] = x.dims() else { return Err(Error::custom("x has no channels")) };
    let outputs = k.dim(0)?;
    k.reshape((outputs, channels))?.matmul(&x.reshape((channels, h * w))?)?.reshape((outputs, h, w))
}

fn main() -> Result<()> {
    let plane = Tensor::arange(0f32, 9.0, 1.0)?.reshape([3, 3])?;
    let kernel = Tensor::arange(0f32, 4.0, 1.0)?.reshape([2, 2])?;
    let x = Tensor::stack(&[&plane, &(&plane + 1.0)], 0)?;
    let k = Tensor::stack(&[&kernel, &(&kernel + 1.0)], 0)?;
    let y = corr2d_multi_in(&x, &k)?;
    println!("two input channels: {y}");
    assert_eq!(y.to_vec::<f32>()?, [56.0, 72.0, 104.0, 120.0]);
    assert_eq!(functional::corr2d(&x, &k)?.to_vec::<f32>()?, y.to_vec::<f32>()?);

    let k = Tensor::stack(&[&k, &(&k + 1.0), &(&k + 2.0)], 0)?;
    let y = corr2d_multi_in_out(&x, &k)?;
    println!("three kernels of shape {:?} make three output channels: {y}", &k.dims()[1..]);
    let expected = [56.0, 72.0, 104.0, 120.0, 76.0, 100.0, 148.0, 172.0, 96.0, 128.0, 192.0, 224.0];
    assert_eq!(y.to_vec::<f32>()?, expected);
    assert_eq!(functional::corr2d(&x, &k)?.to_vec::<f32>()?, expected);

    manual_seed(0);
    let (x, k) = (Tensor::randn([3, 3, 3])?, Tensor::randn([2, 3, 1, 1])?);
    let product = corr2d_multi_in_out_1x1(&x, &k)?;
    let library = x.unsqueeze(0)?.conv2d(&k, None, &Conv2dOptions::new())?.squeeze(0)?;
    let sums = corr2d_multi_in_out(&x, &k)?;
    let far = |y: &Tensor| (&product - y).abs()?.max()?.item();
    println!("1x1 as a matrix product: {product}");
    println!("differs from the sums by {:.1e}, from the library by {:.1e}", far(&sums)?, far(&library)?);
    assert!(far(&sums)? < 1e-6 && far(&library)? < 1e-6);
    Ok(())
}
