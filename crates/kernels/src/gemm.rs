//! Matrix products.
//!
//! The plain loop: `c[i][j] (+)= sum over k of a[i][k] * b[k][j]`, for operands with any strides and a contiguous result.
//!
//! The tricks: the broadcast tile of `tile`, whose taps are here the rows of b: a block of rows of c times a few vectors of columns
//! stays in registers while k runs. Blocks of a are packed so that a tile reads them in order; b is read where it is if
//! its rows are contiguous and small enough to stay in the cache, else packed in panels as wide as a tile. Long sums are
//! cut at a fixed length. Small products skip all of that.

use crate::buffer::Buffer;
use crate::conv_parts::lanes;
use crate::element::{Float, compiled_here};
use crate::isa::{self, Isa};
use crate::par::{self, Shared};
use crate::tile::{Ahead, Dots, MAX_ROWS, Start, Sweep, blocks};
use crate::transpose::transpose;
use std::ops::Range;

/// The longest sum of one tile.
const DEPTH: usize = 512;
/// The most rows of c that share a pass over b.
const ROWS: usize = 96;
/// The most bytes from row to row of b for which its panels are not packed.
const APART: usize = 3072;
/// The most vectors of a panel of b.
const PANEL: usize = 3;

/// Columns of b that a thread takes at a time if b is not packed.
const SPAN: usize = 24;

/// A matrix inside of a slice, with any strides.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Float> MatRef<'a, T> {
    /// The matrix with element `[i, j]` at `data[i * row_stride + j * col_stride]`; None if that reaches beyond the slice.
    pub fn new(data: &'a [T], rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Option<Self> {
        if rows > 0 && cols > 0 {
            let last = (rows - 1).checked_mul(row_stride)?.checked_add((cols - 1).checked_mul(col_stride)?)?;
            if last >= data.len() {
                return None;
            }
        }
        Some(MatRef { data, rows, cols, row_stride, col_stride })
    }

    /// The element in row i and column j.
    #[inline(always)]
    fn at(&self, i: usize, j: usize) -> T {
        self.data[i * self.row_stride + j * self.col_stride]
    }
}

compiled_here! {
    trait GemmKernels for f32, f64 = {
        fn gemm(a: MatRef<Self>, b: MatRef<Self>, beta_zero: bool, c: &mut [Self]) = gemm_of;
        fn gemm_batched(g: &BatchGeometry, a: &[Self], b: &[Self], beta_zero: bool, c: &mut [Self]) = gemm_batched_of;
    }
}

/// Writes the product of `a` `[m, k]` and `b` `[k, n]` to `c`, contiguous `[m, n]`, or adds it if `beta_zero` is false.
///
/// # Panics
/// The sizes do not go together.
///
/// ```
/// use gabor_kernels::gemm::{MatRef, gemm};
/// let row = MatRef::new(&[1.0f32, 2.0], 1, 2, 2, 1).ok_or("too short")?;
/// let column = MatRef::new(&[3.0f32, 4.0], 2, 1, 1, 1).ok_or("too short")?;
/// let mut c = [0.0];
/// gemm(row, column, true, &mut c);
/// assert_eq!(c, [11.0]);
/// # Ok::<(), &str>(())
/// ```
pub fn gemm<T: Float>(a: MatRef<T>, b: MatRef<T>, beta_zero: bool, c: &mut [T]) {
    <T as GemmKernels>::gemm(a, b, beta_zero, c);
}

fn gemm_of<T: Float>(a: MatRef<T>, b: MatRef<T>, beta_zero: bool, c: &mut [T]) {
    assert_eq!(a.cols, b.rows, "gemm: the columns of a are the rows of b");
    assert_eq!(Some(c.len()), a.rows.checked_mul(b.cols), "gemm: c has the rows of a and the columns of b");
    if c.is_empty() {
        return;
    }
    if beta_zero && a.cols == 0 {
        return c.fill(T::ZERO);
    }
    let work = a.rows.saturating_mul(a.cols).saturating_mul(b.cols);
    if a.rows <= MAX_ROWS && a.col_stride == 1 && b.row_stride == 1 && a.cols >= 64 {
        dots(isa::isa_of::<T>(), a, b, beta_zero, c);
    } else if work <= 2048 {
        small(a, b, beta_zero, c);
    } else {
        tiled(isa::isa_of::<T>(), a, b, beta_zero, c);
    }
}

