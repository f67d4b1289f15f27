//! Vectors: their operations, and an instance for each element type and instruction set.

use super::Isa;
use crate::element::Element;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// The vectors of one element type on one instruction set.
///
/// All operations are `#[inline(always)]`: they become the set's instructions in a function that has it enabled.
#[doc(hidden)]
#[allow(clippy::missing_safety_doc)]
pub trait Simd: Copy + 'static {
    /// The element.
    type T: crate::element::Float;
    /// The vector.
    type V: Copy;
    /// Elements in a vector.
    const N: usize;
    /// Vector registers.
    const REGISTERS: usize;
    /// All zeros.
    unsafe fn zero() -> Self::V;
    /// All elements equal.
    unsafe fn splat(x: Self::T) -> Self::V;
    /// Reads N elements from any address.
    unsafe fn load(p: *const Self::T) -> Self::V;
    /// Writes N elements to any address.
    unsafe fn store(p: *mut Self::T, v: Self::V);
    /// Which elements of a vector are meant.
    type M: Copy;
    /// The elements from..to, of 0..N.
    unsafe fn mask(from: usize, to: usize) -> Self::M;
    /// Reads the elements of the mask; the others are zero and not touched.
    unsafe fn load_where(p: *const Self::T, m: Self::M) -> Self::V;
    /// Writes the elements of the mask; the others are not touched.
    unsafe fn store_where(p: *mut Self::T, m: Self::M, v: Self::V);
    /// Reads the first n <= N elements; the others are zero.
    #[inline(always)]
    unsafe fn load_first(p: *const Self::T, n: usize) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { Self::load_where(p, Self::mask(0, n)) }
    }
    /// The elements at even places of `a`, then those of `b`; after them the elements at odd places.
    #[inline(always)]
    unsafe fn unzip(a: Self::V, b: Self::V) -> [Self::V; 2] {
        // SAFETY: the caller's promise; no vector has more than 16 elements.
        unsafe {
            let (mut from, mut to) = ([<Self::T as Default>::default(); 32], [<Self::T as Default>::default(); 32]);
            Self::store(from.as_mut_ptr(), a);
            Self::store(from.as_mut_ptr().add(Self::N), b);
            for i in 0..Self::N {
                (to[i], to[Self::N + i]) = (from[2 * i], from[2 * i + 1]);
            }
            [Self::load(to.as_ptr()), Self::load(to.as_ptr().add(Self::N))]
        }
    }
    /// The elements of `a` and `b` in turn: what [`unzip`](Self::unzip) took apart.
    #[inline(always)]
    unsafe fn zip(a: Self::V, b: Self::V) -> [Self::V; 2] {
        // SAFETY: as above.
        unsafe {
            let (mut from, mut to) = ([<Self::T as Default>::default(); 32], [<Self::T as Default>::default(); 32]);
            Self::store(from.as_mut_ptr(), a);
            Self::store(from.as_mut_ptr().add(Self::N), b);
            for i in 0..Self::N {
                (to[2 * i], to[2 * i + 1]) = (from[i], from[Self::N + i]);
            }
            [Self::load(to.as_ptr()), Self::load(to.as_ptr().add(Self::N))]
        }
    }
    /// Every third element of `a`, `b` and `c`, one after the other, from the first one of `a` on.
    #[inline(always)]
    unsafe fn third(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe {
            let mut all = [<Self::T as Default>::default(); 48];
            for (i, v) in [a, b, c].into_iter().enumerate() {
                Self::store(all.as_mut_ptr().add(i * Self::N), v);
            }
            for i in 0..Self::N {
                all[i] = all[3 * i];
            }
            Self::load(all.as_ptr())
        }
    }
    /// a * b + c, with one rounding where the set has it.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// a + b.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// The larger elements; those of b where they are equal or one is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// v where a equals b, and zero elsewhere.
    unsafe fn where_equal(a: Self::V, b: Self::V, v: Self::V) -> Self::V;
    /// Zero for what is not above it; NaN stays NaN.
    unsafe fn relu(v: Self::V) -> Self::V;
    /// The sum of the elements, in a fixed order.
    unsafe fn sum(v: Self::V) -> Self::T;
}

