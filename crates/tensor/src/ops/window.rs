//! What convolution and pooling share: the arithmetic of windows, and the arguments that describe them.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::shape::Pair;
use crate::tape::Tensor;

/// Padding of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// So many zeros on both sides.
    Size(Pair),
    /// As many zeros as keep the size; the odd one goes to the end. Needs stride 1.
    Same,
    /// None.
    Valid,
}

impl<P: Into<Pair>> From<P> for Padding {
    fn from(size: P) -> Self {
        Padding::Size(size.into())
    }
}

impl Default for Padding {
    fn default() -> Self {
        Padding::from(0)
    }
}

/// One axis of a sliding window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) size: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) before: usize,
    pub(super) after: usize,
    pub(super) dilation: usize,
}

impl Window {
    /// From the first to the last element that the kernel touches; `None` on overflow.
    pub(super) fn extent(&self) -> Option<usize> {
        self.kernel.checked_sub(1)?.checked_mul(self.dilation)?.checked_add(1)
    }

    pub(super) fn padded(&self) -> Option<usize> {
        self.size.checked_add(self.before)?.checked_add(self.after)
    }

    /// The same windows without what no place can reach, such as steps far beyond the input, over which a kernel might loop.
    pub(super) fn trimmed(self) -> Window {
        let padded = self.padded().unwrap_or(usize::MAX).max(1);
        let kernel = self.kernel.min((padded - 1) / self.dilation + 1);
        let dilation = if kernel == 1 { 1 } else { self.dilation };
        Window { kernel, dilation, stride: self.stride.min(padded), ..self }
    }

    /// The number of places for the window: `(size + padding - dilation * (kernel - 1) - 1) / stride + 1`.
    /// `None` if there is none or a number overflows.
    pub(super) fn places(&self, ceil: bool) -> Option<usize> {
        let (padded, extent) = (self.padded()?, self.extent()?);
        let steps = match padded.checked_sub(extent) {
            // The usual step, without the time that a division takes.
            Some(room) if self.stride == 1 => room,
            Some(room) if ceil => room.div_ceil(self.stride),
            Some(room) => room / self.stride,
            // In ceil mode even the only window may reach over the end, by less than a step.
            None if ceil && extent - padded < self.stride => 0,
            None => return None,
        };
        let places = steps.checked_add(1)?;
        // In ceil mode the last window must still start inside of the input or its left padding.
        let starts_outside = ceil && steps.checked_mul(self.stride)? >= self.size.checked_add(self.before)?;
        Some(if starts_outside { places - 1 } else { places })
    }
}

/// The input as a batch `[N, C, H, W]`, and whether it was a single `[C, H, W]`.
#[track_caller]
pub(super) fn batched<'a>(op: &'static str, x: &'a Tensor) -> Result<(Cow<'a, Tensor>, bool)> {
    match x.rank() {
        4 => Ok((Cow::Borrowed(x), false)),
        3 => Ok((Cow::Owned(x.unsqueeze(0)?), true)),
        rank => {
            let fix = match *x.dims() {
                [h, w] => format!("; for one grey image use reshape([1, 1, {h}, {w}])"),
                _ => String::new(),
            };
            let message = format!(
                "input has shape {:?} ({rank} dimension{}), expected [N, C, H, W] or [C, H, W]{fix}",
                x.shape(),
                if rank == 1 { "" } else { "s" }
            );
            Err(Error::shape(op, message))
        }
    }
}

/// Takes the batch dimension away again.
#[track_caller]
pub(super) fn unbatched(y: Tensor, single: bool) -> Result<Tensor> {
    if single { y.squeeze(0) } else { Ok(y) }
}

/// `1 channel`, `6 channels`.
pub(super) fn channels(n: usize) -> String {
    format!("{n} channel{}", if n == 1 { "" } else { "s" })
}

/// Refuses zeros in an argument that must be at least 1.
#[inline]
pub(super) fn at_least_one(op: &'static str, name: &str, pair: Pair) -> Result<()> {
    pair.at_least_one(op, name)
}