/// A few rows of `a` times contiguous columns of `b`, which are not worth packing: the dot tile.
fn dots<T: Float>(isa: Isa, a: MatRef<T>, b: MatRef<T>, beta_zero: bool, c: &mut [T]) {
    let n = b.cols;
    let c = Shared(c.as_mut_ptr());
    let starts = blocks(isa, a.rows);
    par::for_each_range(n.div_ceil(SPAN), 2 * a.rows * a.cols * SPAN.min(n), |range| {
        let mut sums = Buffer::unfilled(MAX_ROWS * SPAN * lanes::<T>(isa));
        let mut offsets = Buffer::unfilled(SPAN);
        offsets.make_mut().iter_mut().enumerate().for_each(|(j, o)| *o = j.wrapping_mul(b.col_stride) as i64);
        for span in range {
            let first = span * SPAN;
            for rows in starts.windows(2) {
                let dots = Dots {
                    g: a.data[rows[0] * a.row_stride..].as_ptr(),
                    g_row: a.row_stride,
                    g_line: 0,
                    g_image: 0,
                    x: b.data[first * b.col_stride..].as_ptr(),
                    x_line: 0,
                    x_image: 0,
                    taps: offsets.as_ptr(),
                    tap_count: SPAN.min(n - first),
                    images: 1,
                    lines: 1,
                    pixels: a.cols,
                    // SAFETY: the row is inside of c.
                    y: unsafe { c.get().add(rows[0] * n + first) },
                    row: n,
                    sums: sums.make_mut().as_mut_ptr(),
                    add: !beta_zero,
                    narrow: false,
                };
                // SAFETY: the set comes from detection; rows of a and columns of b are contiguous and inside of their slices,
                // and the span alone writes its columns of c.
                unsafe { dots.run(isa, rows[1] - rows[0]) };
            }
        }
    });
}

/// The shapes of a batch of products of contiguous matrices: `c[i] (+)= a[i] b[i]`, with `[m, k]` times `[k, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchGeometry {
    /// Products.
    pub batch: usize,
    /// Rows of a and c.
    pub m: usize,
    /// Columns of a, rows of b.
    pub k: usize,
    /// Columns of b and c.
    pub n: usize,
    /// Elements between the matrices of a; 0 to use the same one each time.
    pub a_step: usize,
    /// Elements between the matrices of b; 0 to use the same one each time.
    pub b_step: usize,
}

/// Writes a batch of products of contiguous matrices to `c` `[batch, m, n]`, or adds them if `beta_zero` is false.
///
/// # Panics
/// A slice is too short, or `c` does not have its size.
pub fn gemm_batched<T: Float>(g: &BatchGeometry, a: &[T], b: &[T], beta_zero: bool, c: &mut [T]) {
    <T as GemmKernels>::gemm_batched(g, a, b, beta_zero, c);
}

fn gemm_batched_of<T: Float>(g: &BatchGeometry, a: &[T], b: &[T], beta_zero: bool, c: &mut [T]) {
    let matrix = g.m.checked_mul(g.n).expect("gemm_batched: a product fits into memory");
    assert_eq!(Some(c.len()), matrix.checked_mul(g.batch), "gemm_batched: c has a matrix for each product");
    let work = matrix.saturating_mul(g.k).saturating_mul(2);
    let product = |i: usize, c: &mut [T]| {
        let (a, b) = (nth(a, i, g.a_step, g.m, g.k), nth(b, i, g.b_step, g.k, g.n));
        gemm(a, b, beta_zero, c);
    };
    // One large product divides itself over the threads.
    if g.batch < 2 * par::num_threads() {
        c.chunks_exact_mut(matrix.max(1)).enumerate().for_each(|(i, c)| product(i, c));
    } else {
        par::for_each_chunk(c, matrix, work, product);
    }
}

/// Matrix i of a batch of contiguous ones.
fn nth<T: Float>(x: &[T], i: usize, step: usize, rows: usize, cols: usize) -> MatRef<'_, T> {
    let from = i.checked_mul(step).and_then(|start| x.get(start..)).unwrap_or(&[]);
    MatRef::new(from, rows, cols, cols, 1).expect("gemm_batched: an operand has all of its matrices")
}

