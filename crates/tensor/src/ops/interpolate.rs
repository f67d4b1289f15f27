//! Resizing of images: nearest, bilinear and bicubic. Each axis is a table of taps, and the adjoint reads it backwards.

use std::sync::Arc;

use super::window::at_least_one;
use crate::dtype::{DType, Element, Float, Number, dispatch};
use crate::error::{Error, Result};
use crate::shape::{Pair, Shape};
use crate::tape::{Cx, Grads, Rule, Tensor, record};
use crate::value::Value;

/// How [`Tensor::interpolate`] makes a pixel out of its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum InterpolateMode {
    /// The pixel that the upper left corner of the new one falls on: `floor(i * scale)`.
    #[default]
    Nearest,
    /// The pixel that the centre of the new one falls on: `floor((i + 0.5) * scale)`.
    NearestExact,
    /// Straight lines between two pixels of each axis.
    Bilinear,
    /// Cubics through four pixels of each axis.
    Bicubic,
    /// The average of the pixels that fall into the new one: adaptive average pooling.
    Area,
}

/// How much larger the output is than the input; a number stands for both axes.
///
/// ```
/// use gabor_tensor::ScaleFactor;
/// assert_eq!(ScaleFactor::from(2.0), ScaleFactor::from((2.0, 2.0)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaleFactor {
    /// Along the height.
    pub h: f64,
    /// Along the width.
    pub w: f64,
}

impl From<f64> for ScaleFactor {
    fn from(factor: f64) -> Self {
        ScaleFactor { h: factor, w: factor }
    }
}

impl From<(f64, f64)> for ScaleFactor {
    fn from((h, w): (f64, f64)) -> Self {
        ScaleFactor { h, w }
    }
}

impl From<[f64; 2]> for ScaleFactor {
    fn from([h, w]: [f64; 2]) -> Self {
        ScaleFactor { h, w }
    }
}

/// The arguments of [`Tensor::interpolate`]: a size or a factor, and the mode.
///
/// ```
/// use gabor_tensor::{InterpolateMode, InterpolateOptions};
/// let options = InterpolateOptions::scale_factor(2.0).mode(InterpolateMode::Bilinear).align_corners(true);
/// assert_eq!(options.size, None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InterpolateOptions {
    /// The size of the output, if it is given.
    pub size: Option<Pair>,
    /// The size of the output by that of the input, if it is given.
    pub scale_factor: Option<ScaleFactor>,
    /// How a pixel is made.
    pub mode: InterpolateMode,
    /// Whether the centres of the corner pixels stay where they are, rather than the corners of the image.
    pub align_corners: Option<bool>,
    /// Whether pixels are as far apart as the whole sizes say, rather than as `scale_factor` says.
    pub recompute_scale_factor: bool,
}

impl InterpolateOptions {
    const DEFAULT: InterpolateOptions = InterpolateOptions {
        size: None,
        scale_factor: None,
        mode: InterpolateMode::Nearest,
        align_corners: None,
        recompute_scale_factor: false,
    };

    /// An output of this size.
    pub fn size(size: impl Into<Pair>) -> Self {
        InterpolateOptions { size: Some(size.into()), ..Self::DEFAULT }
    }

    /// An output so many times as large, rounded down.
    pub fn scale_factor(factor: impl Into<ScaleFactor>) -> Self {
        InterpolateOptions { scale_factor: Some(factor.into()), ..Self::DEFAULT }
    }

