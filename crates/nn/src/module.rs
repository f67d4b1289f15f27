//! What a module is: something that shows its parameters and state, by name, to a visitor.

use std::any::Any;
use std::panic::Location;
use std::sync::Arc;

use tensor::{DType, Parameter, Result, Shape, State, Tensor, called_from};

use crate::hooks::{self, Hook, HookHandle, Hooks};
use crate::label::{Label, Walk};
use crate::state::{self, LoadReport};
use crate::training::Training;
use crate::tree::{self, AsModule};

/// Walks through a module. Each method does nothing unless it is written.
pub trait Visitor {
    /// The field or position that follows.
    fn enter(&mut self, name: &str) {
        let _ = name;
    }
    /// The end of what was entered last.
    fn leave(&mut self) {}
    /// A parameter.
    fn parameter(&mut self, parameter: &Parameter) {
        let _ = parameter;
    }
    /// A buffer: kept and saved, not learned.
    fn state(&mut self, state: &State) {
        let _ = state;
    }
    /// A switch between training and evaluation.
    fn training(&mut self, training: &Training) {
        let _ = training;
    }
    /// Where a container keeps the hooks of the layer that was entered last.
    fn hooks(&mut self, hooks: &Hooks) {
        let _ = hooks;
    }
    /// Where a layer keeps its own path and its hooks, under a name as other fields.
    fn label(&mut self, label: &Label) {
        let _ = label;
    }
}

/// Forgets gradients. A loop does it at every step, so nothing is collected, and paths are only compared by their lengths.
#[derive(Default)]
struct ZeroGrad {
    depth: usize,
    /// Whether something does not know its path.
    lost: bool,
}

impl ZeroGrad {
    fn all(module: &dyn Module) {
        let mut visitor = ZeroGrad::default();
        module.visit(&mut visitor);
        if visitor.lost {
            Walk::through(module, "");
        }
    }
}

impl Visitor for ZeroGrad {
    fn enter(&mut self, _: &str) {
        self.depth += 1;
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    fn parameter(&mut self, parameter: &Parameter) {
        parameter.zero_grad();
        self.lost |= !parameter.label().knows(self.depth);
    }

    fn label(&mut self, label: &Label) {
        // The label is a field of the layer.
        self.lost |= !label.knows(self.depth.saturating_sub(1));
    }
}

/// Something with parameters. `#[derive(Module)]` writes [`fields`](Self::fields); all else is given.
///
/// All methods take `&self`: clones of a parameter are the same parameter, and so modules can share layers.
///
/// ```
/// use gabor_nn::{Forward, Linear, Module};
/// use tensor::{Result, Tensor};
/// #[derive(Module)]
/// struct Mlp {
///     hidden: Linear,
///     out: Linear,
/// }
/// impl Forward for Mlp {
///     fn forward(&self, x: &Tensor) -> Result<Tensor> {
///         self.out.forward(&self.hidden.forward(x)?.relu()?)
///     }
/// }
/// let net = Mlp { hidden: Linear::new(4, 8).build()?, out: Linear::new(8, 2).bias(false).build()? };
/// let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["hidden.weight", "hidden.bias", "out.weight"]);
/// assert_eq!(net.num_parameters(), 4 * 8 + 8 + 8 * 2);
/// # Ok::<(), tensor::Error>(())
/// ```
///
/// A field that is no module must say so, or it does not compile:
///
/// ```compile_fail,E0277
/// use gabor_nn::Module;
/// struct History;
/// #[derive(Module)]
/// struct Net {
///     history: History, // #[module(skip)] is missing
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a Module",
    note = "put #[derive(Module)] on it, or #[module(skip)] on the field if it holds no parameters"
)]
// Programs hold these methods for every type that a field may have, so what they do is in functions that are compiled once.
pub trait Module: AsModule {
    /// The fields that may hold parameters, by name.
    fn fields(&self) -> Vec<(&'static str, &dyn Module)> {
        Vec::new()
    }

    /// Shows everything inside to `visitor`; by default each of the [`fields`](Self::fields) under its name.
    fn visit(&self, visitor: &mut dyn Visitor) {
        for (name, field) in self.fields() {
            visitor.enter(name);
            field.visit(visitor);
            visitor.leave();
        }
    }

