//! The operations of vectors on each set.

use super::*;
use crate::isa::{available, with};

struct Probe;
impl SimdBody<f32> for Probe {
    type Output = ();
    #[inline(always)]
    unsafe fn run<S: Simd<T = f32>, H: Simd<T = f32>>(self) {
        // SAFETY: the set is enabled here, and the pointers stay inside of the arrays.
        unsafe {
            probe::<S>();
            probe::<H>();
        }
    }
}

#[inline(always)]
unsafe fn probe<S: Simd<T = f32>>() {
    let x: [f32; 16] = std::array::from_fn(|i| i as f32 + 1.0);
    let mut y = [0.0f32; 16];
    // SAFETY: as in the caller; no vector has more than 16 elements.
    unsafe {
        for from in 0..=S::N {
            for to in from..=S::N {
                let (mask, mut z) = (S::mask(from, to), [-1.0f32; 16]);
                S::store(y.as_mut_ptr(), S::load_where(x.as_ptr(), mask));
                S::store_where(z.as_mut_ptr(), mask, S::load(x.as_ptr()));
                for i in 0..S::N {
                    let inside = (from..to).contains(&i);
                    assert_eq!((y[i], z[i]), if inside { (x[i], x[i]) } else { (0.0, -1.0) });
                }
            }
        }
        for n in 0..=S::N {
            S::store(y.as_mut_ptr(), S::load_first(x.as_ptr(), n));
            assert!((0..S::N).all(|i| y[i] == if i < n { x[i] } else { 0.0 }));
            assert_eq!(S::sum(S::load_first(x.as_ptr(), n)), (n * (n + 1) / 2) as f32);
        }
        let v = S::fma(S::splat(2.0), S::load(x.as_ptr()), S::add(S::zero(), S::splat(1.0)));
        S::store(y.as_mut_ptr(), v);
    }
    assert!((0..S::N).all(|i| y[i] == 2.0 * x[i] + 1.0));
    for (v, expected) in [(-0.0, 0.0), (-1.0, 0.0), (2.0, 2.0), (f32::NEG_INFINITY, 0.0), (f32::NAN, f32::NAN)] {
        // SAFETY: as above.
        unsafe { S::store(y.as_mut_ptr(), S::relu(S::splat(v))) };
        assert!(
            y[..S::N].iter().all(|y| y.is_nan() == v.is_nan() && (v.is_nan() || y.to_bits() == f32::to_bits(expected)))
        );
    }
    for (a, b, most) in
        [(1.0, 2.0, 2.0), (2.0, 1.0, 2.0), (f32::NAN, 1.0, 1.0), (1.0, f32::NAN, f32::NAN), (3.0, 3.0, 3.0)]
    {
        let mut z = [0.0f32; 16];
        // SAFETY: as above.
        unsafe {
            S::store(y.as_mut_ptr(), S::max(S::splat(a), S::splat(b)));
            S::store(z.as_mut_ptr(), S::where_equal(S::splat(a), S::splat(b), S::splat(5.0)));
        }
        assert!(y[..S::N].iter().all(|y| y.to_bits() == f32::to_bits(most)));
        assert!(z[..S::N].iter().all(|&z| z == if a == b { 5.0 } else { 0.0 }));
    }
    // SAFETY: as above.
    unsafe {
        let (a, b) = (S::load(x.as_ptr()), S::add(S::splat(16.0), S::load(x.as_ptr())));
        let [even, odd] = S::unzip(a, b);
        for (v, first) in [(even, 0), (odd, 1)] {
            S::store(y.as_mut_ptr(), v);
            let at = |i: usize| if i < S::N { x[i] } else { 16.0 + x[i - S::N] };
            assert!((0..S::N).all(|i| y[i] == at(2 * i + first)));
        }
        S::store(y.as_mut_ptr(), S::third(a, b, S::add(S::splat(32.0), a)));
        for (i, y) in y[..S::N].iter().enumerate() {
            assert_eq!(*y, [1.0, 17.0, 33.0][3 * i / S::N] + (3 * i % S::N) as f32);
        }
        for (v, w) in S::zip(even, odd).into_iter().zip([a, b]) {
            let mut z = [0.0f32; 16];
            S::store(y.as_mut_ptr(), v);
            S::store(z.as_mut_ptr(), w);
            assert_eq!(y[..S::N], z[..S::N]);
        }
    }
}

#[test]
fn operations_agree_on_each_set() {
    for &isa in available() {
        // SAFETY: the set is available.
        unsafe { f32::simd(isa, Probe) };
        assert_eq!(with(isa, crate::isa::isa), isa);
    }
}
