//! Without gradients a `Sequential` takes large batches in pieces, where that cannot be seen but in time and memory.

use std::sync::{Arc, Mutex};

use gabor_nn::{
    AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Dropout, Flatten, Forward, LazyBatchNorm2d, LazyConv2d, LazyLinear, Linear,
    MaxPool2d, Module, ReLU, Sequential, seq,
};
use tensor::{DType, Generator, Result, Tensor, no_grad};

/// Notes the sizes of the batches that it sees; says that it takes each image by itself if it is told to.
#[derive(Clone, Default)]
struct Witness {
    per_image: bool,
    seen: Arc<Mutex<Vec<usize>>>,
}

impl Module for Witness {}

impl Forward for Witness {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.seen.lock().unwrap().push(x.dims()[0]);
        Ok(x.clone())
    }

    fn per_image(&self) -> bool {
        self.per_image
    }
}

impl Witness {
    fn new(per_image: bool) -> Self {
        Witness { per_image, ..Self::default() }
    }

    /// The sizes seen since the last call.
    fn take(&self) -> Vec<usize> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// 36 images, of which 8 channels are 4.5 MiB.
fn batch() -> Result<Tensor> {
    Generator::new(3).randn([36, 3, 64, 64], DType::F32)
}

fn net(witness: &Witness) -> Result<Sequential> {
    let stem = seq![Conv2d::new(3, 8, 3).padding(1), BatchNorm2d::new(8), ReLU]?;
    let depthwise = Conv2d::new(8, 8, 3).padding(1).groups(8);
    let net = seq![
        stem,
        depthwise,
        ReLU,
        Conv2d::new(8, 12, 1),
        BatchNorm2d::new(12),
        witness.clone(),
        ReLU,
        MaxPool2d::new(2),
        Dropout::new(0.5),
        AdaptiveAvgPool2d::new(2),
        Flatten,
        Linear::new(48, 5),
    ]?;
    net.eval();
    Ok(net)
}

#[test]
fn results_are_those_of_the_whole_batch() -> Result<()> {
    let (witness, x) = (Witness::new(true), batch()?);
    let net = net(&witness)?;
    let whole = net.forward(&x)?.to_vec::<f32>()?;
    assert_eq!(witness.take(), [36]);
    let y = no_grad(|| net.forward(&x))?;
    assert_eq!(witness.take(), [12, 12, 12]);
    assert_eq!(y.shape(), &[36, 5]);
    assert!(y.to_vec::<f32>()?.iter().zip(&whole).all(|(a, b)| (a - b).abs() <= 1e-5));
    // What fits into the caches is not divided, and neither is a single image.
    for (start, images) in [(0, 20), (35, 1)] {
        let few = no_grad(|| net.forward(&x.narrow(0, start, images)?))?.to_vec::<f32>()?;
        assert_eq!(witness.take(), [images]);
        assert_eq!(few.len(), 5 * images);
        assert!(few.iter().zip(&whole[5 * start as usize..]).all(|(a, b)| (a - b).abs() <= 1e-5));
    }
    Ok(())
}

#[test]
fn what_needs_the_whole_batch_gets_it() -> Result<()> {
    let x = batch()?;
    let takes_all = |net: &Sequential, witness: &Witness| -> Result<()> {
        no_grad(|| net.forward(&x))?;
        assert_eq!(witness.take(), [36], "{net:?}");
        Ok(())
    };
    let unknown = Witness::new(false);
    takes_all(&net(&unknown)?, &unknown)?;
    let witness = Witness::new(true);
    // Batch norm and dropout in training.
    let training = net(&witness)?;
    training.train();
    takes_all(&training, &witness)?;
    // A hook sees the batch, and layers before it too. What comes later may be divided then.
    for (layer, seen) in [("11", vec![36]), ("7", vec![36]), ("3", vec![9; 4]), ("0.0", vec![12; 3])] {
        let net = net(&witness)?;
        let hook = net.register_forward_hook(layer, |_, y| {
            assert_eq!(y.dims()[0], 36);
            Ok(None)
        })?;
        no_grad(|| net.forward(&x))?;
        assert_eq!(witness.take(), seen, "{layer}");
        hook.remove();
    }
    // Weights that take longer to read than the images.
    let heavy = seq![Conv2d::new(3, 8, 1), witness.clone(), MaxPool2d::new(32), Flatten, Linear::new(32, 6000)]?;
    takes_all(&heavy, &witness)
}

#[test]
fn an_error_tells_of_the_batch() -> Result<()> {
    let witness = Witness::new(true);
    let net = seq![Conv2d::new(3, 8, 1), witness.clone(), Conv2d::new(7, 8, 1)]?;
    let error = no_grad(|| net.call(&batch()?)).unwrap_err().to_string();
    assert_eq!(witness.take(), [12, 36], "a piece, then all of them");
    assert!(error.contains("`2`") && error.contains("[36, 8, 64, 64]"), "{error}");
    Ok(())
}

#[test]
fn lazy_layers_take_their_sizes_from_a_piece() -> Result<()> {
    let net = seq![LazyConv2d::new(8, 3).padding(1), LazyBatchNorm2d::new(), ReLU, Flatten, LazyLinear::new(5)]?;
    assert_eq!(net.materialize(&[36, 8, 64, 64])?.to_vec(), [36, 5]);
    let net = seq![
        Conv2d::new(3, 8, 1),
        LazyConv2d::new(8, 3),
        ReLU,
        AdaptiveAvgPool2d::new(2),
        Flatten,
        LazyLinear::new(5)
    ]?;
    assert_eq!(no_grad(|| net.forward(&batch()?))?.shape(), &[36, 5]);
    Ok(())
}
