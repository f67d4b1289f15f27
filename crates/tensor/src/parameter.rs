//! Parameters: leaves whose values an optimizer replaces, and state that layers keep beside them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::label::Label;
use crate::program;
use crate::shape::Shape;
use crate::tape::{HookHandle, Tensor, no_grad};

/// A learned tensor of a layer. Clones are the same parameter, so that weights can be shared.
///
/// ```
/// use gabor_tensor::{Parameter, Tensor};
/// let w = Parameter::new(Tensor::ones([2])?)?;
/// w.tensor().square()?.sum()?.backward()?;
/// w.update(|w, grad| w - grad * 0.25)?;
/// assert_eq!(w.tensor().to_vec::<f32>()?, [0.5, 0.5]);
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
#[derive(Clone)]
pub struct Parameter {
    shared: Arc<Shared>,
}

struct Shared {
    cell: RwLock<Held>,
    label: Label,
    /// Whether the sizes are still open.
    lazy: AtomicBool,
}

/// The tensor is a leaf; its node stays the same until the dtype changes.
struct Held {
    tensor: Tensor,
    frozen: bool,
}

impl Held {
    /// Refuses a tensor of another shape or dtype.
    fn check(&self, op: &'static str, tensor: &Tensor) -> Result<()> {
        let own = &self.tensor;
        if own.shape() != tensor.shape() {
            return Err(Error::shape(
                op,
                format!("the parameter has shape {:?} and the tensor {:?}", own.shape(), tensor.shape()),
            ));
        }
        if own.dtype() != tensor.dtype() {
            return Err(Error::DTypes { op, lhs: own.dtype(), rhs: tensor.dtype() });
        }
        Ok(())
    }
}

impl Parameter {
    /// A parameter that starts with the elements of `tensor`.
    ///
    /// # Errors
    /// The dtype is not floating point.
    pub fn new(tensor: Tensor) -> Result<Self> {
        Self::made(tensor, false)
    }

    fn made(tensor: Tensor, lazy: bool) -> Result<Self> {
        let tensor = tensor.detach().requires_grad_()?;
        let label = Label::default();
        tensor.belongs_to(&label);
        let cell = RwLock::new(Held { tensor, frozen: false });
        let shared = Shared { cell, label, lazy: AtomicBool::new(lazy) };
        Ok(Parameter { shared: Arc::new(shared) })
    }

    /// A parameter of f32 whose sizes are not all known yet: 0 stands for those. It is empty until
    /// [`materialize`](Self::materialize) gives it its elements; optimizers refuse it until then.
    ///
    /// ```
    /// use gabor_tensor::{Parameter, Tensor};
    /// let w = Parameter::lazy(&[3, 0])?;
    /// assert!(w.is_lazy());
    /// assert!(w.materialize(&Tensor::ones([4, 2])?).is_err());
    /// w.materialize(&Tensor::ones([3, 2])?)?;
    /// assert!(!w.is_lazy());
    /// assert_eq!(w.shape().to_vec(), [3, 2]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// All sizes are known, and there is no memory for so many elements.
    pub fn lazy(shape: &[usize]) -> Result<Self> {
        Self::made(Tensor::zeros(shape)?, true)
    }

    /// Whether the parameter waits for its sizes.
    pub fn is_lazy(&self) -> bool {
        self.shared.lazy.load(Ordering::Acquire)
    }

