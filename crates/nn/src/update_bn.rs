//! New running statistics for batch normalisation, for weights that were averaged or set.

use tensor::{Result, Tensor, no_grad};

use crate::layers::{BatchNorm1d, BatchNorm2d};
use crate::module::Forward;
use crate::training::Training;

/// Computes the running statistics of all batch normalisation inside of `module` anew: their averages over `batches`.
/// PyTorch: `torch.optim.swa_utils.update_bn`.
///
/// The statistics belong to the weights; when the weights are an average of many (stochastic weight averaging), nobody has seen
/// their statistics yet. All else is as it was: switches, momenta, parameters. Nothing happens without batch normalisation.
///
/// ```
/// use gabor_nn::{BatchNorm1d, update_bn};
/// use tensor::Tensor;
/// let net = BatchNorm1d::new(1).build()?;
/// let batches = [Tensor::new([[0f32], [2.0]])?, Tensor::new([[4f32], [6.0]])?];
/// update_bn(batches.into_iter().map(Ok), &net)?;
/// assert_eq!(net.running_mean.as_ref().unwrap().tensor().item()?, 3.0);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// # Errors
/// That of a batch, or of the module for it. The statistics are then those of the batches before.
pub fn update_bn<M: Forward>(batches: impl IntoIterator<Item = Result<Tensor>>, module: &M) -> Result<()> {
    let modules = module.modules();
    let mut before = Before(Vec::new());
    for module in &modules {
        if let Some(norm) = module.downcast_ref::<BatchNorm1d>() {
            norm.reset_running_stats()?;
            before.0.push((Norm::Features(norm), norm.set_cumulative(true)));
        } else if let Some(norm) = module.downcast_ref::<BatchNorm2d>() {
            norm.reset_running_stats()?;
            before.0.push((Norm::Images(norm), norm.set_cumulative(true)));
        }
    }
    if before.0.is_empty() {
        return Ok(());
    }
    let _switches = Training::all(module, true);
    batches.into_iter().try_for_each(|batch| no_grad(|| module.forward(&batch?)).map(drop))
}

enum Norm<'a> {
    Features(&'a BatchNorm1d),
    Images(&'a BatchNorm2d),
}

/// Sets what was set for the time of the update back when this is dropped.
struct Before<'a>(Vec<(Norm<'a>, bool)>);

impl Drop for Before<'_> {
    fn drop(&mut self) {
        for (norm, cumulative) in &self.0 {
            match norm {
                Norm::Features(norm) => norm.set_cumulative(*cumulative),
                Norm::Images(norm) => norm.set_cumulative(*cumulative),
            };
        }
    }
}