    /// The name of the type without its path.
    fn type_name(&self) -> &'static str {
        tree::without_path(std::any::type_name::<Self>())
    }

    /// The module that counts as submodule: a box, a reference or an `Option` stands for what is inside of it.
    #[doc(hidden)]
    fn resolve(&self) -> &dyn Module {
        self.as_module()
    }

    /// Whether PyTorch would call it a module: not parameters, buffers, switches and options, which are fields here.
    #[doc(hidden)]
    fn is_submodule(&self) -> bool {
        true
    }

    /// The value for [`downcast_ref`](#method.downcast_ref), which the derive writes for types without generics.
    #[doc(hidden)]
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// The modules directly inside, with their names.
    ///
    /// ```
    /// use gabor_nn::{Linear, Module, ReLU, seq};
    /// let net = seq![Linear::new(2, 2), ReLU]?;
    /// let children: Vec<(String, &str)> = net.named_children().into_iter().map(|(n, m)| (n, m.type_name())).collect();
    /// assert_eq!(children, [("0".to_owned(), "Linear"), ("1".to_owned(), "ReLU")]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    fn named_children(&self) -> Vec<(String, &dyn Module)> {
        tree::submodules(self.fields())
    }

    /// The modules directly inside.
    fn children(&self) -> Vec<&dyn Module> {
        tree::without_names(self.named_children())
    }

    /// The module itself, under the empty name, and all modules inside of it, each before its own; a shared one once.
    ///
    /// ```
    /// use gabor_nn::{Linear, Module, ReLU, seq};
    /// let net = seq![seq![Linear::new(2, 2), ReLU]?, Linear::new(2, 1)]?;
    /// let names: Vec<String> = net.named_modules().into_iter().map(|(name, _)| name).collect();
    /// assert_eq!(names, ["", "0", "0.0", "0.1", "1"]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    fn named_modules(&self) -> Vec<(String, &dyn Module)> {
        tree::named_modules(self.resolve())
    }

    /// The module itself and all modules inside of it, a shared one once.
    fn modules(&self) -> Vec<&dyn Module> {
        tree::without_names(self.named_modules())
    }

    /// The module at a path such as `features.0`; the empty path is the module itself.
    ///
    /// ```
    /// use gabor_nn::{Linear, Module, ReLU, seq};
    /// let net = seq![seq![Linear::new(2, 2), ReLU]?, Linear::new(2, 1)]?;
    /// net.get_submodule("0")?.requires_grad_(false);
    /// let layer: &Linear = net.get_submodule("0.0")?.downcast_ref().unwrap();
    /// assert!(!layer.weight.requires_grad());
    /// let error = net.get_submodule("0.2").unwrap_err();
    /// assert_eq!(error.to_string(), "get_submodule: `0` is a Sequential and has no `2`; it has 0, 1");
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// There is none. The error says how far the path leads and what is there.
    fn get_submodule(&self, path: &str) -> Result<&dyn Module> {
        tree::get_submodule(self.resolve(), path)
    }

    /// The parameter of this name, as in [`named_parameters`](Self::named_parameters).
    ///
    /// ```
    /// use gabor_nn::{Linear, Module, seq};
    /// let net = seq![Linear::new(2, 3)]?;
    /// assert_eq!(net.get_parameter("0.bias")?.shape().to_vec(), [3]);
    /// let error = net.get_parameter("0.biass").unwrap_err();
    /// assert_eq!(error.to_string(), "get_parameter: there is no `0.biass`; perhaps `0.bias`");
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// There is none; the error gives the nearest name.
    fn get_parameter(&self, name: &str) -> Result<Parameter> {
        state::get_parameter(self.as_module(), name)
    }

    /// The buffer of this name, as in [`named_buffers`](Self::named_buffers).
    ///
    /// # Errors
    /// There is none; the error gives the nearest name.
    fn get_buffer(&self, name: &str) -> Result<State> {
        state::get_buffer(self.as_module(), name)
    }

    /// Calls `f` with every module inside, children first, and at last with the module itself.
    ///
    /// ```
    /// use gabor_nn::{Linear, Module, ReLU, init, seq};
    /// use tensor::Result;
    /// fn init_weights(module: &dyn Module) -> Result<()> {
    ///     if let Some(linear) = module.downcast_ref::<Linear>() {
    ///         init::xavier_uniform_(&linear.weight, 1.0)?;
    ///     }
    ///     Ok(())
    /// }
    /// let net = seq![Linear::new(8, 8), ReLU, Linear::new(8, 1)]?;
    /// net.apply(init_weights)?;
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// A `&dyn Module`, which [`get_submodule`](Self::get_submodule) gives, is called with one more reference: `(&part).apply(..)`.
    ///
    /// # Errors
    /// The first error of `f`, with the path of the module.
    fn apply(&self, mut f: impl FnMut(&dyn Module) -> Result<()>) -> Result<()>
    where
        Self: Sized,
    {
        tree::apply(self.resolve(), &mut f)
    }

    /// Calls `hook(input, output)` after each call of the layer at `path` (the empty path is this module); what it
    /// gives, if anything, replaces the output.
    ///
    /// Convolutions, linear layers, pooling, normalisation, dropout, padding take hooks, and so does a `Sequential` and whatever
    /// stands in one. Activations in a field, such as `ReLU`, and structs of your own take them if they are wrapped in
    /// [`Hooked`](crate::Hooked) or have a [`Label`](crate::Label). Unlike in PyTorch hooks run when `forward` is called, not
    /// only by `net(x)`, and do not know the module.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use gabor_nn::{Conv2d, Forward, Module, ReLU, seq};
    /// use tensor::Tensor;
    /// let net = seq![Conv2d::new(1, 4, 3), ReLU, Conv2d::new(4, 2, 3)]?;
    /// let seen = Arc::new(Mutex::new(Vec::new()));
    /// let keep = seen.clone();
    /// let handle = net.register_forward_hook("1", move |_, y| {
    ///     keep.lock().unwrap().push(y.detach());
    ///     Ok(None)
    /// })?;
    /// net.forward(&Tensor::ones([8, 1, 28, 28])?)?;
    /// handle.remove();
    /// assert_eq!(seen.lock().unwrap()[0].shape(), &[8, 4, 26, 26]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// There is no such layer, or it takes no hooks. What `hook` gives as error, the layer does.
    fn register_forward_hook(
        &self,
        path: &str,
        hook: impl Fn(&Tensor, &Tensor) -> Result<Option<Tensor>> + Send + Sync + 'static,
    ) -> Result<HookHandle>
    where
        Self: Sized,
    {
        hooks::register("register_forward_hook", self, path, Hook::After(Arc::new(hook)))
    }

    /// Calls `hook(input)` before each call of the layer at `path`; what it gives, if anything, replaces the input. See
    /// [`register_forward_hook`](Self::register_forward_hook).
    ///
    /// ```
    /// use gabor_nn::{Forward, Module, ReLU, seq};
    /// use tensor::Tensor;
    /// let net = seq![ReLU]?;
    /// net.register_forward_pre_hook("0", |x| Ok(Some(x.neg()?)))?;
    /// assert_eq!(net.forward(&Tensor::new([-2f32])?)?.item()?, 2.0);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// There is no such layer, or it takes no hooks. What `hook` gives as error, the layer does.
    fn register_forward_pre_hook(
        &self,
        path: &str,
        hook: impl Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync + 'static,
    ) -> Result<HookHandle>
    where
        Self: Sized,
    {
        hooks::register("register_forward_pre_hook", self, path, Hook::Before(Arc::new(hook)))
    }

    /// All parameters in PyTorch's order, a shared one once.
    fn parameters(&self) -> Vec<Parameter> {
        tree::without_names(self.named_parameters())
    }

    /// All parameters with their names, a shared one once under its first name.
    fn named_parameters(&self) -> Vec<(String, Parameter)> {
        state::named_parameters(self.as_module())
    }

    /// All buffers with their names, such as running statistics; a shared one once under its first name.
    fn named_buffers(&self) -> Vec<(String, State)> {
        state::named_buffers(self.as_module())
    }

    /// The values of all parameters and buffers under PyTorch's names and in its order: of each module first the
    /// parameters, then the buffers, then the submodules. A shared one appears under each of its names.
    fn state_dict(&self) -> Vec<(String, Tensor)> {
        state::state_dict(self.as_module())
    }

    /// Takes the values of parameters and buffers from `state`. Numbers of another dtype are converted, as in PyTorch.
    ///
    /// ```
    /// use gabor_nn::{Linear, Module};
    /// let (a, b) = (Linear::new(2, 3).build()?, Linear::new(2, 3).build()?);
    /// b.load_state_dict(&a.state_dict(), true)?;
    /// assert_eq!(a.weight.tensor().to_vec::<f32>()?, b.weight.tensor().to_vec::<f32>()?);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// An entry has another shape, or (`strict`) entries are missing or unexpected. The error lists all of them with
    /// the nearest names, and nothing is changed.
    fn load_state_dict(&self, state: &[(String, Tensor)], strict: bool) -> Result<LoadReport> {
        state::load(self.as_module(), state, strict)
    }

    /// Switches to training: dropout drops, batch normalisation uses the batch.
    fn train(&self) {
        Switch::all(self.as_module(), true);
    }

    /// Switches to evaluation: dropout passes everything, batch normalisation uses its running statistics.
    fn eval(&self) {
        Switch::all(self.as_module(), false);
    }

    /// Forgets the gradients of all parameters.
    fn zero_grad(&self) {
        ZeroGrad::all(self.as_module());
    }

    /// Freezes (`false`) or unfreezes all parameters.
    fn requires_grad_(&self, on: bool) {
        state::requires_grad_(self.as_module(), on);
    }

    /// The number of learned numbers, shared ones once; those of lazy layers are not there yet.
    fn num_parameters(&self) -> usize {
        state::num_parameters(self.as_module())
    }

    /// Converts all floating-point parameters and buffers in place. Gradients are forgotten.
    ///
    /// # Errors
    /// `dtype` is not floating point.
    fn to_dtype(&self, dtype: DType) -> Result<()> {
        state::to_dtype(self.as_module(), dtype)
    }
}

