//! Options from bad files and careless users: whatever the numbers are, the answer is `Ok` or `Err`, never a panic.
//!
//! Numbers are small or enormous, so that no result fits in memory unless it is small.

use gabor_tensor::{
    AvgPoolOptions, Conv2dOptions, ConvTranspose2dOptions, DType, InterpolateMode, InterpolateOptions, PadMode,
    Padding, PoolOptions, Result, Tensor,
};
use proptest::prelude::*;

use crate::few;

/// Small numbers, and such whose sums, products or differences overflow.
fn count() -> impl Strategy<Value = usize> + Clone {
    const M: usize = usize::MAX;
    prop_oneof![
        6 => 0usize..5,
        1 => proptest::sample::select(vec![M, M - 1, M / 2, M / 2 + 1, M / 3, isize::MAX as usize, 1 << 62, 1 << 44]),
    ]
}

fn signed() -> impl Strategy<Value = isize> + Clone {
    const M: isize = isize::MAX;
    prop_oneof![
        6 => -5isize..6,
        1 => proptest::sample::select(vec![M, -M, isize::MIN, M / 2, isize::MIN / 2, 1 << 44, -(1 << 44)]),
    ]
}

fn pair() -> impl Strategy<Value = (usize, usize)> + Clone {
    (count(), count())
}

/// Small shapes of any rank.
fn tensor() -> impl Strategy<Value = Tensor> + Clone {
    proptest::collection::vec(0..4usize, 0..=5)
        .prop_map(|shape| Tensor::zeros(&shape[..]).unwrap().add_scalar(1.0).unwrap())
}

/// Images `[N, C, H, W]`, mostly.
fn image() -> impl Strategy<Value = Tensor> + Clone {
    let images = [0..3usize, 0..4, 0..6, 0..6].prop_map(|shape| Tensor::ones(shape).unwrap());
    prop_oneof![8 => images, 1 => tensor()]
}

/// Reads the result, and goes backward through it, if there is one; both must not panic either.
fn used(result: Result<Tensor>) {
    if let Ok(y) = result {
        if y.numel() >= 1 << 24 {
            // Only `expand` makes a large result of a small input, without memory.
            assert!(y.contiguous().is_err() && y.exp().is_err() && y.sum().is_err(), "{:?}", y.shape());
            return;
        }
        if y.requires_grad() {
            let _ = y.sum().unwrap().backward();
        }
        let _ = y.to_dtype(DType::F64).unwrap().to_vec::<f64>().unwrap();
    }
}

fn leaf(x: &Tensor) -> Tensor {
    x.clone().requires_grad_().unwrap()
}

