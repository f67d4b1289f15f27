//! Pooling. Margins that PyTorch refuses are padded first.

use gabor::{AvgPoolOptions, DType, PoolOptions, Tensor};

use crate::node::{Node, Operator, Outputs, Stop, one};
use crate::windows::{Windows, as_before, image, pair};

/// The operators of this family.
pub(crate) const TABLE: &[(&str, Operator)] = &[
    ("MaxPool", max_pool),
    ("AveragePool", average_pool),
    ("GlobalAveragePool", |n| global(n, |x| x.adaptive_avg_pool2d(1))),
    ("GlobalMaxPool", |n| global(n, |x| Ok(x.adaptive_max_pool2d(1)?.0))),
];

fn global(n: &Node<'_>, f: fn(&Tensor) -> gabor::Result<Tensor>) -> Outputs {
    one(as_before(f(&image(n.x(0)?)?)?, n.x(0)?)?)
}

/// The windows, and the padding if the library takes it.
fn windows(n: &Node<'_>, x: &Tensor) -> Result<(Windows, Option<(usize, usize)>), Stop> {
    let kernel = pair(n, "kernel_shape", (1, 1))?;
    let windows = Windows::read(n, (x.dims()[2], x.dims()[3]), kernel)?;
    let padding = windows.even().filter(|p| 2 * p.0 <= kernel.0 && 2 * p.1 <= kernel.1);
    Ok((windows, padding))
}

fn max_pool(n: &Node<'_>) -> Outputs {
    let x = image(n.x(0)?)?;
    let (windows, padding) = windows(n, &x)?;
    let options = PoolOptions::new(windows.kernel).stride(windows.strides).dilation(windows.dilations);
    let options = options.ceil_mode(n.int("ceil_mode", 0)? == 1);
    let column_major = n.int("storage_order", 0)? == 1;
    let Some(padding) = padding else {
        let y = windows.padded(&x, f64::NEG_INFINITY)?.max_pool2d(&options)?;
        return one(as_before(y, n.x(0)?)?);
    };
    let options = options.padding(padding);
    if !x.dtype().is_float() {
        return one(x.max_pool2d(&options)?);
    }
    let (y, places) = x.max_pool2d_with_indices(&options)?;
    let places = in_tensor(&places, &x, column_major)?;
    Ok(vec![as_before(y, n.x(0)?)?, as_before(places, n.x(0)?)?])
}

/// ONNX counts places through the whole tensor, and down the columns first if it is told to; PyTorch within a plane.
fn in_tensor(places: &Tensor, x: &Tensor, column_major: bool) -> Result<Tensor, Stop> {
    let (h, w) = (x.dims()[2] as i64, x.dims()[3] as i64);
    let plane = places.dims()[2] * places.dims()[3];
    let moved = places.to_vec::<i64>()?.into_iter().enumerate().map(|(i, place)| {
        let place = if column_major { place % w * h + place / w } else { place };
        (i / plane.max(1)) as i64 * h * w + place
    });
    Ok(Tensor::from_vec(moved.collect::<Vec<i64>>(), places.shape())?.to_dtype(DType::I64)?)
}

/// Uneven margins that do not count: the average of the padded image, by the share of the window that lies inside.
fn average_pool(n: &Node<'_>) -> Outputs {
    let x = image(n.x(0)?)?;
    let (windows, padding) = windows(n, &x)?;
    let include = n.int("count_include_pad", 0)? == 1;
    if windows.dilations != (1, 1) {
        return Err(Stop::Skipped("average pooling has no dilation, as in PyTorch"));
    }
    let options = AvgPoolOptions::new(windows.kernel).stride(windows.strides);
    let options = options.ceil_mode(n.int("ceil_mode", 0)? == 1);
    let y = match padding {
        Some(padding) => x.avg_pool2d(&options.padding(padding).count_include_pad(include))?,
        None => {
            let y = windows.padded(&x, 0.0)?.avg_pool2d(&options)?;
            let shares = || windows.padded(&x.ones_like()?, 0.0)?.avg_pool2d(&options);
            if include { y } else { y.div(&shares()?)? }
        }
    };
    one(as_before(y, n.x(0)?)?)
}
