//! Row-major arrays without any trick, and tensors with the same elements in other layouts.

use gabor_tensor::testing::rearranged;
use gabor_tensor::{DType, Generator, PadMode, Tensor};
use proptest::prelude::*;

/// Elements in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f64>,
}

impl Array {
    pub(crate) fn of(x: &Tensor) -> Array {
        let data = x.detach().to_dtype(DType::F64).unwrap().to_vec::<f64>().unwrap();
        Array { shape: x.dims().to_vec(), data }
    }

    pub(crate) fn build(shape: &[usize], f: impl FnMut(&[usize]) -> f64) -> Array {
        let data = places(shape).iter().map(Vec::as_slice).map(f).collect();
        Array { shape: shape.to_vec(), data }
    }

    pub(crate) fn at(&self, index: &[usize]) -> f64 {
        self.data[offset(&self.shape, index)]
    }

    /// The element that broadcasting puts at `index` of a larger shape.
    pub(crate) fn broadcast_at(&self, index: &[usize]) -> f64 {
        let skip = index.len() - self.shape.len();
        let own: Vec<usize> =
            index[skip..].iter().zip(&self.shape).map(|(&i, &n)| if n == 1 { 0 } else { i }).collect();
        self.at(&own)
    }
}

pub(crate) fn offset(shape: &[usize], index: &[usize]) -> usize {
    shape.iter().zip(index).fold(0, |at, (&n, &i)| at * n + i)
}

/// All indices into a shape, in row-major order.
pub(crate) fn places(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for &n in shape {
        all = all.into_iter().flat_map(|p: Vec<usize>| (0..n).map(move |i| [&p[..], &[i]].concat())).collect();
    }
    all
}

/// Whole numbers from -3 to 3: many ties, exact sums.
pub(crate) fn whole(shape: &[usize], seed: u64) -> Tensor {
    Generator::new(seed).randint(-3, 4, shape).unwrap().to_dtype(DType::F64).unwrap()
}

/// Numbers between -2 and 2.
pub(crate) fn real(shape: &[usize], seed: u64) -> Tensor {
    Generator::new(seed).uniform(-2.0, 2.0, shape, DType::F64).unwrap()
}

/// How the elements of a tensor lie in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layout {
    Plain,
    /// Axes in the other order, with gaps.
    Rearranged,
    /// Inside of a larger tensor.
    Inside,
    /// The first position of the first axis, repeated without a copy.
    Repeated,
}

pub(crate) fn layout() -> impl Strategy<Value = Layout> + Clone {
    prop_oneof![
        3 => Just(Layout::Plain),
        2 => Just(Layout::Rearranged),
        1 => Just(Layout::Inside),
        1 => Just(Layout::Repeated),
    ]
}

/// `x`, or for `Repeated` a part of it, in a layout.
pub(crate) fn laid(x: &Tensor, layout: Layout) -> Tensor {
    match layout {
        Layout::Plain => x.clone(),
        Layout::Rearranged => rearranged(x).unwrap(),
        Layout::Inside => {
            let around = x.pad(&vec![1; 2 * x.rank()], PadMode::Constant(9.0)).unwrap();
            (0..x.rank()).fold(around, |y, axis| y.narrow(axis as isize, 1, x.dims()[axis]).unwrap())
        }
        Layout::Repeated if x.rank() > 0 && x.dims()[0] > 0 => x.narrow(0, 0, 1).unwrap().expand(x.shape()).unwrap(),
        Layout::Repeated => x.clone(),
    }
}

/// A leaf of dtype f32 or f64 with the elements of `x`, which both hold exactly.
pub(crate) fn leaf(x: &Tensor, dtype: DType) -> Tensor {
    x.to_dtype(dtype).unwrap().requires_grad_().unwrap()
}

/// Sizes from 0 to 5, small ones and 0 and 1 often.
pub(crate) fn size() -> impl Strategy<Value = usize> + Clone {
    prop_oneof![1 => Just(0usize), 3 => Just(1), 8 => 2usize..6]
}

pub(crate) fn shape(rank: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<usize>> + Clone {
    proptest::collection::vec(size(), rank)
}

/// Equal but for rounding; NaN equals NaN.
pub(crate) fn near(got: &Array, expected: &Array, tolerance: f64) -> Result<(), TestCaseError> {
    prop_assert_eq!(&got.shape, &expected.shape);
    for (i, (&a, &b)) in got.data.iter().zip(&expected.data).enumerate() {
        let equal = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * (1.0 + b.abs());
        prop_assert!(equal, "element {}: {} against {}", i, a, b);
    }
    Ok(())
}
