//! Matrix products and normalisation by channels against plain loops.

use gabor_tensor::{DType, GradOptions, Tensor, grad, gradcheck};
use proptest::prelude::*;

use crate::array::{Array, laid, layout, leaf, near, places, real, size, whole};
use crate::few;

/// The product of two arrays of at least two axes, with leading axes that broadcast.
fn product(a: &Array, b: &Array) -> Array {
    let (ra, rb) = (a.shape.len(), b.shape.len());
    let (m, k, n) = (a.shape[ra - 2], a.shape[ra - 1], b.shape[rb - 1]);
    let rank = ra.max(rb) - 2;
    let lead: Vec<usize> = (0..rank)
        .map(|i| {
            let size = |x: &[usize]| (i + x.len()).checked_sub(rank + 2).map_or(1, |i| x[i]);
            if size(&a.shape) == 1 { size(&b.shape) } else { size(&a.shape) }
        })
        .collect();
    let shape = [&lead[..], &[m, n]].concat();
    Array::build(&shape, |i| {
        let (lead, row, column) = (&i[..rank], i[rank], i[rank + 1]);
        (0..k).map(|k| broadcast(a, lead, row, k) * broadcast(b, lead, k, column)).sum()
    })
}

fn broadcast(x: &Array, lead: &[usize], row: usize, column: usize) -> f64 {
    let own = x.shape.len() - 2;
    let mut index: Vec<usize> =
        lead[lead.len() - own..].iter().zip(&x.shape).map(|(&i, &n)| if n == 1 { 0 } else { i }).collect();
    index.extend([row, column]);
    x.at(&index)
}

/// Leading axes of two batches that broadcast.
fn leads() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> + Clone {
    let axis = (0..4usize, 0..4u8).prop_map(|(n, kind)| match kind {
        0 => (1, n),
        1 => (n, 1),
        _ => (n, n),
    });
    (proptest::collection::vec(axis, 0..=2), 0..3usize, any::<bool>()).prop_map(|(axes, short, left)| {
        let (mut a, mut b): (Vec<usize>, Vec<usize>) = axes.into_iter().unzip();
        let side = if left { &mut a } else { &mut b };
        side.drain(..short.min(side.len()));
        (a, b)
    })
}

fn with(lead: &[usize], matrix: [usize; 2]) -> Vec<usize> {
    [lead, &matrix].concat()
}

