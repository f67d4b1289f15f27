//! Tests of which way a convolution takes.

use super::tests::geometry;
use super::*;

/// The sets that choose among all ways, AVX-512 also as processors with whole vectors have it.
fn sets() -> impl Iterator<Item = Isa> {
    let all = [(Isa::Avx2, false), (Isa::Avx512, false), (Isa::Avx512, true)];
    all.into_iter().map(|(isa, halves)| {
        isa::HALVES.set(Some(halves));
        isa
    })
}

#[test]
fn small_images_take_positions_or_vectors_of_images() {
    // A kernel as large as its image, one that sees mostly padding, and a gradient without padding.
    let square = |input, out, kernel, padding| {
        geometry(input, out, (kernel, kernel), (1, 1), (padding, padding, padding, padding), (1, 1), 1)
    };
    for isa in sets() {
        assert_eq!(forward_way::<f32>(isa, &square([64, 16, 5, 5], 120, 5, 0)), Way::Positions);
        assert_eq!(forward_way::<f32>(isa, &square([16, 128, 3, 3], 128, 5, 2)), Way::Positions);
        assert_eq!(conv_input_cost::way::<f32>(isa, &square([16, 128, 7, 7], 128, 5, 0)), Way::Positions);
        // Too few images for a tile, a large image, lists of millions of taps, and double precision.
        assert_ne!(forward_way::<f32>(isa, &square([4, 1024, 9, 9], 16, 9, 4)), Way::Positions);
        assert_ne!(forward_way::<f32>(isa, &square([3, 128, 3, 3], 128, 5, 2)), Way::Positions);
        assert_ne!(forward_way::<f32>(isa, &square([16, 16, 40, 40], 16, 5, 2)), Way::Positions);
        assert_ne!(forward_way::<f64>(isa, &square([16, 128, 3, 3], 128, 5, 2)), Way::Positions);
        // Rows and channels that fill no vector; too few images, and double precision.
        assert_eq!(conv_input_cost::way::<f32>(isa, &square([64, 6, 14, 14], 16, 5, 0)), Way::Images);
        assert_eq!(conv_input_cost::way::<f32>(isa, &square([50, 6, 14, 14], 16, 5, 0)), Way::Images);
        assert_eq!(forward_way::<f32>(isa, &square([64, 8, 13, 11], 20, 5, 4)), Way::Images);
        assert_ne!(conv_input_cost::way::<f32>(isa, &square([7, 6, 14, 14], 16, 5, 0)), Way::Images);
        assert_ne!(conv_input_cost::way::<f64>(isa, &square([64, 6, 14, 14], 16, 5, 0)), Way::Images);
        assert_eq!(conv_weight_cost::way::<f32>(isa, &square([150, 4, 9, 9], 2, 7, 3)), Way::Images);
        assert_ne!(conv_weight_cost::way::<f64>(isa, &square([150, 4, 9, 9], 2, 7, 3)), Way::Images);
    }
}

#[test]
fn gradients_take_the_way_that_costs_least() {
    for (g, expected) in [
        (geometry([4, 96, 40, 40], 64, (3, 3), (3, 3), (1, 1, 1, 1), (1, 1), 1), Way::Channels),
        (geometry([1, 1, 59, 64], 256, (3, 3), (1, 1), (1, 1, 0, 0), (1, 1), 1), Way::Columns),
        (geometry([16, 12, 32, 32], 16, (5, 5), (1, 1), (2, 2, 2, 2), (1, 1), 1), Way::Tiled),
    ] {
        for isa in sets() {
            assert_eq!(conv_input_cost::way::<f32>(isa, &g), expected, "{isa:?}, {g:?}");
            assert_eq!(conv_input_cost::way::<f64>(isa, &g), Way::Tiled);
        }
        assert_eq!(conv_input_cost::way::<f32>(Isa::Portable, &g), Way::Tiled);
    }
}

#[test]
fn vectors_hold_channels_where_rows_of_pixels_fill_them_badly() {
    let square = |channels, side, out, kernel| {
        geometry([8, channels, side, side], out, (kernel, kernel), (1, 1), (0, 0, 0, 0), (1, 1), 1)
    };
    for (g, avx512, avx2) in [
        // Rows of 10, 32, and 7; six channels fill no vector.
        (square(6, 14, 16, 5), true, true),
        (square(16, 34, 16, 3), false, false),
        (square(16, 9, 32, 3), true, true),
        (square(16, 14, 6, 5), false, false),
    ] {
        let pays = |isa| forward_way::<f32>(isa, &g) == Way::Channels;
        assert_eq!((pays(Isa::Avx512), pays(Isa::Avx2)), (avx512, avx2), "{g:?}");
    }
}
