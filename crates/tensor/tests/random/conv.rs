//! Convolutions: results and all gradients against one loop over the trilinear form, exactly, in both dtypes.

use gabor_tensor::{
    Conv2dOptions, ConvAlgorithm, ConvTranspose2dOptions, DType, GradOptions, Padding, Tensor, grad, gradcheck,
    gradgradcheck, set_conv_algorithm,
};
use proptest::prelude::*;

use crate::array::{Array, Layout, laid, layout, leaf, real, whole};
use crate::few;

#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    groups: usize,
    /// Channels of each group: of the larger image, of the smaller one.
    channels: (usize, usize),
    image: (usize, usize),
    kernel: (usize, usize),
    stride: (usize, usize),
    padding: Option<(usize, usize)>,
    dilation: (usize, usize),
    extra: (usize, usize),
    bias: bool,
    layouts: (Layout, Layout),
    seed: u64,
}

fn pair(range: std::ops::Range<usize>) -> impl Strategy<Value = (usize, usize)> + Clone {
    (range.clone(), range)
}

fn cases(channels: usize, side: usize) -> impl Strategy<Value = Case> {
    let batch = prop_oneof![1 => Just(0usize), 8 => 1..4usize];
    let sizes = (batch, 1..4usize, (1..channels, 1..channels), pair(1..side), pair(1..5));
    let options = (pair(1..4), proptest::option::weighted(0.9, pair(0..4)), pair(1..4), pair(0..3));
    (sizes, options, any::<bool>(), (layout(), layout()), any::<u64>()).prop_map(
        |(sizes, options, bias, layouts, seed)| {
            let (batch, groups, channels, image, kernel) = sizes;
            let (stride, padding, dilation, extra) = options;
            Case { batch, groups, channels, image, kernel, stride, padding, dilation, extra, bias, layouts, seed }
        },
    )
}

/// `L(x, w, g)`: what each convolution is a partial derivative of. The sizes are of the larger image, the smaller, the kernel.
struct Form {
    batch: usize,
    groups: usize,
    x: (usize, usize, usize),
    g: (usize, usize, usize),
    kernel: (usize, usize),
    stride: (usize, usize),
    padding: (usize, usize),
    dilation: (usize, usize),
}

impl Form {
    /// The partial derivatives by g, x and w.
    fn partials(&self, x: &[f64], w: &[f64], g: &[f64]) -> [Vec<f64>; 3] {
        let ((xc, xh, xw), (gc, gh, gw), (kh, kw)) = (self.x, self.g, self.kernel);
        let mut out = [vec![0.0; g.len()], vec![0.0; x.len()], vec![0.0; w.len()]];
        let (xs, gs) = (xc / self.groups, gc / self.groups);
        for n in 0..self.batch {
            for o in 0..gc {
                for (i, j) in (0..gh).flat_map(|i| (0..gw).map(move |j| (i, j))) {
                    let at_g = ((n * gc + o) * gh + i) * gw + j;
                    for c in 0..xs {
                        for (u, v) in (0..kh).flat_map(|u| (0..kw).map(move |v| (u, v))) {
                            let row = (i * self.stride.0 + u * self.dilation.0).wrapping_sub(self.padding.0);
                            let column = (j * self.stride.1 + v * self.dilation.1).wrapping_sub(self.padding.1);
                            if row < xh && column < xw {
                                let at_x = ((n * xc + o / gs * xs + c) * xh + row) * xw + column;
                                let at_w = ((o * xs + c) * kh + u) * kw + v;
                                out[0][at_g] += x[at_x] * w[at_w];
                                out[1][at_x] += w[at_w] * g[at_g];
                                out[2][at_w] += x[at_x] * g[at_g];
                            }
                        }
                    }
                }
            }
        }
        out
    }
}

/// The sums over batch and image, for the gradient of a bias.
fn over_images(g: &[f64], batch: usize, channels: usize) -> Vec<f64> {
    let plane = g.len() / (batch * channels).max(1);
    let sum = |c: usize| (0..batch).map(|n| g[(n * channels + c) * plane..][..plane].iter().sum::<f64>()).sum();
    (0..channels).map(sum).collect()
}