    /// Sets how a pixel is made.
    #[must_use]
    pub fn mode(mut self, mode: InterpolateMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets whether the centres of the corner pixels stay where they are; for the bilinear and bicubic modes.
    #[must_use]
    pub fn align_corners(mut self, align_corners: bool) -> Self {
        self.align_corners = Some(align_corners);
        self
    }

    /// Sets whether the factor is computed again from the sizes, which are whole numbers.
    #[must_use]
    pub fn recompute_scale_factor(mut self, recompute: bool) -> Self {
        self.recompute_scale_factor = recompute;
        self
    }
}

impl Tensor {
    /// The images `[N, C, H, W]` in another size. PyTorch: `F.interpolate`.
    ///
    /// As there, a given `scale_factor` also says how far apart the pixels are, unless `recompute_scale_factor` is set.
    ///
    /// ```
    /// use gabor_tensor::{InterpolateMode, InterpolateOptions, Tensor};
    /// let x = Tensor::new([1f32, 3.0])?.reshape([1, 1, 1, 2])?;
    /// let y = x.interpolate(&InterpolateOptions::scale_factor((1.0, 2.0)))?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 1.0, 3.0, 3.0]);
    /// let y = x.interpolate(&InterpolateOptions::size((1, 3)).mode(InterpolateMode::Bilinear).align_corners(true))?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 2.0, 3.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The rank is not 4, a dimension other than the batch is empty, the size of the output is 0 or does not fit in memory,
    /// neither or both of size and factor are given, an option does not belong to the mode, or the dtype is not floating
    /// point (the nearest modes also take u8).
    #[track_caller]
    pub fn interpolate(&self, options: &InterpolateOptions) -> Result<Tensor> {
        use InterpolateMode::{Area, Bicubic, Bilinear, Nearest, NearestExact};
        let op = "interpolate";
        let &[batch, channels, high, wide] = self.dims() else {
            let message =
                format!("input has shape {:?}; expected [N, C, H, W], add a dimension with unsqueeze", self.shape());
            return Err(Error::shape(op, message));
        };
        if let Some(axis) = (1..4).find(|&a| self.dims()[a] == 0) {
            return Err(Error::shape(op, format!("dimension {axis} of input {:?} is empty", self.shape())));
        }
        if options.align_corners.is_some() && !matches!(options.mode, Bilinear | Bicubic) {
            let message = format!("align_corners is given for {:?}; only Bilinear and Bicubic have it", options.mode);
            return Err(Error::argument(op, message));
        }
        let (size, factor) = target(options, high, wide)?;
        at_least_one(op, "the size of the output", size)?;
        if batch == 0 {
            return self.reshape(Shape::from([0, channels, size.h, size.w]));
        }
        let shape = Shape::from([batch, channels, size.h, size.w]);
        shape.checked_numel(op)?;
        if size.h.max(size.w) > 1 << 24 {
            // The tables of positions are as long: refuse what does not fit before they are made.
            return Err(Error::TooLarge { op, shape: shape.to_vec() });
        }
        let factor = factor.filter(|_| !options.recompute_scale_factor);
        let axes = [(high, size.h, factor.map(|f| f.h)), (wide, size.w, factor.map(|f| f.w))];
        if options.mode == Area {
            return self.adaptive_avg_pool2d(size);
        }
        let narrow = self.dtype() != DType::F64;
        let nearest = matches!(options.mode, Nearest | NearestExact);
        let [h, w] = axes.map(|(from, to, factor)| {
            let line = Line { from, to, factor, narrow };
            match options.mode {
                Bilinear => line.linear(options.align_corners == Some(true)),
                Bicubic => line.cubic(options.align_corners == Some(true)),
                mode => line.nearest(if mode == NearestExact { 0.5 } else { 0.0 }),
            }
        });
        if nearest && self.dtype() == DType::U8 {
            let index = |taps: Taps| Tensor::from_vec(taps.at.iter().map(|&i| i as i64).collect(), taps.at.len());
            return self.index_select(2, &index(h)?)?.index_select(3, &index(w)?);
        }
        resample(self, &Arc::new(h), &Arc::new(w))
    }
}

/// The size of the output, and the factor if one was given.
fn target(options: &InterpolateOptions, high: usize, wide: usize) -> Result<(Pair, Option<ScaleFactor>)> {
    let op = "interpolate";
    match (options.size, options.scale_factor) {
        (Some(size), None) if !options.recompute_scale_factor => Ok((size, None)),
        (Some(_), None) => {
            Err(Error::argument(op, "recompute_scale_factor is set beside a size; it needs a scale_factor"))
        }
        (None, Some(factor)) => {
            let scaled = |n: usize, factor: f64| {
                let size = (n as f64 * factor).floor();
                // Beyond 2^53 the product is no size that a tensor could have.
                if factor > 0.0 && (0.0..9e15).contains(&size) {
                    return Ok(size as usize);
                }
                Err(Error::argument(
                    op,
                    format!("scale_factor is {factor} for {n} pixels; it must be positive and finite"),
                ))
            };
            Ok((Pair { h: scaled(high, factor.h)?, w: scaled(wide, factor.w)? }, Some(factor)))
        }
        (Some(_), Some(_)) => Err(Error::argument(op, "size and scale_factor are both given; leave one out")),
        (None, None) => Err(Error::argument(op, "neither size nor scale_factor is given; give one")),
    }
}

/// For each position of an output axis `taps` positions of the input axis and their weights.
#[derive(Debug)]
struct Taps {
    taps: usize,
    from: usize,
    at: Vec<usize>,
    weights: Vec<f64>,
}

impl Taps {
    fn to(&self) -> usize {
        self.at.len() / self.taps
    }

