//! Matrix products: 1-D to N-D, batched, and the fully connected layer.
//!
//! Closed under differentiation: the gradients of a product are products with transposes.

use kernels::copy::copy_slice;
use kernels::gemm::{MatRef, gemm};

use super::advice;
use crate::dtype::{Element, Float, Number, dispatch};
use crate::error::{Error, Result};
use crate::program::compute;
use crate::shape::{Shape, broadcast};
use crate::tape::{Cx, Grads, Rule, Tensor, in_owner, record};
use crate::value::Value;

impl Tensor {
    /// The matrix product, as `torch.matmul`: vectors are taken as a row on the left and a column on the right, and leading
    /// dimensions are batches that broadcast. Integers wrap around.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let a = Tensor::new([[1f32, 2.0], [3.0, 4.0]])?;
    /// assert_eq!(a.matmul(&Tensor::new([1f32, 10.0])?)?.to_vec::<f32>()?, [21.0, 43.0]);
    /// assert_eq!(Tensor::zeros([8, 1, 2, 3])?.matmul(&Tensor::zeros([5, 3, 4])?)?.shape(), &[8, 5, 2, 4]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The inner sizes differ, the batches do not broadcast, one side is a scalar, or the dtypes differ or are bool.
    #[track_caller]
    pub fn matmul(&self, rhs: &Tensor) -> Result<Tensor> {
        self.product(rhs).map_err(|error| in_owner(error, &[rhs, self]))
    }

    #[track_caller]
    fn product(&self, rhs: &Tensor) -> Result<Tensor> {
        if self.dtype() != rhs.dtype() {
            return Err(Error::DTypes { op: "matmul", lhs: self.dtype(), rhs: rhs.dtype() });
        }
        if self.rank() == 0 || rhs.rank() == 0 {
            let message =
                format!("needs vectors or matrices, got {:?} and {:?}; use mul for scalars", self.shape(), rhs.shape());
            return Err(Error::shape("matmul", message));
        }
        let (row, column) = (self.rank() == 1, rhs.rank() == 1);
        let a = if row { self.unsqueeze(0)? } else { self.clone() };
        let b = if column { rhs.unsqueeze(1)? } else { rhs.clone() };
        let (m, k, n) = (a.dims()[a.rank() - 2], a.dims()[a.rank() - 1], b.dims()[b.rank() - 1]);
        if k != b.dims()[b.rank() - 2] {
            let inner = b.dims()[b.rank() - 2];
            let hint = if n == k { "; transpose the second" } else { "" };
            let message =
                format!("the inner sizes {k} and {inner} of {:?} and {:?} differ{hint}", self.shape(), rhs.shape());
            return Err(Error::shape("matmul", message));
        }
        let batch = |t: &Tensor| Shape::from(&t.dims()[..t.rank() - 2]);
        let lead = broadcast("matmul", &batch(&a), &batch(&b))?;
        let product = if lead.is_empty() {
            mm(&a, &b)?
        } else if b.rank() == 2 {
            // One matrix for all batches: a single tall product.
            let rows = a.dims()[..a.rank() - 1].iter().product::<usize>();
            mm(&a.reshape(Shape::from([rows, k]))?, &b)?
        } else {
            let flat = |t: &Tensor, rows: usize, columns: usize| {
                let mut full = lead.clone();
                full.0.extend([rows, columns]);
                t.expand(&full)?.reshape(Shape::from([lead.checked_numel("matmul")?, rows, columns]))
            };
            bmm(&flat(&a, m, k)?, &flat(&b, k, n)?)?
        };
        let mut shape = lead;
        shape.0.extend((!row).then_some(m));
        shape.0.extend((!column).then_some(n));
        product.reshape(&shape)
    }

    /// The products of two batches of matrices, `[b, m, k]` with `[b, k, n]`, without broadcasting.
    ///
    /// # Errors
    /// The shapes do not fit, or the dtypes differ or are bool.
    #[track_caller]
    pub fn bmm(&self, rhs: &Tensor) -> Result<Tensor> {
        let fits =
            self.rank() == 3 && rhs.rank() == 3 && self.dims()[0] == rhs.dims()[0] && self.dims()[2] == rhs.dims()[1];
        if !fits {
            let message = format!(
                "expects [b, m, k] and [b, k, n], got {:?} and {:?}; use matmul to broadcast",
                self.shape(),
                rhs.shape()
            );
            return Err(Error::shape("bmm", message));
        }
        if self.dtype() != rhs.dtype() {
            return Err(Error::DTypes { op: "bmm", lhs: self.dtype(), rhs: rhs.dtype() });
        }
        bmm(self, rhs)
    }