fn exactly(what: &str, got: &Tensor, shape: &[usize], expected: &[f64]) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.dims(), shape, "{}", what);
    prop_assert_eq!(&Array::of(got).data, expected, "{} of {}", what, got.dtype());
    Ok(())
}

fn sliding(case: &Case) -> Result<(), TestCaseError> {
    // Winograd's filtering is not exact; `tests/winograd.rs` is about it.
    set_conv_algorithm(ConvAlgorithm::Direct);
    let Case { batch, groups, image, kernel, stride, dilation, seed, .. } = *case;
    let (channels, out) = (groups * case.channels.0, groups * case.channels.1);
    let stride = if case.padding.is_none() { (1, 1) } else { stride };
    let options = Conv2dOptions::new().stride(stride).dilation(dilation).groups(groups);
    let options = options.padding(case.padding.map_or(Padding::Same, Padding::from));
    // Padding before, and in all.
    let pad = |k: usize, d: usize, p: Option<usize>| p.map_or(((k - 1) * d / 2, (k - 1) * d), |p| (p, 2 * p));
    let high = pad(kernel.0, dilation.0, case.padding.map(|p| p.0));
    let wide = pad(kernel.1, dilation.1, case.padding.map(|p| p.1));
    let places = |n: usize, k: usize, s: usize, d: usize, p: usize| {
        (n + p).checked_sub((k - 1) * d + 1).map(|room| room / s + 1)
    };
    let x = laid(&whole(&[batch, channels, image.0, image.1], seed), case.layouts.0);
    let w = laid(&whole(&[out, case.channels.0, kernel.0, kernel.1], seed ^ 1), case.layouts.1);
    let b = case.bias.then(|| whole(&[out], seed ^ 2));
    let sizes = (
        places(image.0, kernel.0, stride.0, dilation.0, high.1),
        places(image.1, kernel.1, stride.1, dilation.1, wide.1),
    );
    let (Some(h), Some(v)) = sizes else {
        prop_assert!(x.conv2d(&w, b.as_ref(), &options).is_err());
        return Ok(());
    };
    let shape = [batch, out, h, v];
    let g = whole(&shape, seed ^ 3);
    let form = Form {
        batch,
        groups,
        x: (channels, image.0, image.1),
        g: (out, h, v),
        kernel,
        stride,
        padding: (high.0, wide.0),
        dilation,
    };
    let [mut y, gx, gw] = form.partials(&Array::of(&x).data, &Array::of(&w).data, &Array::of(&g).data);
    if let Some(b) = &b {
        let b = Array::of(b).data;
        y.iter_mut().enumerate().for_each(|(i, y)| *y += b[i / (h * v) % out]);
    }
    for dtype in [DType::F32, DType::F64] {
        let (x, w, b) = (leaf(&x, dtype), leaf(&w, dtype), b.as_ref().map(|b| leaf(b, dtype)));
        let got = x.conv2d(&w, b.as_ref(), &options).unwrap();
        exactly("result", &got, &shape, &y)?;
        let mut wanted = vec![&x, &w];
        wanted.extend(b.as_ref());
        let g = g.to_dtype(dtype).unwrap();
        let grads = grad(&got, &wanted, &GradOptions { gradient: Some(&g), ..GradOptions::default() }).unwrap();
        exactly("gradient of the input", grads[0].as_ref().unwrap(), x.dims(), &gx)?;
        exactly("gradient of the weight", grads[1].as_ref().unwrap(), w.dims(), &gw)?;
        if let Some(gb) = grads.get(2) {
            let sums = over_images(&Array::of(&g).data, batch, out);
            exactly("gradient of the bias", gb.as_ref().unwrap(), &[out], &sums)?;
        }
        if batch == 1 {
            let single = x.squeeze(0).and_then(|x| x.conv2d(&w, b.as_ref(), &options));
            if x.dims()[1..].iter().all(|&n| n != 1) {
                exactly("unbatched result", &single.unwrap(), &shape[1..], &y)?;
            }
        }
    }
    Ok(())
}