/// A module that makes one tensor from one tensor: what can stand in a [`Sequential`](crate::Sequential).
///
/// Errors of layers name the layer. The path is known in a `Sequential`, and wherever somebody has walked through the model
/// before, for its parameters (every optimizer), its state (every loaded file), `train` or `eval`. Before that, an error
/// names the line that called the layer, and [`call`](Self::call) finds the path.
///
/// ```
/// use gabor_nn::{Forward, Linear, Module};
/// use tensor::{Result, Tensor};
/// #[derive(Module)]
/// struct Net {
///     fc1: Linear,
/// }
/// impl Forward for Net {
///     fn forward(&self, x: &Tensor) -> Result<Tensor> {
///         self.fc1.forward(&x.flatten(1, -1)?)
///     }
/// }
/// let net = Net { fc1: Linear::new(400, 120).build()? };
/// let error = net.call(&Tensor::zeros([64, 16, 4, 4])?).unwrap_err();
/// assert!(error.to_string().starts_with("linear `fc1`: input has 256 features"));
/// # Ok::<(), tensor::Error>(())
/// ```
pub trait Forward: Module {
    /// The result for `x`.
    ///
    /// # Errors
    /// `x` does not fit the module.
    fn forward(&self, x: &Tensor) -> Result<Tensor>;

