//! Reductions over any axes, and functions along one, against loops over the indices.

use gabor_tensor::{DType, GradOptions, Result, Tensor, grad, gradcheck};
use proptest::prelude::*;

use crate::array::{Array, laid, layout, leaf, near, offset, places, real, shape, whole};
use crate::few;

/// The shape with some axes taken away, and the elements that fall into each place.
fn groups(x: &Array, mask: &[bool]) -> (Vec<usize>, Vec<Vec<f64>>) {
    let kept: Vec<usize> = x.shape.iter().zip(mask).filter(|(_, m)| !**m).map(|(&n, _)| n).collect();
    let mut groups = vec![Vec::new(); kept.iter().product()];
    for i in places(&x.shape) {
        let own: Vec<usize> = i.iter().zip(mask).filter(|(_, m)| !**m).map(|(&i, _)| i).collect();
        groups[offset(&kept, &own)].push(x.at(&i));
    }
    (kept, groups)
}

type Reduction = (&'static str, fn(&Tensor, Vec<isize>, bool) -> Result<Tensor>, fn(&[f64]) -> f64);

fn variance(x: &[f64]) -> f64 {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (x.len() as f64 - 1.0).max(0.0)
}

const ANY: &[Reduction] = &[
    ("sum", |x, axes, keep| x.sum_dim(axes, keep), |x| x.iter().sum()),
    ("mean", |x, axes, keep| x.mean_dim(axes, keep), |x| x.iter().sum::<f64>() / x.len() as f64),
    ("var", |x, axes, keep| x.var_dim(axes, 1.0, keep), variance),
    ("std", |x, axes, keep| x.std_dim(axes, 1.0, keep), |x| variance(x).sqrt()),
    ("prod", |x, axes, keep| x.prod_dim(axes, keep), |x| x.iter().product()),
    ("logsumexp", |x, axes, keep| x.logsumexp(axes, keep), |x| x.iter().map(|v| v.exp()).sum::<f64>().ln()),
];

const CHOICES: &[Reduction] = &[
    ("amax", |x, axes, keep| x.amax_dim(axes, keep), |x| x.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
    ("amin", |x, axes, keep| x.amin_dim(axes, keep), |x| x.iter().copied().fold(f64::INFINITY, f64::min)),
];

/// A shape and a choice of its axes, at least one.
fn shape_and_axes() -> impl Strategy<Value = (Vec<usize>, Vec<bool>)> + Clone {
    shape(1..=4).prop_flat_map(|shape| {
        let rank = shape.len();
        (Just(shape), proptest::collection::vec(any::<bool>(), rank), 0..rank).prop_map(|(shape, mut mask, one)| {
            mask[one] = true;
            (shape, mask)
        })
    })
}

/// The axes of a mask, some counted from the end.
fn named(mask: &[bool], seed: u64) -> Vec<isize> {
    let rank = mask.len() as isize;
    let axes = mask.iter().enumerate().filter(|(_, m)| **m);
    axes.map(|(i, _)| if seed >> i & 1 == 1 { i as isize - rank } else { i as isize }).collect()
}

proptest! {
    #![proptest_config(few(64))]

    #[test]
    fn reductions_take_any_axes((shape, mask) in shape_and_axes(), layout in layout(), keep in any::<bool>(), seed in any::<u64>()) {
        let x = laid(&whole(&shape, seed), layout);
        let (kept, groups) = groups(&Array::of(&x), &mask);
        let full: Vec<usize> = shape.iter().zip(&mask).map(|(&n, &m)| if m { 1 } else { n }).collect();
        let shape = if keep { full } else { kept };
        let nothing = groups.first().is_some_and(Vec::is_empty) || x.numel() == 0;
        for (choice, &(name, run, plain)) in ANY.iter().map(|r| (false, r)).chain(CHOICES.iter().map(|r| (true, r))) {
            for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
                let got = run(&laid(&x.to_dtype(dtype).unwrap(), layout), named(&mask, seed), keep);
                if choice && nothing {
                    // Nothing to choose from is an error, unless there is no result either.
                    prop_assert!(got.is_err() || got.unwrap().numel() == 0, "{}", name);
                    continue;
                }
                let y = laid(&x, layout);
                let groups = self::groups(&Array::of(&y), &mask).1;
                let expected = Array { shape: shape.clone(), data: groups.iter().map(|g| plain(g)).collect() };
                let exact = choice || name == "sum";
                near(&Array::of(&got.unwrap()), &expected, if exact { 0.0 } else { tolerance })
                    .map_err(|e| TestCaseError::fail(format!("{name}: {e}")))?;
            }
        }
    }

    #[test]
    fn the_largest_share_their_gradient((shape, mask) in shape_and_axes(), seed in any::<u64>()) {
        let x = whole(&shape, seed);
        if x.numel() == 0 {
            return Ok(());
        }
        let xs = Array::of(&x);
        let (kept, groups) = groups(&xs, &mask);
        let g = whole(&kept, seed ^ 1);
        let gs = Array::of(&g);
        let expected = Array::build(&shape, |i| {
            let own: Vec<usize> = i.iter().zip(&mask).filter(|(_, m)| !**m).map(|(&i, _)| i).collect();
            let group = &groups[offset(&kept, &own)];
            let most = group.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let ties = group.iter().filter(|&&v| v == most).count() as f64;
            if xs.at(i) == most { gs.at(&own) / ties } else { 0.0 }
        });
        let x = leaf(&x, DType::F64);
        let y = x.amax_dim(named(&mask, seed), false).unwrap();
        let got = grad(&y, &[&x], &GradOptions { gradient: Some(&g), ..GradOptions::default() }).unwrap();
        near(&Array::of(got[0].as_ref().unwrap()), &expected, 1e-15)?;
    }

    #[test]
    fn functions_along_an_axis((shape, axis) in along(), layout in layout(), seed in any::<u64>()) {
        let x = laid(&whole(&shape, seed), layout);
        let xs = Array::of(&x);
        let n = shape[axis];
        let line = |i: &[usize]| -> Vec<f64> {
            let mut i = i.to_vec();
            (0..n).map(|k| { i[axis] = k; xs.at(&i) }).collect()
        };
        let at = axis as isize - if seed & 1 == 1 { shape.len() as isize } else { 0 };
        let softmax = Array::build(&shape, |i| {
            let line = line(i);
            line[i[axis]].exp() / line.iter().map(|v| v.exp()).sum::<f64>()
        });
        let log = Array { data: softmax.data.iter().map(|v| v.ln()).collect(), ..softmax.clone() };
        let sums = Array::build(&shape, |i| line(i)[..=i[axis]].iter().sum());
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-13)] {
            let x = laid(&x.to_dtype(dtype).unwrap(), if matches!(layout, crate::array::Layout::Repeated) { crate::array::Layout::Plain } else { layout });
            near(&Array::of(&x.softmax(at).unwrap()), &softmax, tolerance)?;
            near(&Array::of(&x.log_softmax(at).unwrap()), &log, tolerance)?;
            near(&Array::of(&x.cumsum(at).unwrap()), &sums, 0.0)?;
            for descending in [false, true] {
                let (values, index) = x.sort(at, descending).unwrap();
                let (values, index) = (Array::of(&values), Array::of(&index));
                for i in places(&shape) {
                    let mut line: Vec<(f64, usize)> = line(&i).into_iter().zip(0..).collect();
                    // A stable sort: ties keep their order.
                    line.sort_by(|a, b| if descending { b.0.total_cmp(&a.0) } else { a.0.total_cmp(&b.0) });
                    prop_assert_eq!((values.at(&i), index.at(&i) as usize), line[i[axis]]);
                }
            }
            if n > 0 {
                let mut rest = shape.clone();
                rest.remove(axis);
                let firsts = Array::build(&rest, |i| {
                    let line = line(&[&i[..axis], &[0], &i[axis..]].concat());
                    (0..n).fold(0, |best, k| if line[k] > line[best] { k } else { best }) as f64
                });
                prop_assert_eq!(&Array::of(&x.argmax(Some(at), false).unwrap()), &firsts);
                prop_assert_eq!(&Array::of(&x.max_dim(at, false).unwrap().1), &firsts);
            }
        }
    }
}

