//! Hardtanh.

use tensor::{Error, Result, Tensor};

use crate::{Forward, Module};

/// `x` held between `min_val` and `max_val`. PyTorch: `torch.nn.Hardtanh`.
///
/// ```
/// use gabor_nn::{Forward, Hardtanh};
/// use tensor::Tensor;
/// let relu6 = Hardtanh::new(0.0, 6.0);
/// assert_eq!(relu6.forward(&Tensor::new([-1f32, 2.0, 7.0])?)?.to_vec::<f32>()?, [0.0, 2.0, 6.0]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Hardtanh {
    /// The least result; -1 by default.
    pub min_val: f64,
    /// The greatest result; 1 by default.
    pub max_val: f64,
}

impl Hardtanh {
    /// Holds its input between these bounds.
    pub fn new(min_val: f64, max_val: f64) -> Self {
        Hardtanh { min_val, max_val }
    }
}

impl Default for Hardtanh {
    fn default() -> Self {
        Self::new(-1.0, 1.0)
    }
}

impl Module for Hardtanh {}

impl Forward for Hardtanh {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.check()?;
        x.hardtanh(self.min_val, self.max_val)
    }

    fn check(&self) -> Result<()> {
        let increasing = self.min_val < self.max_val;
        if !increasing {
            let message =
                format!("min_val is {} and max_val {}; min_val must be below max_val", self.min_val, self.max_val);
            return Err(Error::argument("hardtanh", message));
        }
        Ok(())
    }
}
