//! Loops compiled for each instruction set, with the arithmetic that the set has.

use super::{Fused, MulAdd, Stepwise};
use crate::element::Element;
use crate::isa::{Isa, isa};

/// Plain loops that the compiler vectorises. Write `#[inline(always)]` over `run`, and over what it calls.
pub(crate) trait Loops {
    /// Runs the loops; products and sums as `M` says.
    fn run<M: MulAdd>(self);
}

/// Runs loops over a type, compiled for each set if it has all.
#[inline]
pub(crate) fn vectorised<T: Element, L: Loops>(loops: L) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma,bmi1,bmi2,f16c,lzcnt,popcnt")]
        fn avx2<L: Loops>(loops: L) {
            loops.run::<Fused>();
        }
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,bmi1,bmi2,f16c,lzcnt,popcnt")]
        fn avx512<L: Loops>(loops: L) {
            loops.run::<Fused>();
        }
        // Comparisons of constants: what a type does not have is not compiled.
        if T::ALL && isa() == Isa::Avx512 {
            // SAFETY: isa never says more than what was detected.
            return unsafe { avx512(loops) };
        }
        if T::ALL && isa() >= Isa::Avx2 {
            // SAFETY: as above.
            return unsafe { avx2(loops) };
        }
    }
    portable(loops);
}

/// Loops with the instructions of any machine, kept out of their callers as those of the other sets are.
#[inline(never)]
fn portable<L: Loops>(loops: L) {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        loops.run::<Fused>();
    } else {
        loops.run::<Stepwise>();
    }
}
