//! The part that all optimizers share: walking over groups, remembering arrays for each parameter, storing them.

use kernels::buffer::Buffer;
use kernels::element::Float;
use tensor::{DType, Element, Error, Lint, Parameter, Result, Tensor, warn_once};

use crate::group::{Group, described};
use crate::state::{StateDict, mismatch};

/// The floating-point types that parameters have.
pub(crate) trait Real: Element + Float {}

impl Real for f32 {}
impl Real for f64 {}

/// One array for each name of [`Engine::names`], absent until it is first needed.
pub(crate) type Arrays<T> = Vec<Option<Buffer<T>>>;

/// `update(group, steps of this parameter including this one, parameter, gradient, arrays)`.
pub(crate) type Update<T> = fn(&Group, u64, &mut [T], &[T], &mut Arrays<T>);

#[derive(Clone, Debug)]
enum Typed {
    F32(Arrays<f32>),
    F64(Arrays<f64>),
}

/// What is remembered for one parameter.
#[derive(Clone, Debug)]
struct Memory {
    steps: u64,
    arrays: Typed,
}

/// Groups, and a memory for each parameter in their order.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    kind: &'static str,
    names: &'static [&'static str],
    pub(crate) groups: Vec<Group>,
    memories: Vec<Memory>,
}

impl Engine {
    /// An engine that has not stepped. `names` are those of the arrays in stored states.
    pub(crate) fn new(kind: &'static str, names: &'static [&'static str], groups: Vec<Group>) -> Result<Engine> {
        let parameters = groups.iter().flat_map(Group::parameters);
        let memories = parameters.map(|p| Memory::new(kind, names.len(), p.dtype())).collect::<Result<_>>()?;
        Ok(Engine { kind, names, groups, memories })
    }

    /// Runs the update of the right type on each parameter that has a gradient and is not frozen.
    pub(crate) fn step(&mut self, f32: Update<f32>, f64: Update<f64>) -> Result<()> {
        let mut memories = self.memories.iter_mut();
        let mut stepped = false;
        for group in &self.groups {
            for (parameter, memory) in group.parameters().iter().zip(&mut memories) {
                let Some(grad) = parameter.grad().filter(|_| parameter.requires_grad()) else { continue };
                stepped = true;
                if parameter.use_grad() {
                    not_zeroed(self.kind, parameter);
                }
                let steps = memory.steps + 1;
                match &mut memory.arrays {
                    Typed::F32(arrays) => step_one(f32, group, steps, parameter, &grad, arrays)?,
                    Typed::F64(arrays) => step_one(f64, group, steps, parameter, &grad, arrays)?,
                }
                memory.steps = steps;
            }
        }
        if !stepped {
            warn_once(Lint::NothingToStep, || {
                format!(
                    "{}: step() moves nothing, no parameter has a gradient; call zero_grad(), backward() and step() in this order",
                    self.kind
                )
            });
        }
        Ok(())
    }

    pub(crate) fn state_dict(&self) -> Result<StateDict> {
        let mut state = StateDict::new(self.kind);
        let mut memories = self.memories.iter();
        let mut at = 0;
        for (g, group) in self.groups.iter().enumerate() {
            let mut number = |name: &str, value| state.numbers.push((format!("param_groups.{g}.{name}"), value));
            number("params", group.parameters().len() as f64);
            group.options().iter().for_each(|&(name, value)| number(name, value));
            number("initial_lr", group.initial_lr());
            for (parameter, memory) in group.parameters().iter().zip(&mut memories) {
                state.numbers.push((format!("state.{at}.step"), memory.steps as f64));
                for (i, name) in self.names.iter().enumerate() {
                    if let Some(tensor) = memory.arrays.tensor(i, &parameter.shape())? {
                        state.tensors.push((format!("state.{at}.{name}"), tensor));
                    }
                }
                at += 1;
            }
        }
        Ok(state)
    }

    pub(crate) fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        state.expect_kind(self.kind)?;
        let mut problems = Vec::new();
        let mut groups = self.groups.clone();
        let mut used = 0;
        let mut take = |name: String, problems: &mut Vec<String>| match state.number(&name) {
            Some(value) => {
                used += 1;
                value
            }
            None => {
                problems.push(format!("{name} is missing"));
                0.0
            }
        };
        let mut memories = Vec::new();
        let mut arrays_used = 0;
        for (g, group) in groups.iter_mut().enumerate() {
            let count = take(format!("param_groups.{g}.params"), &mut problems);
            if count != group.parameters().len() as f64 {
                let here = group.parameters().len();
                problems.push(format!("group {g} has {here} parameters here and {count} in the state"));
            }
            let initial = take(format!("param_groups.{g}.initial_lr"), &mut problems);
            let names: Vec<&'static str> = group.options().iter().map(|&(name, _)| name).collect();
            for name in names {
                let value = take(format!("param_groups.{g}.{name}"), &mut problems);
                if let Err(error) = group.set_option(name, value) {
                    problems.push(error.to_string());
                }
            }
            group.set_initial_lr(initial);
            for parameter in group.parameters() {
                let at = memories.len();
                let mut memory = Memory::new(self.kind, self.names.len(), parameter.dtype())?;
                let steps = take(format!("state.{at}.step"), &mut problems);
                if steps < 0.0 || steps.fract() != 0.0 || steps > 9e15 {
                    problems.push(format!("state.{at}.step is {steps}"));
                }
                memory.steps = steps as u64;
                for (i, name) in self.names.iter().enumerate() {
                    let name = format!("state.{at}.{name}");
                    let Some(tensor) = state.tensor(&name) else { continue };
                    arrays_used += 1;
                    if tensor.shape() != &parameter.shape() || tensor.dtype() != parameter.dtype() {
                        problems.push(format!(
                            "{name} is {} {:?} and {} {} {:?}",
                            tensor.dtype(),
                            tensor.shape(),
                            parameter.name().as_deref().unwrap_or("the parameter"),
                            parameter.dtype(),
                            parameter.shape()
                        ));
                    } else {
                        memory.arrays.set(i, tensor)?;
                    }
                }
                memories.push(memory);
            }
        }
        if used < state.numbers.len() {
            let more = state.numbers.len() - used;
            problems.push(format!("{more} numbers belong to nothing here (it has {} groups)", groups.len()));
        }
        if arrays_used < state.tensors.len() {
            problems.push(format!("{} tensors belong to nothing here", state.tensors.len() - arrays_used));
        }
        mismatch(self.kind, &problems)?;
        self.groups = groups;
        self.memories = memories;
        Ok(())
    }
}

