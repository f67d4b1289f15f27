//! Standardising channels: what batch, layer and group normalisation share.
//!
//! The statistics are computed in one pass over memory and the result in another; backward takes two passes as well. For a
//! second derivative the rule is written in tensor operators, with the statistics as part of the graph.

use kernels::norm::{self, Channels, Standard};

use crate::dtype::{Element, Float, dispatch};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tape::{Cx, Grads, Rule, Tensor, grad_enabled, record};
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, numbers};
use crate::value::Value;

impl Tensor {
    /// `(x - mean) / sqrt(var + eps) * weight + bias` for each channel of `[N, C, ...]`, where mean and variance are those of
    /// the channel itself. Also gives the mean and the variance (divided by the number of elements), both `[C]` and outside of
    /// the graph.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([[1f64, 5.0], [3.0, 5.0]])?;
    /// let (y, mean, var) = x.standardize(None, None, 1e-5)?;
    /// assert!((y.to_vec::<f64>()?[0] + 1.0).abs() < 1e-4);
    /// assert_eq!((mean.to_vec::<f64>()?, var.to_vec::<f64>()?), (vec![2.0, 5.0], vec![1.0, 0.0]));
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The rank is below 2, weight or bias is not `[C]`, or the dtypes differ or are not floating point.
    #[track_caller]
    pub fn standardize(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        self.standardize_then(weight, bias, eps, false)
    }

    /// [`standardize`](Self::standardize), then [`relu`](Self::relu), in the same passes over memory.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let (y, _, _) = Tensor::new([[1f64], [3.0]])?.standardize_relu(None, None, 0.0)?;
    /// assert_eq!(y.to_vec::<f64>()?, [0.0, 1.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As of `standardize`.
    #[track_caller]
    pub fn standardize_relu(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        self.standardize_then(weight, bias, eps, true)
    }

    #[track_caller]
    fn standardize_then(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
        relu: bool,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let op = if relu { "standardize_relu" } else { "standardize" };
        let extent = extent(op, self, &[("weight", weight), ("bias", bias)])?;
        let x = self.value.contiguous()?;
        let mut statistics = vec![0.0; 2 * extent.channels];
        let value = dispatch!(float op, self.dtype(), T => {
            let (weight, bias) = (coefficients::<T>(weight)?, coefficients::<T>(bias)?);
            let how = Standard { extent, eps, weight: weight.as_deref(), bias: bias.as_deref(), relu };
            Value::build(op, self.shape(), |y: &mut [T]| norm::standardize(x.slice(), &how, &mut statistics, y))?
        });
        let [mean, var] = [0, 1].map(|k| statistics.iter().skip(k).step_by(2).copied().collect::<Vec<f64>>());
        let outside = |values: Vec<f64>| Tensor::from_vec(values, extent.channels)?.to_dtype(self.dtype());
        let inputs: Vec<&Tensor> = std::iter::once(self).chain(weight).chain(bias).collect();
        let rule =
            || Standardize { x: self.clone(), weight: weight.cloned(), bias: bias.cloned(), eps, relu, statistics };
        Ok((record(value, &inputs, rule)?, outside(mean)?, outside(var)?))
    }

    /// `x * scale[c] + shift[c]` for each channel of `[N, C, ...]`, in one pass.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([[1f32, 1.0], [2.0, 2.0]])?;
    /// let y = x.channel_affine(&Tensor::new([10f32, 20.0])?, &Tensor::new([0f32, 1.0])?)?;
    /// assert_eq!(y.to_vec::<f32>()?, [10.0, 21.0, 20.0, 41.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The rank is below 2, scale or shift is not `[C]`, or the dtypes differ or are not floating point.
    #[track_caller]
    pub fn channel_affine(&self, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
        let op = "channel_affine";
        let extent = extent(op, self, &[("scale", Some(scale)), ("shift", Some(shift))])?;
        let x = self.value.contiguous()?;
        let value = dispatch!(float op, self.dtype(), T => {
            let pairs = scale.to_vec::<T>()?.into_iter().zip(shift.to_vec::<T>()?);
            let lines: Vec<[T; 3]> = pairs.map(|(scale, shift)| [T::default(), scale, shift]).collect();
            Value::build(op, self.shape(), |y: &mut [T]| norm::affine(x.slice(), &lines, extent, y))?
        });
        record(value, &[self, scale, shift], || ChannelAffine { x: self.clone(), scale: scale.clone() })
    }
}