/// Plain loops, vectorised along the columns of c or, for contiguous columns of b, along k.
fn small<T: Float>(a: MatRef<T>, b: MatRef<T>, beta_zero: bool, c: &mut [T]) {
    isa::dispatch::<T, _>(
        #[inline(always)]
        || {
            for (i, c) in c.chunks_exact_mut(b.cols).enumerate() {
                if beta_zero {
                    c.fill(T::ZERO);
                }
                for k in 0..a.cols {
                    let v = a.at(i, k);
                    if b.col_stride == 1 {
                        let row = &b.data[k * b.row_stride..][..b.cols];
                        c.iter_mut().zip(row).for_each(|(c, &b)| *c = *c + v * b);
                    } else {
                        c.iter_mut().enumerate().for_each(|(j, c)| *c = *c + v * b.at(k, j));
                    }
                }
            }
        },
    );
}

/// Copies rows of `a` for the tiles: for each block of rows, for each k, the rows of the block next to each other.
pub(crate) fn pack_rows<T: Float>(
    isa: Isa,
    a: &MatRef<T>,
    first: usize,
    starts: &[usize],
    depth: Range<usize>,
    to: &mut [T],
) {
    let mut at = 0;
    for rows in starts.windows(2) {
        let count = rows[1] - rows[0];
        let to = &mut to[at..at + count * depth.len()];
        at += to.len();
        let from = &a.data[(first + rows[0]) * a.row_stride + depth.start * a.col_stride..];
        if a.col_stride == 1 {
            transpose(isa, (count, depth.len()), from, a.row_stride, to, count);
        } else if a.row_stride == 1 {
            match count {
                8 => copy_rows::<T, 8>(from, a.col_stride, to),
                6 => copy_rows::<T, 6>(from, a.col_stride, to),
                4 => copy_rows::<T, 4>(from, a.col_stride, to),
                2 => copy_rows::<T, 2>(from, a.col_stride, to),
                _ => copy_rows::<T, 1>(from, a.col_stride, to),
            }
        } else {
            for (k, to) in to.chunks_exact_mut(count).enumerate() {
                let from = &from[k * a.col_stride..];
                to.iter_mut().enumerate().for_each(|(i, to)| *to = from[i * a.row_stride]);
            }
        }
    }
}

/// Copies runs of N elements that lie `stride` apart.
fn copy_rows<T: Float, const N: usize>(from: &[T], stride: usize, to: &mut [T]) {
    for (k, to) in to.as_chunks_mut::<N>().0.iter_mut().enumerate() {
        if let Some(from) = from[k * stride..].first_chunk::<N>() {
            *to = *from;
        }
    }
}

/// Copies columns of `b` into a panel `[k][width]`, with zeros beyond the last column.
fn pack_columns<T: Float>(isa: Isa, b: &MatRef<T>, columns: Range<usize>, width: usize, to: &mut [T]) {
    let count = columns.len();
    if b.col_stride == 1 {
        for (k, line) in to.chunks_exact_mut(width).enumerate() {
            line[..count].copy_from_slice(&b.data[k * b.row_stride + columns.start..][..count]);
            line[count..].fill(T::ZERO);
        }
    } else if b.row_stride == 1 {
        let from = &b.data[columns.start * b.col_stride..];
        let depth = to.len() / width;
        transpose(isa, (count, depth), from, b.col_stride, to, width);
        to.chunks_exact_mut(width).for_each(|line| line[count..].fill(T::ZERO));
    } else {
        for (k, line) in to.chunks_exact_mut(width).enumerate() {
            line.fill(T::ZERO);
            (0..count).for_each(|j| line[j] = b.at(k, columns.start + j));
        }
    }
}

