//! Tests of the convolutions against their naive twin.

use super::*;
use crate::naive::conv as naive;
use crate::par;

pub(super) fn geometry(
    input: [usize; 4],
    out_channels: usize,
    kernel: (usize, usize),
    stride: (usize, usize),
    padding: (usize, usize, usize, usize),
    dilation: (usize, usize),
    groups: usize,
) -> ConvGeometry {
    let weight = [out_channels, input[1] / groups, kernel.0, kernel.1];
    ConvGeometry::new(input, weight, stride, padding, dilation, groups).expect("a geometry that fits")
}

/// Geometries that meet every path: narrow and wide rows, odd sizes, all parameters.
fn geometries() -> Vec<ConvGeometry> {
    let plain =
        |input, out, kernel, pad| geometry(input, out, (kernel, kernel), (1, 1), (pad, pad, pad, pad), (1, 1), 1);
    let mut all = vec![
        plain([1, 1, 1, 1], 1, 1, 0),
        plain([3, 2, 1, 1], 5, 1, 0),
        plain([2, 3, 1, 1], 4, 3, 1),
        plain([2, 1, 28, 28], 6, 5, 2),
        plain([2, 6, 14, 14], 16, 5, 0),
        plain([1, 3, 32, 32], 16, 3, 1),
        plain([2, 16, 8, 8], 16, 3, 1),
        plain([2, 4, 7, 7], 10, 3, 1),
        plain([1, 5, 16, 16], 7, 1, 0),
        plain([2, 4, 4, 4], 9, 3, 1),
        plain([2, 4, 2, 2], 3, 3, 1),
        plain([2, 4, 5, 5], 3, 5, 0),
        plain([1, 2, 3, 50], 2, 3, 2),
        plain([0, 2, 5, 5], 2, 3, 1),
        plain([2, 3, 4, 4], 2, 3, 4),
        plain([1, 1, 33, 17], 2, 1, 3),
        geometry([1, 1, 6, 8], 1, (1, 2), (1, 1), (0, 0, 0, 0), (1, 1), 1),
        geometry([4, 1, 6, 8], 1, (1, 2), (1, 1), (0, 0, 0, 0), (1, 1), 1),
        geometry([2, 3, 17, 19], 4, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 1),
        geometry([2, 3, 16, 16], 8, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 1),
        geometry([1, 3, 32, 32], 5, (4, 4), (4, 4), (0, 0, 0, 0), (1, 1), 1),
        geometry([2, 2, 9, 9], 3, (1, 1), (2, 2), (0, 0, 0, 0), (1, 1), 1),
        geometry([2, 2, 9, 11], 3, (2, 3), (3, 1), (0, 1, 2, 0), (1, 1), 1),
        geometry([1, 2, 20, 21], 3, (3, 2), (1, 2), (2, 0, 1, 3), (2, 3), 1),
        geometry([1, 2, 20, 21], 3, (3, 3), (2, 3), (2, 2, 2, 2), (3, 2), 1),
        geometry([1, 2, 20, 21], 3, (3, 3), (2, 2), (2, 2, 2, 2), (2, 2), 1),
        geometry([2, 1, 5, 5], 2, (2, 2), (5, 4), (0, 0, 0, 0), (1, 1), 1),
        geometry([2, 6, 12, 12], 6, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 6),
        geometry([2, 4, 12, 12], 8, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 4),
        geometry([2, 4, 9, 9], 6, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 2),
        geometry([1, 20, 6, 40], 20, (3, 1), (1, 1), (1, 1, 0, 0), (1, 1), 2),
        geometry([2, 3, 10, 10], 9, (3, 3), (1, 1), (5, 0, 0, 6), (1, 1), 1),
        geometry([1, 2, 3, 3], 2, (1, 1), (1, 1), (40, 0, 3, 0), (1, 1), 1),
    ];
    for width in [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33] {
        all.push(geometry([1, 2, 2, width], 3, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1));
        all.push(geometry([2, 2, 3, width], 2, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1));
        all.push(geometry([1, 2, 3, width], 2, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 1));
    }
    for out in 1..=17 {
        all.push(plain([1, 2, 9, 20], out, 2, 0));
        all.push(plain([1, out, 5, 8], 2, 2, 1));
    }
    all
}