    /// The positions and weights of output position `i`.
    fn of<'a, T>(&'a self, weights: &'a [T], i: usize) -> impl Iterator<Item = (usize, T)> + 'a
    where
        T: Copy,
    {
        let range = i * self.taps..(i + 1) * self.taps;
        self.at[range.clone()].iter().copied().zip(weights[range].iter().copied())
    }
}

/// One axis on its way from one size to the other. PyTorch computes positions in the precision of the elements, which
/// decides where two pixels are equally near.
struct Line {
    from: usize,
    to: usize,
    factor: Option<f64>,
    narrow: bool,
}

impl Line {
    fn rounded(&self, v: f64) -> f64 {
        if self.narrow { f64::from(v as f32) } else { v }
    }

    /// The distance of two output pixels in the input.
    fn step(&self, align_corners: bool) -> f64 {
        self.rounded(match self.factor {
            _ if align_corners && self.to > 1 => (self.from - 1) as f64 / (self.to - 1) as f64,
            _ if align_corners => 0.0,
            Some(factor) => 1.0 / factor,
            None => self.from as f64 / self.to as f64,
        })
    }

    /// Where output pixel `i` lies in the input.
    fn place(&self, i: usize, align_corners: bool) -> f64 {
        let step = self.step(align_corners);
        let i = i as f64;
        if align_corners {
            self.rounded(step * i)
        } else {
            self.rounded(self.rounded(step * self.rounded(i + 0.5)) - 0.5)
        }
    }

    fn nearest(&self, shift: f64) -> Taps {
        let step = self.step(false);
        let at = |i: usize| (f64::from((step * (i as f64 + shift)) as f32).floor() as usize).min(self.from - 1);
        Taps { taps: 1, from: self.from, at: (0..self.to).map(at).collect(), weights: vec![1.0; self.to] }
    }

    fn linear(&self, align_corners: bool) -> Taps {
        let (mut at, mut weights) = (Vec::with_capacity(2 * self.to), Vec::with_capacity(2 * self.to));
        for i in 0..self.to {
            let place = self.place(i, align_corners).max(0.0);
            let first = (place.floor() as usize).min(self.from - 1);
            let second = (first + 1).min(self.from - 1);
            let share = self.rounded(place - first as f64).clamp(0.0, 1.0);
            at.extend([first, second]);
            weights.extend([1.0 - share, share]);
        }
        Taps { taps: 2, from: self.from, at, weights }
    }

    fn cubic(&self, align_corners: bool) -> Taps {
        // The slope of the cubic at distance 1, as PyTorch has it.
        const A: f64 = -0.75;
        let inner = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
        let outer = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
        let (mut at, mut weights) = (Vec::with_capacity(4 * self.to), Vec::with_capacity(4 * self.to));
        for i in 0..self.to {
            let place = self.place(i, align_corners);
            let first = place.floor().min((self.from - 1) as f64);
            let share = self.rounded(place - first).clamp(0.0, 1.0);
            at.extend([-1.0, 0.0, 1.0, 2.0].map(|d| (first + d).clamp(0.0, (self.from - 1) as f64) as usize));
            weights.extend([outer(share + 1.0), inner(share), inner(1.0 - share), outer(2.0 - share)]);
        }
        Taps { taps: 4, from: self.from, at, weights }
    }
}

fn typed<T: Element>(weights: &[f64]) -> Vec<T> {
    weights.iter().map(|&w| <T as Element>::of_f64(w)).collect()
}

/// `y += w * x`.
fn add_scaled<T: Element + Float>(y: &mut [T], w: T, x: &[T]) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = Number::add(*y, Number::mul(w, x)));
}