/// The product by tiles.
fn tiled<T: Float>(isa: Isa, a: MatRef<T>, b: MatRef<T>, beta_zero: bool, c: &mut [T]) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    let lanes = lanes::<T>(isa);
    // As wide as the tiles of the largest blocks of rows.
    let panel = if isa == Isa::Avx512 { PANEL } else { 2 };
    let width = n.next_multiple_of(lanes).min(panel * lanes);
    let panels = n.div_ceil(width);
    // Rows of b are used in place if passes over them do not strain the cache; an incomplete vector never is.
    // Rows 4 KiB apart share sets of the cache, and each is a page of its own.
    let near = b.col_stride == 1 && (b.row_stride * size_of::<T>() <= APART || m <= 2 * MAX_ROWS);
    let in_place = match near {
        true if n.is_multiple_of(lanes) => panels,
        true => n / width,
        false => 0,
    };
    let mut packed = Buffer::unfilled((panels - in_place) * k * width);
    par::for_each_chunk(packed.make_mut(), k * width, 4 * k * width, |p, to| {
        let p = p + in_place;
        pack_columns(isa, &b, p * width..n.min((p + 1) * width), width, to);
    });
    // As many blocks for each thread; where they divide the panels among them, a single block will do.
    let threads = par::threads_for(m, (2 * k).saturating_mul(n), par::num_threads());
    let shares = if m > ROWS || panels < 4 * threads { threads } else { 1 };
    let tall = if isa == Isa::Avx512 { MAX_ROWS } else { 6 };
    let block = m.div_ceil(m.div_ceil(ROWS).next_multiple_of(shares)).next_multiple_of(tall);
    let row_blocks = m.div_ceil(block);
    // Few rows: the panels of columns are divided too.
    let splits = if row_blocks >= 2 * par::num_threads() { 1 } else { panels };
    let product = Product { isa, a, b, packed: &packed, in_place, width, beta_zero };
    let work = (2 * block.min(m)).saturating_mul(k).saturating_mul(n / splits);
    let c = Shared(c.as_mut_ptr());
    par::for_each_range(row_blocks * splits, work, |range| {
        let mut rows = Buffer::unfilled(block.min(m) * DEPTH.min(k));
        let mut edge = Buffer::unfilled(MAX_ROWS * lanes);
        let mut offsets = Buffer::unfilled(PANEL + 2 * DEPTH);
        let (vectors, taps) = offsets.make_mut().split_at_mut(PANEL);
        vectors.iter_mut().enumerate().for_each(|(i, v)| *v = (i * lanes) as i64);
        let (taps_in_place, taps_packed) = taps.split_at_mut(DEPTH);
        taps_in_place.iter_mut().enumerate().for_each(|(i, t)| *t = i.wrapping_mul(b.row_stride) as i64);
        taps_packed.iter_mut().enumerate().for_each(|(i, t)| *t = (i * width) as i64);
        let mut work =
            Workspace { rows: rows.make_mut(), held: None, edge: edge.make_mut(), vectors, taps_in_place, taps_packed };
        for unit in range {
            let (first, split) = (unit / splits * block, unit % splits);
            let mine = if splits == 1 { 0..panels } else { split..split + 1 };
            // SAFETY: the unit alone writes these rows and columns of c.
            unsafe { product.rows(first..m.min(first + block), mine, &mut work, c.get()) };
        }
    });
}

/// A product with b prepared: the first panels of columns are used in place, the others are packed.
struct Product<'a, T> {
    isa: Isa,
    a: MatRef<'a, T>,
    b: MatRef<'a, T>,
    packed: &'a [T],
    in_place: usize,
    width: usize,
    beta_zero: bool,
}

/// What a thread needs for a product.
struct Workspace<'a, T> {
    /// Packed rows of a, and the first of them and of their elements.
    rows: &'a mut [T],
    held: Option<(usize, usize)>,
    /// An incomplete vector of columns of c.
    edge: &'a mut [T],
    /// Multiples of the vector length.
    vectors: &'a [i64],
    /// Rows of b in place, and in a panel.
    taps_in_place: &'a [i64],
    taps_packed: &'a [i64],
}

