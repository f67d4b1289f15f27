//! Mathematical functions in single precision, free of branches.
//!
//! In words: the argument is reduced to a small interval around 0 by taking out a power of two (exp, ln) or a multiple of
//! a quarter turn (sin, cos), a polynomial does the rest, and special values are put in by selection at the end. The
//! coefficients are minimax fits, computed in 50 digits and rounded one after the other. `n` is read out of the low bits of
//! `x + MAGIC`, a sum whose unit in the last place is 1. Errors, in units in the last place and
//! with fused arithmetic: 1.0 for `exp` and `ln`, 1.5 for `exp_m1`, `ln_1p` and `erf`,
//! 1.6 for `sin` and `cos`, 2.5 for `tanh`, 2.4 for `sigmoid`; the tests measure them.

use super::MulAdd;

/// `1.5 * 2^23`: a number is rounded to an integer by adding and subtracting it.
const MAGIC: f32 = 12_582_912.0;
/// `1.5 * 2^52`, the same for doubles.
const MAGIC_DOUBLE: f64 = 6_755_399_441_055_744.0;
/// ln(2) in two parts, of which the first has so few bits that its multiples are exact.
const LN2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
/// A quarter turn in two parts, of which the first has so few bits that its multiples up to 2^28 are exact.
const QUARTER: (f64, f64) = (1.570_796_310_901_641_8, 1.589_325_477_352_819_7e-8);
/// Up to here sines and cosines are exact to the last place or so; beyond, use [`sin_far`] and [`cos_far`].
pub(crate) const NEAR: f32 = 4.0e8;

/// The polynomial with these coefficients, constant term first.
#[inline(always)]
fn poly<M: MulAdd, const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let mut y = c[N - 1];
    for k in (0..N - 1).rev() {
        y = M::f32(y, x, c[k]);
    }
    y
}

