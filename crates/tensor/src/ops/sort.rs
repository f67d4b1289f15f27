//! Sorting along an axis. The positions are computed from bare values; the sorted elements are then gathered by them, so
//! the gradient is that of `gather`.

use super::reduce::around;
use crate::dtype::{Element, dispatch};
use crate::error::{Error, Result};
use crate::shape::axis_of;
use crate::tape::Tensor;
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, indices, numbers};
use crate::value::Value;

/// A number that is larger for larger elements, whatever their type, so that one sort serves all; NaN is behind everything.
fn rank<T: Element>(v: T) -> u64 {
    const SIGN: u64 = 1 << 63;
    if !T::DTYPE.is_float() {
        return v.to::<i64>() as u64 ^ SIGN;
    }
    let v: f64 = v.to();
    // Zeros are equal whatever their sign.
    let bits = if v == 0.0 { 0 } else { v.to_bits() };
    if v.is_nan() {
        u64::MAX
    } else if bits & SIGN == 0 {
        bits | SIGN
    } else {
        !bits
    }
}

/// The positions in the middle of `[outer, n, inner]` in the order of their elements; equal ones stay in their order.
fn ranked<T: Element>(x: &[T], (outer, n, inner): (usize, usize, usize), descending: bool, y: &mut [i64]) {
    let mut line: Vec<(u64, i64)> = Vec::with_capacity(n);
    for o in 0..outer {
        for i in 0..inner {
            let at = |k: usize| (o * n + k) * inner + i;
            let key = |k: usize| if descending { !rank(x[at(k)]) } else { rank(x[at(k)]) };
            line.clear();
            line.extend((0..n).map(|k| (key(k), k as i64)));
            line.sort_unstable();
            line.iter().enumerate().for_each(|(k, &(_, from))| y[at(k)] = from);
        }
    }
}

#[track_caller]
fn positions(op: &'static str, x: &Tensor, axis: usize, descending: bool) -> Result<Tensor> {
    let (source, geometry) = (x.value.contiguous()?, around(x.shape(), axis));
    let value = dispatch!(x.dtype(), T => {
        Value::build(op, x.shape(), |y: &mut [i64]| ranked::<T>(source.slice(), geometry, descending, y))?
    });
    Ok(Tensor::plain(value))
}

impl Tensor {
    /// The elements in order along an axis, and the positions (i64) they came from. Equal elements keep their order; NaN
    /// counts as largest. PyTorch: `torch.sort(.., stable=True)`.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let (values, index) = Tensor::new([3f32, 1.0, 2.0])?.sort(0, false)?;
    /// assert_eq!((values.to_vec::<f32>()?, index.to_vec::<i64>()?), (vec![1.0, 2.0, 3.0], vec![1, 2, 0]));
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The axis is out of range.
    #[track_caller]
    pub fn sort(&self, axis: isize, descending: bool) -> Result<(Tensor, Tensor)> {
        let index = positions("sort", self, axis_of("sort", axis, self.rank())?, descending)?;
        Ok((self.gather(axis, &index)?, index))
    }

    /// The `k` largest (or smallest) elements along an axis in order, and their positions (i64). Of equal elements the first
    /// are taken; NaN counts as largest.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let (values, index) = Tensor::new([3f32, 1.0, 2.0])?.topk(2, -1, true)?;
    /// assert_eq!((values.to_vec::<f32>()?, index.to_vec::<i64>()?), (vec![3.0, 2.0], vec![0, 2]));
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The axis is out of range, or `k` is larger than it.
    #[track_caller]
    pub fn topk(&self, k: usize, axis: isize, largest: bool) -> Result<(Tensor, Tensor)> {
        let at = axis_of("topk", axis, self.rank())?;
        let size = self.dims().get(at).copied().unwrap_or(1);
        if k > size {
            return Err(Error::argument(
                "topk",
                format!("k is {k} and dimension {at} has size {size}; k must not be larger"),
            ));
        }
        let index = positions("topk", self, at, largest)?;
        let index = if self.rank() == 0 { index } else { index.sliced(at, 0, k, 1).contiguous()? };
        Ok((self.gather(axis, &index)?, index))
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[
    OpSpec {
        name: "sort",
        samples: || {
            let values = |label, x: Tensor, axis: isize, descending: bool| {
                Sample::new(label, vec![x], move |x: &[Tensor]| Ok(x[0].sort(axis, descending)?.0))
            };
            let index = |label, x: Tensor, axis: isize, descending: bool| {
                Sample::new(label, vec![x], move |x: &[Tensor]| Ok(x[0].sort(axis, descending)?.1)).order(0)
            };
            vec![
                values("last", numbers([3, 5], 1), -1, false),
                values("first, descending", numbers([4, 2], 2), 0, true),
                values("scalar", numbers((), 3), 0, false),
                values("empty", numbers([0, 3], 4), 0, false),
                index("positions", numbers([2, 4, 3], 5), 1, false),
                index("tied", indices([30], 4, 6), 0, false),
                index("tied, descending", indices([3, 9], 3, 7), 1, true),
            ]
        },
    },
    OpSpec {
        name: "topk",
        samples: || {
            let values = |label, x: Tensor, k: usize, axis: isize, largest: bool| {
                Sample::new(label, vec![x], move |x: &[Tensor]| Ok(x[0].topk(k, axis, largest)?.0))
            };
            vec![
                values("last", numbers([3, 5], 1), 2, -1, true),
                values("smallest", numbers([5, 3], 2), 3, 0, false),
                values("none", numbers([2, 3], 3), 0, 1, true),
                values("scalar", numbers((), 4), 1, 0, true),
                Sample::new("tied positions", vec![indices([3, 9], 3, 7)], |x| Ok(x[0].topk(4, 1, true)?.1)).order(0),
            ]
        },
    },
];

#[cfg(test)]
mod tests {
    use super::ranked;
    use crate::dtype::Element;

    fn check<T: Element>(x: &[T], rising: &[i64], falling: &[i64]) {
        for (descending, want) in [(false, rising), (true, falling)] {
            let mut y = vec![0; x.len()];
            ranked(x, (1, x.len(), 1), descending, &mut y);
            assert_eq!(y, want, "{x:?}");
        }
    }

    #[test]
    fn every_type_is_ordered_and_equal_elements_stay() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        let x = [nan, -0.0, 0.0, -inf, -nan, 5e-324, -1.0, inf];
        check(&x, &[3, 6, 1, 2, 5, 7, 0, 4], &[0, 4, 7, 5, 1, 2, 6, 3]);
        check(&[2f32, -3.0, 1.5, -3.5, -0.0, 0.0], &[3, 1, 4, 5, 2, 0], &[0, 2, 4, 5, 1, 3]);
        // Neighbours that a double does not tell apart.
        check(&[i64::MAX, i64::MIN, i64::MAX - 1, -1, 0, 0], &[1, 3, 4, 5, 2, 0], &[0, 2, 4, 5, 3, 1]);
        check(&[3u8, 255, 0, 3], &[2, 0, 3, 1], &[1, 0, 3, 2]);
        check(&[true, false, true], &[1, 0, 2], &[0, 2, 1]);
    }
}