proptest! {
    #![proptest_config(few(200))]

    #[test]
    fn convolutions(
        (x, w, b) in (image(), image(), proptest::option::of(0..5usize)),
        (stride, padding, dilation, extra) in (pair(), proptest::option::weighted(0.8, pair()), pair(), pair()),
        groups in count(),
    ) {
        let (x, w) = (leaf(&x), leaf(&w));
        let b = b.map(|n| Tensor::ones(n).unwrap());
        let options = Conv2dOptions::new().stride(stride).dilation(dilation).groups(groups);
        used(x.conv2d(&w, b.as_ref(), &options.padding(padding.map_or(Padding::Same, Padding::from))));
        let options = ConvTranspose2dOptions::new().stride(stride).dilation(dilation).groups(groups).output_padding(extra);
        used(x.conv_transpose2d(&w, b.as_ref(), &options.padding(padding.unwrap_or((0, 0)))));
        used(x.unfold_dim(-1, stride.0, stride.1));
    }

    #[test]
    fn pools(
        x in image(),
        (kernel, stride, padding, dilation) in (pair(), pair(), pair(), pair()),
        ceil in any::<bool>(),
        divisor in proptest::option::of(any::<i64>()),
    ) {
        let x = leaf(&x);
        let options = PoolOptions::new(kernel).stride(stride).padding(padding).dilation(dilation).ceil_mode(ceil);
        used(x.max_pool2d(&options));
        let options = AvgPoolOptions::new(kernel).stride(stride).padding(padding).ceil_mode(ceil);
        used(x.avg_pool2d(&options.divisor_override(divisor)));
        used(x.adaptive_avg_pool2d(kernel));
        used(x.adaptive_max_pool2d(kernel).map(|(y, _)| y));
        used(x.interpolate(&InterpolateOptions::size(kernel)));
        used(x.interpolate(&InterpolateOptions::size(kernel).mode(InterpolateMode::Bilinear)));
    }

    #[test]
    fn paddings(x in tensor(), pad in proptest::collection::vec(signed(), 0..9)) {
        let x = leaf(&x);
        for mode in [PadMode::Constant(0.5), PadMode::Reflect, PadMode::Replicate, PadMode::Circular] {
            used(x.pad(&pad, mode));
        }
    }

    #[test]
    fn views(x in tensor(), axes in proptest::collection::vec(signed(), 0..6), (a, b, c) in (signed(), signed(), signed()), (n, m) in pair()) {
        let x = leaf(&x);
        let sizes: Vec<usize> = axes.iter().map(|&a| a as usize).collect();
        used(x.reshape(axes.clone()));
        used(x.reshape(&sizes[..]));
        used(x.view(axes.clone()));
        used(x.expand(axes.clone()));
        used(x.permute(axes.clone()));
        used(x.transpose(a, b));
        used(x.flatten(a, b));
        used(x.squeeze(axes.clone()));
        used(x.unsqueeze(a));
        used(x.narrow(a, b, n));
        used(x.select(a, b));
        used(x.slice(a, b, Some(c), n));
        used(x.unfold_dim(a, n, m));
        used(x.flip(axes.clone()));
        used(x.repeat(&sizes[..]));
        for parts in [x.split(n, a), x.split_sizes(&sizes, a), x.chunk(n, a)] {
            parts.into_iter().flatten().take(8).for_each(|part| used(Ok(part)));
        }
        used(x.sum_dim(axes.clone(), true));
        used(x.var_dim(axes.clone(), b as f64, false));
        used(x.amax_dim(axes.clone(), false));
        used(x.prod_dim(axes.clone(), false));
        used(x.logsumexp(axes, false));
        used(x.softmax(a));
        used(x.cumsum(a));
        used(x.sort(a, true).map(|(y, _)| y));
        used(x.topk(n, a, true).map(|(y, _)| y));
        used(x.max_dim(a, true).map(|(y, _)| y));
        used(Tensor::cat(&[&x, &x], a));
        used(Tensor::stack(&[&x, &x], a));
    }

    #[test]
    fn indices(x in tensor(), index in (proptest::collection::vec(0..4usize, 0..4), proptest::collection::vec(signed(), 64)), axis in signed()) {
        let (shape, numbers) = index;
        let n = shape.iter().product::<usize>();
        let numbers: Vec<i64> = numbers.iter().map(|&i| i as i64).chain(std::iter::repeat(0)).take(n).collect();
        let index = Tensor::from_slice(&numbers, &shape[..]).unwrap();
        let x = leaf(&x);
        used(x.gather(axis, &index));
        used(x.scatter_add(axis, &index, &x));
        used(x.index_select(axis, &index));
        used(x.index_add(axis, &index, &x));
        used(x.embedding(&index, Some(axis)));
        used(x.embedding(&index, None));
        // One-hot rows of an enormous class cannot fit.
        used(index.one_hot(axis));
    }

    #[test]
    fn pairs((a, b) in (tensor(), tensor())) {
        let (a, b) = (leaf(&a), leaf(&b));
        used(a.add(&b));
        used(a.pow(&b));
        used(a.matmul(&b));
        used(a.bmm(&b));
        used(a.linear(&b, None));
        used(a.linear(&b, Some(&a)));
        used(a.where_cond(&b, &a));
        used(a.masked_fill(&b, 1.0));
        used(a.standardize(Some(&b), None, 0.0).map(|(y, ..)| y));
        used(a.channel_affine(&b, &b));
    }

    #[test]
    fn shapes(sizes in proptest::collection::vec(count(), 0..6), (start, end, step) in (any::<f64>(), any::<f64>(), any::<f64>())) {
        used(Tensor::zeros(&sizes[..]));
        used(Tensor::from_vec(vec![1f32; 4], &sizes[..]));
        used(Tensor::rand(&sizes[..]));
        used(Tensor::eye(sizes.len()));
        // Whole numbers of steps that overflow.
        if ((end - start) / step).is_nan() || ((end - start) / step).abs() < 1e6 || ((end - start) / step).abs() > 1e13 {
            used(Tensor::arange(start, end, step));
        }
        used(Tensor::linspace(start, end, sizes.len()));
    }
}