    /// The result for `x`, PyTorch's `net(x)`: [`forward`](Self::forward), and errors that know their layer even if
    /// nobody has asked for the parameters of the model yet.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    #[track_caller]
    fn call(&self, x: &Tensor) -> Result<Tensor> {
        let result = self.forward(x);
        if result.is_err() {
            Walk::through(self.as_module(), "");
        }
        result
    }

    /// Runs the module once on zeros of this shape, so that lazy layers inside take their sizes; gives the shape of the
    /// result. It runs in evaluation and without gradients: running statistics and switches stay as they are.
    ///
    /// ```
    /// use gabor_nn::{Flatten, Forward, LazyBatchNorm2d, LazyConv2d, LazyLinear, Module, ReLU, seq};
    /// let net = seq![LazyConv2d::new(6, 5), LazyBatchNorm2d::new(), ReLU, Flatten, LazyLinear::new(10)]?;
    /// assert_eq!(net.materialize(&[1, 1, 28, 28])?.to_vec(), [1, 10]);
    /// assert_eq!(net.num_parameters(), 6 * 25 + 6 + 2 * 6 + 10 * 6 * 24 * 24 + 10);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`forward`](Self::forward), for such an input.
    fn materialize(&self, shape: &[usize]) -> Result<Shape> {
        tree::materialize(self.as_module(), shape, &|x| self.call(x))
    }