/// The extent of `[N, C, ...]`, if the coefficients are `[C]` of its dtype.
fn extent(op: &'static str, x: &Tensor, coefficients: &[(&str, Option<&Tensor>)]) -> Result<Channels> {
    let &[outer, channels, ref rest @ ..] = x.dims() else {
        return Err(Error::shape(op, format!("input has shape {:?}; expected [N, C, ...]", x.shape())));
    };
    for &(name, tensor) in coefficients {
        let Some(tensor) = tensor else { continue };
        if tensor.dims() != [channels] {
            let message = format!(
                "{name} has shape {:?} and the input {:?} has {channels} channels; expected [{channels}]",
                tensor.shape(),
                x.shape()
            );
            return Err(Error::shape(op, message));
        }
        if tensor.dtype() != x.dtype() {
            return Err(Error::DTypes { op, lhs: x.dtype(), rhs: tensor.dtype() });
        }
    }
    Ok(Channels { outer, channels, inner: rest.iter().product() })
}

/// The elements of optional coefficients.
fn coefficients<T: Element>(tensor: Option<&Tensor>) -> Result<Option<Vec<T>>> {
    tensor.map(Tensor::to_vec::<T>).transpose()
}

/// All axes but that of the channels.
fn others(rank: usize) -> Vec<isize> {
    (0..rank as isize).filter(|&axis| axis != 1).collect()
}

/// `[C]` in the shape `[1, C, 1, ...]`.
#[track_caller]
fn beside(coefficients: &Tensor, rank: usize) -> Result<Tensor> {
    let mut shape = vec![1; rank];
    shape[1] = coefficients.numel();
    coefficients.reshape(Shape::from(shape))
}

#[derive(Debug)]
struct Standardize {
    x: Tensor,
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    eps: f64,
    /// Whether ReLU follows.
    relu: bool,
    /// Mean and variance of each channel in turn.
    statistics: Vec<f64>,
}

impl Standardize {
    /// The gradients of `x`, weight and bias in two passes.
    fn passes<T: Element + Float>(&self, g: Value, extent: Channels) -> Result<[Value; 3]> {
        let (x, mut g) = (self.x.value.contiguous()?, g.into_contiguous()?);
        let (weight, bias) = (coefficients::<T>(self.weight.as_ref())?, coefficients::<T>(self.bias.as_ref())?);
        let (weight, bias) = (weight.as_deref(), bias.as_deref());
        let how = Standard { extent, eps: self.eps, weight, bias, relu: self.relu };
        let mut sums = vec![0.0; 2 * extent.channels];
        // In the memory of g if nobody else sees it.
        let gx = if let Some(y) = g.unique::<T>() {
            norm::standardize_gradient(None, x.slice(), &how, &self.statistics, &mut sums, y);
            g
        } else {
            Value::build("standardize", self.x.shape(), |y: &mut [T]| {
                norm::standardize_gradient(Some(g.slice()), x.slice(), &how, &self.statistics, &mut sums, y);
            })?
        };
        let inverse = |c: usize| 1.0 / (self.statistics[2 * c + 1] + self.eps).sqrt();
        let each = |f: &dyn Fn(usize) -> f64| {
            Value::build("standardize", &Shape::from(extent.channels), |y: &mut [T]| {
                y.iter_mut().enumerate().for_each(|(c, y)| *y = T::of_f64(f(c)));
            })
        };
        Ok([gx, each(&|c| sums[2 * c + 1] * inverse(c))?, each(&|c| sums[2 * c])?])
    }

    /// The part of `g` that passes ReLU, if it follows: its result is computed again.
    #[track_caller]
    fn passed(&self, standard: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        if !self.relu {
            return Ok(None);
        }
        let rank = self.x.rank();
        let scaled = |w: &Tensor| standard.mul(&beside(w, rank)?);
        let y = self.weight.as_ref().map_or_else(|| Ok(standard.clone()), scaled)?;
        let y = self.bias.as_ref().map_or_else(|| Ok(y.clone()), |b| y.add(&beside(b, rank)?))?;
        // A threshold has no slope: what passes is the same for a second derivative.
        y.detach().le_scalar(0.0)?.where_cond(&g.zeros_like()?, g).map(Some)
    }

    /// The same gradients as part of the graph.
    #[track_caller]
    fn recorded(&self, g: &Tensor, extent: Channels) -> Result<[Tensor; 3]> {
        let (x, over) = (&self.x, others(self.x.rank()));
        let n = (extent.outer * extent.inner) as f64;
        let centred = x.sub(&x.mean_dim(over.clone(), true)?)?;
        let inverse = centred.square()?.mean_dim(over.clone(), true)?.add_scalar(self.eps)?.rsqrt()?;
        let standard = centred.mul(&inverse)?;
        let passed = self.passed(&standard, g)?;
        let g = passed.as_ref().unwrap_or(g);
        let (sum, along) = (g.sum_dim(over.clone(), true)?, g.mul(&standard)?.sum_dim(over, true)?);
        let scale = match &self.weight {
            Some(weight) => beside(weight, x.rank())?.mul(&inverse)?,
            None => inverse,
        };
        let rest = standard.mul(&along.div_scalar(n)?)?.add(&sum.div_scalar(n)?)?;
        let flat = Shape::from(extent.channels);
        Ok([g.sub(&rest)?.mul(&scale)?, along.reshape(&flat)?, sum.reshape(&flat)?])
    }
}

