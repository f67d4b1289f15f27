//! Layers for images beyond convolution and pooling, beside PyTorch's numbers.

use gabor_nn::*;
use tensor::{DType, InterpolateMode, Result, Tensor, manual_seed};

fn close(got: &Tensor, expected: &[f64]) -> Result<()> {
    let got = got.to_vec::<f64>()?;
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{got:?}");
    Ok(())
}

#[test]
fn instance_norm_is_pytorchs() -> Result<()> {
    let numbers: Vec<f64> = (0..24).map(|i| f64::from(i * 7 % 11)).collect();
    let x = Tensor::from_vec(numbers, [2, 2, 2, 3])?.requires_grad_()?;
    let layer = InstanceNorm2d::new(2).affine(true).track_running_stats(true).build()?;
    layer.to_dtype(DType::F64)?;
    let names: Vec<String> = layer.state_dict().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]);
    let (weight, bias) = (layer.weight.clone().expect("affine"), layer.bias.clone().expect("affine"));
    weight.set(&Tensor::new([2f64, -1.0])?)?;
    bias.set(&Tensor::new([0.5f64, 0.0])?)?;
    let y = layer.forward(&x)?;
    close(
        &y,
        &[
            -2.2861028913,
            1.8930514456,
            -0.4950367469,
            3.68411759,
            1.2960293975,
            -1.092058795,
            -1.3619692114,
            -0.1513299124,
            1.0593093867,
            -1.0593093867,
            0.1513299124,
            1.3619692114,
            1.0725979964,
            -1.6758723863,
            3.1339507834,
            0.3854804007,
            -2.3629899819,
            2.4468331877,
            -0.2862989982,
            1.0879361931,
            -1.3169753917,
            0.0572597996,
            1.431494991,
            -0.9734165939,
        ],
    )?;
    let weights = Tensor::arange(0f64, 24.0, 1.0)?.reshape([2, 2, 2, 3])?;
    y.square()?.mul(&weights)?.sum()?.backward()?;
    close(
        &x.grad().expect("a leaf"),
        &[
            4.8329563189,
            -3.6424475782,
            -0.950288291,
            2.6931088942,
            1.8209149218,
            -4.7542442657,
            -1.43510677,
            0.488549884,
            0.9465590257,
            0.9465690111,
            0.4885484576,
            -1.4351196084,
            -4.2785057349,
            4.5767544184,
            -4.033662048,
            0.1002922025,
            -3.3198429913,
            6.9549641532,
            -0.6359524647,
            1.3858009103,
            -0.9030886424,
            -0.0616617432,
            -1.108757205,
            1.323659145,
        ],
    )?;
    close(&weight.grad().expect("learned"), &[410.5358879044, -353.1930526977])?;
    close(&bias.grad().expect("learned"), &[112.4196614608, 11.3783764217])?;
    close(&layer.get_buffer("running_mean")?.tensor(), &[0.5416666667, 0.4333333333])?;
    close(&layer.get_buffer("running_var")?.tensor(), &[2.0816666667, 2.0633333333])?;
    assert_eq!(layer.get_buffer("num_batches_tracked")?.tensor().item()?, 0.0);
    layer.eval();
    let y = layer.forward(&x.detach())?;
    close(&y.flatten(0, -1)?.narrow(0, 0, 3)?, &[-0.2508539488, 9.4524893901, 3.9077217679])?;
    Ok(())
}

#[test]
fn instance_norm_takes_single_images_and_refuses_single_pixels() -> Result<()> {
    let layer = InstanceNorm2d::new(3).build()?;
    assert!(layer.state_dict().is_empty());
    let x = Tensor::randn([3, 4, 4])?;
    let one = layer.forward(&x)?;
    assert_eq!(one.to_vec::<f32>()?, layer.forward(&x.unsqueeze(0)?)?.to_vec::<f32>()?);
    layer.eval();
    assert_eq!(one.to_vec::<f32>()?, layer.forward(&x)?.to_vec::<f32>()?, "without running statistics");
    assert_eq!(layer.forward(&Tensor::zeros([0, 3, 4, 4])?)?.shape(), &[0, 3, 4, 4]);
    let text = |shape: &[usize]| layer.forward(&Tensor::zeros(shape).unwrap()).unwrap_err().to_string();
    assert!(text(&[2, 3, 1, 1]).contains("one value for each channel, shape [2, 3, 1, 1]"));
    assert!(text(&[2, 4, 5, 5]).contains("expected [N, 3, H, W] or [3, H, W]"));
    assert!(text(&[3, 5]).contains("input has shape [3, 5]"));
    assert!(InstanceNorm2d::new(0).build().is_err() && InstanceNorm2d::new(1).eps(-1.0).build().is_err());
    assert!(InstanceNorm2d::new(1).momentum(2.0).build().is_err());
    Ok(())
}

