//! Strided copies: any view written out in row-major order.
//!
//! The plain loop: for each index in row-major order, `dst[next] = src[offset + sum(index * stride)]`.
//! The tricks: sizes of 1 are dropped and neighbouring axes that lie in order are merged, so that most views end with one
//! or two axes; an inner stride of 1 copies whole runs, an inner stride of 0 fills them, and when the second last axis is
//! the one that lies close together (a transpose) the two inner axes are copied in small square blocks. The outermost axis
//! is divided over the threads.

mod slice;

use crate::element::{Element, compiled_here};
use crate::par;

pub use slice::copy_slice;

/// Elements of one piece of work for a thread.
const PIECE: usize = 16 * 1024;
/// Side of the square blocks in which a transpose is copied.
const BLOCK: usize = 16;

compiled_here! {
    trait CopyKernels for f32, f64, i64, u8, bool = {
        fn copy_strided(src: &[Self], offset: usize, shape: &[usize], strides: &[usize], dst: &mut [Self]) = copy_strided_of;
    }
}

/// Writes the elements of a strided view to `dst` in row-major order.
///
/// The element at index `i` of `shape` is `src[offset + sum(i[a] * strides[a])]`; `dst` has `product(shape)` elements.
///
/// # Panics
/// The lengths of `shape` and `strides` differ, `dst` has another number of elements, or the view reaches past `src`.
pub fn copy_strided<T: Element>(src: &[T], offset: usize, shape: &[usize], strides: &[usize], dst: &mut [T]) {
    <T as CopyKernels>::copy_strided(src, offset, shape, strides, dst);
}

fn copy_strided_of<T: Element>(src: &[T], offset: usize, shape: &[usize], strides: &[usize], dst: &mut [T]) {
    assert_eq!(shape.len(), strides.len(), "a stride for each axis");
    assert_eq!(dst.len(), shape.iter().product::<usize>(), "as many elements as the shape has");
    if dst.is_empty() {
        return;
    }
    let reach: usize = shape.iter().zip(strides).map(|(&n, &s)| (n - 1) * s).sum();
    assert!(offset + reach < src.len(), "the view lies inside of the source");
    let src = &src[offset..];
    let axes = merge(shape, strides);
    let Some((&(n, s), rest)) = axes.split_first() else {
        dst[0] = src[0];
        return;
    };
    // The outermost axis is divided over the threads, in whole blocks if the two axes are a transpose.
    let part = dst.len() / n;
    let least = if rest.len() == 1 { BLOCK } else { 1 };
    let rows = (PIECE / part).max(least).min(n);
    par::for_each_chunk(dst, rows * part, 8 * rows * part, |i, dst| {
        let mut axes = axes.clone();
        axes[0].0 = dst.len() / part;
        walk(&src[i * rows * s..], &axes, dst);
    });
}

/// The axes without those of size 1 and with those merged that one stride can walk.
fn merge(shape: &[usize], strides: &[usize]) -> Vec<(usize, usize)> {
    let mut axes: Vec<(usize, usize)> = Vec::with_capacity(shape.len());
    for (&n, &s) in shape.iter().zip(strides).filter(|&(&n, _)| n != 1) {
        match axes.last_mut() {
            Some(last) if last.1 == n * s => *last = (last.0 * n, s),
            _ => axes.push((n, s)),
        }
    }
    axes
}

/// Copies a view of merged axes; the outer ones by recursion, at most as deep as the rank.
fn walk<T: Element>(src: &[T], axes: &[(usize, usize)], dst: &mut [T]) {
    match *axes {
        [] => dst[0] = src[0],
        [(n, s)] => run(&src[..(n - 1) * s + 1], s, dst),
        [(n, s), (m, t)] if s < t && s != 0 => transpose(src, (n, s), (m, t), dst),
        [(n, s), ref rest @ ..] => {
            let part = dst.len() / n;
            for (i, d) in dst.chunks_exact_mut(part).enumerate() {
                walk(&src[i * s..], rest, d);
            }
        }
    }
}

/// One axis.
fn run<T: Element>(src: &[T], stride: usize, dst: &mut [T]) {
    match stride {
        0 => dst.fill(src[0]),
        1 => copy_slice(src, dst),
        _ => dst.iter_mut().zip(src.iter().step_by(stride)).for_each(|(d, &v)| *d = v),
    }
}

/// Two axes of which the outer one has the smaller stride, in blocks that stay in the cache.
fn transpose<T: Element>(src: &[T], (n, s): (usize, usize), (m, t): (usize, usize), dst: &mut [T]) {
    for i0 in (0..n).step_by(BLOCK) {
        for j0 in (0..m).step_by(BLOCK) {
            for i in i0..(i0 + BLOCK).min(n) {
                let row = &mut dst[i * m + j0..i * m + (j0 + BLOCK).min(m)];
                let from = src[i * s + j0 * t..].iter().step_by(t);
                row.iter_mut().zip(from).for_each(|(d, &v)| *d = v);
            }
        }
    }
}