/// Each output row: the rows above each other first, then the columns of what they give.
fn sampled<T: Element + Float>(x: &[T], h: &Taps, w: &Taps, y: &mut [T]) {
    let (vertical, horizontal) = (typed::<T>(&h.weights), typed::<T>(&w.weights));
    let mut line = vec![T::default(); w.from];
    for (x, y) in x.chunks_exact(h.from * w.from).zip(y.chunks_exact_mut(h.to() * w.to())) {
        for (i, y) in y.chunks_exact_mut(w.to()).enumerate() {
            line.fill(T::default());
            for (row, share) in h.of(&vertical, i) {
                add_scaled(&mut line, share, &x[row * w.from..(row + 1) * w.from]);
            }
            for (j, y) in y.iter_mut().enumerate() {
                *y = w.of(&horizontal, j).fold(T::default(), |sum, (c, s)| Number::add(sum, Number::mul(s, line[c])));
            }
        }
    }
}

/// The adjoint of [`sampled`]: each element of `y` goes back to where it was taken from.
fn scattered<T: Element + Float>(y: &[T], h: &Taps, w: &Taps, x: &mut [T]) {
    let (vertical, horizontal) = (typed::<T>(&h.weights), typed::<T>(&w.weights));
    let mut line = vec![T::default(); w.from];
    x.fill(T::default());
    for (x, y) in x.chunks_exact_mut(h.from * w.from).zip(y.chunks_exact(h.to() * w.to())) {
        for (i, y) in y.chunks_exact(w.to()).enumerate() {
            line.fill(T::default());
            for (j, &y) in y.iter().enumerate() {
                w.of(&horizontal, j).for_each(|(c, s)| line[c] = Number::add(line[c], Number::mul(s, y)));
            }
            for (row, share) in h.of(&vertical, i) {
                add_scaled(&mut x[row * w.from..(row + 1) * w.from], share, &line);
            }
        }
    }
}

#[track_caller]
fn resample(x: &Tensor, h: &Arc<Taps>, w: &Arc<Taps>) -> Result<Tensor> {
    let source = x.value.contiguous()?;
    let shape = Shape::from([x.dims()[0], x.dims()[1], h.to(), w.to()]);
    let value = dispatch!(float "interpolate", x.dtype(), T => {
        Value::build("interpolate", &shape, |y: &mut [T]| sampled(source.slice(), h, w, y))?
    });
    record(value, &[x], || Resample { h: h.clone(), w: w.clone() })
}

/// The adjoint of [`resample`].
#[track_caller]
fn spread(g: &Tensor, h: &Arc<Taps>, w: &Arc<Taps>) -> Result<Tensor> {
    let source = g.value.contiguous()?;
    let shape = Shape::from([g.dims()[0], g.dims()[1], h.from, w.from]);
    let value = dispatch!(float "interpolate", g.dtype(), T => {
        Value::build("interpolate", &shape, |x: &mut [T]| scattered(source.slice(), h, w, x))?
    });
    record(value, &[g], || Spread { h: h.clone(), w: w.clone() })
}

#[derive(Debug)]
struct Resample {
    h: Arc<Taps>,
    w: Arc<Taps>,
}
impl Rule for Resample {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| spread(g, &self.h, &self.w)])
    }
}

#[derive(Debug)]
struct Spread {
    h: Arc<Taps>,
    w: Arc<Taps>,
}
impl Rule for Spread {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| resample(g, &self.h, &self.w)])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[crate::testing::OpSpec] = &[crate::testing::OpSpec { name: "interpolate", samples }];