fn transposed(case: &Case) -> Result<(), TestCaseError> {
    set_conv_algorithm(ConvAlgorithm::Direct);
    let Case { batch, groups, image, kernel, stride, dilation, extra, seed, .. } = *case;
    let padding = case.padding.unwrap_or((0, 0));
    // Channels of the small image come in, those of the large one go out.
    let (out, channels) = (groups * case.channels.0, groups * case.channels.1);
    let options = ConvTranspose2dOptions::new().stride(stride).padding(padding).output_padding(extra);
    let options = options.dilation(dilation).groups(groups);
    let x = laid(&whole(&[batch, channels, image.0, image.1], seed), case.layouts.0);
    let w = laid(&whole(&[channels, case.channels.0, kernel.0, kernel.1], seed ^ 1), case.layouts.1);
    let b = case.bias.then(|| whole(&[out], seed ^ 2));
    let side = |n: usize, s: usize, p: usize, d: usize, k: usize, e: usize| {
        ((n - 1) * s + d * (k - 1) + e + 1).checked_sub(2 * p).filter(|&n| n > 0)
    };
    let sizes = (
        side(image.0, stride.0, padding.0, dilation.0, kernel.0, extra.0),
        side(image.1, stride.1, padding.1, dilation.1, kernel.1, extra.1),
    );
    let fits = extra.0 < stride.0.max(dilation.0) && extra.1 < stride.1.max(dilation.1);
    let (Some(h), Some(v), true) = (sizes.0, sizes.1, fits) else {
        prop_assert!(x.conv_transpose2d(&w, b.as_ref(), &options).is_err());
        return Ok(());
    };
    let shape = [batch, out, h, v];
    let g = whole(&shape, seed ^ 3);
    let form =
        Form { batch, groups, x: (out, h, v), g: (channels, image.0, image.1), kernel, stride, padding, dilation };
    let (xs, ws, gs) = (Array::of(&x).data, Array::of(&w).data, Array::of(&g).data);
    let [gx, _, gw] = form.partials(&gs, &ws, &xs);
    let [_, mut y, _] = form.partials(&gs, &ws, &xs);
    if let Some(b) = &b {
        let b = Array::of(b).data;
        y.iter_mut().enumerate().for_each(|(i, y)| *y += b[i / (h * v) % out]);
    }
    for dtype in [DType::F32, DType::F64] {
        let (x, w, b) = (leaf(&x, dtype), leaf(&w, dtype), b.as_ref().map(|b| leaf(b, dtype)));
        let got = x.conv_transpose2d(&w, b.as_ref(), &options).unwrap();
        exactly("result", &got, &shape, &y)?;
        let g = g.to_dtype(dtype).unwrap();
        let grads = grad(&got, &[&x, &w], &GradOptions { gradient: Some(&g), ..GradOptions::default() }).unwrap();
        exactly("gradient of the input", grads[0].as_ref().unwrap(), x.dims(), &gx)?;
        exactly("gradient of the weight", grads[1].as_ref().unwrap(), w.dims(), &gw)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(few(96))]

    #[test]
    fn convolutions_are_exact(case in cases(4, 11)) {
        sliding(&case)?;
    }

    #[test]
    fn transposed_convolutions_are_exact(case in cases(4, 8)) {
        transposed(&case)?;
    }
}

proptest! {
    #![proptest_config(few(8))]

    /// Sizes that fill the tiles of the kernels.
    #[test]
    fn larger_convolutions_are_exact(case in cases(14, 34)) {
        sliding(&case)?;
    }

    #[test]
    fn larger_transposed_convolutions_are_exact(case in cases(14, 20)) {
        transposed(&case)?;
    }

    /// The derivatives of the derivatives, which are further convolutions.
    #[test]
    fn convolutions_can_be_differentiated_twice(case in cases(3, 5)) {
        let Case { groups, channels, image, kernel, stride, dilation, seed, .. } = case;
        let options = Conv2dOptions::new().stride(stride).padding(case.padding.unwrap_or((1, 1)));
        let options = options.dilation(dilation).groups(groups);
        let x = real(&[1, groups * channels.0, image.0, image.1], seed);
        let w = real(&[groups * channels.1, channels.0, kernel.0, kernel.1], seed ^ 1);
        if x.conv2d(&w, None, &options).is_ok() && x.numel() * w.numel() < 3000 {
            gradcheck(|t| t[0].conv2d(&t[1], None, &options), &[x.clone(), w.clone()]).unwrap();
            gradgradcheck(|t| t[0].conv2d(&t[1], None, &options), &[x, w]).unwrap();
        }
    }
}