/// Small integers, so that every sum is exact in any order.
fn integers<T: Float>(n: usize, seed: usize) -> Vec<T> {
    (0..n).map(|i| T::of(((i * 7919 + seed * 104_729) % 1009 % 11) as f64 - 5.0)).collect()
}

/// Runs all three passes one way and compares them with the twin.
fn compare<T: Float>(g: &ConvGeometry, way: Way, isa: Isa) {
    let isa = isa.min(T::WIDEST);
    let (x_len, w_len, y_len) = g.sizes();
    let (x, w, gy) = (integers::<T>(x_len, 1), integers::<T>(w_len, 2), integers::<T>(y_len, 3));
    let bias = integers::<T>(g.out_channels, 4);
    let way = if x_len == 0 || y_len == 0 || w_len == 0 { Way::Clipped } else { way };
    let fresh = |n: usize| vec![T::of(f64::NAN); n];
    let what = format!("{way:?} on {isa:?} of {g:?}");
    isa::with(isa, || {
        for (bias, relu) in [(None, false), (Some(&bias[..]), false), (Some(&bias[..]), true), (None, true)] {
            let (mut got, mut expected) = (fresh(y_len), fresh(y_len));
            forward(g, &x, &w, Epilogue { bias, relu }, &mut got, way, isa);
            naive::conv2d(g, &x, &w, bias, &mut expected);
            expected.iter_mut().filter(|y| relu && **y < T::ZERO).for_each(|y| *y = T::ZERO);
            assert_eq!(got, expected, "conv2d, {what}, relu: {relu}");
        }
        let (mut got, mut expected) = (fresh(x_len), fresh(x_len));
        input(g, &w, &gy, &mut got, way, isa);
        naive::conv2d_input(g, &w, &gy, &mut expected);
        assert_eq!(got, expected, "conv2d_input, {what}");
        let (mut got, mut expected) = (fresh(w_len), fresh(w_len));
        weight(g, &x, &gy, &mut got, way, isa);
        naive::conv2d_weight(g, &x, &gy, &mut expected);
        assert_eq!(got, expected, "conv2d_weight, {what}");
    });
}

#[test]
fn every_way_agrees_with_the_twin_on_each_set() {
    for g in &geometries() {
        for &isa in isa::available() {
            for way in [Way::Clipped, Way::Tiled] {
                compare::<f32>(g, way, isa);
                compare::<f64>(g, way, isa);
            }
            // Half vectors, which this processor may not choose by itself.
            isa::HALVES.set(Some(true));
            compare::<f32>(g, Way::Tiled, isa);
            isa::HALVES.set(None);
        }
    }
}

