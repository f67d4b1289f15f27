//! Transposes of a matrix into another one with its own distance between rows: how operands are packed for the tiles.
//!
//! The plain loop: `to[j * to_row + i] = from[i * from_row + j]`. The trick: squares of 16x16 or 8x8 (f32) or 4x4 (f64) elements are
//! transposed in registers, so that reads and writes are whole vectors; the last squares of 8x8 overlap those before them. Those of 16 read
//! and write whole cache lines: planes of 32x32 pixels are 4 KiB apart, and their lines would drive each other out of the first-level cache
//! before the other half is used.

use crate::element::Float;
use crate::isa::Isa;
#[cfg(target_arch = "x86_64")]
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Writes the transpose of `rows` rows and `columns` columns.
///
/// # Panics
/// A slice is too short.
pub(crate) fn transpose<T: Float>(
    isa: Isa,
    (rows, columns): (usize, usize),
    from: &[T],
    from_row: usize,
    to: &mut [T],
    to_row: usize,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!((columns - 1) * to_row + rows <= to.len(), "the columns are inside of the result");
    // SAFETY: the result was checked.
    unsafe { transpose_to(isa, (rows, columns), from, from_row, to.as_mut_ptr(), to_row) };
}

/// [`transpose`] to memory that other threads write too, elsewhere.
///
/// # Safety
/// The caller may write the `columns` rows of `rows` elements, `to_row` apart, from `to` on.
///
/// # Panics
/// The source is too short.
pub(crate) unsafe fn transpose_to<T: Float>(
    isa: Isa,
    (rows, columns): (usize, usize),
    from: &[T],
    from_row: usize,
    to: *mut T,
    to_row: usize,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    assert!((rows - 1) * from_row + columns <= from.len(), "the rows are inside of the source");
    // Rows and columns that whole squares have covered.
    let mut done = (0, 0);
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx2 {
        let (p, q) = (from.as_ptr(), to);
        if size_of::<T>() == 4 {
            let large = if isa == Isa::Avx512 { (rows / 16 * 16, columns / 16 * 16) } else { (0, 0) };
            // SAFETY: T is f32, the only float of four bytes; the set exists, the source was checked, and the caller's promise.
            unsafe {
                let (p, q) = (p.cast::<f32>(), q.cast::<f32>());
                large_squares(large, p, from_row, q, to_row);
                if rows >= 8 && columns >= 8 {
                    // What is left of the columns, then of the rows.
                    squares_f32((0..large.0, large.1..columns), p, from_row, q, to_row);
                    squares_f32((large.0..rows, 0..columns), p, from_row, q, to_row);
                    done = (rows, columns);
                } else if rows > 1 && columns > 1 {
                    few_f32((rows, columns), p, from_row, q, to_row);
                    done = (rows, columns);
                }
            }
        } else {
            done = (rows / 4 * 4, columns / 4 * 4);
            // SAFETY: T is f64, the only float of eight bytes; the rest as above.
            unsafe { squares_f64(done, p.cast(), from_row, q.cast(), to_row) };
        }
    }
    let _ = isa;
    // What is to the right of the squares, then what is below them.
    for (rows, columns) in [(0..done.0, done.1..columns), (done.0..rows, 0..columns)] {
        for i in if columns.is_empty() { 0..0 } else { rows } {
            for j in columns.clone() {
                // SAFETY: the caller's promise.
                unsafe { *to.add(j * to_row + i) = from[i * from_row + j] };
            }
        }
    }
}

/// Transposes in squares of 16x16; both sizes are multiples of 16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn large_squares(size: (usize, usize), from: *const f32, from_row: usize, to: *mut f32, to_row: usize) {
    for i in (0..size.0).step_by(16) {
        for j in (0..size.1).step_by(16) {
            // SAFETY: the square is inside of both matrices.
            unsafe {
                let p = from.add(i * from_row + j);
                let q = to.add(j * to_row + i);
                // Fours of rows: vector k of four i has column 4 * lane + k of the rows 4 * i to 4 * i + 3 in each of its lanes.
                let fours: [[__m512; 4]; 4] = std::array::from_fn(|i| {
                    let r: [__m512; 4] = std::array::from_fn(|k| _mm512_loadu_ps(p.add((4 * i + k) * from_row)));
                    let (a, b) = (_mm512_unpacklo_ps(r[0], r[1]), _mm512_unpackhi_ps(r[0], r[1]));
                    let (c, d) = (_mm512_unpacklo_ps(r[2], r[3]), _mm512_unpackhi_ps(r[2], r[3]));
                    [
                        _mm512_shuffle_ps::<0x44>(a, c),
                        _mm512_shuffle_ps::<0xEE>(a, c),
                        _mm512_shuffle_ps::<0x44>(b, d),
                        _mm512_shuffle_ps::<0xEE>(b, d),
                    ]
                });
                let [first, second, third, fourth] = fours;
                for (k, (((a, b), c), d)) in first.into_iter().zip(second).zip(third).zip(fourth).enumerate() {
                    // Lanes 0 and 2, and 1 and 3, of two fours each; then one lane of all four.
                    let even = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c, d));
                    let odd = (_mm512_shuffle_f32x4::<0xDD>(a, b), _mm512_shuffle_f32x4::<0xDD>(c, d));
                    _mm512_storeu_ps(q.add(k * to_row), _mm512_shuffle_f32x4::<0x88>(even.0, even.1));
                    _mm512_storeu_ps(q.add((4 + k) * to_row), _mm512_shuffle_f32x4::<0x88>(odd.0, odd.1));
                    _mm512_storeu_ps(q.add((8 + k) * to_row), _mm512_shuffle_f32x4::<0xDD>(even.0, even.1));
                    _mm512_storeu_ps(q.add((12 + k) * to_row), _mm512_shuffle_f32x4::<0xDD>(odd.0, odd.1));
                }
            }
        }
    }
}

