//! Rows of a matrix by number, with PyTorch's ways to let their gradients or their lengths differ.

use super::gather::{check, vector, zeros};
use crate::dtype::{Element, dispatch};
use crate::error::{Error, Result};
use crate::tape::{Cx, Grads, Rule, Tensor, record};
#[cfg(any(test, feature = "testing"))]
use crate::testing::{OpSpec, Sample, indices, numbers};

/// The arguments of [`Tensor::embedding_with`].
///
/// ```
/// use gabor_tensor::EmbeddingOptions;
/// let options = EmbeddingOptions::new().padding_idx(0).max_norm(1.0);
/// assert_eq!(options.norm_type, 2.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmbeddingOptions {
    /// The row that gets no gradient; it may count from the end.
    pub padding_idx: Option<isize>,
    /// Rows that are longer are read as if they were scaled to this length.
    pub max_norm: Option<f64>,
    /// Which norm is the length: 2 is Euclid's.
    pub norm_type: f64,
    /// Whether the gradient of a row is divided by how often the indices name it.
    pub scale_grad_by_freq: bool,
}

impl Default for EmbeddingOptions {
    fn default() -> Self {
        EmbeddingOptions { padding_idx: None, max_norm: None, norm_type: 2.0, scale_grad_by_freq: false }
    }
}

impl EmbeddingOptions {
    /// Plain rows with plain gradients.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the row that gets no gradient.
    #[must_use]
    pub fn padding_idx(mut self, padding_idx: isize) -> Self {
        self.padding_idx = Some(padding_idx);
        self
    }

    /// Sets the length that no row exceeds.
    #[must_use]
    pub fn max_norm(mut self, max_norm: f64) -> Self {
        self.max_norm = Some(max_norm);
        self
    }

    /// Sets which norm is the length.
    #[must_use]
    pub fn norm_type(mut self, norm_type: f64) -> Self {
        self.norm_type = norm_type;
        self
    }

    /// Sets whether gradients are divided by how often a row is named.
    #[must_use]
    pub fn scale_grad_by_freq(mut self, scale: bool) -> Self {
        self.scale_grad_by_freq = scale;
        self
    }
}

impl Tensor {
    /// The rows of this matrix of shape `[num_embeddings, embedding_dim]` that the indices name; the result has the shape of
    /// the indices and the rows' dimension behind it. The row `padding_idx`, which may count from the end, gets no
    /// gradient. PyTorch: `F.embedding(indices, self, padding_idx)`.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let weight = Tensor::new([[0f32, 0.0], [1.0, 2.0], [3.0, 4.0]])?;
    /// let y = weight.embedding(&Tensor::new([[1i64, 0]])?, Some(0))?;
    /// assert_eq!((y.dims(), y.to_vec::<f32>()?), (&[1, 2, 2][..], vec![1.0, 2.0, 0.0, 0.0]));
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// This is not a matrix, the indices are not i64 or out of range, or `padding_idx` is.
    #[track_caller]
    pub fn embedding(&self, indices: &Tensor, padding_idx: Option<isize>) -> Result<Tensor> {
        self.embedding_with(indices, &EmbeddingOptions { padding_idx, ..EmbeddingOptions::new() })
    }

    /// As [`embedding`](Self::embedding), with all options of PyTorch's `F.embedding` but `sparse`.
    ///
    /// With `max_norm` PyTorch changes the weight before it reads it. Here the result is the same and the weight, a value,
    /// stays: [`embedding_renorm`](Self::embedding_renorm) gives what a layer stores.
    ///
    /// ```
    /// use gabor_tensor::{EmbeddingOptions, Tensor};
    /// let weight = Tensor::new([[1f64], [2.0]])?.requires_grad_()?;
    /// let options = EmbeddingOptions::new().scale_grad_by_freq(true);
    /// weight.embedding_with(&Tensor::new([1i64, 1, 0])?, &options)?.sum()?.backward()?;
    /// assert_eq!(weight.grad().unwrap().to_vec::<f64>()?, [1.0, 1.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`embedding`](Self::embedding) and [`embedding_renorm`](Self::embedding_renorm).
    #[track_caller]
    pub fn embedding_with(&self, indices: &Tensor, options: &EmbeddingOptions) -> Result<Tensor> {
        let (op, [rows, columns]) = ("embedding", matrix(self)?);
        check(op, indices, 0, rows)?;
        let padding = options.padding_idx.map(|given| {
            let at = if given < 0 { given.saturating_add(rows as isize) } else { given };
            let outside = Error::Index { op, index: given as i64, axis: 0, size: rows };
            usize::try_from(at).ok().filter(|&at| at < rows).ok_or(outside)
        });
        let padding = padding.transpose()?;
        let short = options.max_norm.map(|norm| self.embedding_renorm(indices, norm, options.norm_type)).transpose()?;
        let index = vector(op, &indices.detach().reshape(-1)?)?;
        let mut y = short.unwrap_or_else(|| self.detach()).index_select(0, &index)?;
        let share = if options.scale_grad_by_freq { Some(shares(&index, rows, self)?) } else { None };
        let rule = || Rows { rows, index: index.clone(), share };
        y = record(y.value, &[self], rule)?;
        if let Some(padding) = padding {
            let mask = index.reshape([-1, 1])?.eq_scalar(padding as f64)?;
            y = mask.where_cond(&y.detach(), &y)?;
        }
        let mut shape = indices.shape().clone();
        shape.0.push(columns);
        y.reshape(&shape)
    }

