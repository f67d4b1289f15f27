//! The parents of a node: as many as an operation has inputs.

use std::ops::{Deref, DerefMut};

use kernels::handle::Handle;

use super::{Node, Tensor};

/// What most operations have at most.
const FEW: usize = 3;

/// For each input its node, if it has one. Few have a fixed place, whose writing and dropping needs no loop.
pub(super) enum Parents {
    Few(usize, [Option<Handle<Node>>; FEW]),
    Many(Vec<Option<Handle<Node>>>),
}

impl Parents {
    #[inline]
    pub(super) fn of(inputs: &[&Tensor]) -> Parents {
        let node = |t: &Tensor| t.node.clone();
        match *inputs {
            [a] => Parents::Few(1, [node(a), None, None]),
            [a, b] => Parents::Few(2, [node(a), node(b), None]),
            [a, b, c] => Parents::Few(3, [node(a), node(b), node(c)]),
            _ => Parents::Many(inputs.iter().map(|t| node(t)).collect()),
        }
    }
}

impl Deref for Parents {
    type Target = [Option<Handle<Node>>];
    #[inline]
    fn deref(&self) -> &Self::Target {
        match self {
            Parents::Few(count, list) => &list[..*count],
            Parents::Many(list) => list,
        }
    }
}

impl DerefMut for Parents {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Parents::Few(count, list) => &mut list[..*count],
            Parents::Many(list) => list,
        }
    }
}
