//! Strided copies against their twin.

use gabor_kernels::{copy::copy_strided, naive};

/// Compares both copies of a view of a source with `n` elements.
fn check(n: usize, offset: usize, shape: &[usize], strides: &[usize]) {
    let src: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let len: usize = shape.iter().product();
    let (mut y, mut truth) = (vec![-1.0; len], vec![-2.0; len]);
    copy_strided(&src, offset, shape, strides, &mut y);
    naive::copy::copy_strided(&src, offset, shape, strides, &mut truth);
    assert_eq!(y, truth, "{shape:?} {strides:?} + {offset}");
}

#[test]
fn views_are_copied_in_row_major_order() {
    check(1, 0, &[], &[]);
    check(1, 0, &[1, 1, 1], &[7, 0, 3]);
    check(24, 0, &[2, 3, 4], &[12, 4, 1]);
    check(24, 0, &[4, 3, 2], &[1, 4, 12]);
    check(24, 0, &[3, 4, 2], &[4, 1, 12]);
    check(24, 1, &[2, 3, 2], &[12, 4, 2]);
    check(10, 3, &[2, 5, 3], &[0, 1, 0]);
    check(10, 9, &[4, 4], &[0, 0]);
    check(100, 5, &[3, 0, 2], &[1, 1, 1]);
    for n in [1, 2, 15, 16, 17, 33] {
        for m in [1, 3, 16, 31, 64] {
            check(n * m, 0, &[m, n], &[1, m]);
            check(3 * n * m, 0, &[3, m, n], &[n * m, 1, m]);
            check(3 * n * m, 0, &[m, 3, n], &[1, n * m, m]);
            check(2 * n * m + 1, 1, &[m, n], &[2, 2 * m]);
            check(n, 0, &[m, n], &[0, 1]);
            check(n, 0, &[n, m], &[1, 0]);
        }
    }
    check(2 * 3 * 4 * 5 * 6, 0, &[6, 5, 4, 3, 2], &[1, 6, 30, 120, 360]);
    check(2 * 3 * 4 * 5 * 6, 0, &[2, 4, 5, 3, 6], &[360, 30, 6, 120, 1]);
}

#[test]
fn other_elements_are_copied_too() {
    let src = [true, false, false, true, true, false];
    let mut y = [false; 6];
    copy_strided(&src, 0, &[3, 2], &[1, 3], &mut y);
    assert_eq!(y, [true, true, false, true, false, false]);
}

#[test]
#[should_panic(expected = "inside of the source")]
fn a_view_that_reaches_too_far_is_refused() {
    copy_strided(&[1u8, 2, 3], 0, &[2, 2], &[2, 1], &mut [0; 4]);
}