impl<T: Float> Product<'_, T> {
    /// Computes some rows and panels of c.
    ///
    /// # Safety
    /// c has all rows and columns and nobody else uses these.
    unsafe fn rows(&self, rows: Range<usize>, panels: Range<usize>, work: &mut Workspace<T>, c: *mut T) {
        let (n, k, lanes) = (self.b.cols, self.a.cols, lanes::<T>(self.isa));
        let starts = blocks(self.isa, rows.len());
        let step = k.div_ceil(k.div_ceil(DEPTH).max(1)).max(1);
        for first in (0..k).step_by(step) {
            let depth = first..k.min(first + step);
            // The rows are those of the panel before, if the sum is not cut.
            if work.held != Some((rows.start, first)) {
                pack_rows(self.isa, &self.a, rows.start, &starts, depth.clone(), work.rows);
                work.held = Some((rows.start, first));
            }
            let fresh = self.beta_zero && first == 0;
            for p in panels.clone() {
                let columns = p * self.width..n.min((p + 1) * self.width);
                let (panel, taps) = match p.checked_sub(self.in_place) {
                    None => (&self.b.data[first * self.b.row_stride + columns.start..], work.taps_in_place),
                    Some(p) => (&self.packed[(p * k + first) * self.width..], work.taps_packed),
                };
                let (full, rest) = (columns.len() / lanes, columns.len() % lanes);
                for block in starts.windows(2) {
                    let count = block[1] - block[0];
                    // SAFETY: rows and columns are inside of c.
                    let to = unsafe { c.add((rows.start + block[0]) * n + columns.start) };
                    let sweep = Sweep {
                        x: panel.as_ptr(),
                        from: work.vectors.as_ptr(),
                        y: to,
                        to: work.vectors.as_ptr(),
                        vectors: full,
                        taps: taps.as_ptr(),
                        tap_count: depth.len(),
                        w: work.rows[block[0] * depth.len()..block[1] * depth.len()].as_ptr(),
                        start: if fresh { Start::Zero } else { Start::Result },
                        relu: false,
                        row: n,
                        narrow: false,
                        ahead: Ahead::NONE,
                    };
                    // SAFETY: the set comes from detection; full vectors are inside of the rows of b or of the panel,
                    // and of the rows of c.
                    unsafe { sweep.run(self.isa, count) };
                    if rest > 0 {
                        // SAFETY: only packed panels have an incomplete vector, and they are zero beyond it; the rest of
                        // the rows of c is inside of c.
                        unsafe { self.edge(sweep, count, full, rest, fresh, work) };
                    }
                }
            }
        }
    }

    /// The incomplete vector of columns behind `full` vectors, by way of scratch memory.
    ///
    /// # Safety
    /// As for the sweep, whose panel has another vector; `rest` columns of c lie behind the full vectors.
    unsafe fn edge(
        &self,
        sweep: Sweep<T>,
        rows: usize,
        full: usize,
        rest: usize,
        fresh: bool,
        work: &mut Workspace<T>,
    ) {
        let lanes = lanes::<T>(self.isa);
        // SAFETY: the caller's promise.
        unsafe {
            let c = sweep.y.add(full * lanes);
            for (i, line) in work.edge.chunks_exact_mut(lanes).enumerate().take(rows) {
                line.fill(T::ZERO);
                if !fresh {
                    (0..rest).for_each(|j| line[j] = *c.add(i * sweep.row + j));
                }
            }
            let from = work.vectors[full..].as_ptr();
            let y = work.edge.as_mut_ptr();
            Sweep { from, y, vectors: 1, start: Start::Result, row: lanes, ..sweep }.run(self.isa, rows);
            for (i, line) in work.edge.chunks_exact(lanes).enumerate().take(rows) {
                (0..rest).for_each(|j| *c.add(i * sweep.row + j) = line[j]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::naive::gemm as naive;

    fn integers<T: Float>(n: usize, seed: usize) -> Vec<T> {
        (0..n).map(|i| T::of(((i * 7919 + seed * 104_729) % 1009 % 11) as f64 - 5.0)).collect()
    }

    /// Compares one product with its twin, with each operand as it is and transposed.
    fn compare<T: Float>(isa: Isa, m: usize, k: usize, n: usize) {
        let isa = isa.min(T::WIDEST);
        let (a, b) = (integers::<T>(m * k, 1), integers::<T>(k * n, 2));
        let turn = |x: &[T], rows: usize, cols: usize| -> Vec<T> {
            (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect()
        };
        let (a_turned, b_turned) = (turn(&a, m, k), turn(&b, k, n));
        for beta_zero in [true, false] {
            let start = if beta_zero { vec![T::of(f64::NAN); m * n] } else { integers::<T>(m * n, 3) };
            let mut expected = start.clone();
            naive::gemm(m, k, n, &a, &b, beta_zero, &mut expected);
            for turned in 0..4 {
                let a = match turned % 2 {
                    0 => MatRef::new(&a, m, k, k, 1),
                    _ => MatRef::new(&a_turned, m, k, 1, m),
                };
                let b = match turned / 2 {
                    0 => MatRef::new(&b, k, n, n, 1),
                    _ => MatRef::new(&b_turned, k, n, 1, k),
                };
                let (a, b) = (a.expect("it fits"), b.expect("it fits"));
                let mut c = start.clone();
                isa::with(isa, || gemm(a, b, beta_zero, &mut c));
                assert_eq!(c, expected, "{m}x{k}x{n} on {isa:?}, transposed: {turned}");
                if m * k * n > 0 {
                    let mut c = start.clone();
                    tiled(isa, a, b, beta_zero, &mut c);
                    assert_eq!(c, expected, "{m}x{k}x{n} tiled on {isa:?}, transposed: {turned}");
                    if turned == 2 {
                        let mut c = start.clone();
                        dots(isa, a, b, beta_zero, &mut c);
                        assert_eq!(c, expected, "{m}x{k}x{n} by dots on {isa:?}");
                    }
                    let mut c = start.clone();
                    isa::with(isa, || small(a, b, beta_zero, &mut c));
                    assert_eq!(c, expected, "{m}x{k}x{n} small on {isa:?}, transposed: {turned}");
                }
            }
        }
    }

    #[test]
    fn products_agree_with_the_twin() {
        let mut sizes = vec![(0, 3, 4), (3, 0, 4), (3, 4, 0), (1, 1, 1), (64, 400, 120), (64, 120, 84), (64, 84, 10)];
        for n in [1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 192, 193, 400] {
            sizes.push((5, 3, n));
            sizes.push((n, 3, 5));
            sizes.push((2, n, 18));
        }
        sizes.extend([(97, 385, 33), (17, 800, 20), (200, 20, 200), (1, 1000, 1000), (300, 1, 1)]);
        for &isa in isa::available() {
            for &(m, k, n) in &sizes {
                compare::<f32>(isa, m, k, n);
                compare::<f64>(isa, m, k, n);
            }
        }
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let before = par::num_threads();
        let values = |n: usize, seed| integers::<f32>(n, seed).iter().map(|v| v / 3.7).collect::<Vec<_>>();
        for (m, k, n) in [(300, 500, 70), (4, 500, 1000), (1000, 30, 50)] {
            let (a, b) = (values(m * k, 1), values(k * n, 2));
            let run = |threads| {
                par::set_num_threads(threads);
                let mut c = vec![0.0; m * n];
                let (a, b) = (MatRef::new(&a, m, k, k, 1), MatRef::new(&b, k, n, n, 1));
                gemm(a.expect("it fits"), b.expect("it fits"), true, &mut c);
                c.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            };
            let alone = run(1);
            assert!(run(2) == alone && run(3) == alone, "{m}x{k}x{n}");
        }
        par::set_num_threads(before);
    }

    #[test]
    fn batches_are_products_one_by_one() {
        let g = BatchGeometry { batch: 7, m: 3, k: 4, n: 5, a_step: 12, b_step: 0 };
        let (a, b) = (integers::<f64>(84, 1), integers::<f64>(20, 2));
        let (mut c, mut expected) = (vec![0.0; 105], vec![0.0; 105]);
        gemm_batched(&g, &a, &b, true, &mut c);
        for i in 0..7 {
            naive::gemm(3, 4, 5, &a[i * 12..][..12], &b, true, &mut expected[i * 15..][..15]);
        }
        assert_eq!(c, expected);
    }

    #[test]
    fn a_matrix_must_lie_inside_of_its_slice() {
        let x = [0.0f32; 6];
        assert!(MatRef::new(&x, 2, 3, 3, 1).is_some() && MatRef::new(&x, 3, 2, 1, 3).is_some());
        assert!(MatRef::new(&x, 2, 3, 4, 1).is_none() && MatRef::new(&x, 2, 2, usize::MAX, usize::MAX).is_none());
        assert!(MatRef::new(&x, 0, 9, 9, 9).is_some());
    }
}