/// Transposes rows and columns in squares of 8x8, of which the last ones overlap those before; neither ends before 8.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn squares_f32(
    (rows, columns): (Range<usize>, Range<usize>),
    from: *const f32,
    from_row: usize,
    to: *mut f32,
    to_row: usize,
) {
    for i in rows.clone().step_by(8).map(|i| i.min(rows.end - 8)) {
        for j in columns.clone().step_by(8).map(|j| j.min(columns.end - 8)) {
            // SAFETY: the square is inside of both matrices.
            unsafe {
                let square = square_f32(from.add(i * from_row + j), from_row);
                for (k, column) in square.into_iter().enumerate() {
                    _mm256_storeu_ps(to.add((j + k) * to_row + i), column);
                }
            }
        }
    }
}

/// The columns of a square of 8x8.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn square_f32(from: *const f32, from_row: usize) -> [__m256; 8] {
    // Columns 4 * j to 4 * j + 3 of rows k and k + 4: the halves meet while they are read, which spares shuffles.
    // SAFETY: the caller's promise: there is a square.
    let half = |j: usize, k: usize| unsafe {
        let p = from.add(k * from_row + 4 * j);
        _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p.add(4 * from_row)))
    };
    let four = |j: usize| {
        let (a, b) = (half(j, 0), half(j, 1));
        let (c, d) = (half(j, 2), half(j, 3));
        let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (low2, high2) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        [
            _mm256_shuffle_ps::<0x44>(low, low2),
            _mm256_shuffle_ps::<0xEE>(low, low2),
            _mm256_shuffle_ps::<0x44>(high, high2),
            _mm256_shuffle_ps::<0xEE>(high, high2),
        ]
    };
    let ([a, b, c, d], [e, f, g, h]) = (four(0), four(1));
    [a, b, c, d, e, f, g, h]
}

/// Brings the columns of `rows` rows, a multiple of eight, to places that need not be in their order: column q to the
/// elements from `at[q]` on, for the eight columns from each of `squares` on, or those that there are. For AVX2 at least.
///
/// # Safety
/// The squares begin in a row, and the places of its columns have room for the rows.
///
/// # Panics
/// The source is too short.
pub(crate) unsafe fn scatter<T: Float>(
    isa: Isa,
    rows: usize,
    from: &[T],
    from_row: usize,
    squares: &[u32],
    at: &[u32],
    to: *mut T,
) {
    assert!(rows.is_multiple_of(8) && rows * from_row <= from.len() && at.len() == from_row, "the rows are there");
    #[cfg(target_arch = "x86_64")]
    if size_of::<T>() == 4 && isa >= Isa::Avx2 && from_row >= 8 {
        // SAFETY: T is f32, the only float of four bytes, the set exists, the rows were checked, and the caller's promise.
        unsafe { scatter_f32(rows, from.as_ptr().cast(), from_row, squares, at.as_ptr(), to.cast()) };
        return;
    }
    let _ = isa;
    for &first in squares {
        for q in first as usize..from_row.min(first as usize + 8) {
            for i in 0..rows {
                // SAFETY: the caller's promise.
                unsafe { *to.add(at[q] as usize + i) = from[i * from_row + q] };
            }
        }
    }
}

/// [`scatter`] in squares of 8x8, of which the last one may overlap that before it.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn scatter_f32(rows: usize, from: *const f32, from_row: usize, squares: &[u32], at: *const u32, to: *mut f32) {
    for &first in squares {
        let first = (first as usize).min(from_row - 8);
        for i in (0..rows).step_by(8) {
            // SAFETY: the caller's promise.
            unsafe {
                let square = square_f32(from.add(i * from_row + first), from_row);
                for (k, column) in square.into_iter().enumerate() {
                    _mm256_storeu_ps(to.add(*at.add(first + k) as usize + i), column);
                }
            }
        }
    }
}

