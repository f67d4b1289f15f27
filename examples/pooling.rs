//! Pooling: the maximum or the average of each window, channel by channel.

use gabor::prelude::*;

/// Both poolings from scratch, with a window that moves by one: all its positions as views, reduced together.
fn pool2d(x: &Tensor, (h, w): (usize, usize), max: bool) -> Result<Tensor> {
    let windows = x.unfold_dim(0, h, 1)?.unfold_dim(1, w, 1)?;
    if max { windows.amax_dim([-2, -1], false) } else { windows.mean_dim([-2, -1], false) }
}

fn main() -> Result<()> {
    let x = Tensor::arange(0f32, 9.0, 1.0)?.reshape([3, 3])?;
    let (max, mean) = (pool2d(&x, (2, 2), true)?, pool2d(&x, (2, 2), false)?);
    println!("of {x}\nthe maxima of 2x2 windows are {max}\nand the averages {mean}");
    assert_eq!(max.to_vec::<f32>()?, [4.0, 5.0, 7.0, 8.0]);
    assert_eq!(mean.to_vec::<f32>()?, [2.0, 3.0, 5.0, 6.0]);

    // The layers take [N, C, H, W]. As in PyTorch the stride is the window unless you say otherwise.
    let x = Tensor::arange(0f32, 16.0, 1.0)?.reshape([1, 1, 4, 4])?;
    let show = |what: &str, pool: &dyn Forward, x: &Tensor, expected: &[f32]| -> Result<()> {
        let y = pool.forward(x)?;
        println!("{what}: {y}");
        assert_eq!(y.to_vec::<f32>()?, expected);
        Ok(())
    };
    println!("now x = {x}");
    show("maximum, window 3", &MaxPool2d::new(3).build()?, &x, &[10.0])?;
    let halves = MaxPool2d::new(3).padding(1).stride(2).build()?;
    show("maximum, window 3, padding 1, stride 2", &halves, &x, &[5.0, 7.0, 13.0, 15.0])?;
    let uneven = MaxPool2d::new((2, 3)).stride((2, 3)).padding((0, 1)).build()?;
    show("maximum, window (2, 3), stride (2, 3), padding (0, 1)", &uneven, &x, &[5.0, 7.0, 13.0, 15.0])?;
    let average = AvgPool2d::new(2).build()?;
    show("average, window 2", &average, &x, &[2.5, 4.5, 10.5, 12.5])?;

    // Each channel is pooled on its own: as many come out as went in.
    let x = Tensor::cat(&[&x, &(&x + 1.0)], 1)?;
    show("two channels", &halves, &x, &[5.0, 7.0, 13.0, 15.0, 6.0, 8.0, 14.0, 16.0])?;
    Ok(())
}
