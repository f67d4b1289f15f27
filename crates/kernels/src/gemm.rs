//! Matrix products.
#![allow(missing_docs)]
use crate::element::Float;
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}
impl<'a, T: Float> MatRef<'a, T> {
    pub fn new(data: &'a [T], rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Option<Self> {
        if rows > 0 && cols > 0 && (rows - 1) * row_stride + (cols - 1) * col_stride >= data.len() {
            return None;
        }
        Some(MatRef { data, rows, cols, row_stride, col_stride })
    }
}
pub fn gemm<T: Float>(a: MatRef<T>, b: MatRef<T>, beta_zero: bool, c: &mut [T]) {
    let n = b.cols;
    for i in 0..a.rows {
        for j in 0..n {
            let mut s = if beta_zero { T::default() } else { c[i * n + j] };
            for k in 0..a.cols {
                s = s.plus(
                    a.data[i * a.row_stride + k * a.col_stride].times(b.data[k * b.row_stride + j * b.col_stride]),
                );
            }
            c[i * n + j] = s;
        }
    }
}