    /// Whether each image, an index of the first dimension, has its result by itself, whatever else is in the batch. A
    /// [`Sequential`](crate::Sequential) of such layers may take a large batch in pieces when nothing is remembered for gradients.
    /// A layer must not say so if it looks at the whole batch, counts its calls or draws random numbers.
    ///
    /// ```
    /// use gabor_nn::{BatchNorm2d, Conv2d, Forward, Module, seq};
    /// use tensor::{Result, Tensor};
    /// struct Halve;
    /// impl Module for Halve {}
    /// impl Forward for Halve {
    ///     fn forward(&self, x: &Tensor) -> Result<Tensor> {
    ///         x.mul_scalar(0.5)
    ///     }
    ///     fn per_image(&self) -> bool {
    ///         true
    ///     }
    /// }
    /// let net = seq![Conv2d::new(3, 8, 3), BatchNorm2d::new(8), Halve]?;
    /// assert!(!net.per_image(), "in training, batch norm looks at the whole batch");
    /// net.eval();
    /// assert!(net.per_image());
    /// # Ok::<(), tensor::Error>(())
    /// ```
    fn per_image(&self) -> bool {
        false
    }

    /// Whether the options of the layer make sense. A [`Sequential`](crate::Sequential) asks when the layer is put in.
    ///
    /// # Errors
    /// Names the option.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// The layer itself, if its options make sense. Builders of layers with parameters have a `build` of their own.
    ///
    /// ```
    /// use gabor_nn::{Dropout, Forward};
    /// let error = Dropout::new(1.5).build().unwrap_err();
    /// assert_eq!(error.to_string(), "dropout: p is 1.5; a probability must be from 0 to 1");
    /// ```
    ///
    /// # Errors
    /// As [`check`](Self::check).
    fn build(self) -> Result<Self>
    where
        Self: Sized,
    {
        self.check()?;
        Ok(self)
    }
}

/// The folder of this crate's sources: calls through `dyn` into its layers count for the line outside of it.
pub(crate) const LIBRARY: &str = file!().split_at(file!().len() - "module.rs".len()).0;

struct Switch {
    on: bool,
    walk: Walk,
}

impl Switch {
    fn all(module: &dyn Module, on: bool) {
        module.visit(&mut Switch { on, walk: Walk::default() });
    }
}

impl Visitor for Switch {
    fn enter(&mut self, name: &str) {
        self.walk.enter(name);
    }

    fn leave(&mut self) {
        self.walk.leave();
    }

    fn training(&mut self, training: &Training) {
        training.set(self.on);
    }

    fn parameter(&mut self, parameter: &Parameter) {
        self.walk.parameter(parameter);
    }

    fn label(&mut self, label: &Label) {
        self.walk.label(label);
    }
}

impl<F: Forward + ?Sized> Forward for Box<F> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        called_from(Location::caller(), LIBRARY, || (**self).forward(x))
    }
    fn per_image(&self) -> bool {
        (**self).per_image()
    }
    fn check(&self) -> Result<()> {
        (**self).check()
    }
}

impl<F: Forward + ?Sized> Forward for Arc<F> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        called_from(Location::caller(), LIBRARY, || (**self).forward(x))
    }
    fn per_image(&self) -> bool {
        (**self).per_image()
    }
    fn check(&self) -> Result<()> {
        (**self).check()
    }
}
