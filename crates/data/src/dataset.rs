//! What a dataset is: something that gives the inputs and targets at any list of indices.

use std::fmt;
use std::sync::Arc;

use tensor::{Error, Result, Tensor};

/// Pairs of an input and a target, read a batch at a time.
///
/// A dataset of your own needs two methods:
///
/// ```
/// use gabor_data::{DataLoader, Dataset, Result};
/// use tensor::Tensor;
///
/// /// Numbers and their squares.
/// struct Squares;
///
/// impl Dataset for Squares {
///     fn len(&self) -> usize {
///         10
///     }
///     fn batch(&self, indices: &[usize]) -> Result<(Tensor, Tensor)> {
///         let x: Vec<f32> = indices.iter().map(|&i| i as f32).collect();
///         let x = Tensor::from_vec(x, [indices.len(), 1])?;
///         Ok((x.clone(), x.square()?))
///     }
/// }
///
/// let (x, y) = DataLoader::new(Squares, 4).iter().next().unwrap()?;
/// assert_eq!(y.to_vec::<f32>()?, [0.0, 1.0, 4.0, 9.0]);
/// # Ok::<(), gabor_data::Error>(())
/// ```
pub trait Dataset: Send + Sync {
    /// The number of pairs.
    fn len(&self) -> usize;

    /// The inputs and the targets at `indices`, in that order, each stacked along a new first dimension.
    ///
    /// # Errors
    /// An index is not below [`len`](Self::len), or the pair there cannot be read.
    fn batch(&self, indices: &[usize]) -> Result<(Tensor, Tensor)>;

    /// Whether there are no pairs.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same dataset with `transform` applied to each batch of inputs.
    ///
    /// ```
    /// use gabor_data::{Dataset, Digits, Split, normalize};
    ///
    /// let digits = Digits::load(Split::Test)?.map(|x| normalize(&x, &[0.5], &[0.5]));
    /// assert_eq!(digits.batch(&[0])?.0.i((0, 0, 0, 0))?.item()?, -1.0);
    /// # Ok::<(), gabor_data::Error>(())
    /// ```
    fn map<F>(self, transform: F) -> Map<Self, F>
    where
        Self: Sized,
        F: Fn(Tensor) -> Result<Tensor> + Send + Sync,
    {
        Map { dataset: self, transform }
    }
}

impl<D: Dataset + ?Sized> Dataset for Arc<D> {
    fn len(&self) -> usize {
        (**self).len()
    }
    fn batch(&self, indices: &[usize]) -> Result<(Tensor, Tensor)> {
        (**self).batch(indices)
    }
}

impl<D: Dataset + ?Sized> Dataset for Box<D> {
    fn len(&self) -> usize {
        (**self).len()
    }
    fn batch(&self, indices: &[usize]) -> Result<(Tensor, Tensor)> {
        (**self).batch(indices)
    }
}

/// A dataset whose inputs pass through a function; made by [`Dataset::map`].
#[derive(Clone)]
pub struct Map<D, F> {
    dataset: D,
    transform: F,
}

impl<D: fmt::Debug, F> fmt::Debug for Map<D, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("dataset", &self.dataset).finish_non_exhaustive()
    }
}

impl<D: Dataset, F: Fn(Tensor) -> Result<Tensor> + Send + Sync> Dataset for Map<D, F> {
    fn len(&self) -> usize {
        self.dataset.len()
    }
    fn batch(&self, indices: &[usize]) -> Result<(Tensor, Tensor)> {
        let (x, y) = self.dataset.batch(indices)?;
        Ok(((self.transform)(x)?, y))
    }
}

/// Two tensors as a dataset: pair `i` is row `i` of each.
///
/// ```
/// use gabor_data::{Dataset, TensorDataset};
/// use tensor::Tensor;
///
/// let x = Tensor::arange(0f32, 6.0, 1.0)?.reshape([3, 2])?;
/// let y = Tensor::new([7i64, 8, 9])?;
/// let (x, y) = TensorDataset::new(x, y)?.batch(&[2, 0])?;
/// assert_eq!(x.to_vec::<f32>()?, [4.0, 5.0, 0.0, 1.0]);
/// assert_eq!(y.to_vec::<i64>()?, [9, 7]);
/// # Ok::<(), gabor_data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct TensorDataset {
    inputs: Tensor,
    targets: Tensor,
}

impl TensorDataset {
    /// Pairs the rows of `inputs` `[N, ..]` with those of `targets` `[N, ..]`. No gradient flows back into them.
    ///
    /// # Errors
    /// The first sizes differ, or one of the tensors has no dimensions.
    pub fn new(inputs: Tensor, targets: Tensor) -> Result<Self> {
        match (inputs.dims().first(), targets.dims().first()) {
            (Some(n), Some(m)) if n == m => {
                Ok(TensorDataset { inputs: inputs.detach().contiguous()?, targets: targets.detach().contiguous()? })
            }
            _ => Err(Error::shape(
                "tensor_dataset",
                format!(
                    "inputs {:?} and targets {:?} do not pair up; their first sizes must be equal",
                    inputs.shape(),
                    targets.shape()
                ),
            )),
        }
    }
}