    /// `x @ weight.T + bias` for `x` of shape `[..., in]`, `weight` of shape `[out, in]` and `bias` of shape `[out]`.
    ///
    /// # Errors
    /// The number of features differs, the bias has another shape, or the dtypes differ or are bool.
    #[track_caller]
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        self.affine(weight, bias).map_err(|error| in_owner(error, &[weight]))
    }

    #[track_caller]
    fn affine(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        for other in std::iter::once(weight).chain(bias) {
            if other.dtype() != self.dtype() {
                return Err(Error::DTypes { op: "linear", lhs: self.dtype(), rhs: other.dtype() });
            }
        }
        if weight.rank() == 1 && bias.is_none() {
            // As PyTorch: a vector of weights gives one number for each row.
            return self.matmul(weight);
        }
        let &[out, features] = weight.dims() else {
            return Err(Error::shape(
                "linear",
                format!("weight has shape {:?}; expected [out_features, in_features]", weight.shape()),
            ));
        };
        if self.dims().last() != Some(&features) {
            return Err(wrong_features(self, features, out));
        }
        if let Some(b) = bias.filter(|b| b.dims() != [out]) {
            return Err(Error::shape(
                "linear",
                format!("bias has shape {:?}; expected [{out}], one for each output", b.shape()),
            ));
        }
        let rows = self.dims()[..self.rank() - 1].iter().product::<usize>();
        let x = self.reshape(Shape::from([rows, features]))?;
        if !self.dtype().is_float() {
            let mut shape = self.shape().clone();
            shape.0[self.rank() - 1] = out;
            let y = mm(&x, &weight.t()?)?.reshape(&shape)?;
            return bias.map_or(Ok(y.clone()), |bias| y.add(bias));
        }
        let value = match bias {
            Some(b) => compute(
                [&x.value, &weight.value, &b.value],
                |[x, w, b]| dispatch!(float "linear", x.dtype(), T => affine::<T>(x, w, Some(b))),
            )?,
            None => compute(
                [&x.value, &weight.value],
                |[x, w]| dispatch!(float "linear", x.dtype(), T => affine::<T>(x, w, None)),
            )?,
        };
        let y = match bias {
            Some(b) => record(value, &[&x, weight, b], || Linear { x: x.clone(), weight: weight.clone() })?,
            None => record(value, &[&x, weight], || Linear { x: x.clone(), weight: weight.clone() })?,
        };
        let mut shape = self.shape().clone();
        shape.0[self.rank() - 1] = out;
        y.reshape(&shape)
    }
}

#[cold]
fn wrong_features(x: &Tensor, features: usize, out: usize) -> Error {
    let got = x.dims().last().copied().unwrap_or(0);
    let flat: usize = x.dims().iter().skip(1).product();
    let (mut shape, mut hint) =
        (format!("{:?}", x.shape()), format!("use Linear::new({got}, {out}) or change what comes before"));
    if x.rank() > 2 && flat == features {
        hint = "did you forget Flatten?".to_owned();
    } else if let Some(advice) = advice::on(x, features) {
        shape += &format!(", flattened from {:?}", advice.images);
        if let Some(padding) = advice.padding {
            hint = format!("use {padding}, or Linear::new({got}, {out})");
        }
    }
    Error::shape("linear", format!("input has {got} features (shape {shape}), the weight expects {features}; {hint}"))
}

/// A matrix value as the kernels see it, with whatever strides it has.
fn matrix<T: Element + Float>(x: &Value, at: usize) -> MatRef<'_, T> {
    let (l, r) = (&x.layout, x.layout.rank());
    let (rows, columns) = (l.shape[r - 2], l.shape[r - 1]);
    let elements = x.storage.slice::<T>().get(l.offset + at..).unwrap_or(&[]);
    MatRef::new(elements, rows, columns, l.strides[r - 2], l.strides[r - 1])
        .expect("a layout lies inside of its buffer")
}

fn product<T: Element + Float>(a: &Value, b: &Value) -> Result<Value> {
    let (m, n) = (a.shape()[0], b.shape()[1]);
    Value::build("matmul", &Shape::from([m, n]), |c: &mut [T]| gemm(matrix(a, 0), matrix(b, 0), true, c))
}

