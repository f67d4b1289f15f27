//! Warnings of losses: what they were given is allowed and probably not what they take.

use std::sync::atomic::{AtomicU32, Ordering};

use tensor::{DType, Lint, Result, Tensor, is_anomaly_enabled, is_untold, unrecorded, warn_once};

/// The first calls, and then ever fewer: looking costs a pass over the input.
fn is_sampled() -> bool {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let calls = CALLS.fetch_add(1, Ordering::Relaxed);
    calls < 4 || calls.is_power_of_two()
}

/// Warns where `input` holds probabilities: none is negative, and along `axis` they sum to 1.
pub(super) fn probabilities(lint: Lint, op: &str, input: &Tensor, axis: usize) -> Result<()> {
    // In anomaly mode the loss itself shall be what a NaN is blamed on.
    if !is_untold(lint) || !is_sampled() || is_anomaly_enabled() {
        return Ok(());
    }
    let input = input.detach();
    if input.numel() == 0 || input.dims()[axis] < 2 {
        return Ok(());
    }
    let from_one = || input.sum_dim(axis as isize, false)?.sub_scalar(1.0)?.abs()?.max()?.item();
    if unrecorded(|| Ok(input.min()?.item()? >= 0.0 && from_one()? < 1e-4))? {
        warn_once(lint, || {
            let shape = input.shape();
            let (what, fix) = match lint {
                Lint::SoftmaxTwice => ("logits", "leave out the softmax, cross_entropy contains it"),
                _ => ("logarithms", "use log_softmax instead of softmax, or cross_entropy on raw scores"),
            };
            format!("{op}: the {what} {shape:?} look like probabilities, each sample sums to 1; {fix}")
        });
    }
    Ok(())
}

/// Warns where every target, of type i64, is left out.
pub(super) fn no_targets(op: &str, targets: &Tensor, ignore_index: i64) -> Result<()> {
    debug_assert_eq!(targets.dtype(), DType::I64);
    if is_untold(Lint::NothingCounted) && targets.with_slice(|t: &[i64]| t.iter().all(|&t| t == ignore_index))? {
        warn_once(Lint::NothingCounted, || {
            let count = targets.numel();
            format!(
                "{op}: all {count} targets are {ignore_index} and left out, the mean of nothing is NaN; check the labels"
            )
        });
    }
    Ok(())
}