impl Rule for Standardize {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        self.backward_owned(cx, g.clone())
    }

    fn backward_owned(&self, _: &Cx<'_>, g: Tensor) -> Result<Grads> {
        let extent = extent("standardize", &self.x, &[])?;
        let [gx, gw, gb] = if grad_enabled() {
            self.recorded(&g, extent)?
        } else {
            let op = "standardize";
            dispatch!(float op, g.dtype(), T => self.passes::<T>(g.value, extent)?).map(Tensor::plain)
        };
        let mut grads = Grads::new();
        grads.push(Some(gx));
        grads.extend(self.weight.is_some().then_some(Some(gw)));
        grads.extend(self.bias.is_some().then_some(Some(gb)));
        Ok(grads)
    }
}

#[derive(Debug)]
struct ChannelAffine {
    x: Tensor,
    scale: Tensor,
}
impl Rule for ChannelAffine {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        let over = || others(self.x.rank());
        cx.each([&|| g.mul(&beside(&self.scale, self.x.rank())?), &|| g.mul(&self.x)?.sum_dim(over(), false), &|| {
            g.sum_dim(over(), false)
        }])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[
    OpSpec {
        name: "standardize",
        samples: || {
            let plain = |x: &Tensor| -> Result<Tensor> {
                let over = others(x.rank());
                let centred = x.sub(&x.mean_dim(over.clone(), true)?)?;
                centred.div(&x.var_dim(over, 0.0, true)?.add_scalar(0.1)?.sqrt()?)
            };
            let bare = |label, shape: &[usize]| {
                let x = numbers(shape, 1);
                Sample::new(label, vec![x], |x| Ok(x[0].standardize(None, None, 0.1)?.0)).oracle(move |x| plain(&x[0]))
            };
            let affine = |label, shape: &[usize]| {
                let inputs = vec![numbers(shape, 2), numbers([shape[1]], 3), numbers([shape[1]], 4)];
                Sample::new(label, inputs, |x| Ok(x[0].standardize(Some(&x[1]), Some(&x[2]), 0.1)?.0)).oracle(
                    move |x| {
                        let rank = x[0].rank();
                        plain(&x[0])?.mul(&beside(&x[1], rank)?)?.add(&beside(&x[2], rank)?)
                    },
                )
            };
            let only = Sample::new("bias only", vec![numbers([3, 2, 2], 5), numbers([2], 6)], |x| {
                Ok(x[0].standardize(None, Some(&x[1]), 0.1)?.0)
            })
            .oracle(move |x| plain(&x[0])?.add(&beside(&x[1], 3)?));
            let images = [affine("images", &[2, 3, 2, 3]), affine("features", &[4, 3]), bare("rows", &[1, 3, 5])];
            images.into_iter().chain([bare("volumes", &[2, 2, 2, 1, 3]), only]).collect()
        },
    },
    OpSpec {
        name: "standardize_relu",
        samples: || {
            let sample = |label, shape: &[usize], affine: bool| {
                let mut inputs = vec![numbers(shape, 2)];
                inputs.extend([3, 4].into_iter().filter(|_| affine).map(|seed| numbers([shape[1]], seed)));
                Sample::new(label, inputs, |x| Ok(x[0].standardize_relu(x.get(1), x.get(2), 0.1)?.0))
                    .oracle(|x| x[0].standardize(x.get(1), x.get(2), 0.1)?.0.relu())
            };
            vec![
                sample("images", &[2, 3, 2, 3], true),
                sample("features", &[4, 3], true),
                sample("rows", &[1, 3, 5], false),
            ]
        },
    },
    OpSpec {
        name: "channel_affine",
        samples: || {
            let sample = |label, shape: &[usize]| {
                let inputs = vec![numbers(shape, 1), numbers([shape[1]], 2), numbers([shape[1]], 3)];
                Sample::new(label, inputs, |x| x[0].channel_affine(&x[1], &x[2])).oracle(|x| {
                    let rank = x[0].rank();
                    x[0].mul(&beside(&x[1], rank)?)?.add(&beside(&x[2], rank)?)
                })
            };
            vec![sample("images", &[2, 3, 2, 3]), sample("features", &[4, 3]), sample("no samples", &[0, 3, 2])]
        },
    },
];
