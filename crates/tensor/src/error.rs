//! The one error type: what went wrong, in which operation, with which shapes, and the usual fix.
//!
//! Every text has the form `<op>: <what is wrong>, <numbers>; <usual fix>`, without a final period.

use crate::dtype::DType;
use crate::label::{Label, Place};

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A mistake, one variant for each kind, with the operation first.
///
/// ```
/// use gabor_tensor::{Error, Tensor};
/// let error = Tensor::zeros([2, 3])?.add(&Tensor::zeros([4])?).unwrap_err();
/// assert!(matches!(error, Error::Broadcast { .. }));
/// assert_eq!(error.to_string(), "add: shapes [2, 3] and [4] do not broadcast, dimension 1 is 3 and 4");
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two shapes cannot be broadcast to a common one.
    #[error("{op}: shapes {lhs:?} and {rhs:?} do not broadcast{}", differing(.lhs, .rhs))]
    Broadcast {
        /// The operation.
        op: &'static str,
        /// The shape of the left operand.
        lhs: Vec<usize>,
        /// The shape of the right operand.
        rhs: Vec<usize>,
    },
    /// The shapes of the arguments do not fit together or do not fit the operation.
    #[error("{op}: {message}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// What arrived, what was expected, and the usual fix.
        message: String,
    },
    /// Two tensors have different dtypes.
    #[error("{op}: dtypes differ, {lhs} and {rhs}; {}", conversion(*.lhs, *.rhs))]
    DTypes {
        /// The operation.
        op: &'static str,
        /// The dtype of the first tensor.
        lhs: DType,
        /// The dtype of the second tensor.
        rhs: DType,
    },
    /// The operation does not exist for this dtype.
    #[error("{op}: {dtype} is not supported, expected {expected}; convert with to_dtype")]
    DType {
        /// The operation.
        op: &'static str,
        /// The dtype that arrived.
        dtype: DType,
        /// What the operation takes.
        expected: &'static str,
    },
    /// An axis outside of the tensor.
    #[error("{op}: dimension {axis} is out of range, expected {} to {}", -(*.rank as isize).max(1), (*.rank as isize).max(1) - 1)]
    Axis {
        /// The operation.
        op: &'static str,
        /// The axis as it was given.
        axis: isize,
        /// The number of dimensions of the tensor.
        rank: usize,
    },
    /// An index outside of a dimension.
    #[error("{op}: index {index} is out of range for dimension {axis} of size {size}")]
    Index {
        /// The operation.
        op: &'static str,
        /// The index as it was given.
        index: i64,
        /// The dimension that it points into.
        axis: usize,
        /// The size of that dimension.
        size: usize,
    },
    /// An argument has a value that the operation cannot work with.
    #[error("{op}: {message}")]
    Argument {
        /// The operation.
        op: &'static str,
        /// Which argument, its value, what is allowed.
        message: String,
    },
    /// A tensor of this shape cannot exist in memory.
    #[error("{op}: a tensor of shape {shape:?} does not fit in memory")]
    TooLarge {
        /// The operation.
        op: &'static str,
        /// The requested shape.
        shape: Vec<usize>,
    },
    /// The graph cannot answer what was asked of it.
    #[error("{op}: {message}")]
    Autograd {
        /// The operation.
        op: &'static str,
        /// What is wrong and the usual fix.
        message: String,
    },
    /// In anomaly mode a result or a gradient holds NaN.
    #[error("{op}: {message}")]
    Anomaly {
        /// The operation whose result or rule made it.
        op: String,
        /// Which element, from what, and the line that called the operation.
        message: String,
    },
    /// A hook on a gradient failed.
    #[error("{op}: a hook on the gradient of {at} failed: {error}")]
    Hook {
        /// The operation.
        op: &'static str,
        /// What the gradient belongs to, with the line that made it.
        at: String,
        /// The hook's own error.
        error: Box<Error>,
    },
    /// A numerical gradient and the one of the rules differ.
    #[error("{op}: {message}")]
    GradCheck {
        /// `gradcheck` or `gradgradcheck`.
        op: &'static str,
        /// The element, both gradients, the tolerance.
        message: String,
    },
    /// A file or a stored state is not what it should be.
    #[error("{op}: {message}")]
    Format {
        /// The operation.
        op: &'static str,
        /// The file or entry, and what is wrong with it.
        message: String,
    },
    /// The operating system refused a file operation.
    #[error("{op}: {path}: {message}")]
    Io {
        /// The operation.
        op: &'static str,
        /// The file.
        path: String,
        /// The system's own words.
        message: String,
    },
    /// An error inside of a layer, with the path of the layer in its model.
    #[error("{}", .place.put_into(&.error.to_string()))]
    InLayer {
        /// The layer: its path in the model if it is known.
        place: Place,
        /// What went wrong there.
        error: Box<Error>,
    },
    /// An error of a user's own operator or layer.
    #[error("{0}")]
    Custom(String),
}