    /// This matrix with the rows that the indices name scaled to the length `max_norm` where they are longer, by the norm
    /// `norm_type`; without a graph. PyTorch: what `F.embedding` does to the weight if `max_norm` is given.
    ///
    /// ```
    /// use gabor_tensor::Tensor;
    /// let weight = Tensor::new([[3f64, 4.0], [30.0, 40.0]])?;
    /// let y = weight.embedding_renorm(&Tensor::new([0i64])?, 1.0, 2.0)?;
    /// assert!((y.i((0, 0))?.item()? - 0.6).abs() < 1e-6);
    /// assert_eq!(y.i(1)?.to_vec::<f64>()?, [30.0, 40.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// This is not a matrix of floating-point numbers, or the indices are not i64 or out of range.
    #[track_caller]
    pub fn embedding_renorm(&self, indices: &Tensor, max_norm: f64, norm_type: f64) -> Result<Tensor> {
        let (op, [rows, columns]) = ("embedding", matrix(self)?);
        check(op, indices, 0, rows)?;
        let mut named = indices.to_vec::<i64>()?;
        named.sort_unstable();
        named.dedup();
        let mut value = self.value.copy()?;
        dispatch!(float "embedding", self.dtype(), T => {
            let weight = value.unique::<T>().expect("a copy has one owner");
            for row in named {
                let row = &mut weight[row as usize * columns..(row as usize + 1) * columns];
                let norm = length(row, norm_type);
                if norm > max_norm {
                    // The small number is PyTorch's.
                    let scale = max_norm / (norm + 1e-7);
                    row.iter_mut().for_each(|w| *w = <T as Element>::of_f64(Element::to_f64(*w) * scale));
                }
            }
        });
        Ok(Tensor::plain(value))
    }
}

fn matrix(weight: &Tensor) -> Result<[usize; 2]> {
    let sizes = weight.dims().try_into();
    sizes.map_err(|_| Error::shape("embedding", format!("the weight needs 2 dimensions, got {:?}", weight.shape())))
}

/// The `p`-norm; of p = 0 the number of elements that are not 0.
fn length<T: Element>(row: &[T], p: f64) -> f64 {
    let sizes = row.iter().map(|&w| Element::to_f64(w).abs());
    match p {
        0.0 => sizes.filter(|&w| w != 0.0).count() as f64,
        1.0 => sizes.sum(),
        2.0 => sizes.map(|w| w * w).sum::<f64>().sqrt(),
        f64::INFINITY => sizes.fold(0.0, |most, w| if w > most || w.is_nan() { w } else { most }),
        f64::NEG_INFINITY => sizes.fold(f64::INFINITY, |least, w| if w < least || w.is_nan() { w } else { least }),
        p => sizes.map(|w| w.powf(p)).sum::<f64>().powf(1.0 / p),
    }
}

/// For each index one by how often it occurs, as a column of the dtype of `like`.
#[track_caller]
fn shares(index: &Tensor, rows: usize, like: &Tensor) -> Result<Tensor> {
    let index = index.to_vec::<i64>()?;
    let mut counts = std::collections::HashMap::with_capacity(index.len().min(rows));
    index.iter().for_each(|i| *counts.entry(i).or_insert(0u32) += 1);
    let shares: Vec<f64> = index.iter().map(|i| 1.0 / f64::from(counts[i])).collect();
    Tensor::from_vec(shares, [index.len(), 1])?.to_dtype(like.dtype())
}

/// Rows of a matrix of `rows` rows.
#[derive(Debug)]
struct Rows {
    rows: usize,
    index: Tensor,
    share: Option<Tensor>,
}
impl Rule for Rows {
    fn backward(&self, cx: &Cx<'_>, g: &Tensor) -> Result<Grads> {
        cx.each([&|| {
            let g = self.share.as_ref().map_or_else(|| Ok(g.clone()), |share| g.mul(share))?;
            let mut shape = g.shape().clone();
            shape.0[0] = self.rows;
            zeros(&g, &shape)?.index_add(0, &self.index, &g)
        }])
    }
}

#[cfg(any(test, feature = "testing"))]
pub(super) const SPECS: &[OpSpec] = &[OpSpec {
    name: "embedding",
    samples: || {
        let rows = |label, x: Tensor, index: Tensor, padding: Option<isize>| {
            Sample::new(label, vec![x, index], move |x: &[Tensor]| x[0].embedding(&x[1], padding)).oracle(|x| {
                let mut shape = x[1].shape().clone();
                shape.0.push(x[0].dims()[1]);
                let one_hot = x[1].one_hot(x[0].dims()[0] as isize)?.to_dtype(x[0].dtype())?;
                one_hot.matmul(&x[0])?.reshape(&shape)
            })
        };
        let with = |label, x: Tensor, index: Tensor, options: EmbeddingOptions| {
            Sample::new(label, vec![x, index], move |x: &[Tensor]| x[0].embedding_with(&x[1], &options)).order(0)
        };
        vec![
            rows("vector", numbers([5, 3], 1), indices([4], 5, 2), None),
            rows("matrix", numbers([5, 3], 3), indices([2, 3], 5, 4), None),
            rows("one", numbers([5, 3], 5), indices((), 5, 6), None),
            rows("none", numbers([5, 3], 7), indices([0, 2], 5, 8), None),
            rows("padded", numbers([2, 3], 9), indices([5], 2, 10), Some(-1)).order(0),
            with("short rows", numbers([4, 3], 11), indices([5], 4, 12), EmbeddingOptions::new().max_norm(1.5)),
            with(
                "by frequency",
                numbers([3, 2], 13),
                indices([7], 3, 14),
                EmbeddingOptions::new().scale_grad_by_freq(true),
            ),
        ]
    },
}];
