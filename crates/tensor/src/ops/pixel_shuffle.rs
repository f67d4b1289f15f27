//! Channels as a finer grid and back: reshape and permute only, so that views do the rest.

use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tape::Tensor;

impl Tensor {
    /// `[.., C * r * r, H, W]` as `[.., C, H * r, W * r]`: each pixel becomes a block of `upscale_factor` by
    /// `upscale_factor`, filled row by row from its channels. PyTorch: `F.pixel_shuffle`.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::arange(0i64, 4, 1)?.reshape([4, 1, 1])?;
    /// let y = x.pixel_shuffle(2)?;
    /// assert_eq!((y.dims(), y.to_vec::<i64>()?), (&[1, 2, 2][..], vec![0, 1, 2, 3]));
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// There are fewer than 3 dimensions, the factor is 0, or the channels are no multiple of its square.
    #[track_caller]
    pub fn pixel_shuffle(&self, upscale_factor: usize) -> Result<Tensor> {
        let (op, r) = ("pixel_shuffle", upscale_factor);
        let (lead, [channels, h, w]) = planes(op, self, "upscale_factor", r)?;
        let square = r.checked_mul(r).filter(|&square| channels % square == 0);
        let Some(square) = square else {
            let message = format!("{channels} channels of input {:?} are no multiple of {r} * {r}", self.shape());
            return Err(Error::shape(op, message));
        };
        let finer =
            |size: usize| size.checked_mul(r).ok_or_else(|| Error::TooLarge { op, shape: self.shape().to_vec() });
        let (high, wide) = (finer(h)?, finer(w)?);
        let blocks = self.reshape(with(&lead, &[channels / square, r, r, h, w]))?;
        blocks.permute(order(lead.len(), &[0, 3, 1, 4, 2]))?.reshape(with(&lead, &[channels / square, high, wide]))
    }

    /// `[.., C, H * r, W * r]` as `[.., C * r * r, H, W]`, the inverse of [`pixel_shuffle`](Self::pixel_shuffle).
    /// PyTorch: `F.pixel_unshuffle`.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// assert_eq!(Tensor::zeros([1, 3, 8, 6])?.pixel_unshuffle(2)?.shape(), &[1, 12, 4, 3]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// There are fewer than 3 dimensions, the factor is 0, or it does not divide the height or the width.
    #[track_caller]
    pub fn pixel_unshuffle(&self, downscale_factor: usize) -> Result<Tensor> {
        let (op, r) = ("pixel_unshuffle", downscale_factor);
        let (lead, [channels, h, w]) = planes(op, self, "downscale_factor", r)?;
        if h % r != 0 || w % r != 0 {
            let message = format!("height {h} or width {w} of input {:?} is no multiple of {r}", self.shape());
            return Err(Error::shape(op, message));
        }
        // Beside an empty side the factor may be of any size.
        let more = r.checked_mul(r).and_then(|square| channels.checked_mul(square));
        let more = more.ok_or_else(|| Error::TooLarge { op, shape: self.shape().to_vec() })?;
        let blocks = self.reshape(with(&lead, &[channels, h / r, r, w / r, r]))?;
        blocks.permute(order(lead.len(), &[0, 2, 4, 1, 3]))?.reshape(with(&lead, &[more, h / r, w / r]))
    }
}

/// The leading sizes, and channels, height and width.
fn planes(op: &'static str, x: &Tensor, name: &str, factor: usize) -> Result<(Vec<usize>, [usize; 3])> {
    let Some((lead, &sizes)) = x.dims().split_last_chunk::<3>() else {
        return Err(Error::shape(op, format!("input has shape {:?}; expected at least [C, H, W]", x.shape())));
    };
    if factor == 0 {
        return Err(Error::argument(op, format!("{name} is 0; it must be at least 1")));
    }
    Ok((lead.to_vec(), sizes))
}

fn with(lead: &[usize], sizes: &[usize]) -> Shape {
    Shape::from([lead, sizes].concat())
}

/// Leaves the leading axes where they are.
fn order(lead: usize, axes: &[usize]) -> Vec<isize> {
    (0..lead).chain(axes.iter().map(|axis| lead + axis)).map(|axis| axis as isize).collect()
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[crate::testing::OpSpec] = &[
    crate::testing::OpSpec {
        name: "pixel_shuffle",
        samples: || cases(|x, r| x.pixel_shuffle(r), |x, r| plain(x, r, true)),
    },
    crate::testing::OpSpec {
        name: "pixel_unshuffle",
        samples: || cases(|x, r| x.pixel_unshuffle(r), |x, r| plain(x, r, false)),
    },
];

#[cfg(any(test, feature = "testing"))]
type Shuffle = fn(&Tensor, usize) -> Result<Tensor>;

#[cfg(any(test, feature = "testing"))]
fn cases(run: Shuffle, oracle: Shuffle) -> Vec<crate::testing::Sample> {
    use crate::testing::{Sample, indices, numbers};
    let case = |label, x: Tensor, r: usize| {
        Sample::new(label, vec![x], move |t: &[Tensor]| run(&t[0], r)).oracle(move |t| oracle(&t[0], r))
    };
    vec![
        case("batch", numbers([2, 8, 2, 4], 1), 2),
        case("one image", numbers([9, 3, 3], 2), 3),
        case("more dimensions", numbers([2, 1, 4, 2, 2], 3), 2),
        case("factor 1", numbers([2, 3, 2], 4), 1),
        case("empty batch", numbers([0, 4, 2, 2], 5), 2),
        case("integers", indices([4, 2, 2], 9, 6), 2).order(0),
    ]
}

/// Element by element, from what each position means.
#[cfg(any(test, feature = "testing"))]
fn plain(x: &Tensor, r: usize, finer: bool) -> Result<Tensor> {
    let (lead, [c, h, w]) = planes("pixel_shuffle", x, "factor", r)?;
    let (cs, hs, ws) = if finer { (c / (r * r), h * r, w * r) } else { (c * r * r, h / r, w / r) };
    let n: usize = lead.iter().product();
    let mut places = Vec::new();
    for (b, k) in (0..n).flat_map(|b| (0..cs).map(move |k| (b, k))) {
        for (i, j) in (0..hs).flat_map(|i| (0..ws).map(move |j| (i, j))) {
            let (k, i, j) = if finer {
                (k * r * r + (i % r) * r + j % r, i / r, j / r)
            } else {
                (k / (r * r), i * r + k / r % r, j * r + k % r)
            };
            places.push((((b * c + k) * h + i) * w + j) as i64);
        }
    }
    let index = Tensor::from_vec(places, n * cs * hs * ws)?;
    x.flatten(0, -1)?.index_select(0, &index)?.reshape(with(&lead, &[cs, hs, ws]))
}
