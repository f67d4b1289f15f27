//! Instruction sets: which of them run here, and how kernels are compiled for each.
//!
//! A kernel is one generic body. It is either plain loops that the compiler vectorises, run by [`dispatch`], or written
//! with the operations of [`Simd`] and run through [`Vectors`]. Both ways call the body inside of a thin function that
//! has the instruction set enabled, into which the body is inlined. The set is detected once; the environment
//! variable `GABOR_ISA` (portable, avx2 or avx512) can ask for a smaller one.

mod vectors;

use crate::element::Element;
use std::cell::Cell;
use std::sync::OnceLock;

#[doc(hidden)]
pub use vectors::{Simd, SimdBody, Vectors};

/// A set of vector instructions; larger ones compare greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// What every machine of the target has.
    Portable,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512 F, VL, DQ and BW, and all of AVX2.
    Avx512,
}

thread_local! {
    /// The set that kernels on this thread shall use instead of the detected one.
    static FORCED: Cell<Option<Isa>> = const { Cell::new(None) };
}

/// The largest set that this machine has.
fn detected() -> Isa {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw");
        match (avx2, avx512) {
            (true, true) => Isa::Avx512,
            (true, false) => Isa::Avx2,
            _ => Isa::Portable,
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    Isa::Portable
}

#[cfg(test)]
thread_local! {
    /// What tests of this thread want [`in_halves`] to say.
    pub(crate) static HALVES: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Whether a vector of AVX-512 takes the processor two steps of half its length: AMD's family 19h, Zen 4.
fn in_halves() -> bool {
    #[cfg(test)]
    if let Some(forced) = HALVES.get() {
        return forced;
    }
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::__cpuid;
        static FOUND: OnceLock<bool> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let (vendor, version) = (__cpuid(0), __cpuid(1).eax);
            let family = (version >> 8 & 0xF) + (version >> 20 & 0xFF);
            vendor.ebx == u32::from_le_bytes(*b"Auth") && family == 0x19
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// What a vector of half the length costs, in halves of a full one: mostly as much as that.
pub(crate) fn half_cost(isa: Isa) -> usize {
    if isa == Isa::Portable || (isa == Isa::Avx512 && in_halves()) { 1 } else { 2 }
}

/// The sets that this machine has, smallest first.
pub fn available() -> &'static [Isa] {
    const ALL: [Isa; 3] = [Isa::Portable, Isa::Avx2, Isa::Avx512];
    &ALL[..=detected() as usize]
}

/// The set that kernels use.
pub fn isa() -> Isa {
    static CHOSEN: OnceLock<Isa> = OnceLock::new();
    FORCED.get().unwrap_or_else(|| {
        *CHOSEN.get_or_init(|| {
            let asked = match std::env::var("GABOR_ISA").as_deref() {
                Ok("portable") => Isa::Portable,
                Ok("avx2") => Isa::Avx2,
                _ => Isa::Avx512,
            };
            asked.min(detected())
        })
    })
}

/// The set that kernels of an element type use.
pub(crate) fn isa_of<T: Element>() -> Isa {
    isa().min(T::WIDEST)
}

/// Runs `f` with the kernels that it calls on this thread using `isa`, or the largest set below that exists.
///
/// ```
/// use gabor_kernels::isa::{Isa, isa, with};
/// assert_eq!(with(Isa::Portable, isa), Isa::Portable);
/// ```
pub fn with<R>(isa: Isa, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Isa>);
    impl Drop for Restore {
        fn drop(&mut self) {
            FORCED.set(self.0);
        }
    }
    let _restore = Restore(FORCED.replace(Some(isa.min(detected()))));
    f()
}

/// Bytes of the second-level cache of a core, about: machines with AVX-512 have a MiB and more, others half of it at the least.
pub(crate) fn second_level(isa: Isa) -> usize {
    if isa == Isa::Avx512 { 1 << 20 } else { 1 << 19 }
}

/// Asks for the cache line of element i from x on, of processors that can be asked; it may lie anywhere. It is brought into the
/// second-level cache, which waits for more lines at a time than the first.
#[inline(always)]
pub(crate) fn prefetch<T>(x: *const T, i: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: the instruction reads nothing that the program could see, at any address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(x.wrapping_add(i).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (x, i);
}

/// Aligns the stack of the function that this is inlined into to cache lines. Vectors that have no register lie across two lines
/// otherwise, as the compiler does not align it on their behalf.
#[inline(always)]
pub(crate) fn align_stack() {
    #[repr(align(64))]
    struct Line;
    let line = Line;
    std::hint::black_box(&raw const line);
}

/// A body of plain loops for [`dispatch`]. Write `#[inline(always)]` over `run`, and over what it calls.
pub trait Body {
    /// What the body returns.
    type Output;
    /// Runs the body.
    fn run(self) -> Self::Output;
}

// FnMut, although it is called once: the shim that calls a closure as FnOnce is a function of its own, which has the
// instructions of the smallest set when it is not inlined.
impl<R, F: FnMut() -> R> Body for F {
    type Output = R;
    #[inline(always)]
    fn run(mut self) -> R {
        self()
    }
}

/// Runs a body of plain loops over a type, compiled for each set if the type has [all](Element::ALL): the compiler vectorises it.
///
/// ```
/// let mut y = [1.0f32, 2.0, 3.0];
/// gabor_kernels::isa::dispatch::<f32, _>(|| y.iter_mut().for_each(|v| *v = *v * *v));
/// assert_eq!(y, [1.0, 4.0, 9.0]);
/// ```
#[inline]
pub fn dispatch<T: Element, B: Body>(body: B) -> B::Output {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma,bmi1,bmi2,f16c,lzcnt,popcnt")]
        fn avx2<B: Body>(body: B) -> B::Output {
            body.run()
        }
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,bmi1,bmi2,f16c,lzcnt,popcnt")]
        fn avx512<B: Body>(body: B) -> B::Output {
            body.run()
        }
        // Comparisons of constants: what a type does not have is not compiled.
        if T::ALL && isa() == Isa::Avx512 {
            // SAFETY: isa never says more than what was detected. (bmi, f16c, lzcnt and popcnt come with every AVX2.)
            return unsafe { avx512(body) };
        }
        if T::ALL && isa() >= Isa::Avx2 {
            // SAFETY: as above.
            return unsafe { avx2(body) };
        }
    }
    portable(body)
}

/// A body with the instructions of any machine. It stays a function of its own, as those of the other sets: inlined, it would be
/// optimised once more with each of its callers.
#[inline(never)]
fn portable<B: Body>(body: B) -> B::Output {
    body.run()
}
