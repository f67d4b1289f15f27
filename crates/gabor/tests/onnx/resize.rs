//! Resizing. ONNX has many ways to place pixels; PyTorch's are compared.

use gabor::{InterpolateMode, InterpolateOptions, Tensor};

use crate::node::{Node, Operator, Outputs, Stop, front, one};

/// The operators of this family.
pub(crate) const TABLE: &[(&str, Operator)] = &[("Resize", resize)];

/// One number for each axis of the tensor, from an input that may name some of them.
fn spread<T: Copy>(list: Vec<T>, named: &[usize], rank: usize, same: impl Fn(usize) -> T) -> Vec<T> {
    let mut all: Vec<T> = (0..rank).map(same).collect();
    named.iter().zip(list).for_each(|(&axis, v)| all[axis] = v);
    all
}

fn resize(n: &Node<'_>) -> Outputs {
    let x = n.x(0)?;
    let named = n.ints("axes")?.unwrap_or_else(|| (0..x.rank() as i64).collect());
    let named: Vec<usize> = named.iter().map(|&axis| front(axis, x.rank())).collect();
    let scales = match n.optional(2).filter(|scales| scales.numel() > 0) {
        Some(scales) => Some(spread(scales.to_dtype(gabor::DType::F64)?.to_vec::<f64>()?, &named, x.rank(), |_| 1.0)),
        None => None,
    };
    let sizes = n.numbers(3)?.map(|sizes| spread(sizes, &named, x.rank(), |axis| x.dims()[axis] as i64));
    let (place, nearest) =
        (n.text("coordinate_transformation_mode", "half_pixel")?, n.text("nearest_mode", "round_prefer_floor")?);
    let mode = n.text("mode", "nearest")?;
    let antialias = n.int("antialias", 0)? == 1;
    let cubic = (n.number("cubic_coeff_a", -0.75)?, n.int("exclude_outside", 0)?);
    n.number("extrapolation_value", 0.0)?;
    if n.text("keep_aspect_ratio_policy", "stretch")? != "stretch" {
        return Err(Stop::Skipped("the aspect ratio is not kept"));
    }
    if antialias {
        return Err(Stop::Skipped("there is no antialias"));
    }
    if cubic != (-0.75, 0) {
        return Err(Stop::Skipped("cubics have PyTorch's slope, and repeat the edge"));
    }
    let images = |same: bool| if same { Ok(()) } else { Err(Stop::Skipped("batch and channels are not resized")) };
    let options = match (&scales, &sizes) {
        (Some(scales), _) => {
            images(scales[..2] == [1.0, 1.0])?;
            InterpolateOptions::scale_factor((scales[2], scales[3]))
        }
        (None, Some(sizes)) => {
            images(sizes[0] == x.dims()[0] as i64 && sizes[1] == x.dims()[1] as i64)?;
            InterpolateOptions::size((sizes[2] as usize, sizes[3] as usize))
        }
        (None, None) => return Err(Stop::Failed("neither scales nor sizes".to_owned())),
    };
    let options = match (mode, place, nearest) {
        ("nearest", "half_pixel", "round_prefer_floor") => options.mode(InterpolateMode::NearestExact),
        ("nearest", "asymmetric", "floor") => options.mode(InterpolateMode::Nearest),
        ("linear", "half_pixel", _) => options.mode(InterpolateMode::Bilinear),
        ("linear", "align_corners", _) => options.mode(InterpolateMode::Bilinear).align_corners(true),
        ("cubic", "half_pixel", _) => options.mode(InterpolateMode::Bicubic),
        ("cubic", "align_corners", _) => options.mode(InterpolateMode::Bicubic).align_corners(true),
        _ => return Err(Stop::Skipped("pixels lie elsewhere than in any mode of PyTorch")),
    };
    let ratios = match (&scales, &sizes) {
        (Some(scales), _) => scales.iter().map(|s| 1.0 / s).collect(),
        (_, Some(sizes)) => sizes.iter().zip(x.dims()).map(|(&to, &from)| from as f64 / to as f64).collect(),
        _ => Vec::new(),
    };
    if options.mode == InterpolateMode::NearestExact && ratios.iter().any(|&ratio| ties(ratio)) {
        return Err(Stop::Skipped("of two pixels that are equally near ONNX takes the first, PyTorch the second"));
    }
    if place == "align_corners" && !whole(x, scales.as_deref()) {
        return Err(Stop::Skipped("the last pixel lies at a fraction of a size, which PyTorch rounds"));
    }
    one(x.interpolate(&options)?)
}

/// Whether the scales lead to whole sizes.
fn whole(x: &Tensor, scales: Option<&[f64]>) -> bool {
    scales.is_none_or(|scales| scales.iter().zip(x.dims()).all(|(s, &size)| (s * size as f64).fract() == 0.0))
}

/// Whether the centre of some pixel lies between two of the input, which are `ratio` apart in those of the output.
fn ties(ratio: f64) -> bool {
    (0..16).map(|i| (f64::from(i) + 0.5) * ratio).any(|v| v > 0.0 && (v - v.round()).abs() < 1e-9)
}