    /// Gives a lazy parameter its elements, converted to its dtype. Nothing happens if it has them already.
    ///
    /// # Errors
    /// The shape differs from what is known of it.
    pub fn materialize(&self, value: &Tensor) -> Result<()> {
        let mut held = self.held_mut();
        if self.is_lazy() {
            let value = filled("materialize", held.tensor.shape(), value)?.to_dtype(held.tensor.dtype())?;
            held.tensor = value.detach().contiguous()?.requires_grad_()?;
            held.tensor.belongs_to(&self.shared.label);
            self.shared.lazy.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// The current value: a leaf of the graph, or a plain tensor while the parameter is frozen.
    pub fn tensor(&self) -> Tensor {
        let held = self.held();
        if program::recording() {
            self.source(&held.tensor);
        }
        if held.frozen { held.tensor.detach() } else { held.tensor.clone() }
    }

    /// A captured step takes the value of its time.
    #[cold]
    fn source(&self, tensor: &Tensor) {
        let (parameter, dtype) = (self.clone(), tensor.dtype());
        program::source(&tensor.value, move || {
            let value = parameter.held().tensor.value.clone();
            if value.dtype() != dtype {
                return Err(Error::DTypes { op: "captured step", lhs: dtype, rhs: value.dtype() });
            }
            Ok(value)
        });
    }

    /// The sizes of its dimensions.
    pub fn shape(&self) -> Shape {
        self.tensor().shape().clone()
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        self.tensor().dtype()
    }

    /// The gradient that [`Tensor::backward`] stored, if any.
    pub fn grad(&self) -> Option<Tensor> {
        self.held().tensor.grad()
    }

    /// Forgets the stored gradient.
    pub fn zero_grad(&self) {
        self.held().tensor.zero_grad();
    }

    /// Notes that an optimizer uses the stored gradient now. Whether one has used it before, or what it has grown from,
    /// since the last [`zero_grad`](Self::zero_grad).
    pub fn use_grad(&self) -> bool {
        self.held().tensor.use_grad()
    }

    /// Replaces the stored gradient, for instance after clipping.
    ///
    /// # Errors
    /// `grad` has another shape or dtype.
    pub fn set_grad(&self, grad: &Tensor) -> Result<()> {
        self.held().check("set_grad", grad)?;
        self.held().tensor.set_grad(Some(grad.value.contiguous()?.into_owned()));
        Ok(())
    }

    fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.shared.cell.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn held_mut(&self) -> RwLockWriteGuard<'_, Held> {
        self.shared.cell.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// `value` has another shape or dtype.
    pub fn set(&self, value: &Tensor) -> Result<()> {
        let elements = value.value.contiguous()?.into_owned();
        let mut held = self.held_mut();
        held.check("set", value)?;
        if program::recording() {
            program::refuse("the step sets a parameter; do that outside");
        }
        held.tensor.value = elements;
        Ok(())
    }

    /// Replaces the value by `f(value, gradient)`, without recording. Does nothing while there is no gradient.
    ///
    /// # Errors
    /// `f` gives another shape or dtype.
    pub fn update(&self, f: impl FnOnce(&Tensor, &Tensor) -> Tensor) -> Result<()> {
        let held = self.held();
        let Some(grad) = held.tensor.grad() else { return Ok(()) };
        let value = held.tensor.detach();
        drop(held);
        self.set(&no_grad(|| f(&value, &grad)))
    }

    /// Changes the elements in place (row-major), copying them first only if somebody else still holds them.
    ///
    /// # Errors
    /// `T` is not the dtype of the parameter.
    pub fn modify<T: Element, R>(&self, f: impl FnOnce(&mut [T]) -> R) -> Result<R> {
        let mut held = self.held_mut();
        let value = &mut held.tensor.value;
        if value.dtype() != T::DTYPE {
            return Err(Error::DTypes { op: "modify", lhs: value.dtype(), rhs: T::DTYPE });
        }
        if value.unique::<T>().is_none() {
            *value = value.copy()?;
        }
        Ok(f(value.unique().expect("a copy has one owner")))
    }

    /// Converts the elements. The stored gradient is forgotten.
    ///
    /// # Errors
    /// `dtype` is not floating point.
    pub fn to_dtype_(&self, dtype: DType) -> Result<()> {
        let mut held = self.held_mut();
        if held.tensor.dtype() != dtype {
            let converted = held.tensor.detach().to_dtype(dtype)?.requires_grad_()?;
            held.tensor.hand_hooks_to(&converted);
            converted.belongs_to(&self.shared.label);
            held.tensor = converted;
        }
        Ok(())
    }

    /// Calls `hook` with each gradient before it is added to the stored one; see [`Tensor::register_hook`].
    ///
    /// ```
    /// use gabor_tensor::{Parameter, Tensor};
    /// let w = Parameter::new(Tensor::ones([2])?)?;
    /// w.register_hook(|grad| grad.clamp(Some(-1.0), Some(1.0)).map(Some))?;
    /// w.tensor().mul_scalar(5.0)?.sum()?.backward()?;
    /// assert_eq!(w.grad().unwrap().to_vec::<f32>()?, [1.0, 1.0]);
    /// # Ok::<(), gabor_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// The parameter is frozen.
    pub fn register_hook(
        &self,
        hook: impl Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync + 'static,
    ) -> Result<HookHandle> {
        self.tensor().register_hook(hook)
    }

    /// Freezes (`false`) or unfreezes the parameter.
    pub fn requires_grad_(&self, on: bool) {
        self.held_mut().frozen = !on;
    }

    /// Whether gradients are recorded for it.
    pub fn requires_grad(&self) -> bool {
        !self.held().frozen
    }

    /// Where its name in a model is kept, once somebody has walked through the model.
    pub fn label(&self) -> &Label {
        &self.shared.label
    }

    /// Its name in a model, `conv1.weight`, once somebody has asked the model for its parameters.
    pub fn name(&self) -> Option<String> {
        self.shared.label.path().filter(|name| !name.is_empty())
    }

    /// A number that only clones of this parameter share.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }
}

impl std::fmt::Debug for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parameter({} {:?})", self.dtype(), self.shape())
    }
}