impl Dataset for TensorDataset {
    fn len(&self) -> usize {
        self.inputs.dims().first().copied().unwrap_or(0)
    }
    fn batch(&self, indices: &[usize]) -> Result<(Tensor, Tensor)> {
        check_indices("tensor_dataset", indices, self.len())?;
        Ok((rows(&self.inputs, indices)?, rows(&self.targets, indices)?))
    }
}

/// The rows of `x` at `indices`, which are in range. Neighbours in order are a view, nothing is copied.
fn rows(x: &Tensor, indices: &[usize]) -> Result<Tensor> {
    let (first, len) = (indices.first().copied().unwrap_or(0), indices.len());
    if indices.iter().enumerate().all(|(k, &i)| i == first + k) {
        return x.narrow(0, first as isize, len);
    }
    let indices = indices.iter().map(|&i| i as i64).collect();
    x.index_select(0, &Tensor::from_vec::<i64>(indices, len)?)
}

/// An error for the first of `indices` that is not below `len`.
pub(crate) fn check_indices(op: &'static str, indices: &[usize], len: usize) -> Result<()> {
    match indices.iter().find(|&&i| i >= len) {
        Some(&i) => Err(Error::Index { op, index: i64::try_from(i).unwrap_or(i64::MAX), axis: 0, size: len }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::DType;

    fn numbers() -> TensorDataset {
        let x = Tensor::arange(0f32, 10.0, 1.0).unwrap().reshape([5, 2]).unwrap();
        TensorDataset::new(x, Tensor::arange(0i64, 5, 1).unwrap()).unwrap()
    }

    #[test]
    fn rows_come_in_the_order_asked_for() {
        let (x, y) = numbers().batch(&[4, 1, 1]).unwrap();
        assert_eq!(x.shape(), &[3, 2]);
        assert_eq!(x.to_vec::<f32>().unwrap(), [8.0, 9.0, 2.0, 3.0, 2.0, 3.0]);
        assert_eq!(y.to_vec::<i64>().unwrap(), [4, 1, 1]);
        let (x, y) = numbers().batch(&[2, 3]).unwrap();
        assert_eq!(x.to_vec::<f32>().unwrap(), [4.0, 5.0, 6.0, 7.0]);
        assert_eq!(y.to_vec::<i64>().unwrap(), [2, 3]);
    }

    #[test]
    fn an_empty_list_gives_empty_tensors() {
        let (x, y) = numbers().batch(&[]).unwrap();
        assert_eq!((x.dims(), y.dims()), (&[0, 2][..], &[0][..]));
    }

    #[test]
    fn an_index_out_of_range_is_an_error() {
        let error = numbers().batch(&[0, 5]).unwrap_err().to_string();
        assert_eq!(error, "tensor_dataset: index 5 is out of range for dimension 0 of size 5");
        assert!(numbers().batch(&[usize::MAX]).is_err());
    }

    #[test]
    fn tensors_that_do_not_pair_up_are_an_error() {
        let (x, y) = (Tensor::zeros([3, 2]).unwrap(), Tensor::zeros([2]).unwrap());
        let error = TensorDataset::new(x.clone(), y).unwrap_err().to_string();
        assert_eq!(
            error,
            "tensor_dataset: inputs [3, 2] and targets [2] do not pair up; their first sizes must be equal"
        );
        assert!(TensorDataset::new(x, Tensor::zeros(()).unwrap()).is_err());
    }

    #[test]
    fn no_gradient_reaches_the_data() {
        let x = Tensor::zeros([2, 2]).unwrap().requires_grad_().unwrap();
        let data = TensorDataset::new(x, Tensor::zeros([2]).unwrap()).unwrap();
        assert!(!data.batch(&[1, 0]).unwrap().0.requires_grad());
    }

    #[test]
    fn boxes_arcs_and_maps_are_datasets() {
        let data: Arc<dyn Dataset> = Arc::new(numbers());
        let boxed: Box<dyn Dataset> = Box::new(data.clone().map(|x| x.to_dtype(DType::F64)));
        assert_eq!((boxed.len(), boxed.is_empty()), (5, false));
        assert_eq!(boxed.batch(&[1]).unwrap().0.to_vec::<f64>().unwrap(), [2.0, 3.0]);
        let failing = data.map(|_| Err(Error::custom("flip: no")));
        assert_eq!(failing.batch(&[1]).unwrap_err().to_string(), "flip: no");
    }
}
