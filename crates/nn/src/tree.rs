//! Modules inside of modules: by name, by path, and one after the other.

use std::collections::HashSet;

use tensor::{DType, Error, Parameter, Result, Shape, Tensor, no_grad};

use crate::module::Module;
use crate::training::Training;

/// A module as a trait object. Every type that implements [`Module`] has it.
pub trait AsModule {
    /// The module itself.
    fn as_module(&self) -> &dyn Module;
}

impl<M: Module> AsModule for M {
    fn as_module(&self) -> &dyn Module {
        self
    }
}

impl dyn Module + '_ {
    /// The module as a `T`, if it is one. `T` must be a type of this crate with parameters or options, or derive
    /// [`Module`] and have no generics.
    ///
    /// ```
    /// use gabor_nn::{Linear, Module, ReLU, seq};
    /// let net = seq![Linear::new(2, 2), ReLU]?;
    /// let linears = net.modules().into_iter().filter_map(|m| m.downcast_ref::<Linear>());
    /// assert_eq!(linears.map(|l| l.in_features()).collect::<Vec<_>>(), [2]);
    /// # Ok::<(), tensor::Error>(())
    /// ```
    pub fn downcast_ref<T: Module + 'static>(&self) -> Option<&T> {
        self.as_any()?.downcast_ref()
    }
}

/// The types of the modules, each with those inside of it: `Sequential(0: Linear, 1: ReLU)`.
impl std::fmt::Debug for dyn Module + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.type_name())?;
        let children = self.named_children();
        for (i, (name, child)) in children.iter().enumerate() {
            write!(f, "{}{name}: {child:?}", if i == 0 { "(" } else { ", " })?;
        }
        f.write_str(if children.is_empty() { "" } else { ")" })
    }
}

/// What counts as a submodule among fields or elements, without boxes and options around it.
pub(crate) fn submodules<'a, N: ToString>(
    fields: impl IntoIterator<Item = (N, &'a dyn Module)>,
) -> Vec<(String, &'a dyn Module)> {
    let modules = fields.into_iter().filter(|(_, module)| module.is_submodule());
    modules.map(|(name, module)| (name.to_string(), module.resolve())).collect()
}

/// The name of a type without its path and generics.
pub(crate) fn without_path(name: &'static str) -> &'static str {
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

pub(crate) fn without_names<T>(named: Vec<(String, T)>) -> Vec<T> {
    named.into_iter().map(|(_, value)| value).collect()
}

/// The shape that `call` gives for zeros of `shape`, in evaluation and without gradients.
pub(crate) fn materialize(
    module: &dyn Module,
    shape: &[usize],
    call: &dyn Fn(&Tensor) -> Result<Tensor>,
) -> Result<Shape> {
    let dtype = module.parameters().first().map_or(DType::F32, Parameter::dtype);
    let x = Tensor::zeros(shape)?.to_dtype(dtype)?;
    let _evaluation = Training::all(module, false);
    Ok(no_grad(|| call(&x))?.shape().clone())
}

pub(crate) fn named_modules<'a>(root: &'a dyn Module) -> Vec<(String, &'a dyn Module)> {
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    let mut add = |name: String, module: &'a dyn Module| {
        // Values without a size have no identity; a struct and its first field differ in size or in type.
        let key = (std::ptr::from_ref(module).addr(), size_of_val(module), module.type_name());
        let novel = key.1 == 0 || seen.insert(key);
        if novel {
            found.push((name, module));
        }
        novel
    };
    add(String::new(), root);
    let mut open = vec![(String::new(), root)];
    while let Some((path, module)) = open.pop() {
        if !path.is_empty() && !add(path.clone(), module) {
            continue;
        }
        let children = module.named_children().into_iter().rev();
        open.extend(children.map(|(name, child)| (join(&path, &name), child)));
    }
    found
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

pub(crate) fn get_submodule<'a>(root: &'a dyn Module, path: &str) -> Result<&'a dyn Module> {
    let (mut module, mut done) = (root, String::new());
    for name in path.split('.').filter(|_| !path.is_empty()) {
        let children = module.named_children();
        let Some(&(_, child)) = children.iter().find(|(own, _)| own == name) else {
            let place = if done.is_empty() { "the module".to_owned() } else { format!("`{done}`") };
            let names: Vec<&str> = children.iter().map(|(own, _)| own.as_str()).take(100).collect();
            let there = if names.is_empty() { "nothing inside".to_owned() } else { names.join(", ") };
            let message = format!("{place} is a {} and has no `{name}`; it has {there}", module.type_name());
            return Err(Error::argument("get_submodule", message));
        };
        (module, done) = (child, join(&done, name));
    }
    Ok(module)
}

pub(crate) fn apply(module: &dyn Module, f: &mut dyn FnMut(&dyn Module) -> Result<()>) -> Result<()> {
    for (name, child) in module.named_children() {
        apply(child, f).map_err(|error| error.in_layer(&name))?;
    }
    f(module)
}
