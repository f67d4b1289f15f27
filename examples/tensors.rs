//! Tensors for a reader who knows PyTorch: creation, views, arithmetic, gradients.

use gabor::prelude::*;

fn main() -> Result<()> {
    // torch.arange(12.).reshape(3, 4). A range takes the dtype of its arguments; f32 unless you say otherwise.
    let x = Tensor::arange(0f32, 12.0, 1.0)?.reshape([3, 4])?;
    println!("x = {x}\nshape {:?}, {} elements, {}", x.shape(), x.numel(), x.dtype());
    println!("from numbers: {}", Tensor::new([[2i64, 1, 4, 3], [1, 2, 3, 4]])?);

    // The same seed gives the same numbers everywhere, for any number of threads.
    manual_seed(0);
    println!("random: {}", Tensor::randn([2, 3])?);

    // Views share their elements: x[-1], x[1:3], x[:, ::2], x.T.
    println!("x[-1] = {}\nx[1:3] = {}", x.i(-1)?, x.i(1..3)?);
    println!("x[:, ::2] = {}", x.slice(1, 0, None, 2)?);
    println!("x.T has shape {:?} and strides {:?}, and is not copied", x.t()?.shape(), x.t()?.strides());

    // Assignment writes a part, here x[0:2, :] = 12. Other tensors with the same elements keep theirs.
    let mut z = x.clone();
    z.assign((0..2, ..), &Tensor::full((), 12f32)?)?;
    println!("z = {z}");
    assert_eq!(x.i((0, 1))?.item()?, 1.0);

    // Arithmetic broadcasts. Operators panic if shapes do not fit; methods return an error that says why.
    let (a, b) = (Tensor::arange(0f32, 3.0, 1.0)?.reshape([3, 1])?, Tensor::arange(0f32, 2.0, 1.0)?.reshape([1, 2])?);
    println!("a + b = {}", &a + &b);
    println!("sum {}, mean of each row {}", x.sum()?, x.mean_dim(1, false)?);
    let error = x.add(&Tensor::ones([3])?).unwrap_err();
    println!("an error: {error}");

    // Gradients: y = 2 x'x, so dy/dx = 4x.
    let x = Tensor::arange(0f32, 4.0, 1.0)?.requires_grad_()?;
    let y = x.square()?.sum()? * 2.0;
    y.backward()?;
    let grad = x.grad().expect("backward fills the leaf");
    println!("y = {}, its gradient {grad}", y.item()?);
    assert_eq!(grad.to_vec::<f32>()?, [0.0, 4.0, 8.0, 12.0]);
    Ok(())
}