#[test]
fn vectors_of_channels_agree_with_the_twin_on_each_set() {
    for (h, w) in [(4, 4), (5, 6), (9, 7), (10, 10), (3, 13), (11, 25), (1, 8), (7, 1), (9, 2)] {
        for (out, kernel, dilation) in [
            (16, (3, 3), (1, 1)),
            (5, (1, 2), (1, 1)),
            (33, (2, 3), (1, 2)),
            (17, (1, 1), (1, 1)),
            (70, (1, 1), (1, 1)),
        ] {
            for stride in [(1, 1), (2, 2), (3, 2), (1, 5)] {
                for padding in [(0, 0, 0, 0), (1, 1, 1, 1), (0, 2, 3, 0)] {
                    // With one image there are blocks of one vector.
                    for (batch, groups) in [(3, 1), (1, 1), (2, 2)] {
                        let (input, weight) = ([batch, 2 * groups, h, w], [out * groups, 2, kernel.0, kernel.1]);
                        let g = ConvGeometry::new(input, weight, stride, padding, dilation, groups);
                        for isa in isa::available().iter().copied().filter(|_| g.is_some()) {
                            let g = g.expect("checked above");
                            if conv_channels::fits::<f32>(isa, &g) {
                                compare::<f32>(&g, Way::Channels, isa);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn tiles_of_positions_and_vectors_of_images_agree_with_the_twin_on_each_set() {
    for (h, w) in [(1, 1), (2, 2), (3, 5), (7, 4), (9, 9)] {
        for (out, kernel, dilation) in [
            (16, (3, 3), (1, 1)),
            (5, (1, 2), (1, 1)),
            (40, (7, 5), (1, 1)),
            (33, (2, 3), (3, 2)),
            (17, (1, 1), (1, 1)),
        ] {
            for stride in [(1, 1), (2, 2), (3, 1)] {
                // Positions that see nothing, too.
                for padding in [(0, 0, 0, 0), (1, 1, 1, 1), (3, 2, 4, 0), (8, 0, 1, 9)] {
                    // Batches that divide into one tile, several, and unequal bunches.
                    for (batch, channels, groups) in [(4, 2, 1), (11, 18, 1), (23, 3, 2), (50, 1, 1)] {
                        let (input, weight) =
                            ([batch, channels * groups, h, w], [out * groups, channels, kernel.0, kernel.1]);
                        let g = ConvGeometry::new(input, weight, stride, padding, dilation, groups);
                        for isa in isa::available().iter().copied().filter(|&isa| g.is_some() && isa != Isa::Portable) {
                            for way in [Way::Positions, Way::Images] {
                                compare::<f32>(&g.expect("checked above"), way, isa);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn bands_of_large_images_agree_with_the_twin_on_each_set() {
    for g in [
        // Bands with rows in common, and with rows that no result sees, of vectors of images that are not full.
        geometry([19, 9, 61, 67], 5, (3, 3), (2, 3), (1, 1, 1, 1), (1, 1), 1),
        geometry([16, 14, 59, 50], 4, (2, 2), (3, 1), (0, 0, 0, 0), (1, 1), 2),
        // A band that sees nothing but padding.
        geometry([17, 12, 90, 40], 4, (5, 2), (1, 2), (70, 0, 1, 0), (2, 1), 2),
    ] {
        for isa in isa::available().iter().copied().filter(|&isa| isa != Isa::Portable) {
            assert!(conv_images::bands::<f32>(isa, &g, false) > 1 && conv_images::bands::<f32>(isa, &g, true) > 1);
            compare::<f32>(&g, Way::Images, isa);
        }
    }
}

#[test]
fn products_of_panels_agree_with_the_twin_on_each_set() {
    for (h, w) in [(4, 4), (1, 16), (5, 7), (7, 7), (9, 11), (16, 16), (1, 33), (3, 31)] {
        // Pieces within an image and over images, blocks of rows in parts, and planes that fill more than one set of panels.
        for (batch, channels, out, groups) in [(1, 3, 24, 1), (3, 40, 31, 2), (5, 1, 1, 3), (2, 700, 26, 1)] {
            let g =
                geometry([batch, channels * groups, h, w], out * groups, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), groups);
            isa::available().iter().for_each(|&isa| compare::<f32>(&g, Way::Pointwise, isa));
        }
    }
}

#[test]
fn shares_of_large_images_agree_with_the_twin_on_each_set() {
    // Images that are computed some rows at a time, from 12 MiB on: forward, by input, with groups, and with rows that are shorter than
    // a vector.
    for (input, out, groups) in
        [([5, 40, 130, 129], 3, 1), ([5, 3, 130, 129], 40, 1), ([4, 46, 67, 260], 6, 2), ([21, 6150, 5, 5], 2, 1)]
    {
        let g = geometry(input, out, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), groups);
        isa::available().iter().for_each(|&isa| compare::<f32>(&g, Way::Tiled, isa));
    }
}

#[test]
fn vectors_of_channels_of_large_images_agree_with_the_twin() {
    let unpadded = (0, 0, 0, 0);
    for g in [
        // Two vectors of channels and one, for images that are large for either.
        geometry([2, 40, 97, 101], 19, (1, 1), (3, 3), unpadded, (1, 1), 1),
        geometry([4, 40, 147, 151], 5, (1, 1), (3, 3), unpadded, (1, 1), 1),
        // Rows that ask for what follows, in place and copied, and rows too short for it.
        geometry([7, 9, 60, 61], 37, (1, 1), (1, 1), unpadded, (1, 1), 1),
        geometry([4, 5, 71, 45], 33, (2, 3), (1, 1), (1, 0, 1, 1), (1, 1), 1),
        geometry([13, 5, 71, 11], 35, (2, 3), (1, 1), (1, 0, 1, 1), (1, 1), 1),
    ] {
        for isa in isa::available().iter().copied().filter(|&isa| conv_channels::fits::<f32>(isa, &g)) {
            compare::<f32>(&g, Way::Channels, isa);
        }
    }
}

#[test]
fn gradients_by_channels_and_by_columns_agree_with_the_twin_on_each_set() {
    let mut all = geometries();
    // Blocks of two vectors and one, several bands, parts of fewer pixels than a tile, taps that see only padding.
    all.push(geometry([1, 40, 40, 33], 3, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2), 1));
    all.push(geometry([2, 66, 19, 23], 6, (3, 2), (3, 3), (1, 0, 0, 2), (1, 1), 2));
    all.push(geometry([3, 17, 7, 5], 4, (4, 4), (3, 2), (1, 1, 1, 1), (1, 1), 1));
    all.push(geometry([1, 96, 30, 19], 8, (7, 1), (1, 1), (6, 6, 0, 0), (2, 2), 1));
    all.push(geometry([2, 20, 90, 64], 5, (2, 3), (2, 1), (0, 0, 1, 1), (1, 2), 1));
    // Channels in several pieces; rows of two and of three residues, and of more than there are names for.
    all.push(geometry([3, 60, 45, 50], 5, (1, 1), (2, 2), (0, 0, 0, 0), (1, 1), 1));
    all.push(geometry([1, 66, 31, 38], 4, (1, 2), (3, 3), (0, 0, 1, 0), (1, 1), 2));
    all.push(geometry([5, 5, 37, 61], 4, (3, 3), (3, 3), (1, 0, 2, 2), (1, 1), 1));
    all.push(geometry([5, 3, 40, 83], 3, (5, 4), (2, 2), (1, 3, 0, 4), (1, 2), 1));
    all.push(geometry([1, 2, 140, 80], 3, (2, 3), (66, 5), (1, 0, 0, 0), (1, 1), 1));
    for g in all.iter().filter(|g| {
        let (x, w, y) = g.sizes();
        x > 0 && w > 0 && y > 0
    }) {
        let (x_len, w_len, y_len) = g.sizes();
        let (w, gy) = (integers::<f32>(w_len, 2), integers::<f32>(y_len, 3));
        let mut expected = vec![0.0; x_len];
        naive::conv2d_input(g, &w, &gy, &mut expected);
        for isa in isa::available().iter().copied().filter(|&isa| isa != Isa::Portable) {
            let columns = conv_input_columns::fits::<f32>(isa, g).then_some(Way::Columns);
            for way in [Some(Way::Channels), columns].into_iter().flatten() {
                let mut got = vec![f32::NAN; x_len];
                isa::with(isa, || input(g, &w, &gy, &mut got, way, isa));
                assert_eq!(got, expected, "conv2d_input, {way:?} on {isa:?} of {g:?}");
            }
        }
    }
}

#[test]
fn weights_by_vectors_of_channels_agree_with_the_twin_on_each_set() {
    fn check(g: &ConvGeometry, isa: Isa) {
        let (x_len, w_len, y_len) = g.sizes();
        if x_len == 0 || w_len == 0 || y_len == 0 {
            return;
        }
        let (x, gy) = (integers::<f32>(x_len, 1), integers::<f32>(y_len, 3));
        let (mut got, mut expected) = (vec![f32::NAN; w_len], vec![0.0; w_len]);
        naive::conv2d_weight(g, &x, &gy, &mut expected);
        for way in [Way::Channels, Way::Inputs] {
            got.fill(f32::NAN);
            isa::with(isa, || weight(g, &x, &gy, &mut got, way, isa));
            assert_eq!(got, expected, "conv2d_weight, {way:?} on {isa:?} of {g:?}");
        }
    }
    let mut all = geometries();
    let square = |input, out, kernel, stride, pad, groups| {
        geometry(input, out, (kernel, kernel), (stride, stride), (pad, pad, pad, pad), (1, 1), groups)
    };
    // Chunks of images, rows of a large image, spans of taps, runs of blocks, planes of 4 KiB.
    all.push(square([23, 8, 16, 16], 16, 5, 1, 2, 1));
    all.push(square([1, 3, 70, 75], 37, 3, 2, 1, 1));
    all.push(square([3, 230, 4, 3], 33, 3, 1, 1, 1));
    all.push(square([2, 60, 4, 5], 150, 5, 3, 2, 1));
    all.push(square([2, 14, 32, 32], 18, 1, 1, 0, 2));
    // Few images: bands of rows, with and without copies, and parts of spans and of runs.
    all.push(square([1, 6, 61, 50], 20, 3, 1, 1, 1));
    all.push(square([2, 8, 63, 60], 24, 5, 2, 2, 2));
    all.push(square([1, 17, 60, 51], 33, 1, 1, 0, 1));
    all.push(square([1, 96, 9, 8], 40, 3, 1, 1, 1));
    // Bands of input rows that are transposed one by one, and small images that are together.
    all.push(square([2, 40, 64, 64], 3, 3, 1, 1, 1));
    all.push(square([37, 40, 5, 6], 6, 3, 3, 1, 2));
    // Rows between those of the taps that are left out, with padding above and below and a hole in the kernel.
    all.push(square([5, 20, 13, 9], 3, 1, 2, 0, 1));
    all.push(square([2, 33, 64, 40], 5, 2, 4, 3, 1));
    all.push(geometry([2, 18, 31, 12], 4, (2, 2), (4, 3), (5, 2, 1, 0), (2, 2), 2));
    // Rows of large images that are skipped.
    all.push(square([3, 40, 63, 61], 12, 1, 3, 0, 1));
    for g in &all {
        for &isa in isa::available() {
            check(g, isa);
        }
    }
}

#[test]
fn depthwise_agrees_with_the_twin_on_each_set() {
    for (h, w) in [(1, 1), (6, 2), (3, 3), (4, 7), (8, 8), (1, 12), (5, 15), (16, 16), (7, 17), (2, 31), (9, 33)] {
        let kernels = [
            (3, 3, 1),
            (1, 2, 1),
            (5, 5, 1),
            (2, 3, 2),
            (5, 6, 1),
            (2, 2, 1),
            (2, 2, 3),
            (3, 3, 2),
            (5, 5, 2),
            (3, 3, 7),
            (4, 4, 1),
            (4, 4, 2),
            (1, 4, 1),
            (7, 1, 2),
            (6, 3, 1),
            (7, 7, 1),
        ];
        for (kernel, dilation) in kernels.map(|(kh, kw, d)| ((kh, kw), (d, d))) {
            for stride in [(1, 1), (2, 2), (3, 3), (2, 3), (3, 1)] {
                for padding in [(1, 1, 1, 1), (0, 0, 0, 0), (0, 2, 1, 0), (1, 3, 0, 4)] {
                    let channels = if h == 1 { 35 } else { 4 };
                    let (x, weight) = ([3, channels, h, w], [channels, 1, kernel.0, kernel.1]);
                    let g = ConvGeometry::new(x, weight, stride, padding, dilation, channels);
                    let Some(g) = g.filter(conv_depthwise::fits) else { continue };
                    for &isa in isa::available() {
                        compare::<f32>(&g, Way::Depthwise, isa);
                        compare::<f64>(&g, Way::Depthwise, isa);
                    }
                }
            }
        }
    }
}

#[test]
fn depthwise_across_planes_and_by_rows_agrees_with_the_twin_on_each_set() {
    let mut state = 1usize;
    let mut pick = |from: usize, to: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from + (state >> 33) % (to - from + 1)
    };
    let (mut tried, mut by_rows) = (0, 0);
    while tried < 300 {
        let (batch, channels) = (pick(1, 7), pick(2, 40));
        let (kernel, dilation) = ((pick(1, 7), pick(1, 7)), (pick(1, 2), pick(1, 2)));
        let reach = ((kernel.0 - 1) * dilation.0, (kernel.1 - 1) * dilation.1);
        let padding = (pick(0, reach.0), pick(0, reach.0), pick(0, reach.1), pick(0, reach.1));
        let most = if tried % 3 == 0 { 40 } else { 9 };
        let square = pick(1, 3);
        let stride = if tried % 2 == 0 { (square, square) } else { (pick(1, 4), pick(1, 4)) };
        let image = (pick(1, most), pick(1, most));
        let input = [batch, channels, image.0, image.1];
        let g = ConvGeometry::new(input, [channels, 1, kernel.0, kernel.1], stride, padding, dilation, channels);
        let Some(g) = g.filter(conv_depthwise::fits) else { continue };
        tried += 1;
        for &isa in isa::available() {
            if conv_depthwise::across::fits::<f32>(isa, &g) {
                compare_across(&g, isa);
            }
            by_rows += compare_rows(&g, isa);
        }
    }
    // Portable code has no rows.
    assert!(by_rows > 200 || isa::available().len() == 1, "{by_rows} passes by rows");
}

#[test]
fn depthwise_kernels_of_one_element_agree_with_the_twin_on_each_set() {
    for (h, w) in [(1, 1), (5, 7), (8, 8), (6, 15), (3, 16), (7, 17), (9, 35), (20, 31), (2, 50)] {
        for stride in [(1, 1), (2, 2), (3, 3), (2, 1), (1, 2), (4, 5)] {
            for (batch, channels) in [(1, 2), (9, 3), (17, 5)] {
                let weight = [channels, 1, 1, 1];
                let g = ConvGeometry::new([batch, channels, h, w], weight, stride, (0, 0, 0, 0), (1, 1), channels);
                let g = g.expect("a geometry that fits");
                isa::available().iter().for_each(|&isa| compare::<f32>(&g, Way::Depthwise, isa));
            }
        }
    }
}

fn compare_across(g: &ConvGeometry, isa: Isa) {
    use conv_depthwise::across;
    compare_passes(
        (g, isa),
        [true; 3],
        |x, w, epilogue, y| across::conv2d(isa, g, x, w, epilogue, y),
        |w, gy, gx| across::conv2d_input(isa, g, w, gy, gx),
        |x, gy, gw| across::weights::conv2d_weight(isa, g, x, gy, gw),
    );
}

/// Gives how many passes there are.
fn compare_rows(g: &ConvGeometry, isa: Isa) -> usize {
    use conv_depthwise::{across::Pass, rows};
    let there = [Pass::Forward, Pass::Input, Pass::Weight].map(|pass| rows::fits::<f32>(isa, g, pass));
    compare_passes(
        (g, isa),
        there,
        |x, w, epilogue, y| rows::conv2d(isa, g, x, w, epilogue, y),
        |w, gy, gx| rows::conv2d_input(isa, g, w, gy, gx),
        |x, gy, gw| rows::weights::conv2d_weight(isa, g, x, gy, gw),
    );
    there.into_iter().filter(|&there| there).count()
}

/// Compares those passes of a way that there are with the twin.
fn compare_passes(
    (g, isa): (&ConvGeometry, Isa),
    there: [bool; 3],
    forward: impl Fn(&[f32], &[f32], Epilogue<f32>, &mut [f32]),
    by_input: impl Fn(&[f32], &[f32], &mut [f32]),
    by_weight: impl Fn(&[f32], &[f32], &mut [f32]),
) {
    let (x_len, w_len, y_len) = g.sizes();
    let (x, w, gy) = (integers::<f32>(x_len, 1), integers::<f32>(w_len, 2), integers::<f32>(y_len, 3));
    let bias = integers::<f32>(g.out_channels, 4);
    let fresh = |n: usize| (vec![f32::NAN; n], vec![0.0; n]);
    if there[0] {
        let (mut got, mut expected) = fresh(y_len);
        forward(&x, &w, Epilogue { bias: Some(&bias), relu: true }, &mut got);
        naive::conv2d(g, &x, &w, Some(&bias), &mut expected);
        expected.iter_mut().for_each(|y| *y = y.max(0.0));
        assert_eq!(got, expected, "conv2d on {isa:?} of {g:?}");
    }
    if there[1] {
        let (mut got, mut expected) = fresh(x_len);
        by_input(&w, &gy, &mut got);
        naive::conv2d_input(g, &w, &gy, &mut expected);
        assert_eq!(got, expected, "conv2d_input on {isa:?} of {g:?}");
    }
    if there[2] {
        let (mut got, mut expected) = fresh(w_len);
        by_weight(&x, &gy, &mut got);
        naive::conv2d_weight(g, &x, &gy, &mut expected);
        assert_eq!(got, expected, "conv2d_weight on {isa:?} of {g:?}");
    }
}

/// Numbers that do not add exactly.
fn fractions(n: usize, seed: usize) -> Vec<f32> {
    integers::<f32>(n, seed).iter().enumerate().map(|(i, v)| (v + (i % 17) as f32 * 0.13) / 3.7).collect()
}

/// The three results, bit by bit.
fn bits(g: &ConvGeometry) -> Vec<u32> {
    let (x_len, w_len, y_len) = g.sizes();
    let (x, w, gy) = (fractions(x_len, 1), fractions(w_len, 2), fractions(y_len, 3));
    let (mut y, mut gx, mut gw) = (vec![0.0; y_len], vec![0.0; x_len], vec![0.0; w_len]);
    conv2d(g, &x, &w, Epilogue::NONE, &mut y);
    conv2d_input(g, &w, &gy, &mut gx);
    conv2d_weight(g, &x, &gy, &mut gw);
    y.iter().chain(&gx).chain(&gw).map(|v| v.to_bits()).collect()
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let before = par::num_threads();
    for g in [
        geometry([16, 6, 14, 14], 16, (5, 5), (1, 1), (0, 0, 0, 0), (1, 1), 1),
        // By input as many vectors of images together as threads leave each.
        geometry([40, 6, 14, 14], 16, (5, 5), (1, 1), (0, 0, 0, 0), (1, 1), 1),
        // Images in one band, or in as many as there are threads.
        geometry([16, 96, 21, 20], 16, (7, 7), (3, 3), (3, 3, 3, 3), (1, 1), 1),
        // All passes by images.
        geometry([150, 4, 9, 9], 2, (7, 7), (1, 1), (3, 3, 3, 3), (1, 1), 1),
        geometry([1, 32, 32, 32], 32, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
        geometry([5, 32, 15, 17], 32, (5, 5), (1, 1), (2, 2, 2, 2), (1, 1), 1),
        geometry([1, 16, 40, 50], 16, (3, 3), (2, 1), (1, 1, 1, 1), (1, 2), 1),
        geometry([3, 32, 32, 32], 32, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 2),
        geometry([3, 64, 32, 32], 6, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 1),
        geometry([33, 64, 16, 16], 64, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 64),
        geometry([37, 8, 32, 32], 40, (3, 5), (3, 4), (0, 0, 1, 1), (1, 1), 1),
        geometry([1, 96, 40, 23], 64, (3, 3), (3, 3), (1, 1, 1, 1), (1, 1), 1),
        geometry([1, 1, 59, 64], 128, (3, 3), (1, 1), (1, 1, 0, 0), (1, 1), 1),
        geometry([9, 6, 20, 54], 64, (3, 3), (3, 3), (2, 2, 2, 2), (2, 2), 2),
        // Fewer blocks of channels than threads: parts of the tiles, the pixels, the rows of an image.
        geometry([1, 24, 32, 48], 16, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
        geometry([1, 64, 20, 19], 40, (7, 7), (2, 2), (3, 3, 3, 3), (1, 1), 1),
        geometry([1, 64, 38, 48], 16, (3, 2), (2, 2), (0, 0, 0, 0), (1, 1), 1),
        geometry([1, 64, 20, 20], 40, (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 1),
        geometry([1, 64, 23, 48], 6, (3, 3), (3, 3), (1, 1, 1, 1), (1, 1), 1),
        geometry([1, 6, 63, 60], 6, (2, 2), (1, 1), (0, 0, 0, 0), (1, 1), 1),
        geometry([1, 16, 31, 48], 6, (3, 3), (1, 1), (1, 1, 1, 1), (2, 1), 1),
        // Some rows of large images at a time.
        geometry([3, 40, 170, 160], 6, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    ] {
        par::set_num_threads(1);
        let alone = bits(&g);
        for threads in [2, 3, 7] {
            par::set_num_threads(threads);
            assert!(bits(&g) == alone, "{threads} threads, {g:?}");
        }
    }
    par::set_num_threads(before);
}

#[test]
fn fractions_are_as_near_as_in_the_twin() {
    let g = geometry([4, 16, 20, 20], 16, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1);
    let (x_len, w_len, y_len) = g.sizes();
    let (x, w, gy) = (fractions(x_len, 1), fractions(w_len, 2), fractions(y_len, 3));
    let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let (x64, w64, gy64) = (wide(&x), wide(&w), wide(&gy));
    for &isa in isa::available() {
        let near = |got: &[f32], expected: &[f64]| {
            let scale = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            got.iter().zip(expected).all(|(&a, &b)| (f64::from(a) - b).abs() <= 2e-6 * scale)
        };
        let (mut y, mut expected) = (vec![0.0; y_len], vec![0.0; y_len]);
        forward(&g, &x, &w, Epilogue::NONE, &mut y, Way::Tiled, isa);
        naive::conv2d(&g, &x64, &w64, None, &mut expected);
        assert!(near(&y, &expected), "conv2d on {isa:?}");
        let (mut gw, mut expected) = (vec![0.0; w_len], vec![0.0; w_len]);
        weight(&g, &x, &gy, &mut gw, Way::Tiled, isa);
        naive::conv2d_weight(&g, &x64, &gy64, &mut expected);
        assert!(near(&gw, &expected), "conv2d_weight on {isa:?}");
    }
}

#[test]
fn a_gap_never_reaches_an_output() {
    // A NaN pixel may only reach the outputs whose window holds it.
    let g = geometry([1, 1, 7, 7], 1, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1);
    let mut x = vec![1.0f32; 49];
    x[48] = f32::NAN;
    for &isa in isa::available() {
        let mut y = vec![0.0; 49];
        forward(&g, &x, &[1.0; 9], Epilogue::NONE, &mut y, Way::Tiled, isa);
        assert!((0..49).all(|i| y[i].is_nan() == (i / 7 >= 5 && i % 7 >= 5)), "{isa:?}");
    }
}

#[test]
fn odd_geometries_are_refused_or_stay_small() {
    assert!(ConvGeometry::new([1, 1, 2, 2], [1, 1, 3, 3], (1, 1), (0, 0, 0, 0), (1, 1), 1).is_none());
    assert!(ConvGeometry::new([1, 3, 4, 4], [2, 1, 1, 1], (1, 1), (0, 0, 0, 0), (1, 1), 2).is_none());
    assert!(ConvGeometry::new([1, 2, 4, 4], [2, 2, 1, 1], (0, 1), (0, 0, 0, 0), (1, 1), 1).is_none());
    assert!(ConvGeometry::new([1, 2, 4, 4], [2, 0, 1, 1], (1, 1), (0, 0, 0, 0), (1, 1), 0).is_none());
    let all = usize::MAX;
    assert!(ConvGeometry::new([all, all, all, all], [2, all, all, 1], (1, 1), (all, 0, 0, 0), (1, 1), 1).is_none());
    // One pixel of image in a million zeros on each side, and one output.
    let far = 1_000_000;
    let g = geometry([1, 1, 1, 1], 9, (3, 3), (1, 1), (far, far, far, far), (far, far), 1);
    assert_eq!(way::<f32>(&g, Pass::Forward), Way::Clipped);
    let mut y = vec![0.0f32; 9];
    conv2d(&g, &[2.0], &(0..81).map(|i| i as f32).collect::<Vec<_>>(), Epilogue::NONE, &mut y);
    assert_eq!(y[..3], [8.0, 26.0, 44.0]);
}