/// Transposes fewer than 8 rows or columns, in squares of which only some rows or columns exist; others overlap.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn few_f32(size: (usize, usize), from: *const f32, from_row: usize, to: *mut f32, to_row: usize) {
    for i in (0..size.0).step_by(8).map(|i| i.min(size.0.saturating_sub(8))) {
        for j in (0..size.1).step_by(8).map(|j| j.min(size.1.saturating_sub(8))) {
            // SAFETY: what there is of the square is inside of both matrices.
            unsafe {
                let (p, q) = (from.add(i * from_row + j), to.add(j * to_row + i));
                incomplete((size.0.min(8), size.1.min(8)), p, from_row, q, to_row);
            }
        }
    }
}

/// A square of which only some rows and columns exist.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn incomplete(size: (usize, usize), from: *const f32, from_row: usize, to: *mut f32, to_row: usize) {
    let mask: [i32; 8] = std::array::from_fn(|j| if j < size.1 { -1 } else { 0 });
    let mut square = [0f32; 64];
    // SAFETY: nothing but the elements of these rows and columns is touched.
    unsafe {
        let mask = _mm256_loadu_si256(mask.as_ptr().cast());
        for (k, row) in square.as_chunks_mut::<8>().0.iter_mut().enumerate().take(size.0) {
            _mm256_storeu_ps(row.as_mut_ptr(), _mm256_maskload_ps(from.add(k * from_row), mask));
        }
        for (k, v) in square_f32(square.as_ptr(), 8).into_iter().enumerate().take(size.1) {
            let to = to.add(k * to_row);
            if size.0 == 8 {
                _mm256_storeu_ps(to, v);
                continue;
            }
            // Stores with a mask are slow on Zen 3.
            let (mut at, mut half) = (to, _mm256_castps256_ps128(v));
            if size.0 & 4 != 0 {
                _mm_storeu_ps(at, half);
                (at, half) = (at.add(4), _mm256_extractf128_ps::<1>(v));
            }
            if size.0 & 2 != 0 {
                _mm_storel_pd(at.cast(), _mm_castps_pd(half));
                (at, half) = (at.add(2), _mm_movehl_ps(half, half));
            }
            if size.0 & 1 != 0 {
                _mm_store_ss(at, half);
            }
        }
    }
}

/// Transposes in squares of 4x4; both sizes are multiples of 4.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn squares_f64(size: (usize, usize), from: *const f64, from_row: usize, to: *mut f64, to_row: usize) {
    for i in (0..size.0).step_by(4) {
        for j in (0..size.1).step_by(4) {
            // SAFETY: the square is inside of both matrices.
            unsafe {
                let p = from.add(i * from_row + j);
                let r: [__m256d; 4] = std::array::from_fn(|k| _mm256_loadu_pd(p.add(k * from_row)));
                let a = [_mm256_unpacklo_pd(r[0], r[1]), _mm256_unpackhi_pd(r[0], r[1])];
                let b = [_mm256_unpacklo_pd(r[2], r[3]), _mm256_unpackhi_pd(r[2], r[3])];
                let q = to.add(j * to_row + i);
                for k in 0..2 {
                    _mm256_storeu_pd(q.add(k * to_row), _mm256_permute2f128_pd::<0x20>(a[k], b[k]));
                    _mm256_storeu_pd(q.add((k + 2) * to_row), _mm256_permute2f128_pd::<0x31>(a[k], b[k]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Float>(isa: Isa, rows: usize, columns: usize) {
        let (from_row, to_row) = (columns + 3, rows + 2);
        let from: Vec<T> = (0..rows * from_row).map(|i| T::of(i as f64)).collect();
        let mut to = vec![T::of(-1.0); columns * to_row];
        transpose(isa, (rows, columns), &from, from_row, &mut to, to_row);
        for (at, v) in to.iter().enumerate() {
            let (j, i) = (at / to_row, at % to_row);
            let expected = if i < rows { T::of((i * from_row + j) as f64) } else { T::of(-1.0) };
            assert_eq!(*v, expected, "{rows}x{columns} on {isa:?}");
        }
    }

    #[test]
    fn every_element_finds_its_place() {
        for &isa in crate::isa::available() {
            for rows in [0, 1, 3, 4, 7, 8, 9, 16, 21, 32, 43] {
                for columns in [0, 1, 4, 5, 8, 15, 16, 17, 32, 57] {
                    check::<f32>(isa, rows, columns);
                    check::<f64>(isa, rows, columns);
                }
            }
        }
    }
}