#[cold]
fn not_zeroed(op: &'static str, parameter: &Parameter) {
    warn_once(Lint::GradientsNotZeroed, || {
        let which = described(parameter);
        format!(
            "{op}: step() uses a gradient of {which} that a step before has used; call zero_grad() before backward()"
        )
    });
}

fn step_one<T: Real>(
    update: Update<T>,
    group: &Group,
    steps: u64,
    parameter: &Parameter,
    grad: &Tensor,
    arrays: &mut Arrays<T>,
) -> Result<()> {
    grad.with_slice::<T, _>(|g| parameter.modify::<T, _>(|w| update(group, steps, w, g, arrays)))?
}

impl Memory {
    fn new(op: &'static str, arrays: usize, dtype: DType) -> Result<Memory> {
        let arrays = match dtype {
            DType::F32 => Typed::F32(vec![None; arrays]),
            DType::F64 => Typed::F64(vec![None; arrays]),
            dtype => return Err(Error::DType { op, dtype, expected: "f32 or f64" }),
        };
        Ok(Memory { steps: 0, arrays })
    }
}

impl Typed {
    fn tensor(&self, at: usize, shape: &[usize]) -> Result<Option<Tensor>> {
        match self {
            Typed::F32(arrays) => arrays[at].as_ref().map(|a| Tensor::from_slice(a, shape)).transpose(),
            Typed::F64(arrays) => arrays[at].as_ref().map(|a| Tensor::from_slice(a, shape)).transpose(),
        }
    }

    fn set(&mut self, at: usize, tensor: &Tensor) -> Result<()> {
        match self {
            Typed::F32(arrays) => arrays[at] = Some(tensor.with_slice(Buffer::from_slice)?),
            Typed::F64(arrays) => arrays[at] = Some(tensor.with_slice(Buffer::from_slice)?),
        }
        Ok(())
    }
}

/// An array of `len` times `value`, made when it is first asked for.
pub(crate) fn array<T: Real>(slot: &mut Option<Buffer<T>>, len: usize, value: f64) -> &mut [T] {
    slot.get_or_insert_with(|| Buffer::filled(len, <T as Element>::of_f64(value))).make_mut()
}

/// The face that every optimizer of this crate has: its builder's common part and its `Optimizer`.
macro_rules! face {
    ($optimizer:ident, $builder:ident, $update:expr) => {
        impl $builder {
            fn with(mut self, name: &'static str, value: f64) -> Self {
                self.plan.set(name, value);
                self
            }

            fn flag(self, name: &'static str, on: bool) -> Self {
                self.with(name, f64::from(u8::from(on)))
            }

            /// Whether to go up the gradient; `false` unless set.
            pub fn maximize(self, on: bool) -> Self {
                self.flag("maximize", on)
            }

            /// A further group of parameters, with options that differ from the common ones.
            pub fn group(mut self, parameters: Vec<tensor::Parameter>, options: $crate::group::GroupOptions) -> Self {
                self.plan.groups.push((parameters, options));
                self
            }
        }

        impl $crate::optimizer::Optimizer for $optimizer {
            fn step(&mut self) -> tensor::Result<()> {
                self.engine.step($update, $update)
            }

            fn groups(&self) -> &[$crate::group::Group] {
                &self.engine.groups
            }

            fn groups_mut(&mut self) -> &mut [$crate::group::Group] {
                &mut self.engine.groups
            }

            fn state_dict(&self) -> tensor::Result<$crate::state::StateDict> {
                self.engine.state_dict()
            }

            fn load_state_dict(&mut self, state: &$crate::state::StateDict) -> tensor::Result<()> {
                self.engine.load_state_dict(state)
            }
        }
    };
}
pub(crate) use face;