/// `2^n` for a normal exponent.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// `n` and `e^r - 1` with `x = n ln(2) + r` and `|r| <= ln(2) / 2`.
#[inline(always)]
fn reduced_exp_m1<M: MulAdd>(x: f32) -> (i32, f32) {
    let t = M::f32(x, std::f32::consts::LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = M::f32(n, -LN2.1, M::f32(n, -LN2.0, x));
    let p = poly::<M, 6>(r, [0.5, 1.6666667e-1, 4.1666463e-2, 8.3332015e-3, 1.3935053e-3, 1.9948966e-4]);
    ((t.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32), M::f32(r * r, p, r))
}

#[inline(always)]
pub(crate) fn exp<M: MulAdd>(x: f32) -> f32 {
    let low = if x < -104.0 { -104.0 } else { x };
    let (n, q) = reduced_exp_m1::<M>(if low > 89.0 { 89.0 } else { low });
    // In two factors, since 2^n itself may be out of range.
    let half = n >> 1;
    (1.0 + q) * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// `e^x` for x not above 0, or NaN.
#[inline(always)]
fn exp_below<M: MulAdd>(x: f32) -> f32 {
    let (n, q) = reduced_exp_m1::<M>(if x < -104.0 { -104.0 } else { x });
    // 2^n itself may be out of range, 2^(n + 24) is not.
    (1.0 + q) * power_of_two(n.wrapping_add(24)) * power_of_two(-24)
}

#[inline(always)]
pub(crate) fn exp_m1<M: MulAdd>(x: f32) -> f32 {
    let low = if x < -20.0 { -20.0 } else { x };
    let (n, q) = reduced_exp_m1::<M>(if low > 89.0 { 89.0 } else { low });
    // (2^n q + 2^n - 1) / 2, doubled: 2^n itself may be out of range.
    let half = power_of_two(n.wrapping_sub(1));
    let y = 2.0 * M::f32(half, q, half - 0.5);
    if x.abs() < 1e-30 { x } else { y }
}

/// `e` and `m - 1` with `x = 2^e m` and m from `sqrt(1/2)` to `sqrt(2)`, for a positive normal x.
#[inline(always)]
fn exponent(x: f32) -> (i32, f32) {
    const ROOT: i32 = std::f32::consts::FRAC_1_SQRT_2.to_bits() as i32;
    let bits = x.to_bits() as i32;
    let e = bits.wrapping_sub(ROOT) >> 23;
    (e, f32::from_bits(bits.wrapping_sub(e << 23) as u32) - 1.0)
}

/// `e ln(2) + ln(1 + f)`.
#[inline(always)]
fn log<M: MulAdd>(e: f32, f: f32) -> f32 {
    let p = poly::<M, 9>(
        f,
        [
            3.3333313e-1,
            -2.500001e-1,
            2.0002073e-1,
            -1.6667995e-1,
            1.4220314e-1,
            -1.2406002e-1,
            1.188_366_6e-1,
            -1.167_245_4e-1,
            6.752_755_5e-2,
        ],
    );
    let square = f * f;
    let y = M::f32(e, LN2.1, f * square * p);
    M::f32(e, LN2.0, M::f32(-0.5, square, y) + f)
}

#[inline(always)]
pub(crate) fn ln<M: MulAdd>(x: f32) -> f32 {
    let subnormal = x < f32::MIN_POSITIVE;
    let (e, f) = exponent(if subnormal { x * 8_388_608.0 } else { x });
    let y = log::<M>((e - if subnormal { 23 } else { 0 }) as f32, f);
    // What is left is 0, infinity, NaN, or negative.
    let special = if x == 0.0 {
        f32::NEG_INFINITY
    } else if x < 0.0 {
        f32::NAN
    } else {
        x
    };
    if x > 0.0 && x < f32::INFINITY { y } else { special }
}

#[inline(always)]
pub(crate) fn ln_1p<M: MulAdd>(x: f32) -> f32 {
    let u = 1.0 + x;
    // What the sum lost, exactly.
    let rest = u - 1.0;
    let lost = (1.0 - (u - rest)) + (x - rest);
    let (e, f) = exponent(u);
    let scale = power_of_two(-(if e > 60 { 60 } else { e }));
    let y = log::<M>(e as f32, if e == 0 { x } else { M::f32(lost, scale, f) });
    let special = if x == -1.0 {
        f32::NEG_INFINITY
    } else if x < -1.0 {
        f32::NAN
    } else {
        x
    };
    if x > -1.0 && x < f32::INFINITY && x != 0.0 { y } else { special }
}

/// The sine after `turn` more quarter turns.
#[inline(always)]
fn wave<M: MulAdd>(x: f32, turn: i32) -> f32 {
    let x = f64::from(x);
    let t = M::f64(x, std::f64::consts::FRAC_2_PI, MAGIC_DOUBLE);
    let n = t - MAGIC_DOUBLE;
    let r = M::f64(n, -QUARTER.1, M::f64(n, -QUARTER.0, x)) as f32;
    let quarter = (t.to_bits() as i32).wrapping_add(turn);
    let s = r * r;
    let sine = M::f32(r * s, poly::<M, 3>(s, [-1.666_665_5e-1, 8.332192e-3, -1.951_878_4e-4]), r);
    let cosine =
        M::f32(s * s, poly::<M, 3>(s, [4.166_664_6e-2, -1.388_730_1e-3, 2.443_082_8e-5]), M::f32(s, -0.5, 1.0));
    let y = if quarter & 1 == 0 { sine } else { cosine };
    f32::from_bits(y.to_bits() ^ (((quarter & 2) as u32) << 30))
}

#[inline(always)]
pub(crate) fn sin<M: MulAdd>(x: f32) -> f32 {
    let y = wave::<M>(x, 0);
    if x == 0.0 { x } else { y }
}

#[inline(always)]
pub(crate) fn cos<M: MulAdd>(x: f32) -> f32 {
    wave::<M>(x, 1)
}

pub(crate) fn sin_far(x: f32) -> f32 {
    libm::sinf(x)
}

pub(crate) fn cos_far(x: f32) -> f32 {
    libm::cosf(x)
}

#[inline(always)]
pub(crate) fn tanh<M: MulAdd>(x: f32) -> f32 {
    let a = x.abs();
    let (n, q) = reduced_exp_m1::<M>(-2.0 * if a > 10.0 { 10.0 } else { a });
    // e^-2a - 1, as 2^n is not out of range.
    let power = power_of_two(n);
    let q = M::f32(power, q, power - 1.0);
    (-q / (2.0 + q)).copysign(x)
}

#[inline(always)]
pub(crate) fn sigmoid<M: MulAdd>(x: f32) -> f32 {
    let z = exp_below::<M>(-x.abs());
    let share = if x < 0.0 { z } else { 1.0 };
    share / (1.0 + z)
}

#[inline(always)]
pub(crate) fn erf<M: MulAdd>(x: f32) -> f32 {
    let (a, s) = (x.abs(), x * x);
    let p = poly::<M, 7>(
        s,
        [1.283_791_7e-1, -3.761263e-1, 1.128_362_5e-1, -2.685_566_4e-2, 5.192_211_4e-3, -8.047576e-4, 7.988_354_6e-5],
    );
    let near = M::f32(x, p, x);
    let a = if a > 4.0 { 4.0 } else { a };
    // -ln(1 - erf(a)) - a.
    let q = poly::<M, 7>(
        a,
        [
            2.228_420_8e-4,
            1.275_624_3e-1,
            6.373_744_6e-1,
            1.037_614_9e-1,
            -2.214_424_7e-2,
            3.022_307_5e-3,
            -1.937_867_6e-4,
        ],
    );
    // 2^n is not out of range.
    let (n, e) = reduced_exp_m1::<M>(-(a + q));
    let far = (1.0 - (1.0 + e) * power_of_two(n)).copysign(x);
    if a < 0.94 { near } else { far }
}
