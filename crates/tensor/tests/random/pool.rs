//! Pooling: results, positions and gradients against a loop over each window. Whole numbers make ties frequent.

use gabor_tensor::{AvgPoolOptions, DType, GradOptions, PoolOptions, Tensor, grad, gradcheck};
use proptest::prelude::*;

use crate::array::{Array, Layout, laid, layout, leaf, near, real, whole};
use crate::few;

#[derive(Clone, Debug)]
struct Case {
    planes: (usize, usize),
    image: (usize, usize),
    kernel: (usize, usize),
    stride: (usize, usize),
    padding: (usize, usize),
    dilation: (usize, usize),
    ceil: bool,
    layout: Layout,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let pair = |range: std::ops::Range<usize>| (range.clone(), range);
    let batch = prop_oneof![1 => Just(0usize), 8 => 1..3usize];
    let sizes = ((batch, 1..4usize), pair(1..13), pair(1..5), pair(1..5), pair(0..3), pair(1..4));
    (sizes, any::<bool>(), layout(), any::<u64>(), 0..8u8).prop_map(|(sizes, ceil, layout, seed, wild)| {
        let (planes, image, kernel, stride, mut padding, dilation) = sizes;
        if wild > 0 {
            // Most paddings are allowed ones.
            padding.0 %= ((kernel.0 - 1) * dilation.0).div_ceil(2) + 1;
            padding.1 %= ((kernel.1 - 1) * dilation.1).div_ceil(2) + 1;
        }
        Case { planes, image, kernel, stride, padding, dilation, ceil, layout, seed }
    })
}

/// PyTorch's number of windows along an axis, in its own words: `pooling_output_shape`.
fn windows(n: usize, k: usize, s: usize, p: usize, d: usize, ceil: bool) -> Option<usize> {
    let [size, k, stride, p, d] = [n, k, s, p, d].map(|v| v as i64);
    let span = size + 2 * p - d * (k - 1) - 1 + if ceil { stride - 1 } else { 0 };
    let mut out = span.div_euclid(stride) + 1;
    if ceil && (out - 1) * stride >= size + p {
        out -= 1;
    }
    let halved = p <= (d * (k - 1) + 1) / 2;
    (out > 0 && halved).then_some(out as usize)
}

/// The rows, or columns, of the input that window `i` of an axis sees.
fn taps(i: usize, n: usize, k: usize, s: usize, p: usize, d: usize) -> Vec<usize> {
    (0..k).filter_map(|u| (i * s + u * d).checked_sub(p)).filter(|&r| r < n).collect()
}

fn each_window(case: &Case, mut f: impl FnMut(usize, usize, usize, &[usize])) {
    let Case { image, kernel: k, stride: s, padding: p, dilation: d, .. } = *case;
    let Some((h, v)) = output(case) else { return };
    for plane in 0..case.planes.0 * case.planes.1 {
        for (i, j) in (0..h).flat_map(|i| (0..v).map(move |j| (i, j))) {
            let (rows, columns) = (taps(i, image.0, k.0, s.0, p.0, d.0), taps(j, image.1, k.1, s.1, p.1, d.1));
            let seen: Vec<usize> =
                rows.iter().flat_map(|r| columns.iter().map(move |c| (plane * image.0 + r) * image.1 + c)).collect();
            f(plane * h * v + i * v + j, i, j, &seen);
        }
    }
}

fn output(case: &Case) -> Option<(usize, usize)> {
    let Case { image, kernel: k, stride: s, padding: p, dilation: d, ceil, .. } = *case;
    Some((windows(image.0, k.0, s.0, p.0, d.0, ceil)?, windows(image.1, k.1, s.1, p.1, d.1, ceil)?))
}

fn input(case: &Case) -> Tensor {
    let shape = [case.planes.0, case.planes.1, case.image.0, case.image.1];
    laid(&whole(&shape, case.seed), case.layout)
}