impl Error {
    /// An error of a user's own operator or layer.
    ///
    /// ```
    /// assert_eq!(gabor_tensor::Error::custom("swish: beta is 0").to_string(), "swish: beta is 0");
    /// ```
    pub fn custom(message: impl Into<String>) -> Self {
        Error::Custom(message.into())
    }

    /// The same error, seen from a container that calls the layer it happened in `name`. A path that a walk through the
    /// model has left in the layer, and that has `name` in it, stays as it is.
    ///
    /// ```
    /// use gabor_tensor::Error;
    /// let error = Error::custom("conv2d: too small").in_layer("0").in_layer("features");
    /// assert_eq!(error.to_string(), "conv2d `features.0`: too small");
    /// assert_eq!(error.layer().as_deref(), Some("features.0"));
    /// ```
    #[must_use]
    #[cold]
    pub fn in_layer(self, name: &str) -> Self {
        let (mut place, error) = self.placed();
        place.enter(name);
        Error::InLayer { place, error }
    }

    /// The same error, happened at `position` of a container with a label of its own.
    #[must_use]
    #[cold]
    pub fn in_labelled(self, container: &Label, position: &str) -> Self {
        let (mut place, error) = self.placed();
        place.enter_labelled(container, position);
        Error::InLayer { place, error }
    }

    /// The same error, happened in the layer with this label, which was called on `line`. An error that has a place
    /// of a label already keeps it.
    #[must_use]
    #[cold]
    pub fn at(self, label: &Label, line: Option<&'static std::panic::Location<'static>>) -> Self {
        match self {
            Error::InLayer { place, error } if place.is_guess() => {
                Error::InLayer { place: Place::of(label, line), error }
            }
            placed @ Error::InLayer { .. } => placed,
            error => Error::InLayer { place: Place::of(label, line), error: Box::new(error) },
        }
    }

    /// The same error, happened in a layer without a label, which was called on `line`.
    #[must_use]
    #[cold]
    pub fn called_at(self, line: &'static std::panic::Location<'static>) -> Self {
        match self {
            placed @ Error::InLayer { .. } => placed,
            error => Error::InLayer { place: Place::on(line), error: Box::new(error) },
        }
    }

    /// The same error, happened in the layer that the parameter with this label belongs to.
    pub(crate) fn in_owner_of(self, parameter: &Label) -> Self {
        match self {
            placed @ Error::InLayer { .. } => placed,
            error => Error::InLayer { place: Place::of_owner(parameter), error: Box::new(error) },
        }
    }

    fn placed(self) -> (Place, Box<Error>) {
        match self {
            Error::InLayer { place, error } => (place, error),
            error => (Place::default(), Box::new(error)),
        }
    }

    /// The path of the layer in which it happened, if it is known.
    pub fn layer(&self) -> Option<String> {
        match self {
            Error::InLayer { place, .. } => place.path(),
            _ => None,
        }
    }

    /// The error itself, without the layer that it happened in.
    pub fn without_layer(&self) -> &Error {
        match self {
            Error::InLayer { error, .. } => error,
            error => error,
        }
    }

    /// A mistake in the shapes of the arguments of `op`.
    #[cold]
    pub fn shape(op: &'static str, message: impl Into<String>) -> Self {
        Error::Shape { op, message: message.into() }
    }

    /// A mistake in the value of an argument of `op`.
    #[cold]
    pub fn argument(op: &'static str, message: impl Into<String>) -> Self {
        Error::Argument { op, message: message.into() }
    }

    /// A file or a stored state that is not what it should be.
    #[cold]
    pub fn format(op: &'static str, message: impl Into<String>) -> Self {
        Error::Format { op, message: message.into() }
    }

    /// A refusal of the operating system.
    #[cold]
    pub fn io(op: &'static str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Error::Io { op, path: path.display().to_string(), message: error.to_string() }
    }

    #[cold]
    pub(crate) fn autograd(op: &'static str, message: impl Into<String>) -> Self {
        Error::Autograd { op, message: message.into() }
    }
}

/// Numbers become those that hold more; of the two floating-point types the usual one is proposed.
fn conversion(lhs: DType, rhs: DType) -> String {
    let both_float = lhs.is_float() && rhs.is_float();
    let to = [DType::F32, DType::F64, DType::I64, DType::U8].into_iter().find(|&d| d == lhs || d == rhs);
    let to = if both_float { DType::F32 } else { to.unwrap_or(lhs) };
    let image = if (lhs == DType::U8 || rhs == DType::U8) && to.is_float() {
        ", and divide bytes of images by 255"
    } else {
        ""
    };
    format!("convert one with to_dtype(DType::{to:?}){image}")
}

fn differing(lhs: &[usize], rhs: &[usize]) -> String {
    let rank = lhs.len().max(rhs.len());
    let size = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    (0..rank)
        .rev()
        .map(|axis| (axis, size(lhs, axis), size(rhs, axis)))
        .find(|&(_, a, b)| a != b && a != 1 && b != 1)
        .map_or_else(String::new, |(axis, a, b)| format!(", dimension {axis} is {a} and {b}"))
}
