//! Changing the dtype.

use crate::dtype::{DType, dispatch};
use crate::error::Result;
use crate::tape::{Cx, Grads, Rule, Tensor, record};
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, indices, numbers};

impl Tensor {
    /// The same numbers as another dtype: integers truncate and saturate, bool is `!= 0`.
    ///
    /// ```
    /// use gabor_tensor::{DType, Tensor};
    /// assert_eq!(Tensor::new([1.9f32, -1.9])?.to_dtype(DType::I64)?.to_vec::<i64>()?, [1, -1]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The result does not fit in memory.
    #[track_caller]
    pub fn to_dtype(&self, dtype: DType) -> Result<Tensor> {
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        let value = dispatch!(dtype, T => self.value.cast::<T>()?);
        record(value, &[self], || Cast { from: self.dtype() })
    }
}

#[derive(Debug)]
struct Cast {
    from: DType,
}
impl Rule for Cast {
    fn name(&self) -> String {
        "to_dtype".into()
    }

    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.to_dtype(self.from)])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[OpSpec {
    name: "to_dtype",
    samples: || {
        let sample = |label, x: Tensor, dtype: DType| {
            Sample::new(label, vec![x], move |x: &[Tensor]| x[0].to_dtype(dtype)).order(0)
        };
        vec![
            sample("to f32", numbers([3, 4], 1), DType::F32),
            sample("truncated", numbers([67], 2), DType::I64),
            sample("saturated", numbers([5], 3), DType::U8),
            sample("truth", indices([2, 3], 2, 4), DType::Bool),
            sample("scalar", indices((), 9, 5), DType::F64),
            sample("empty", numbers([0, 2], 6), DType::I64),
        ]
    },
}];