/// A body written with the operations of [`Simd`]. Write `#[inline(always)]` over `run`, and over what it calls.
#[doc(hidden)]
pub trait SimdBody<T> {
    /// What the body returns.
    type Output;
    /// Whether it is compiled for AVX2 in double precision too.
    const DOUBLE: bool = true;
    /// Runs the body with full vectors `S` and the narrower ones `H`.
    ///
    /// # Safety
    /// The instruction set of S and H is enabled in the calling function, and what the body itself asks for.
    unsafe fn run<S: Simd<T = T>, H: Simd<T = T>>(self) -> Self::Output;
}

/// The vectors of an element type.
#[doc(hidden)]
pub trait Vectors: Sized {
    /// Runs a body with the vectors of an instruction set.
    ///
    /// # Safety
    /// The machine has `isa`, and what the body asks for holds.
    unsafe fn simd<B: SimdBody<Self>>(isa: Isa, body: B) -> B::Output;
}

/// Sums pairwise: halves are added until one element is left.
#[inline(always)]
fn pairwise<T: crate::element::Float, const N: usize>(mut v: [T; N]) -> T {
    let mut n = N;
    while n > 1 {
        n /= 2;
        for i in 0..n {
            v[i] = v[i] + v[i + n];
        }
    }
    v[0]
}

macro_rules! portable {
    ($name:ident, $t:ty, $n:literal) => {
        #[doc(hidden)]
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name;
        impl Simd for $name {
            type T = $t;
            type V = [$t; $n];
            const N: usize = $n;
            const REGISTERS: usize = 8;
            #[inline(always)]
            unsafe fn zero() -> Self::V {
                [0.0; $n]
            }
            #[inline(always)]
            unsafe fn splat(x: $t) -> Self::V {
                [x; $n]
            }
            #[inline(always)]
            unsafe fn load(p: *const $t) -> Self::V {
                // SAFETY: the caller's promise.
                unsafe { p.cast::<Self::V>().read_unaligned() }
            }
            #[inline(always)]
            unsafe fn store(p: *mut $t, v: Self::V) {
                // SAFETY: the caller's promise.
                unsafe { p.cast::<Self::V>().write_unaligned(v) }
            }
            type M = (usize, usize);
            #[inline(always)]
            unsafe fn mask(from: usize, to: usize) -> Self::M {
                (from, to)
            }
            #[inline(always)]
            unsafe fn load_where(p: *const $t, (from, to): Self::M) -> Self::V {
                let mut v = [0.0; $n];
                for i in from..to {
                    // SAFETY: the caller's promise.
                    v[i] = unsafe { *p.wrapping_add(i) };
                }
                v
            }
            #[inline(always)]
            unsafe fn store_where(p: *mut $t, (from, to): Self::M, v: Self::V) {
                for i in from..to {
                    // SAFETY: the caller's promise.
                    unsafe { *p.wrapping_add(i) = v[i] };
                }
            }
            #[inline(always)]
            unsafe fn fma(a: Self::V, b: Self::V, mut c: Self::V) -> Self::V {
                for i in 0..$n {
                    c[i] += a[i] * b[i];
                }
                c
            }
            #[inline(always)]
            unsafe fn add(mut a: Self::V, b: Self::V) -> Self::V {
                for i in 0..$n {
                    a[i] += b[i];
                }
                a
            }
            #[inline(always)]
            unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
                std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
            }
            #[inline(always)]
            unsafe fn where_equal(a: Self::V, b: Self::V, v: Self::V) -> Self::V {
                std::array::from_fn(|i| if a[i] == b[i] { v[i] } else { 0.0 })
            }
            #[inline(always)]
            unsafe fn relu(v: Self::V) -> Self::V {
                v.map(|v| if v <= 0.0 { 0.0 } else { v })
            }
            #[inline(always)]
            unsafe fn sum(v: Self::V) -> $t {
                pairwise(v)
            }
        }
    };
}
portable!(Portable32, f32, 4);
portable!(Portable64, f64, 2);

