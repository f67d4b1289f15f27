//! GELU.

use tensor::{Gelu, Result, Tensor};

use crate::{Forward, Module};

/// `x * P(normal < x)`. PyTorch: `torch.nn.GELU`.
///
/// The bare value `GELU` computes with the error function; [`GELU::tanh`] approximates.
///
/// ```
/// use gabor_nn::{Forward, GELU};
/// use tensor::Tensor;
/// let x = Tensor::new([0f32])?;
/// assert_eq!(GELU.forward(&x)?.item()?, 0.0);
/// assert_eq!(GELU::tanh().forward(&x)?.item()?, 0.0);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct GELU {
    /// How the normal distribution is computed.
    pub approximate: Gelu,
}

/// [`struct@GELU`] with the error function.
#[allow(non_upper_case_globals, reason = "it stands where a unit struct would")]
pub const GELU: GELU = GELU { approximate: Gelu::None };

impl GELU {
    /// With the approximation by `tanh`.
    pub fn tanh() -> Self {
        GELU { approximate: Gelu::Tanh }
    }
}

impl Module for GELU {}

impl Forward for GELU {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.gelu(self.approximate)
    }

    fn per_image(&self) -> bool {
        true
    }
}