fn pulled(y: &Tensor, x: &Tensor, g: &Tensor) -> Array {
    let options = GradOptions { gradient: Some(g), ..GradOptions::default() };
    Array::of(grad(y, &[x], &options).unwrap()[0].as_ref().unwrap())
}

proptest! {
    #![proptest_config(few(300))]

    #[test]
    fn max_pooling_takes_the_first_of_ties(case in cases(), holes in any::<bool>()) {
        let mut x = input(&case);
        if holes {
            // NaN wins, the last one of a window; -inf loses to anything.
            let nan = x.eq_scalar(3.0).unwrap();
            let low = x.eq_scalar(-3.0).unwrap();
            x = laid(&x.masked_fill(&nan, f64::NAN).unwrap().masked_fill(&low, f64::NEG_INFINITY).unwrap(), case.layout);
        }
        let options = PoolOptions::new(case.kernel).stride(case.stride).padding(case.padding);
        let options = options.dilation(case.dilation).ceil_mode(case.ceil);
        let Some((h, v)) = output(&case) else {
            prop_assert!(x.max_pool2d(&options).is_err());
            return Ok(());
        };
        let shape = vec![case.planes.0, case.planes.1, h, v];
        let (xs, g) = (Array::of(&x), whole(&shape, case.seed ^ 1));
        let gs = Array::of(&g);
        let plane = case.image.0 * case.image.1;
        let (mut y, mut index) = (vec![0.0; gs.data.len()], vec![0.0; gs.data.len()]);
        let mut gx = Array { shape: xs.shape.clone(), data: vec![0.0; xs.data.len()] };
        each_window(&case, |at, _, _, seen| {
            // Dilation may step over a small image: such a window is -inf, and its position still lies in the image.
            let Some(&first) = seen.first() else {
                (y[at], index[at]) = (f64::NEG_INFINITY, f64::NAN);
                return;
            };
            let best = seen.iter().fold(first, |best, &i| {
                if xs.data[i] > xs.data[best] || xs.data[i].is_nan() { i } else { best }
            });
            (y[at], index[at]) = (xs.data[best], (best % plane) as f64);
            gx.data[best] += gs.data[at];
        });
        for dtype in [DType::F32, DType::F64] {
            let x = leaf(&x, dtype);
            let (got, positions) = x.max_pool2d_with_indices(&options).unwrap();
            near(&Array::of(&got), &Array { shape: shape.clone(), data: y.clone() }, 0.0)?;
            for (&at, &expected) in Array::of(&positions).data.iter().zip(&index) {
                prop_assert!(at == expected || (expected.is_nan() && (0.0..plane as f64).contains(&at)), "{}", at);
            }
            let pulled = pulled(&got, &x, &g.to_dtype(dtype).unwrap());
            if !index.iter().any(|at| at.is_nan()) {
                prop_assert_eq!(&pulled, &gx);
            }
        }
    }

    #[test]
    fn average_pooling_divides_by_what_it_counts(
        case in cases(),
        counted in any::<bool>(),
        divisor in proptest::option::weighted(0.3, prop_oneof![-3i64..0, 1..4i64]),
    ) {
        let case = Case { dilation: (1, 1), ..case };
        let x = input(&case);
        let options = AvgPoolOptions::new(case.kernel).stride(case.stride).padding(case.padding);
        let options = options.ceil_mode(case.ceil).count_include_pad(counted).divisor_override(divisor);
        let Some((h, v)) = output(&case) else {
            prop_assert!(x.avg_pool2d(&options).is_err());
            return Ok(());
        };
        let shape = vec![case.planes.0, case.planes.1, h, v];
        let (xs, g) = (Array::of(&x), whole(&shape, case.seed ^ 1));
        let gs = Array::of(&g);
        let mut y = Array { shape: shape.clone(), data: vec![0.0; gs.data.len()] };
        let mut gx = Array { shape: xs.shape.clone(), data: vec![0.0; xs.data.len()] };
        let padded = |i: usize, n: usize, k: usize, s: usize, p: usize| (i * s + k).min(n + 2 * p) - i * s;
        each_window(&case, |at, i, j, seen| {
            let area = padded(i, case.image.0, case.kernel.0, case.stride.0, case.padding.0)
                * padded(j, case.image.1, case.kernel.1, case.stride.1, case.padding.1);
            let by = divisor.map_or(if counted { area } else { seen.len() } as f64, |d| d as f64);
            for &s in seen {
                y.data[at] += xs.data[s] / by;
                gx.data[s] += gs.data[at] / by;
            }
        });
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-13)] {
            let x = leaf(&x, dtype);
            let got = x.avg_pool2d(&options).unwrap();
            near(&Array::of(&got), &y, tolerance)?;
            near(&pulled(&got, &x, &g.to_dtype(dtype).unwrap()), &gx, tolerance)?;
        }
    }

    #[test]
    fn adaptive_pooling_divides_the_image(case in cases(), size in (0..7usize, 0..7usize)) {
        let x = input(&case);
        let (n, c) = case.planes;
        let shape = vec![n, c, size.0, size.1];
        let (xs, g) = (Array::of(&x), whole(&shape, case.seed ^ 1));
        let gs = Array::of(&g);
        let range = |i: usize, from: usize, to: usize| i * from / to..((i + 1) * from).div_ceil(to);
        let [mut mean, mut most] = [(); 2].map(|()| vec![0.0; gs.data.len()]);
        let [mut mean_g, mut most_g] = [(); 2].map(|()| vec![0.0; xs.data.len()]);
        for at in 0..gs.data.len() {
            let (i, j, plane) = (at / size.1 % size.0, at % size.1, at / (size.0 * size.1));
            let seen: Vec<usize> = range(i, case.image.0, size.0)
                .flat_map(|r| range(j, case.image.1, size.1).map(move |s| (r, s)))
                .map(|(r, s)| (plane * case.image.0 + r) * case.image.1 + s)
                .collect();
            let best = seen.iter().fold(seen[0], |best, &i| if xs.data[i] > xs.data[best] { i } else { best });
            most[at] = xs.data[best];
            most_g[best] += gs.data[at];
            for &s in &seen {
                mean[at] += xs.data[s] / seen.len() as f64;
                mean_g[s] += gs.data[at] / seen.len() as f64;
            }
        }
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-13)] {
            let (x, g) = (leaf(&x, dtype), g.to_dtype(dtype).unwrap());
            let (a, m) = (x.adaptive_avg_pool2d(size).unwrap(), x.adaptive_max_pool2d(size).unwrap().0);
            near(&Array::of(&a), &Array { shape: shape.clone(), data: mean.clone() }, tolerance)?;
            near(&Array::of(&m), &Array { shape: shape.clone(), data: most.clone() }, 0.0)?;
            near(&pulled(&a, &x, &g), &Array { shape: xs.shape.clone(), data: mean_g.clone() }, tolerance)?;
            near(&pulled(&m, &x, &g), &Array { shape: xs.shape.clone(), data: most_g.clone() }, 0.0)?;
        }
    }
}

proptest! {
    #![proptest_config(few(8))]

    #[test]
    fn pooling_has_the_right_derivatives(case in cases()) {
        let case = Case { image: (case.image.0.min(5), case.image.1.min(5)), dilation: (1, 1), ..case };
        if output(&case).is_some() {
            let x = real(&[1, case.planes.1, case.image.0, case.image.1], case.seed);
            let max = PoolOptions::new(case.kernel).stride(case.stride).padding(case.padding).ceil_mode(case.ceil);
            let mean = AvgPoolOptions::new(case.kernel).stride(case.stride).padding(case.padding).ceil_mode(case.ceil);
            gradcheck(|t| t[0].max_pool2d(&max)?.add(&t[0].avg_pool2d(&mean)?), &[x]).unwrap();
        }
    }
}
