//! What would mend sizes that do not fit: the tape knows the way of the image, and arithmetic tries other paddings on it,
//! or larger images.

use std::any::Any;

use kernels::conv::ConvGeometry;
use kernels::pool::PoolGeometry;

use super::avg_pool2d::AvgPool;
use super::conv2d::Conv2d;
use super::max_pool2d::Pick;
use super::window::Window;
use crate::shape::Shape;
use crate::tape::{Past, Tensor};

/// The most padding that is tried.
const PADDING: usize = 3;
/// By how much larger images are tried.
const LARGER: usize = 1000;

/// Where features were images, and what would give the expected number of them.
pub(super) struct Advice {
    /// The shape before flattening.
    pub(super) images: Shape,
    /// `padding 2 in conv1`, if one convolution with another padding is enough.
    pub(super) padding: Option<String>,
}

/// A window that slid over the images.
struct Step {
    high: Window,
    wide: Window,
    ceil: bool,
    /// The weight, if it is a convolution.
    weight: Option<Tensor>,
}

/// What is known of the features `x`, if they were images once and the tape was on.
pub(super) fn on(x: &Tensor, expected: usize) -> Option<Advice> {
    let past = x.past();
    let at = past.iter().position(|step| step.shape.len() == 4)?;
    let images = &past[at].shape;
    // Since then they were flattened, and nothing else has changed their number.
    let flat = |shape: &Shape| shape.len() == 2 && shape[0] == images[0] && shape[1] == images[1..].iter().product();
    if !flat(x.shape()) || !past[..at].iter().all(|step| flat(&step.shape)) {
        return None;
    }
    let steps = way(&past[at..]);
    Some(Advice { images: images.clone(), padding: padding(&steps, images[1], expected) })
}

/// The windows, oldest first, from where the sizes of the images are certain.
fn way(past: &[Past]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (i, now) in past.iter().enumerate() {
        if let Some(step) = step(&*now.rule) {
            steps.push(step);
            continue;
        }
        // Sizes pass through operations on single elements; where two images meet, both would have to change.
        let before = past.get(i + 1).map(|before| &before.shape);
        if before != Some(&now.shape) || now.images != 1 {
            break;
        }
    }
    steps.reverse();
    steps
}

/// `larger images`, or how large they must be for the windows so far and the one that does not fit: the tape says which.
pub(super) fn larger_images(image: Option<&Tensor>, high: Window, wide: Window, ceil: bool) -> String {
    let mut steps = image.map_or_else(Vec::new, |image| way(&image.past()));
    steps.push(Step { high, wide, ceil, weight: None });
    // The images themselves are known if nothing but windows has changed their size.
    let least = |axis: fn(&Step) -> Window| {
        let now = axis(&steps[0]).size;
        (now..now.saturating_add(LARGER)).find(|&size| {
            let places = |size, step: &Step| Window { size, ..axis(step) }.places(step.ceil).filter(|&n| n > 0);
            steps.iter().try_fold(size, places).is_some()
        })
    };
    match (least(|step| step.high), least(|step| step.wide)) {
        (Some(h), Some(w)) if steps.len() > 1 => format!("images of at least {h}x{w}"),
        _ => "larger images".to_owned(),
    }
}

fn step(rule: &dyn Any) -> Option<Step> {
    if let Some(conv) = rule.downcast_ref::<Conv2d>() {
        Some(Step { weight: Some(conv.w.clone()), ..of_conv(&conv.geometry) })
    } else if let Some(pool) = rule.downcast_ref::<AvgPool>() {
        Some(of_pool(pool.geometry()))
    } else {
        rule.downcast_ref::<Pick>()?.windows.as_ref().map(of_pool)
    }
}

fn of_conv(g: &ConvGeometry) -> Step {
    let ((top, bottom, left, right), (stride, dilation)) = (g.padding(), (g.stride(), g.dilation()));
    let ([_, _, h, w], [_, _, kernel_h, kernel_w]) = (g.input(), g.weight());
    let window =
        |size, kernel, stride, before, after, dilation| Window { size, kernel, stride, before, after, dilation };
    Step {
        high: window(h, kernel_h, stride.0, top, bottom, dilation.0),
        wide: window(w, kernel_w, stride.1, left, right, dilation.1),
        ceil: false,
        weight: None,
    }
}

fn of_pool(g: &PoolGeometry) -> Step {
    let window =
        |size, kernel, stride, pad, dilation| Window { size, kernel, stride, before: pad, after: pad, dilation };
    let high = window(g.in_h, g.kernel_h, g.stride.0, g.padding.0, g.dilation.0);
    let wide = window(g.in_w, g.kernel_w, g.stride.1, g.padding.1, g.dilation.1);
    let ceil = (high.places(false), wide.places(false)) != (Some(g.out_h), Some(g.out_w));
    Step { high, wide, ceil, weight: None }
}

/// The size of the last images if the convolution at `changed` had another padding on all sides.
fn size(steps: &[Step], changed: Option<(usize, usize)>) -> Option<(usize, usize)> {
    let first = steps.first()?;
    let mut size = (first.high.size, first.wide.size);
    for (i, step) in steps.iter().enumerate() {
        let padded = |window: Window, size: usize| match changed {
            Some((at, pad)) if at == i => Window { size, before: pad, after: pad, ..window },
            _ => Window { size, ..window },
        };
        size = (padded(step.high, size.0).places(step.ceil)?, padded(step.wide, size.1).places(step.ceil)?);
    }
    Some(size)
}

/// A convolution and the padding that would give `expected` features of `channels`. Paddings that keep the size are
/// preferred, then early convolutions.
fn padding(steps: &[Step], channels: usize, expected: usize) -> Option<String> {
    let fits = |at: usize, pad: usize| {
        size(steps, Some((at, pad))).and_then(|(h, w)| h.checked_mul(w)?.checked_mul(channels)) == Some(expected)
    };
    let tries = (0..steps.len()).filter(|&at| steps[at].weight.is_some());
    let tries = tries.flat_map(|at| (0..=PADDING).map(move |pad| (at, pad)));
    let keeps = |(at, pad): (usize, usize)| steps[at].high.extent() == Some(2 * pad + 1);
    let (at, pad) = tries.filter(|&(at, pad)| fits(at, pad)).min_by_key(|&(at, pad)| (!keeps((at, pad)), at))?;
    let weight = steps[at].weight.as_ref()?;
    let name = weight.parameter_name().map(|name| format!("`{}`", name.trim_end_matches(".weight")));
    let name = name.unwrap_or_else(|| format!("the conv2d with weight {:?}", weight.shape()));
    Some(format!("padding {pad} in {name}"))
}