/// One instance of [`Simd`]: name, element, vector, lanes, registers and the intrinsics, then the mask, how it is made and used.
#[cfg(target_arch = "x86_64")]
macro_rules! x86 {
    ($name:ident, $t:ty, $v:ty, $n:literal, $registers:literal, $zero:ident, $splat:ident, $load:ident, $store:ident, $fma:ident,
     $add:ident, $max:ident, |$u:ident, $w:ident, $k:ident| $equal:expr, $mask:ty, |$from:ident, $to:ident| $range:expr, |$p:ident, $m:ident| $read:expr, $write:ident $(, $a:ident $b:ident $c:ident, $unzip:expr, $zip:expr, $third:expr)?) => {
        #[doc(hidden)]
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name;
        impl Simd for $name {
            type T = $t;
            type V = $v;
            const N: usize = $n;
            const REGISTERS: usize = $registers;
            #[inline(always)]
            unsafe fn zero() -> Self::V {
                // SAFETY: the set is enabled in the caller.
                unsafe { $zero() }
            }
            #[inline(always)]
            unsafe fn splat(x: $t) -> Self::V {
                // SAFETY: the set is enabled in the caller.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load(p: *const $t) -> Self::V {
                // SAFETY: the caller's promise.
                unsafe { $load(p) }
            }
            #[inline(always)]
            unsafe fn store(p: *mut $t, v: Self::V) {
                // SAFETY: the caller's promise.
                unsafe { $store(p, v) }
            }
            type M = $mask;
            #[inline(always)]
            unsafe fn mask($from: usize, $to: usize) -> Self::M {
                // SAFETY: the set is enabled in the caller, and a mask has at most all lanes.
                #[allow(unused_unsafe)]
                unsafe {
                    $range
                }
            }
            #[inline(always)]
            unsafe fn load_where($p: *const $t, $m: Self::M) -> Self::V {
                // SAFETY: the caller's promise; lanes that are masked out are not read.
                unsafe { $read }
            }
            #[inline(always)]
            unsafe fn store_where(p: *mut $t, m: Self::M, v: Self::V) {
                // SAFETY: the caller's promise; lanes that are masked out are not written.
                unsafe { $write(p, m, v) }
            }
            $(
                #[inline(always)]
                unsafe fn unzip($a: Self::V, $b: Self::V) -> [Self::V; 2] {
                    // SAFETY: the set is enabled in the caller.
                    unsafe { $unzip }
                }
                #[inline(always)]
                unsafe fn zip($a: Self::V, $b: Self::V) -> [Self::V; 2] {
                    // SAFETY: the set is enabled in the caller.
                    unsafe { $zip }
                }
                #[inline(always)]
                unsafe fn third($a: Self::V, $b: Self::V, $c: Self::V) -> Self::V {
                    // SAFETY: the set is enabled in the caller.
                    unsafe { $third }
                }
            )?
            #[inline(always)]
            unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                // SAFETY: the set is enabled in the caller.
                unsafe { $fma(a, b, c) }
            }
            #[inline(always)]
            unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: the set is enabled in the caller.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: the set is enabled in the caller.
                unsafe { $max(a, b) }
            }
            #[inline(always)]
            unsafe fn where_equal($u: Self::V, $w: Self::V, $k: Self::V) -> Self::V {
                // SAFETY: the set is enabled in the caller.
                unsafe { $equal }
            }
            #[inline(always)]
            unsafe fn relu(v: Self::V) -> Self::V {
                // SAFETY: the set is enabled in the caller. The second one of NaN and of equals is taken; the sum is +0 for -0.
                unsafe { $add($max($zero(), v), $zero()) }
            }
            #[inline(always)]
            unsafe fn sum(v: Self::V) -> $t {
                // SAFETY: a vector has the size and bits of the array.
                pairwise(unsafe { std::mem::transmute::<Self::V, [$t; $n]>(v) })
            }
        }
    };
}

/// Masks of AVX2: reading N lanes from position N - n gives n lanes that are on.
#[cfg(target_arch = "x86_64")]
static LANES32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
#[cfg(target_arch = "x86_64")]
static LANES64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

