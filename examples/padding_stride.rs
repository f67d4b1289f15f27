//! What padding and stride do to the shape of a convolution's result: (n - k + p + s) / s, rounded down.

use gabor::prelude::*;

/// The result for an 8x8 image, without its dimensions for the batch and the channel.
fn shape(conv2d: &impl Forward) -> Result<Shape> {
    let x = Tensor::rand([8, 8])?.reshape([1, 1, 8, 8])?;
    let y = conv2d.forward(&x)?;
    Ok(Shape::from(&y.dims()[2..]))
}

fn main() -> Result<()> {
    println!("an image of [8, 8]:");
    let show = |what: &str, conv2d: Conv2d, expected: [usize; 2]| -> Result<()> {
        let shape = shape(&conv2d)?;
        println!("{what:44} {shape:?}");
        assert_eq!(shape, expected);
        Ok(())
    };
    // One row or column of zeros on each side keeps the size under a 3x3 kernel.
    show("kernel 3, padding 1", Conv2d::new(1, 1, 3).padding(1).build()?, [8, 8])?;
    // A pair is (height, width): two rows at the top and bottom, one column at the sides.
    show("kernel (5, 3), padding (2, 1)", Conv2d::new(1, 1, (5, 3)).padding((2, 1)).build()?, [8, 8])?;
    // Every second window only: half the size.
    show("kernel 3, padding 1, stride 2", Conv2d::new(1, 1, 3).padding(1).stride(2).build()?, [4, 4])?;
    let uneven = Conv2d::new(1, 1, (3, 5)).padding((0, 1)).stride((3, 4)).build()?;
    show("kernel (3, 5), padding (0, 1), stride (3, 4)", uneven, [2, 2])?;
    // A kernel that does not fit is an error with the numbers in it.
    let error = Conv2d::new(1, 1, 9).build()?.forward(&Tensor::rand([1, 1, 8, 8])?).unwrap_err();
    println!("kernel 9 without padding: {error}");
    Ok(())
}