proptest! {
    #![proptest_config(few(96))]

    #[test]
    fn matrix_products_are_exact(
        (la, lb) in leads(),
        (m, k, n) in (size(), prop_oneof![size(), 6..40usize], prop_oneof![size(), 6..40usize]),
        turned in (any::<bool>(), any::<bool>()),
        layouts in (layout(), layout()),
        seed in any::<u64>(),
    ) {
        let make = |lead: &[usize], rows: usize, columns: usize, turned: bool, layout, seed| {
            if turned {
                laid(&whole(&with(lead, [columns, rows]), seed), layout).transpose(-1, -2).unwrap()
            } else {
                laid(&whole(&with(lead, [rows, columns]), seed), layout)
            }
        };
        let (a, b) = (make(&la, m, k, turned.0, layouts.0, seed), make(&lb, k, n, turned.1, layouts.1, seed ^ 1));
        let (xs, ys) = (Array::of(&a), Array::of(&b));
        let expected = product(&xs, &ys);
        let g = whole(&expected.shape, seed ^ 2);
        // Gradients: of each element of `a` the sum over what it was multiplied with.
        let gs = Array::of(&g);
        let (mut ga, mut gb) = (vec![0.0; xs.data.len()], vec![0.0; ys.data.len()]);
        let count = |x: &Array| Array { data: (0..x.data.len()).map(|i| i as f64).collect(), ..x.clone() };
        let (place_a, place_b) = (count(&xs), count(&ys));
        let rank = expected.shape.len() - 2;
        for i in places(&expected.shape) {
            for k in 0..k {
                let (lead, row, column) = (&i[..rank], i[rank], i[rank + 1]);
                let (at, bt) = (broadcast(&place_a, lead, row, k), broadcast(&place_b, lead, k, column));
                ga[at as usize] += gs.at(&i) * ys.data[bt as usize];
                gb[bt as usize] += gs.at(&i) * xs.data[at as usize];
            }
        }
        for dtype in [DType::F32, DType::F64] {
            let (a, b) = (leaf(&a, dtype), leaf(&b, dtype));
            let y = a.matmul(&b).unwrap();
            prop_assert_eq!(&Array::of(&y), &expected);
            let g = g.to_dtype(dtype).unwrap();
            let grads = grad(&y, &[&a, &b], &GradOptions { gradient: Some(&g), ..GradOptions::default() }).unwrap();
            prop_assert_eq!(&Array::of(grads[0].as_ref().unwrap()).data, &ga);
            prop_assert_eq!(&Array::of(grads[1].as_ref().unwrap()).data, &gb);
            if la == lb && la.len() == 1 {
                prop_assert_eq!(&Array::of(&a.bmm(&b).unwrap()), &expected);
            }
        }
    }

    #[test]
    fn the_linear_layer_is_exact(rows in size(), (from, to) in (0..40usize, 0..40usize), layouts in (layout(), layout()), seed in any::<u64>()) {
        let (x, w) = (laid(&whole(&[2, rows, from], seed), layouts.0), laid(&whole(&[to, from], seed ^ 1), layouts.1));
        let b = whole(&[to], seed ^ 2);
        let (xs, ws, bs) = (Array::of(&x), Array::of(&w), Array::of(&b));
        let expected = Array::build(&[2, rows, to], |i| {
            bs.at(&i[2..]) + (0..from).map(|k| xs.at(&[i[0], i[1], k]) * ws.at(&[i[2], k])).sum::<f64>()
        });
        for dtype in [DType::F32, DType::F64] {
            let [x, w, b] = [&x, &w, &b].map(|t| t.to_dtype(dtype).unwrap());
            prop_assert_eq!(&Array::of(&x.linear(&w, Some(&b)).unwrap()), &expected);
        }
    }

    #[test]
    fn channels_are_standardized(n in size(), c in size(), rest in proptest::collection::vec(size(), 0..=2), layout in layout(), affine in any::<bool>(), seed in any::<u64>()) {
        let shape = [&[n, c][..], &rest].concat();
        let x = laid(&whole(&shape, seed), layout);
        let (w, b) = (whole(&[c], seed ^ 1), whole(&[c], seed ^ 2));
        let (xs, ws, bs) = (Array::of(&x), Array::of(&w), Array::of(&b));
        let channel = |c: usize| -> Vec<f64> {
            places(&shape).iter().filter(|i| i[1] == c).map(|i| xs.at(i)).collect()
        };
        if x.numel() == 0 {
            return Ok(());
        }
        let moments: Vec<(f64, f64)> = (0..c).map(|c| {
            let all = channel(c);
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            (mean, all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / all.len() as f64)
        }).collect();
        let expected = Array::build(&shape, |i| {
            let (mean, var) = moments[i[1]];
            let y = (xs.at(i) - mean) / (var + 1e-5).sqrt();
            if affine { y * ws.at(&i[1..2]) + bs.at(&i[1..2]) } else { y }
        });
        for (dtype, tolerance) in [(DType::F32, 1e-4), (DType::F64, 1e-11)] {
            let [x, w, b] = [&x, &w, &b].map(|t| t.to_dtype(dtype).unwrap());
            let (y, mean, var) = x.standardize(affine.then_some(&w), affine.then_some(&b), 1e-5).unwrap();
            near(&Array::of(&y), &expected, tolerance)?;
            near(&Array::of(&mean), &Array { shape: vec![c], data: moments.iter().map(|m| m.0).collect() }, tolerance)?;
            near(&Array::of(&var), &Array { shape: vec![c], data: moments.iter().map(|m| m.1).collect() }, tolerance)?;
        }
    }
}

proptest! {
    #![proptest_config(few(8))]

    #[test]
    fn products_and_norms_have_the_right_derivatives((la, lb) in leads(), (m, k, n) in (1..4usize, 1..4usize, 1..4usize), seed in any::<u64>()) {
        let (a, b) = (real(&with(&la, [m, k]), seed), real(&with(&lb, [k, n]), seed ^ 1));
        gradcheck(|t: &[Tensor]| t[0].matmul(&t[1]), &[a, b]).unwrap();
        let inputs = [real(&[m + 1, k, n], seed), real(&[k], seed ^ 1), real(&[k], seed ^ 2)];
        gradcheck(|t: &[Tensor]| Ok(t[0].standardize(Some(&t[1]), Some(&t[2]), 0.1)?.0), &inputs).unwrap();
    }
}