#[cfg(any(test, feature = "testing"))]
fn samples() -> Vec<crate::testing::Sample> {
    use crate::testing::{Sample, indices, numbers};
    use InterpolateMode::{Area, Bicubic, Bilinear, NearestExact};
    type O = InterpolateOptions;
    let free = |label, shape: &[usize], o: O| {
        Sample::new(label, vec![numbers(shape, 1)], move |t: &[Tensor]| t[0].interpolate(&o))
    };
    let case = |label, shape: &[usize], o: O| free(label, shape, o).oracle(move |t| plain(&t[0], &o));
    vec![
        case("nearest, doubled", &[2, 3, 2, 3], O::scale_factor(2.0)),
        case("nearest, odd sizes", &[1, 2, 5, 3], O::size((3, 7))),
        case("nearest, factor that rounds", &[1, 1, 5, 4], O::scale_factor((1.5, 0.7))),
        case("nearest exact", &[1, 2, 5, 3], O::size((2, 8)).mode(NearestExact)),
        case("bilinear", &[2, 2, 3, 4], O::size((5, 6)).mode(Bilinear)),
        case("bilinear, smaller", &[1, 2, 7, 5], O::size((3, 2)).mode(Bilinear)),
        case("bilinear, corners", &[1, 2, 3, 4], O::size((5, 7)).mode(Bilinear).align_corners(true)),
        case("bilinear, one pixel", &[1, 2, 3, 4], O::size(1).mode(Bilinear).align_corners(true)),
        case("bilinear, factor", &[1, 1, 4, 5], O::scale_factor((1.3, 2.2)).mode(Bilinear)),
        case(
            "bilinear, recomputed factor",
            &[1, 1, 4, 5],
            O::scale_factor((1.3, 2.2)).mode(Bilinear).recompute_scale_factor(true),
        ),
        case("empty batch", &[0, 2, 3, 3], O::size(2).mode(Bilinear)),
        free("bicubic", &[1, 1, 3, 5], O::size((4, 7)).mode(Bicubic)),
        free("bicubic, corners", &[1, 1, 4, 3], O::size((5, 2)).mode(Bicubic).align_corners(true)),
        free("area", &[1, 2, 5, 4], O::size((2, 3)).mode(Area)),
        Sample::new("bytes", vec![indices([1, 1, 3, 2], 9, 2)], |t| {
            t[0].to_dtype(DType::U8)?.interpolate(&O::scale_factor(2.0))
        })
        .order(0),
    ]
}

/// The definition, pixel by pixel, for the nearest and the bilinear modes.
#[cfg(any(test, feature = "testing"))]
fn plain(x: &Tensor, o: &InterpolateOptions) -> Result<Tensor> {
    let [n, c, high, wide] = *x.dims() else { unreachable!("samples have four dimensions") };
    let (size, factor) = target(o, high, wide)?;
    let xs = x.to_vec::<f64>()?;
    let corners = o.align_corners == Some(true);
    let place = |i: usize, from: usize, to: usize, factor: Option<f64>| {
        let ratio = factor.filter(|_| !o.recompute_scale_factor).map_or(from as f64 / to as f64, |f| 1.0 / f);
        match o.mode {
            InterpolateMode::Nearest => (i as f64 * ratio).floor(),
            InterpolateMode::NearestExact => ((i as f64 + 0.5) * ratio).floor(),
            _ if corners && to == 1 => 0.0,
            _ if corners => i as f64 * (from - 1) as f64 / (to - 1) as f64,
            _ => (i as f64 + 0.5) * ratio - 0.5,
        }
        .clamp(0.0, (from - 1) as f64)
    };
    let mut y = Vec::new();
    for (p, i, j) in (0..n * c).flat_map(|p| (0..size.h).flat_map(move |i| (0..size.w).map(move |j| (p, i, j)))) {
        let (u, v) = (place(i, high, size.h, factor.map(|f| f.h)), place(j, wide, size.w, factor.map(|f| f.w)));
        let at = |r: f64, s: f64| xs[(p * high + r as usize) * wide + s as usize];
        let row = |r: f64| at(r, v.floor()) * (1.0 - v.fract()) + at(r, v.ceil()) * v.fract();
        y.push(row(u.floor()) * (1.0 - u.fract()) + row(u.ceil()) * u.fract());
    }
    Tensor::from_vec(y, [n, c, size.h, size.w])
}
