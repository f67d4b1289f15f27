//! Changing the dtype.

use crate::dtype::{DType, dispatch};
use crate::error::Result;
use crate::tape::{Cx, Grads, Rule, Tensor, record};

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
    pub fn to_dtype(&self, dtype: DType) -> Result<Tensor> {
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        let value = dispatch!(dtype, T => self.value.cast::<T>()?);
        Ok(record(value, &[self], || Cast { from: self.dtype() }))
    }
}

#[derive(Debug)]
struct Cast {
    from: DType,
}
impl Rule for Cast {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| g.to_dtype(self.from)])
    }
}