/// Places of the elements of two vectors of 16, one after the other.
#[cfg(target_arch = "x86_64")]
static EVEN: [i32; 16] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
#[cfg(target_arch = "x86_64")]
static ODD: [i32; 16] = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31];
#[cfg(target_arch = "x86_64")]
static FIRST: [i32; 16] = [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23];
#[cfg(target_arch = "x86_64")]
static LAST: [i32; 16] = [8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31];
/// Places of every third element, modulo 16.
#[cfg(target_arch = "x86_64")]
static THIRDS: [i32; 16] = [0, 3, 6, 9, 12, 15, 2, 5, 8, 11, 14, 1, 4, 7, 10, 13];

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn chosen16(a: __m512, places: &[i32; 16], b: __m512) -> __m512 {
    // SAFETY: the caller has the set enabled.
    unsafe { _mm512_permutex2var_ps(a, _mm512_loadu_si512(places.as_ptr().cast()), b) }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn unzip8(a: __m256, b: __m256) -> [__m256; 2] {
    // SAFETY: the caller has the set enabled.
    unsafe {
        // Both work within halves, whose middle quarters then change places.
        let (even, odd) = (_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xDD));
        let even = _mm256_permute4x64_pd(_mm256_castps_pd(even), 0b11_01_10_00);
        let odd = _mm256_permute4x64_pd(_mm256_castps_pd(odd), 0b11_01_10_00);
        [_mm256_castpd_ps(even), _mm256_castpd_ps(odd)]
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn zip8(a: __m256, b: __m256) -> [__m256; 2] {
    // SAFETY: the caller has the set enabled.
    unsafe {
        let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        [_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31)]
    }
}

// No two of every third elements have the same place in their vectors, as 3 and the length have no common divisor: what is left
// to do after two blends is to bring them into order.

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn third16(a: __m512, b: __m512, c: __m512) -> __m512 {
    // SAFETY: the caller has the set enabled.
    unsafe {
        let all = _mm512_mask_blend_ps(0b0010_0100_1001_0010, _mm512_mask_blend_ps(0b0100_1001_0010_0100, a, b), c);
        _mm512_permutexvar_ps(_mm512_loadu_si512(THIRDS.as_ptr().cast()), all)
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn third8(a: __m256, b: __m256, c: __m256) -> __m256 {
    // SAFETY: the caller has the set enabled.
    unsafe {
        let all = _mm256_blend_ps(_mm256_blend_ps(a, b, 0b1001_0010), c, 0b0010_0100);
        _mm256_permutevar8x32_ps(all, _mm256_setr_epi32(0, 3, 6, 1, 4, 7, 2, 5))
    }
}

/// The first n of 8 lanes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn lanes32(n: usize) -> __m256i {
    // SAFETY: the caller has the set enabled, and n is at most 8.
    unsafe { _mm256_loadu_si256(LANES32.as_ptr().add(8 - n).cast()) }
}

/// The first n of 4 lanes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn lanes64(n: usize) -> __m256i {
    // SAFETY: the caller has the set enabled, and n is at most 4.
    unsafe { _mm256_loadu_si256(LANES64.as_ptr().add(4 - n).cast()) }
}

#[cfg(target_arch = "x86_64")]
x86!(
    F32x16,
    f32,
    __m512,
    16,
    32,
    _mm512_setzero_ps,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_fmadd_ps,
    _mm512_add_ps,
    _mm512_max_ps,
    |a, b, v| _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b), v),
    u16,
    |from, to| ((1u32 << to) - (1u32 << from)) as u16,
    |p, m| _mm512_maskz_loadu_ps(m, p),
    _mm512_mask_storeu_ps,
    a b c,
    [chosen16(a, &EVEN, b), chosen16(a, &ODD, b)],
    [chosen16(a, &FIRST, b), chosen16(a, &LAST, b)],
    third16(a, b, c)
);
#[cfg(target_arch = "x86_64")]
x86!(
    F32x8Wide,
    f32,
    __m256,
    8,
    32,
    _mm256_setzero_ps,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_fmadd_ps,
    _mm256_add_ps,
    _mm256_max_ps,
    |a, b, v| _mm256_and_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b), v),
    u8,
    |from, to| ((1u32 << to) - (1u32 << from)) as u8,
    |p, m| _mm256_maskz_loadu_ps(m, p),
    _mm256_mask_storeu_ps,
    a b c,
    unzip8(a, b),
    zip8(a, b),
    third8(a, b, c)
);
#[cfg(target_arch = "x86_64")]
x86!(
    F32x8,
    f32,
    __m256,
    8,
    16,
    _mm256_setzero_ps,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_fmadd_ps,
    _mm256_add_ps,
    _mm256_max_ps,
    |a, b, v| _mm256_and_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b), v),
    __m256i,
    |from, to| _mm256_andnot_si256(lanes32(from), lanes32(to)),
    |p, m| _mm256_maskload_ps(p, m),
    _mm256_maskstore_ps,
    a b c,
    unzip8(a, b),
    zip8(a, b),
    third8(a, b, c)
);
#[cfg(target_arch = "x86_64")]
x86!(
    F64x4,
    f64,
    __m256d,
    4,
    16,
    _mm256_setzero_pd,
    _mm256_set1_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_fmadd_pd,
    _mm256_add_pd,
    _mm256_max_pd,
    |a, b, v| _mm256_and_pd(_mm256_cmp_pd::<_CMP_EQ_OQ>(a, b), v),
    __m256i,
    |from, to| _mm256_andnot_si256(lanes64(from), lanes64(to)),
    |p, m| _mm256_maskload_pd(p, m),
    _mm256_maskstore_pd
);
#[cfg(target_arch = "x86_64")]
x86!(
    F32x4,
    f32,
    __m128,
    4,
    16,
    _mm_setzero_ps,
    _mm_set1_ps,
    _mm_loadu_ps,
    _mm_storeu_ps,
    _mm_fmadd_ps,
    _mm_add_ps,
    _mm_max_ps,
    |a, b, v| _mm_and_ps(_mm_cmpeq_ps(a, b), v),
    __m128i,
    |from, to| _mm256_castsi256_si128(_mm256_andnot_si256(lanes32(from), lanes32(to))),
    |p, m| _mm_maskload_ps(p, m),
    _mm_maskstore_ps,
    a b c,
    [_mm_shuffle_ps(a, b, 0x88), _mm_shuffle_ps(a, b, 0xDD)],
    [_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b)],
    _mm_permute_ps(_mm_blend_ps(_mm_blend_ps(a, b, 0b0100), c, 0b0010), 0b01_10_11_00)
);
#[cfg(target_arch = "x86_64")]
x86!(
    F64x2,
    f64,
    __m128d,
    2,
    16,
    _mm_setzero_pd,
    _mm_set1_pd,
    _mm_loadu_pd,
    _mm_storeu_pd,
    _mm_fmadd_pd,
    _mm_add_pd,
    _mm_max_pd,
    |a, b, v| _mm_and_pd(_mm_cmpeq_pd(a, b), v),
    __m128i,
    |from, to| _mm256_castsi256_si128(_mm256_andnot_si256(lanes64(from), lanes64(to))),
    |p, m| _mm_maskload_pd(p, m),
    _mm_maskstore_pd
);

