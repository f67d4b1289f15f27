//! Printing tensors the way PyTorch does: aligned columns, four decimals, long ones shortened.

use std::fmt::{self, Write};

use crate::dtype::{DType, Element, dispatch};
use crate::tape::Tensor;
use crate::value::Value;

/// More elements than this are shortened to the edges.
const THRESHOLD: usize = 1000;
/// How many elements remain at each edge.
const EDGE: usize = 3;
/// The width of a line.
const WIDTH: usize = 80;

impl fmt::Display for Tensor {
    /// ```
    /// use gabor_tensor::Tensor;
    /// let x = Tensor::new([[1f32, -2.5], [0.0, 10.25]])?;
    /// assert_eq!(x.to_string(), "tensor([[ 1.0000, -2.5000],\n        [ 0.0000, 10.2500]])");
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.detach();
        let short = shown.numel() > THRESHOLD;
        let text = match shown.value.contiguous() {
            Ok(_) if shown.numel() == 0 => "[]".to_owned(),
            Ok(value) => Printer::new(&value, short).print(shown.dims()),
            Err(error) => return write!(f, "tensor(<{error}>)"),
        };
        write!(f, "tensor({text}")?;
        if shown.numel() == 0 && shown.rank() != 1 {
            write!(f, ", size={:?}", shown.shape())?;
        }
        if matches!(self.dtype(), DType::F64 | DType::U8) {
            write!(f, ", dtype={}", self.dtype())?;
        }
        if self.requires_grad() {
            f.write_str(", requires_grad=true")?;
        }
        f.write_char(')')
    }
}

impl fmt::Debug for Tensor {
    /// Dtype and shape only: rules that hold tensors print themselves with this.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Tensor({} {:?}{})",
            self.dtype(),
            self.shape(),
            if self.requires_grad() { ", requires_grad" } else { "" }
        )
    }
}

struct Printer {
    words: Vec<String>,
    width: usize,
    short: bool,
}

impl Printer {
    fn new(value: &Value, short: bool) -> Self {
        let dims: &[usize] = value.shape();
        // Only the elements that will be seen decide on the format, as in PyTorch.
        let seen = |index: usize| {
            let mut rest = index;
            !short
                || dims.iter().rev().all(|&d| {
                    let i = rest % d;
                    rest /= d;
                    d <= 2 * EDGE || i < EDGE || i >= d - EDGE
                })
        };
        let numbers: Vec<f64> = dispatch!(value.dtype(), T => {
            value.slice::<T>().iter().enumerate().map(|(i, v)| if seen(i) { Element::to_f64(*v) } else { 0.0 }).collect()
        });
        let words: Vec<String> = match value.dtype() {
            DType::Bool => numbers.iter().map(|&v| (v != 0.0).to_string()).collect(),
            DType::I64 => value.slice::<i64>().iter().map(i64::to_string).collect(),
            DType::U8 => value.slice::<u8>().iter().map(u8::to_string).collect(),
            DType::F32 | DType::F64 => floats(&numbers),
        };
        let width = words.iter().enumerate().filter(|(i, _)| seen(*i)).map(|(_, w)| w.len()).max().unwrap_or(0);
        Printer { words, width, short }
    }

    fn print(&self, dims: &[usize]) -> String {
        let mut text = String::new();
        self.block(dims, 0, "tensor(".len(), &mut text);
        text
    }

    /// Appends the part of the tensor with sizes `dims` that starts at element `at`.
    fn block(&self, dims: &[usize], at: usize, indent: usize, text: &mut String) {
        let Some((&size, inner)) = dims.split_first() else {
            text.push_str(self.words[at].trim_start());
            return;
        };
        text.push('[');
        let stride: usize = inner.iter().product();
        let cut = self.short && size > 2 * EDGE;
        let indices: Vec<usize> = if cut { (0..EDGE).chain(size - EDGE..size).collect() } else { (0..size).collect() };
        let per_line = (WIDTH.saturating_sub(indent) / (self.width + 2)).max(1);
        let newline = |text: &mut String| {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent + 1));
        };
        for (n, &i) in indices.iter().enumerate() {
            if n > 0 {
                text.push(',');
                if !inner.is_empty() {
                    (1..inner.len()).for_each(|_| text.push('\n'));
                    newline(text);
                } else if n % per_line == 0 {
                    newline(text);
                } else {
                    text.push(' ');
                }
            }
            if cut && n == EDGE {
                text.push_str("...,");
                if inner.is_empty() {
                    text.push(' ');
                } else {
                    (1..inner.len()).for_each(|_| text.push('\n'));
                    newline(text);
                }
            }
            if inner.is_empty() {
                let _ = write!(text, "{:>1$}", self.words[at + i], self.width);
            } else {
                self.block(inner, at + i * stride, indent + 1, text);
            }
        }
        text.push(']');
    }
}

/// Four decimals, or `1.` for whole numbers, or scientific notation where the range is wide.
fn floats(numbers: &[f64]) -> Vec<String> {
    let finite = || numbers.iter().copied().filter(|v| v.is_finite());
    let whole = finite().all(|v| v == v.trunc());
    let largest = finite().map(f64::abs).fold(0.0, f64::max);
    let smallest = finite().map(f64::abs).filter(|&v| v > 0.0).fold(f64::INFINITY, f64::min);
    let scientific =
        if whole { largest >= 1e8 } else { largest / smallest > 1000.0 || largest >= 1e8 || smallest < 1e-4 };
    let one = |&v: &f64| {
        if v.is_nan() {
            "nan".to_owned()
        } else if v.is_infinite() {
            if v > 0.0 { "inf".to_owned() } else { "-inf".to_owned() }
        } else if scientific {
            exponent(v)
        } else if whole {
            format!("{v:.0}.")
        } else {
            format!("{v:.4}")
        }
    };
    numbers.iter().map(one).collect()
}

/// `1.2340e-05`, as C prints it.
fn exponent(v: f64) -> String {
    let text = format!("{v:.4e}");
    match text.split_once('e') {
        Some((digits, power)) => {
            let (sign, power) = power.strip_prefix('-').map_or(('+', power), |p| ('-', p));
            format!("{digits}e{sign}{power:0>2}")
        }
        None => text,
    }
}