#[test]
fn margins_go_around_images() -> Result<()> {
    let x = Tensor::arange(1f32, 7.0, 1.0)?.reshape([1, 1, 2, 3])?;
    assert_eq!(
        ZeroPad2d::new(1).forward(&x)?.to_vec::<f32>()?,
        [0., 0., 0., 0., 0., 0., 1., 2., 3., 0., 0., 4., 5., 6., 0., 0., 0., 0., 0., 0.]
    );
    assert_eq!(
        ReflectionPad2d::new((1, 0, 1, 0)).forward(&x)?.to_vec::<f32>()?,
        [5., 4., 5., 6., 2., 1., 2., 3., 5., 4., 5., 6.]
    );
    assert_eq!(
        ReplicationPad2d::new([0, 1, 0, 1]).forward(&x)?.to_vec::<f32>()?,
        [1., 2., 3., 3., 4., 5., 6., 6., 4., 5., 6., 6.]
    );
    assert_eq!(
        CircularPad2d::new((0, 1, 1, 0)).forward(&x)?.to_vec::<f32>()?,
        [4., 5., 6., 4., 1., 2., 3., 1., 4., 5., 6., 4.]
    );
    assert_eq!(ConstantPad2d::new((-1, 0, 0, -1), 9.0).forward(&x)?.to_vec::<f32>()?, [2., 3.]);
    let net = seq![ReflectionPad2d::new(2)]?;
    let error = net.forward(&x).unwrap_err().to_string();
    assert!(error.contains("`0`"), "{error}");
    let flat = ZeroPad2d::new(1).forward(&Tensor::ones([3, 3])?).unwrap_err().to_string();
    assert!(flat.starts_with("zero_pad2d at ") && flat.contains("input has shape [3, 3]; expected"), "{flat}");
    assert!(ZeroPad2d::new(isize::MAX).forward(&x).is_err() && ZeroPad2d::new(isize::MIN).forward(&x).is_err());
    Ok(())
}

#[test]
fn lp_pool_is_pytorchs() -> Result<()> {
    let x = Tensor::new([[[1f64, -2.0, 3.0], [4.0, 5.0, -6.0], [7.0, 8.0, 9.0]]])?;
    let y = LPPool2d::new(3.0, 2).stride(1).forward(&x)?.to_vec::<f64>()?;
    assert!((y[0] - 182f64.powf(1.0 / 3.0)).abs() < 1e-12 && y[1].is_nan());
    let y = LPPool2d::new(2.0, 2).ceil_mode(true).forward(&x)?.to_vec::<f64>()?;
    assert!((y[0] - 46f64.sqrt()).abs() < 1e-12 && (y[3] - 18.0).abs() < 1e-12, "{y:?}");
    assert_eq!(LPPool2d::new(1.0, (1, 2)).forward(&x)?.to_vec::<f64>()?, [-1.0, 9.0, 15.0]);
    assert!(LPPool2d::new(0.0, 2).build().is_err() && LPPool2d::new(2.0, 0).build().is_err());
    Ok(())
}

#[test]
fn upsample_resizes() -> Result<()> {
    let x = Tensor::new([[[[1f32, 3.0]]]])?;
    assert_eq!(Upsample::scale_factor((1.0, 2.0)).forward(&x)?.to_vec::<f32>()?, [1.0, 1.0, 3.0, 3.0]);
    let linear = Upsample::size((1, 3)).mode(InterpolateMode::Bilinear).align_corners(true);
    assert_eq!(linear.forward(&x)?.to_vec::<f32>()?, [1.0, 2.0, 3.0]);
    Ok(())
}

