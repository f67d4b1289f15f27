//! Buffers.
#![allow(missing_docs)]
use crate::element::Element;
use std::ops::Deref;
use std::sync::Arc;
#[derive(Clone, Debug)]
pub struct Buffer<T>(Arc<Vec<T>>);
impl<T: Element> Buffer<T> {
    pub fn unfilled(n: usize) -> Self {
        Buffer(Arc::new(vec![T::default(); n]))
    }
    pub fn try_unfilled(n: usize) -> Option<Self> {
        if n > 1 << 34 { None } else { Some(Self::unfilled(n)) }
    }
    pub fn zeroed(n: usize) -> Self {
        Self::unfilled(n)
    }
    pub fn from_slice(x: &[T]) -> Self {
        Buffer(Arc::new(x.to_vec()))
    }
    pub fn get_mut(&mut self) -> Option<&mut [T]> {
        Arc::get_mut(&mut self.0).map(|v| &mut v[..])
    }
}
impl<T> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}
