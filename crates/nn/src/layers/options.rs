//! Checks that the options of several layers share.

use tensor::{Error, PadMode, Pair, Result, Tensor};

pub(super) fn at_least_one(op: &'static str, options: &[(&str, Pair)]) -> Result<()> {
    options.iter().try_for_each(|(name, pair)| pair.at_least_one(op, name))
}

pub(super) fn sizes(op: &'static str, options: &[(&str, usize)]) -> Result<()> {
    match options.iter().find(|&&(_, size)| size == 0) {
        Some((name, _)) => Err(Error::argument(op, format!("{name} is 0; it must be at least 1"))),
        None => Ok(()),
    }
}

/// Every window must see more than padding: PyTorch's rule for pooling.
pub(super) fn half_of_window(op: &'static str, kernel_size: Pair, dilation: Pair, padding: Pair) -> Result<()> {
    for (kernel, dilation, pad) in [(kernel_size.h, dilation.h, padding.h), (kernel_size.w, dilation.w, padding.w)] {
        let extent = kernel.saturating_sub(1).saturating_mul(dilation).saturating_add(1);
        if pad > extent / 2 {
            let message = format!(
                "padding {pad} is more than half of the window ({extent}), some windows would see only padding; at most {} is possible",
                extent / 2
            );
            return Err(Error::argument(op, message));
        }
    }
    Ok(())
}

/// Channels must fall into equal groups.
pub(super) fn divisible(op: &'static str, name: &str, channels: usize, groups: usize) -> Result<()> {
    if groups == 0 {
        return Err(Error::argument(op, "groups is 0; use 1 for an ordinary convolution"));
    }
    if !channels.is_multiple_of(groups) {
        let divisors: Vec<String> =
            (1..=channels.min(4096)).filter(|&d| channels.is_multiple_of(d)).map(|d| d.to_string()).collect();
        let message =
            format!("{name} {channels} is not divisible by groups {groups}; the divisors are {}", divisors.join(", "));
        return Err(Error::argument(op, message));
    }
    Ok(())
}

/// A small number that is added before dividing.
pub(super) fn epsilon(op: &'static str, eps: f64) -> Result<()> {
    if eps.is_nan() || eps < 0.0 {
        return Err(Error::argument(op, format!("eps is {eps}; it must be at least 0")));
    }
    Ok(())
}

/// A share of elements to drop.
pub(super) fn probability(op: &'static str, p: f64) -> Result<()> {
    if (0.0..=1.0).contains(&p) {
        return Ok(());
    }
    Err(Error::argument(op, format!("p is {p}; a probability must be from 0 to 1")))
}

/// The channels of an image `[N, C, H, W]` or `[C, H, W]`, for layers that take their size from it.
pub(super) fn channels(op: &'static str, x: &Tensor) -> Result<usize> {
    match *x.dims() {
        [_, channels, _, _] | [channels, _, _] if channels > 0 => Ok(channels),
        _ => {
            let message = format!(
                "input has shape {:?}; expected [N, C, H, W] or [C, H, W] with channels, a lazy layer takes its size from it",
                x.shape()
            );
            Err(Error::shape(op, message))
        }
    }
}

/// The margins of an image: a number for all sides, or `(left, right, top, bottom)`.
///
/// ```
/// use gabor_nn::Margins;
/// assert_eq!(Margins::from(2), Margins::from((2, 2, 2, 2)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Margins {
    /// As `pad` takes them.
    sides: [isize; 4],
}

impl From<isize> for Margins {
    fn from(side: isize) -> Self {
        Margins { sides: [side; 4] }
    }
}

impl From<(isize, isize, isize, isize)> for Margins {
    fn from((left, right, top, bottom): (isize, isize, isize, isize)) -> Self {
        Margins { sides: [left, right, top, bottom] }
    }
}

impl From<[isize; 4]> for Margins {
    fn from(sides: [isize; 4]) -> Self {
        Margins { sides }
    }
}

impl Margins {
    #[track_caller]
    pub(super) fn add_to(&self, op: &'static str, x: &Tensor, mode: PadMode) -> Result<Tensor> {
        if !(3..=4).contains(&x.rank()) {
            let message = format!("input has shape {:?}; expected [N, C, H, W] or [C, H, W]", x.shape());
            return Err(Error::shape(op, message));
        }
        x.pad(&self.sides, mode)
    }
}
