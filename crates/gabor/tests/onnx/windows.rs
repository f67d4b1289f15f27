//! Convolutions. Margins that differ on the two sides are padded first; one dimension is an image of one row.

use gabor::{Conv2dOptions, ConvTranspose2dOptions, PadMode, Tensor};

use crate::node::{Node, Operator, Outputs, Stop, one};

/// The operators of this family.
pub(crate) const TABLE: &[(&str, Operator)] = &[("Conv", conv), ("ConvTranspose", conv_transpose)];

/// The geometry of a window over images.
#[derive(Debug)]
pub(crate) struct Windows {
    pub(crate) kernel: (usize, usize),
    pub(crate) strides: (usize, usize),
    pub(crate) dilations: (usize, usize),
    /// Top, left, bottom, right.
    pub(crate) pads: [usize; 4],
}

/// A row becomes an image.
pub(crate) fn image(x: &Tensor) -> Result<Tensor, Stop> {
    match x.rank() {
        3 => Ok(x.unsqueeze(2)?),
        4 => Ok(x.clone()),
        _ => Err(Stop::Skipped("there are no windows over volumes")),
    }
}

/// The image becomes a row again, if it was one.
pub(crate) fn as_before(y: Tensor, x: &Tensor) -> gabor::Result<Tensor> {
    if x.rank() == 3 { y.squeeze(2) } else { Ok(y) }
}

/// An attribute with one number for each spatial dimension.
pub(crate) fn pair(n: &Node<'_>, name: &str, default: (usize, usize)) -> Result<(usize, usize), Stop> {
    match n.ints(name)?.as_deref() {
        None => Ok(default),
        Some(&[w]) => Ok((default.0, w as usize)),
        Some(&[h, w]) => Ok((h as usize, w as usize)),
        Some(_) => Err(Stop::Skipped("there are no windows over volumes")),
    }
}

impl Windows {
    /// Reads the attributes; `size` is that of the input, for margins that keep it.
    pub(crate) fn read(n: &Node<'_>, size: (usize, usize), kernel: (usize, usize)) -> Result<Windows, Stop> {
        let (strides, dilations) = (pair(n, "strides", (1, 1))?, pair(n, "dilations", (1, 1))?);
        let pads = match n.ints("pads")?.as_deref() {
            None => [0; 4],
            Some(&[left, right]) => [0, left as usize, 0, right as usize],
            Some(&[top, left, bottom, right]) => [top, left, bottom, right].map(|v| v as usize),
            Some(_) => return Err(Stop::Skipped("there are no windows over volumes")),
        };
        let automatic = n.text("auto_pad", "NOTSET")?;
        let keeping = |size: usize, kernel: usize, stride: usize, dilation: usize| {
            let total = ((size.div_ceil(stride) - 1) * stride + (kernel - 1) * dilation + 1).saturating_sub(size);
            let less = total / 2;
            if automatic == "SAME_LOWER" { (total - less, less) } else { (less, total - less) }
        };
        let pads = if automatic.starts_with("SAME") {
            let (top, bottom) = keeping(size.0, kernel.0, strides.0, dilations.0);
            let (left, right) = keeping(size.1, kernel.1, strides.1, dilations.1);
            [top, left, bottom, right]
        } else {
            pads
        };
        Ok(Windows { kernel, strides, dilations, pads })
    }

    /// The padding, if it is the same on both sides.
    pub(crate) fn even(&self) -> Option<(usize, usize)> {
        let [top, left, bottom, right] = self.pads;
        ((top, left) == (bottom, right)).then_some((top, left))
    }

    /// The image with its margins.
    pub(crate) fn padded(&self, x: &Tensor, value: f64) -> gabor::Result<Tensor> {
        let [top, left, bottom, right] = self.pads.map(|v| v as isize);
        x.pad(&[left, right, top, bottom], PadMode::Constant(value))
    }
}

fn size(x: &Tensor) -> (usize, usize) {
    (x.dims()[2], x.dims()[3])
}

fn conv(n: &Node<'_>) -> Outputs {
    let (x, w) = (image(n.x(0)?)?, image(n.x(1)?)?);
    pair(n, "kernel_shape", (1, 1))?;
    let windows = Windows::read(n, size(&x), size(&w))?;
    let options = Conv2dOptions::new().stride(windows.strides).dilation(windows.dilations);
    let options = options.groups(n.int("group", 1)? as usize);
    let y = match windows.even() {
        Some(padding) => x.conv2d(&w, n.optional(2), &options.padding(padding))?,
        None => windows.padded(&x, 0.0)?.conv2d(&w, n.optional(2), &options)?,
    };
    one(as_before(y, n.x(0)?)?)
}

/// Whatever ONNX says about the size of the output, it is a cut or a margin of the whole result; the bias comes last.
fn conv_transpose(n: &Node<'_>) -> Outputs {
    let (x, w) = (image(n.x(0)?)?, image(n.x(1)?)?);
    pair(n, "kernel_shape", (1, 1))?;
    let (h, wide) = size(&x);
    let windows = Windows::read(n, (1, 1), (1, 1))?;
    let extra = pair(n, "output_padding", (0, 0))?;
    let options = ConvTranspose2dOptions::new().stride(windows.strides).dilation(windows.dilations);
    let options = options.groups(n.int("group", 1)? as usize);
    let automatic = n.text("auto_pad", "NOTSET")?;
    let wanted = match n.ints("output_shape")? {
        Some(_) => Some(pair(n, "output_shape", (1, 1))?),
        None if automatic.starts_with("SAME") => Some((h * windows.strides.0, wide * windows.strides.1)),
        None => None,
    };
    let fits =
        extra.0 < windows.strides.0.max(windows.dilations.0) && extra.1 < windows.strides.1.max(windows.dilations.1);
    if let (None, Some(padding), true) = (wanted, windows.even(), fits) {
        let options = options.padding(padding).output_padding(extra);
        return one(as_before(x.conv_transpose2d(&w, n.optional(2), &options)?, n.x(0)?)?);
    }
    let whole = x.conv_transpose2d(&w, None, &options)?;
    let [top, left, bottom, right] = match wanted {
        None => windows.pads.map(|v| v as isize),
        Some(wanted) => {
            // As ONNX's own vectors have it: the extra margin does not count in what is divided.
            let split = |have: usize, want: usize| {
                let (less, total) = ((have as isize - want as isize) / 2, have as isize - want as isize);
                if automatic == "SAME_LOWER" { (total - less, less) } else { (less, total - less) }
            };
            let (top, bottom) = split(whole.dims()[2], wanted.0);
            let (left, right) = split(whole.dims()[3], wanted.1);
            [top, left, bottom, right]
        }
    };
    let more = if wanted.is_some() { (0, 0) } else { extra };
    let margins = [-left, more.1 as isize - right, -top, more.0 as isize - bottom];
    let mut y = whole.pad(&margins, PadMode::Constant(0.0))?;
    if let Some(bias) = n.optional(2) {
        y = y.add(&bias.reshape([-1, 1, 1])?)?;
    }
    one(as_before(y, n.x(0)?)?)
}
