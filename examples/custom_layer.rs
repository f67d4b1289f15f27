//! A layer and an operator of your own, both checked against numerical gradients.

use gabor::nn::functional::corr2d;
use gabor::prelude::*;
use gabor::{Function, apply, gradcheck, gradgradcheck};

/// A convolution with one learned kernel and one bias, written from scratch. The derive finds both parameters by their
/// names; an optimizer, `zero_grad`, saving and freezing need nothing else.
#[derive(Debug, Module)]
struct OneKernel {
    weight: Parameter,
    bias: Parameter,
}

impl OneKernel {
    fn new(h: usize, w: usize) -> Result<Self> {
        Ok(OneKernel { weight: Parameter::new(Tensor::rand([h, w])?)?, bias: Parameter::new(Tensor::zeros([1])?)? })
    }
}

impl Forward for OneKernel {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        corr2d(x, &self.weight.tensor())?.add(&self.bias.tensor())
    }
}

/// x * sigmoid(x) with a gradient of its own, as torch.autograd.Function: with s = sigmoid(x) it is s + x * s * (1 - s).
/// Because `backward` is written in tensor operators, it can be differentiated again.
#[derive(Debug)]
struct Swish;

impl Function for Swish {
    fn name(&self) -> &'static str {
        "swish"
    }
    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        inputs[0].mul(&inputs[0].sigmoid()?)
    }
    fn backward(&self, inputs: &[Tensor], _output: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let (x, s) = (&inputs[0], inputs[0].sigmoid()?);
        let slope = &s + x * &s * (1.0 - &s);
        Ok(vec![Some(slope.mul(grad)?)])
    }
}

/// The mistake that a check finds: the second half of the gradient is missing.
#[derive(Debug)]
struct WrongSwish;

impl Function for WrongSwish {
    fn name(&self) -> &'static str {
        "wrong_swish"
    }
    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor> {
        Swish.forward(inputs)
    }
    fn backward(&self, inputs: &[Tensor], _output: &Tensor, grad: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(inputs[0].sigmoid()?.mul(grad)?)])
    }
}

fn main() -> Result<()> {
    manual_seed(0);
    let layer = OneKernel::new(1, 2)?;
    for (name, parameter) in layer.named_parameters() {
        println!("{name}: {:?}", parameter.shape());
    }

    // Learn to detect edges, as in `learn_kernel`, now with the layer above and an optimizer.
    let mut x = Tensor::ones([6, 8])?;
    x.assign((.., 2..6), &Tensor::zeros(())?)?;
    let y = corr2d(&x, &Tensor::new([[1f32, -1.0]])?)?;
    let mut sgd = SGD::new(layer.parameters(), 1e-2).build()?;
    for _step in 0..300 {
        sgd.zero_grad();
        (&layer.forward(&x)? - &y).square()?.sum()?.backward()?;
        sgd.step()?;
    }
    let learned = layer.weight.tensor().detach();
    println!("learned kernel {learned}, bias {}", layer.bias.tensor().detach());
    assert!((&learned - &Tensor::new([[1f32, -1.0]])?).abs()?.max()?.item()? < 1e-2);

    // The operator: both orders of its gradient agree with differences of its values.
    let x = Tensor::new([-2.0f64, -0.1, 0.7, 3.0])?;
    gradcheck(|x| apply(Swish, &[&x[0]]), std::slice::from_ref(&x))?;
    gradgradcheck(|x| apply(Swish, &[&x[0]]), std::slice::from_ref(&x))?;
    println!("swish({x}) = {}\ngradcheck and gradgradcheck pass", apply(Swish, &[&x])?);
    let error = gradcheck(|x| apply(WrongSwish, &[&x[0]]), &[x]).unwrap_err();
    println!("a wrong gradient is found: {error}");
    Ok(())
}