fn along() -> impl Strategy<Value = (Vec<usize>, usize)> + Clone {
    shape(1..=4).prop_flat_map(|shape| {
        let rank = shape.len();
        (Just(shape), 0..rank)
    })
}

proptest! {
    #![proptest_config(few(12))]

    #[test]
    fn reductions_have_the_right_derivatives((shape, mask) in shape_and_axes(), seed in any::<u64>()) {
        let x = real(&shape, seed);
        let axes = named(&mask, seed);
        if x.numel() > 0 {
            gradcheck(|t| t[0].logsumexp(axes.clone(), true)?.mul(&t[0].mean_dim(axes.clone(), true)?), std::slice::from_ref(&x)).unwrap();
            gradcheck(|t| t[0].prod_dim(axes.clone(), false)?.add(&t[0].var_dim(axes.clone(), 0.0, false)?), &[x]).unwrap();
        }
    }
}

/// Where many rows end in a few neighbours that are reduced too, the rows come first.
#[test]
fn rows_may_be_reduced_before_their_neighbours() {
    for (shape, mask) in [
        ([8, 3, 2, 2], [true, false, true, true]),
        ([9, 5, 1, 1], [true, false, true, true]),
        ([7, 5, 2, 3], [true, false, true, true]),
        ([3, 4, 2, 5], [true, true, false, true]),
        ([11, 2, 3, 2], [true, false, true, false]),
        ([10, 2, 3, 4], [true, false, false, true]),
        ([12, 2, 11, 12], [true, false, true, true]),
        ([16, 2, 0, 3], [true, false, true, true]),
        ([16, 0, 2, 3], [true, false, true, true]),
    ] {
        let x = whole(&shape, 7);
        let (kept, groups) = groups(&Array::of(&x), &mask);
        for &(name, run, plain) in &[ANY[0], CHOICES[0], CHOICES[1]] {
            if name != "sum" && x.numel() == 0 {
                continue;
            }
            for dtype in [DType::F32, DType::F64, DType::I64] {
                let got = run(&x.to_dtype(dtype).unwrap(), named(&mask, 0), false).unwrap();
                assert_eq!(got.dims(), kept, "{name} of {shape:?}");
                let expected: Vec<f64> = groups.iter().map(|g| plain(g)).collect();
                assert_eq!(got.to_dtype(DType::F64).unwrap().to_vec::<f64>().unwrap(), expected, "{name} of {shape:?}");
            }
        }
    }
}