#[test]
fn dropouts_drop_what_they_say() -> Result<()> {
    manual_seed(2);
    let x = Tensor::ones([40, 3])?;
    let layer = Dropout1d::new(0.5);
    let y = layer.forward(&x)?.to_vec::<f32>()?;
    assert!(y.chunks(3).all(|c| c == [0.0; 3] || c == [2.0; 3]) && y.contains(&0.0) && y.contains(&2.0));
    assert!(layer.forward(&Tensor::ones([3])?).is_err());
    let alpha = AlphaDropout::new(0.3);
    let x = Tensor::randn([20_000])?.requires_grad_()?;
    let y = alpha.forward(&x)?;
    assert!(y.mean()?.item()?.abs() < 0.03 && (y.std(1.0)?.item()? - 1.0).abs() < 0.03);
    y.sum()?.backward()?;
    let grad = x.grad().expect("a leaf").to_vec::<f32>()?;
    let dropped = grad.iter().filter(|&&g| g == 0.0).count() as f64 / 20_000.0;
    assert!((dropped - 0.3).abs() < 0.02);
    assert_eq!(AlphaDropout::new(1.0).forward(&x)?.to_vec::<f32>()?, vec![0.0; 20_000]);
    alpha.eval();
    layer.eval();
    assert_eq!(alpha.forward(&x)?.to_vec::<f32>()?, x.to_vec::<f32>()?);
    assert_eq!(layer.forward(&Tensor::ones([4, 5])?)?.to_vec::<f32>()?, [1.0; 20]);
    assert!(AlphaDropout::new(1.5).build().is_err() && Dropout1d::new(-0.1).build().is_err());
    Ok(())
}

#[test]
fn shuffling_and_folding_undo_each_other() -> Result<()> {
    let x = Tensor::arange(0f32, 48.0, 1.0)?.reshape([1, 3, 4, 4])?;
    let small = PixelUnshuffle::new(2).forward(&x)?;
    assert_eq!(small.shape(), &[1, 12, 2, 2]);
    assert_eq!(small.to_vec::<f32>()?[..4], [0., 2., 8., 10.]);
    assert_eq!(PixelShuffle::new(2).forward(&small)?.to_vec::<f32>()?, x.to_vec::<f32>()?);
    let columns = Unfold::new(2).stride(2).forward(&x)?;
    assert_eq!(columns.shape(), &[1, 12, 4]);
    assert_eq!(Fold::new(4, 2).stride(2).forward(&columns)?.to_vec::<f32>()?, x.to_vec::<f32>()?);
    assert!(PixelShuffle::new(0).build().is_err() && PixelUnshuffle::new(0).build().is_err());
    assert!(Fold::new(4, 0).build().is_err() && Unfold::new(2).stride(0).build().is_err());
    assert!(PixelShuffle::new(2).forward(&x).is_err() && Fold::new(4, 2).forward(&x).is_err());
    Ok(())
}

#[test]
fn embeddings_look_up_and_learn_rows() -> Result<()> {
    manual_seed(1);
    let layer = Embedding::new(4, 2).padding_idx(-1).build()?;
    let y = layer.forward(&Tensor::new([0i64, 3, 0])?)?;
    assert_eq!((y.shape().to_vec(), y.to_vec::<f32>()?[2..4].to_vec()), (vec![3, 2], vec![0.0; 2]));
    y.sum()?.backward()?;
    assert_eq!(layer.weight.grad().expect("learned").to_vec::<f32>()?, [2., 2., 0., 0., 0., 0., 0., 0.]);

    let even = Embedding::new(4, 2).scale_grad_by_freq(true).build()?;
    even.forward(&Tensor::new([0i64, 3, 0])?)?.sum()?.backward()?;
    assert_eq!(even.weight.grad().expect("learned").to_vec::<f32>()?, [1., 1., 0., 0., 0., 0., 1., 1.]);

    let short = Embedding::new(2, 2).max_norm(1.0).build()?;
    short.weight.set(&Tensor::new([[3f32, 4.0], [30.0, 40.0]])?)?;
    let y = short.forward(&Tensor::new([0i64])?)?.to_vec::<f32>()?;
    assert!((y[0] - 0.6).abs() < 1e-6 && (y[1] - 0.8).abs() < 1e-6);
    let kept = short.weight.tensor().to_vec::<f32>()?;
    assert_eq!((kept[..2].to_vec(), kept[2..].to_vec()), (y, vec![30.0, 40.0]), "only what was looked up is shortened");

    let ready = Embedding::from_pretrained(Tensor::new([[1f32], [2.0]])?, true)?;
    assert_eq!(ready.forward(&Tensor::new([[1i64, 0]])?)?.to_vec::<f32>()?, [2.0, 1.0]);
    assert!(!ready.weight.requires_grad());
    assert!(Embedding::from_pretrained(Tensor::ones([2])?, true).is_err());
    assert!(layer.forward(&Tensor::new([4i64])?).is_err() && layer.forward(&Tensor::new([0f32])?).is_err());
    assert!(Embedding::new(0, 2).build().is_err() && Embedding::new(usize::MAX, 2).build().is_err());
    let error = Embedding::new(3, 2).padding_idx(3).build().unwrap_err().to_string();
    assert_eq!(error, "embedding: padding_idx is 3, there are 3 embeddings; use one from 0 to 2");
    Ok(())
}
