//! The error that README.md shows, from a LeNet written as a struct whose first convolution has lost its padding.

use gabor::prelude::*;

#[derive(Module)]
struct LeNet {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    fc1: Linear,
    fc2: Linear,
}

impl Forward for LeNet {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.pool.forward(&self.conv1.forward(x)?.relu()?)?;
        let x = self.pool.forward(&self.conv2.forward(&x)?.relu()?)?;
        self.fc2.forward(&self.fc1.forward(&x.flatten(1, -1)?)?.relu()?)
    }
}

#[test]
fn the_error_of_the_readme() -> Result<()> {
    let net = LeNet {
        conv1: Conv2d::new(1, 6, 5).build()?,
        conv2: Conv2d::new(6, 16, 5).build()?,
        pool: MaxPool2d::new(2),
        fc1: Linear::new(400, 120).build()?,
        fc2: Linear::new(120, 10).build()?,
    };
    let _sgd = SGD::new(net.parameters(), 0.1).build()?;
    let text = net.forward(&Tensor::zeros([64, 1, 28, 28])?).unwrap_err().to_string();
    let readme = include_str!("../../../README.md").replace('\n', " ");
    assert!(readme.contains(&format!("``{text}``")), "README.md does not show: {text}");
    Ok(())
}