fn affine<T: Element + Float>(x: &Value, weight: &Value, bias: Option<&Value>) -> Result<Value> {
    let (rows, out) = (x.shape()[0], weight.shape()[0]);
    let turned = weight.with_layout(weight.layout.permute(&[1, 0]));
    let bias = bias.map(Value::contiguous).transpose()?;
    Value::build("linear", &Shape::from([rows, out]), |y: &mut [T]| {
        if let Some(bias) = &bias {
            y.chunks_exact_mut(out.max(1)).for_each(|row| copy_slice(bias.slice(), row));
        }
        gemm(matrix(x, 0), matrix(&turned, 0), bias.is_none(), y);
    })
}

fn batches<T: Element + Float>(a: &Value, b: &Value) -> Result<Value> {
    let (count, m, n) = (a.shape()[0], a.shape()[1], b.shape()[2]);
    Value::build("matmul", &Shape::from([count, m, n]), |c: &mut [T]| {
        for (i, c) in c.chunks_exact_mut((m * n).max(1)).enumerate() {
            gemm(matrix(a, i * a.layout.strides[0]), matrix(b, i * b.layout.strides[0]), true, c);
        }
    })
}

/// As [`batches`], for integers: they wrap around, and are too rare to have a kernel.
fn whole<T: Element + Number>(a: &Value, b: &Value) -> Result<Value> {
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let (count, m, k, n) = (a.shape()[0], a.shape()[1], a.shape()[2], b.shape()[2]);
    Value::build("matmul", &Shape::from([count, m, n]), |c: &mut [T]| {
        c.fill(T::default());
        let (a, b) = (a.slice::<T>(), b.slice::<T>());
        for (row, c) in c.chunks_exact_mut(n.max(1)).enumerate() {
            for (i, &a) in a[row * k..(row + 1) * k].iter().enumerate() {
                let at = (row / m * k + i) * n;
                c.iter_mut().zip(&b[at..at + n]).for_each(|(c, &b)| *c = Number::add(*c, Number::mul(a, b)));
            }
        }
    })
}

/// The product of two matrices.
#[track_caller]
fn mm(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !a.dtype().is_float() {
        return bmm(&a.unsqueeze(0)?, &b.unsqueeze(0)?)?.squeeze(0);
    }
    let value = compute([&a.value, &b.value], |[a, b]| dispatch!(float "matmul", a.dtype(), T => product::<T>(a, b)))?;
    record(value, &[a, b], || MatMul { a: a.clone(), b: b.clone() })
}

#[derive(Debug)]
struct MatMul {
    a: Tensor,
    b: Tensor,
}
impl Rule for MatMul {
    fn name(&self) -> String {
        "matmul".into()
    }

    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| mm(g, &self.b.t()?), &|| mm(&self.a.t()?, g)])
    }
}

/// The products of two batches of matrices.
#[track_caller]
fn bmm(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !a.dtype().is_float() {
        let value = dispatch!(number "matmul", a.dtype(), T => whole::<T>(&a.value, &b.value)?);
        return Ok(Tensor::plain(value));
    }
    let value = compute([&a.value, &b.value], |[a, b]| dispatch!(float "matmul", a.dtype(), T => batches::<T>(a, b)))?;
    record(value, &[a, b], || BatchMatMul { a: a.clone(), b: b.clone() })
}

#[derive(Debug)]
struct BatchMatMul {
    a: Tensor,
    b: Tensor,
}
impl Rule for BatchMatMul {
    fn name(&self) -> String {
        "matmul".into()
    }

    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| bmm(g, &self.b.transpose(1, 2)?), &|| bmm(&self.a.transpose(1, 2)?, g)])
    }
}

