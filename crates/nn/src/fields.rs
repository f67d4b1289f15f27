//! What may stand in a field of a module: parameters, boxes and references, options, lists, tuples, numbers.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use tensor::{DType, Pair, Parameter, Shape, State};

use crate::module::{Module, Visitor};
use crate::tree;

impl Module for Parameter {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.parameter(self);
    }
    fn is_submodule(&self) -> bool {
        false
    }
}

impl Module for State {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.state(self);
    }
    fn is_submodule(&self) -> bool {
        false
    }
}

/// Whatever holds modules without a name of its own.
macro_rules! transparent {
    ($($t:ty),+) => { $(
        impl<M: Module + ?Sized> Module for $t {
            fn visit(&self, visitor: &mut dyn Visitor) {
                (**self).visit(visitor);
            }
            fn type_name(&self) -> &'static str {
                (**self).type_name()
            }
            fn resolve(&self) -> &dyn Module {
                (**self).resolve()
            }
            fn is_submodule(&self) -> bool {
                (**self).is_submodule()
            }
            fn named_children(&self) -> Vec<(String, &dyn Module)> {
                (**self).named_children()
            }
            fn as_any(&self) -> Option<&dyn Any> {
                (**self).as_any()
            }
        }
    )+ };
}
transparent!(Box<M>, Arc<M>, &M);

/// `None` is no submodule.
impl<M: Module> Module for Option<M> {
    fn visit(&self, visitor: &mut dyn Visitor) {
        if let Some(module) = self {
            module.visit(visitor);
        }
    }
    fn type_name(&self) -> &'static str {
        self.as_ref().map_or("None", Module::type_name)
    }
    fn resolve(&self) -> &dyn Module {
        self.as_ref().map_or(self, Module::resolve)
    }
    fn is_submodule(&self) -> bool {
        self.as_ref().is_some_and(Module::is_submodule)
    }
    fn named_children(&self) -> Vec<(String, &dyn Module)> {
        self.as_ref().map_or(Vec::new(), Module::named_children)
    }
}

/// Elements are named by their positions.
macro_rules! positions {
    ($({$($generics:tt)+} $t:ty),+) => { $(
        impl<$($generics)+> Module for $t {
            fn visit(&self, visitor: &mut dyn Visitor) {
                for (i, module) in self.iter().enumerate() {
                    visitor.enter(&i.to_string());
                    module.visit(visitor);
                    visitor.leave();
                }
            }
            fn is_submodule(&self) -> bool {
                self.iter().any(Module::is_submodule)
            }
            fn named_children(&self) -> Vec<(String, &dyn Module)> {
                tree::submodules(self.iter().enumerate().map(|(i, module)| (i, module as &dyn Module)))
            }
        }
    )+ };
}
positions!({ M: Module } Vec<M>, { M: Module } &[M], { M: Module } Box<[M]>, { M: Module, const N: usize } [M; N]);

macro_rules! tuple {
    ($($name:ident $at:tt),+) => {
        impl<$($name: Module),+> Module for ($($name,)+) {
            fn fields(&self) -> Vec<(&'static str, &dyn Module)> {
                vec![$((stringify!($at), &self.$at as &dyn Module)),+]
            }
        }
    };
}
tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);

impl<T: ?Sized> Module for PhantomData<T> {
    fn is_submodule(&self) -> bool {
        false
    }
}

/// Options of layers: they hold no parameters.
macro_rules! nothing {
    ($($t:ty),+) => { $( impl Module for $t {
        fn is_submodule(&self) -> bool {
            false
        }
    } )+ };
}
nothing!(bool, u8, u32, u64, usize, i32, i64, isize, f32, f64, (), &str, String, Pair, Shape, DType);