/// `value`, if it has the sizes of `known` where those are not 0.
fn filled(op: &'static str, known: &Shape, value: &Tensor) -> Result<Tensor> {
    let fits = known.len() == value.rank() && known.iter().zip(value.dims()).all(|(&k, &n)| k == n || k == 0);
    if !fits {
        let message = format!("the shape is to be {known:?} (0 is open) and the tensor has {:?}", value.shape());
        return Err(Error::shape(op, message));
    }
    Ok(value.detach())
}

/// A tensor that a layer keeps without learning it, such as running statistics. Clones share it.
///
/// ```
/// use gabor_tensor::{State, Tensor};
/// let mean = State::new(Tensor::zeros([3])?);
/// mean.set(&Tensor::ones([3])?)?;
/// assert_eq!(mean.tensor().to_vec::<f32>()?, [1.0; 3]);
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
#[derive(Clone)]
pub struct State {
    cell: Arc<RwLock<Kept>>,
}

struct Kept {
    tensor: Tensor,
    lazy: bool,
}

impl State {
    /// State that starts as `tensor`.
    pub fn new(tensor: Tensor) -> Self {
        State { cell: Arc::new(RwLock::new(Kept { tensor: tensor.detach(), lazy: false })) }
    }

    /// State of f32 whose sizes are not all known yet: 0 stands for those. See [`Parameter::lazy`].
    ///
    /// # Errors
    /// All sizes are known, and there is no memory for so many elements.
    pub fn lazy(shape: &[usize]) -> Result<Self> {
        Ok(State { cell: Arc::new(RwLock::new(Kept { tensor: Tensor::zeros(shape)?, lazy: true })) })
    }

    fn kept(&self) -> RwLockReadGuard<'_, Kept> {
        self.cell.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept_mut(&self) -> RwLockWriteGuard<'_, Kept> {
        self.cell.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the state waits for its sizes.
    pub fn is_lazy(&self) -> bool {
        self.kept().lazy
    }

    /// Gives lazy state its elements, converted to its dtype. Nothing happens if it has them already.
    ///
    /// # Errors
    /// The shape differs from what is known of it.
    pub fn materialize(&self, value: &Tensor) -> Result<()> {
        let mut kept = self.kept_mut();
        if kept.lazy {
            let tensor = filled("materialize", kept.tensor.shape(), value)?.to_dtype(kept.tensor.dtype())?;
            *kept = Kept { tensor, lazy: false };
        }
        Ok(())
    }

    /// The current value.
    pub fn tensor(&self) -> Tensor {
        self.kept().tensor.clone()
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// `value` has another shape or dtype.
    pub fn set(&self, value: &Tensor) -> Result<()> {
        if program::recording() {
            program::refuse("the step sets a state that a layer keeps, as batch norm does while it trains");
        }
        let held = &mut self.kept_mut().tensor;
        if held.shape() != value.shape() {
            return Err(Error::shape(
                "set",
                format!("the state has shape {:?} and the tensor {:?}", held.shape(), value.shape()),
            ));
        }
        if held.dtype() != value.dtype() {
            return Err(Error::DTypes { op: "set", lhs: held.dtype(), rhs: value.dtype() });
        }
        *held = value.detach();
        Ok(())
    }

    /// Converts the elements.
    ///
    /// # Errors
    /// The result does not fit in memory.
    pub fn to_dtype_(&self, dtype: DType) -> Result<()> {
        let held = &mut self.kept_mut().tensor;
        let converted = held.to_dtype(dtype)?;
        *held = converted;
        Ok(())
    }

    /// A number that only clones of this state share.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.cell).addr()
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tensor = self.tensor();
        write!(f, "State({} {:?})", tensor.dtype(), tensor.shape())
    }
}
