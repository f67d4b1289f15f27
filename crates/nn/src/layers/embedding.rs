//! A table of vectors.

use tensor::{EmbeddingOptions, Error, Parameter, Result, Tensor};

use super::options;
use crate::sequential::{IntoLayer, Layer};
use crate::{Forward, Label, Module, init};

/// Looks up learned vectors by their numbers. PyTorch: `torch.nn.Embedding`.
///
/// Input: i64 of any shape, each at least 0 and below `num_embeddings`; the result has one more dimension, of `embedding_dim`.
/// The vectors start normally distributed.
///
/// ```
/// use gabor_nn::{Embedding, Forward};
/// use tensor::Tensor;
/// let layer = Embedding::new(10, 3).padding_idx(0).build()?;
/// let y = layer.forward(&Tensor::new([[4i64, 0], [0, 9]])?)?;
/// assert_eq!(y.shape(), &[2, 2, 3]);
/// assert_eq!(y.to_vec::<f32>()?[3..9], [0.0; 6]);
/// # Ok::<(), tensor::Error>(())
/// ```
#[derive(Clone, Debug, Module)]
pub struct Embedding {
    /// `[num_embeddings, embedding_dim]`.
    pub weight: Parameter,
    #[module(skip)]
    options: EmbeddingOptions,
    label: Label,
}

/// Makes an [`Embedding`].
#[derive(Clone, Copy, Debug)]
#[must_use = "call build, or put it into seq!"]
pub struct EmbeddingBuilder {
    num_embeddings: usize,
    embedding_dim: usize,
    options: EmbeddingOptions,
}

impl Embedding {
    /// `num_embeddings` vectors of `embedding_dim` numbers.
    #[expect(clippy::new_ret_no_self, reason = "PyTorch's spelling; the options follow, then build")]
    pub fn new(num_embeddings: usize, embedding_dim: usize) -> EmbeddingBuilder {
        EmbeddingBuilder { num_embeddings, embedding_dim, options: EmbeddingOptions::new() }
    }

    /// The rows of a matrix as vectors, frozen or to be learned further.
    ///
    /// # Errors
    /// `weight` is no matrix of floating-point numbers.
    pub fn from_pretrained(weight: Tensor, freeze: bool) -> Result<Self> {
        if weight.rank() != 2 {
            let message = format!("weight has shape {:?}; expected [num_embeddings, embedding_dim]", weight.shape());
            return Err(Error::shape("embedding", message));
        }
        let weight = Parameter::new(weight)?;
        weight.requires_grad_(!freeze);
        Ok(Embedding { weight, options: EmbeddingOptions::new(), label: Label::default() })
    }

    #[track_caller]
    fn look_up(&self, indices: &Tensor) -> Result<Tensor> {
        let mut options = self.options;
        if let Some(max_norm) = options.max_norm.take() {
            // As in PyTorch, what is looked up is shortened for good.
            let short = self.weight.tensor().detach().embedding_renorm(indices, max_norm, options.norm_type)?;
            self.weight.set(&short)?;
        }
        self.weight.tensor().embedding_with(indices, &options)
    }
}

impl EmbeddingBuilder {
    /// Sets the number whose vector starts as 0 and is not learned; negative ones count from the end.
    pub fn padding_idx(mut self, padding_idx: isize) -> Self {
        self.options.padding_idx = Some(padding_idx);
        self
    }

    /// Sets the largest norm: longer vectors are shortened when they are looked up.
    pub fn max_norm(mut self, max_norm: f64) -> Self {
        self.options.max_norm = Some(max_norm);
        self
    }

    /// Sets the order of the norm for [`max_norm`](Self::max_norm); 2 unless set.
    pub fn norm_type(mut self, norm_type: f64) -> Self {
        self.options.norm_type = norm_type;
        self
    }

    /// Sets whether gradients are divided by how often a number occurs in the batch.
    pub fn scale_grad_by_freq(mut self, scale: bool) -> Self {
        self.options.scale_grad_by_freq = scale;
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// A size is 0, `padding_idx` is none of the numbers, or the table does not fit in memory.
    pub fn build(self) -> Result<Embedding> {
        let (op, rows, columns) = ("embedding", self.num_embeddings, self.embedding_dim);
        options::sizes(op, &[("num_embeddings", rows), ("embedding_dim", columns)])?;
        if rows.checked_mul(columns).is_none() {
            return Err(Error::TooLarge { op, shape: vec![rows, columns] });
        }
        let padding = self.options.padding_idx.map(|given| {
            let at = if given < 0 { given.saturating_add_unsigned(rows) } else { given };
            let outside =
                format!("padding_idx is {given}, there are {rows} embeddings; use one from 0 to {}", rows - 1);
            usize::try_from(at).ok().filter(|&at| at < rows).ok_or_else(|| Error::argument(op, outside))
        });
        let padding = padding.transpose()?;
        let weight = Parameter::new(Tensor::zeros([rows, columns])?)?;
        init::normal_(&weight, 0.0, 1.0)?;
        if let Some(row) = padding {
            weight.modify::<f32, _>(|w| w[row * columns..(row + 1) * columns].fill(0.0))?;
        }
        Ok(Embedding { weight, options: self.options, label: Label::default() })
    }
}

impl Forward for Embedding {
    /// # Errors
    /// The input is not i64, or a number is outside of the table.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.label.enter(x)?;
        self.label.leave(&x, self.look_up(&x))
    }
}

impl IntoLayer for EmbeddingBuilder {
    fn into_layer(self) -> Result<Layer> {
        Ok(Box::new(self.build()?))
    }
}