#[derive(Debug)]
struct Linear {
    x: Tensor,
    weight: Tensor,
}
impl Rule for Linear {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        let wanted = cx.inputs();
        let mut grads = Grads::new();
        for i in 0..wanted {
            grads.push(match i {
                _ if !cx.needs(i) => None,
                0 => Some(mm(g, &self.weight)?),
                1 => Some(mm(&g.t()?, &self.x)?),
                _ => Some(g.sum_dim(0, false)?),
            });
        }
        Ok(grads)
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[crate::testing::OpSpec] = &[
    crate::testing::OpSpec { name: "matmul", samples },
    crate::testing::OpSpec { name: "bmm", samples: batched },
    crate::testing::OpSpec { name: "linear", samples: linears },
];

#[cfg(any(test, feature = "testing"))]
fn samples() -> Vec<crate::testing::Sample> {
    use crate::DType;
    use crate::testing::{Sample, indices, numbers};
    let case = |label, a: &[usize], b: &[usize]| {
        Sample::new(label, vec![numbers(a, 1), numbers(b, 2)], |t| t[0].matmul(&t[1])).oracle(|t| plain(&t[0], &t[1]))
    };
    vec![
        case("matrices", &[3, 5], &[5, 4]),
        case("dot product", &[7], &[7]),
        case("row", &[3], &[3, 4]),
        case("column", &[2, 3], &[3]),
        case("batches", &[2, 3, 4], &[2, 4, 2]),
        case("broadcast batches", &[2, 1, 3, 2], &[3, 2, 4]),
        case("batch and matrix", &[2, 3, 2], &[2, 5]),
        case("batch and vector", &[2, 3, 2], &[2]),
        case("nothing to sum", &[2, 0], &[0, 3]),
        case("empty", &[0, 2], &[2, 3]),
        case("beyond a tile", &[33, 17], &[17, 35]).order(0),
        Sample::new("integers", vec![indices([2, 1, 3, 4], 9, 3), indices([2, 4, 2], 9, 4)], |t| t[0].matmul(&t[1]))
            .oracle(|t| plain(&t[0], &t[1]))
            .order(0),
        Sample::new("bytes that wrap", vec![indices([3, 2], 200, 5), indices([2], 200, 6)], |t| {
            t[0].to_dtype(DType::U8)?.matmul(&t[1].to_dtype(DType::U8)?)
        })
        .oracle(|t| {
            t[0].to_dtype(DType::F64)?.matmul(&t[1].to_dtype(DType::F64)?)?.to_dtype(DType::I64)?.to_dtype(DType::U8)
        })
        .order(0),
    ]
}

#[cfg(any(test, feature = "testing"))]
fn batched() -> Vec<crate::testing::Sample> {
    use crate::testing::{Sample, numbers};
    let case = |label, a: [usize; 3], b: [usize; 3]| {
        Sample::new(label, vec![numbers(a, 1), numbers(b, 2)], |t| t[0].bmm(&t[1])).oracle(|t| plain(&t[0], &t[1]))
    };
    vec![
        case("batches", [2, 3, 4], [2, 4, 2]),
        case("one batch", [1, 2, 3], [1, 3, 5]),
        case("nothing to sum", [2, 2, 0], [2, 0, 3]),
        case("no batches", [0, 2, 3], [0, 3, 2]),
    ]
}

#[cfg(any(test, feature = "testing"))]
fn linears() -> Vec<crate::testing::Sample> {
    use crate::testing::{Sample, indices, numbers};
    let case = |label, x: &[usize], w: &[usize]| {
        let inputs = vec![numbers(x, 1), numbers(w, 2), numbers([w[0]], 3)];
        Sample::new(label, inputs, |t| t[0].linear(&t[1], Some(&t[2]))).oracle(|t| plain(&t[0], &t[1].t()?)?.add(&t[2]))
    };
    vec![
        case("batch", &[4, 3], &[5, 3]),
        case("one row", &[3], &[2, 3]),
        case("more dimensions", &[2, 3, 4], &[2, 4]),
        case("empty batch", &[0, 3], &[2, 3]),
        Sample::new("integers", vec![indices([2, 3], 9, 6), indices([4, 3], 9, 7), indices([4], 9, 8)], |t| {
            t[0].linear(&t[1], Some(&t[2]))
        })
        .oracle(|t| plain(&t[0], &t[1].t()?)?.add(&t[2]))
        .order(0),
        Sample::new("no bias", vec![numbers([3, 2], 4), numbers([4, 2], 5)], |t| t[0].linear(&t[1], None)),
    ]
}

/// The product as a sum over an expanded axis.
#[cfg(any(test, feature = "testing"))]
fn plain(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let left = if a.rank() == 1 { a.unsqueeze(0)? } else { a.clone() };
    let right = if b.rank() == 1 { b.unsqueeze(1)? } else { b.clone() };
    let mut y = left.unsqueeze(-1)?.mul(&right.unsqueeze(-3)?)?.sum_dim(-2, false)?;
    if b.rank() == 1 {
        y = y.squeeze(-1)?;
    }
    if a.rank() == 1 { y.squeeze(if b.rank() == 1 { -1 } else { -2 }) } else { Ok(y) }
}