/// The instances of an element type: AVX-512 full and narrow (those of AVX2 if it has none), AVX2 full and narrow, portable.
macro_rules! vectors {
    ($t:ty, $full512:ident, $half512:ident, $full256:ident, $half256:ident, $portable:ident) => {
        impl Vectors for $t {
            #[inline]
            unsafe fn simd<B: SimdBody<Self>>(isa: Isa, body: B) -> B::Output {
                #[inline(never)]
                unsafe fn portable<B: SimdBody<$t>>(body: B) -> B::Output {
                    // SAFETY: the caller's promise.
                    unsafe { body.run::<$portable, $portable>() }
                }
                #[cfg(target_arch = "x86_64")]
                {
                    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
                    unsafe fn avx512<B: SimdBody<$t>>(body: B) -> B::Output {
                        // SAFETY: the set is enabled here; the rest is the caller's promise.
                        unsafe { body.run::<$full512, $half512>() }
                    }
                    #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
                    unsafe fn avx2<B: SimdBody<$t>>(body: B) -> B::Output {
                        // SAFETY: the set is enabled here; the rest is the caller's promise.
                        unsafe { body.run::<$full256, $half256>() }
                    }
                    // SAFETY: the caller's promise.
                    unsafe {
                        if <$t>::ALL && isa == Isa::Avx512 {
                            avx512(body)
                        } else if (<$t>::ALL || B::DOUBLE) && isa >= Isa::Avx2 {
                            avx2(body)
                        } else {
                            portable(body)
                        }
                    }
                }
                #[cfg(not(target_arch = "x86_64"))]
                {
                    let _ = isa;
                    // SAFETY: the caller's promise.
                    unsafe { portable(body) }
                }
            }
        }
    };
}
vectors!(f32, F32x16, F32x8Wide, F32x8, F32x4, Portable32);
vectors!(f64, F64x4, F64x2, F64x4, F64x2, Portable64);

#[cfg(test)]
mod tests;
