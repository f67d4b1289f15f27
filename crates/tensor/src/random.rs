//! Random numbers: our own counter-based generator, so that a seed gives the same numbers on every platform, with any
//! number of threads, in every release.
//!
//! Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011): the block of
//! four numbers at position `counter` is a function of the seed and the counter alone.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher};

use crate::dtype::{DType, Element, Float, dispatch};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tape::Tensor;
use crate::value::Value;

/// A seeded source of random numbers and tensors.
///
/// ```
/// use gabor_tensor::{DType, Generator};
/// let mut a = Generator::new(7);
/// let mut b = Generator::new(7);
/// assert_eq!(a.randn([3], DType::F32)?.to_vec::<f32>()?, b.randn([3], DType::F32)?.to_vec::<f32>()?);
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Generator {
    seed: u64,
    counter: u64,
    block: [u32; 4],
    used: usize,
}

impl Generator {
    /// A generator whose numbers follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Generator { seed, counter: 0, block: [0; 4], used: 4 }
    }

    /// A generator for a part of the work: its numbers follow from this one's seed and `stream`, and from nothing else.
    #[must_use]
    pub fn fork(&self, stream: u64) -> Generator {
        let [a, b, ..] = philox(self.seed, u64::MAX, stream);
        Generator::new(u64::from(a) << 32 | u64::from(b))
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.seed, self.counter, 0);
            self.counter = self.counter.wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) << 32 | u64::from(self.next_u32())
    }

    /// A number in `[0, 1)`, a multiple of 2^-53.
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A number in `[0, 1)`, a multiple of 2^-24.
    fn next_f32(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// A number below `bound`, all equally likely; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Lemire's method: the high half of a product, redrawn in the few cases that would favour small numbers.
        let mut product = u128::from(self.next_u64()) * u128::from(bound);
        let threshold = bound.wrapping_neg() % bound.max(1);
        while (product as u64) < threshold {
            product = u128::from(self.next_u64()) * u128::from(bound);
        }
        (product >> 64) as u64
    }

    /// Two independent standard normal numbers (Box and Muller).
    fn next_normals(&mut self) -> (f64, f64) {
        let radius = (-2.0 * libm::log(1.0 - self.next_f64())).sqrt();
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * self.next_f64());
        (radius * cos, radius * sin)
    }

    /// Numbers spread evenly over `[0, 1)`.
    ///
    /// # Errors
    /// `dtype` is not floating point, or the shape does not fit in memory.
    pub fn rand(&mut self, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        self.uniform(0.0, 1.0, shape, dtype)
    }

    /// Numbers spread evenly over `[low, high)`.
    ///
    /// # Errors
    /// `dtype` is not floating point, or the shape does not fit in memory.
    pub fn uniform(&mut self, low: f64, high: f64, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        let shape = shape.into();
        let value = match dtype {
            DType::F32 => Value::build("uniform", &shape, |y: &mut [f32]| {
                let (from, span) = (low as f32, (high - low) as f32);
                y.iter_mut().for_each(|y| *y = self.next_f32() * span + from);
            })?,
            DType::F64 => Value::build("uniform", &shape, |y: &mut [f64]| {
                y.iter_mut().for_each(|y| *y = self.next_f64() * (high - low) + low);
            })?,
            dtype => return Err(Error::DType { op: "uniform", dtype, expected: "f32 or f64" }),
        };
        Ok(Tensor::plain(value))
    }

    /// Standard normal numbers.
    ///
    /// # Errors
    /// `dtype` is not floating point, or the shape does not fit in memory.
    pub fn randn(&mut self, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        self.normal(0.0, 1.0, shape, dtype)
    }

    /// Normal numbers of the given mean and standard deviation.
    ///
    /// # Errors
    /// `std` is negative or not a number, `dtype` is not floating point, or the shape does not fit in memory.
    pub fn normal(&mut self, mean: f64, std: f64, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        if std.is_nan() || std < 0.0 {
            return Err(Error::argument("normal", format!("the standard deviation is {std}; it must be at least 0")));
        }
        let shape = shape.into();
        dispatch!(float "normal", dtype, T => {
            Ok(Tensor::plain(Value::build("normal", &shape, |y: &mut [T]| self.fill_normal(mean, std, y))?))
        })
    }

    fn fill_normal<T: Element + Float>(&mut self, mean: f64, std: f64, y: &mut [T]) {
        for pair in y.chunks_mut(2) {
            let (a, b) = self.next_normals();
            for (y, v) in pair.iter_mut().zip([a, b]) {
                *y = <T as Element>::of_f64(mean + std * v);
            }
        }
    }

    /// Integers from `low` up to, without, `high`, of type i64.
    ///
    /// # Errors
    /// The range is empty, or the shape does not fit in memory.
    pub fn randint(&mut self, low: i64, high: i64, shape: impl Into<Shape>) -> Result<Tensor> {
        if low >= high {
            return Err(Error::argument(
                "randint",
                format!("no integers from {low} to below {high}; high must be greater than low"),
            ));
        }
        let span = high.wrapping_sub(low) as u64;
        let value = Value::build("randint", &shape.into(), |y: &mut [i64]| {
            y.iter_mut().for_each(|y| *y = low.wrapping_add(self.below(span) as i64));
        })?;
        Ok(Tensor::plain(value))
    }

    /// The integers from 0 to `n - 1` in random order, of type i64.
    ///
    /// # Errors
    /// The shape does not fit in memory.
    pub fn randperm(&mut self, n: usize) -> Result<Tensor> {
        let value = Value::build("randperm", &Shape::from(n), |y: &mut [i64]| {
            (0..n).for_each(|i| y[i] = i as i64);
            (1..n).rev().for_each(|i| y.swap(i, self.below(i as u64 + 1) as usize));
        })?;
        Ok(Tensor::plain(value))
    }
}

/// Ten rounds of Philox4x32 on the counter `(low, high)` with the key `seed`.
fn philox(seed: u64, low: u64, high: u64) -> [u32; 4] {
    let mut x = [low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32];
    let mut key = [seed as u32, (seed >> 32) as u32];
    for _ in 0..10 {
        let a = u64::from(x[0]) * 0xD251_1F53;
        let b = u64::from(x[2]) * 0xCD9E_8D57;
        x = [(b >> 32) as u32 ^ x[1] ^ key[0], b as u32, (a >> 32) as u32 ^ x[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    x
}

thread_local! {
    // A new thread starts from the system's entropy; `manual_seed` makes it repeatable.
    static DEFAULT: RefCell<Generator> =
        RefCell::new(Generator::new(std::hash::RandomState::new().build_hasher().finish()));
}

/// Seeds this thread's default generator, from which layers draw their first weights.
///
/// ```
/// use gabor_tensor::{Tensor, manual_seed};
/// manual_seed(1);
/// let a = Tensor::rand([4])?.to_vec::<f32>()?;
/// manual_seed(1);
/// assert_eq!(a, Tensor::rand([4])?.to_vec::<f32>()?);
/// # Ok::<(), gabor_tensor::Error>(())
/// ```
pub fn manual_seed(seed: u64) {
    DEFAULT.with_borrow_mut(|g| *g = Generator::new(seed));
}

/// Lends this thread's default generator to `f`, which must not ask for it again.
pub fn with_default_generator<R>(f: impl FnOnce(&mut Generator) -> R) -> R {
    // A copy is lent, so that a nested call cannot find the cell borrowed.
    let mut generator = DEFAULT.with_borrow(Clone::clone);
    let result = f(&mut generator);
    DEFAULT.with_borrow_mut(|g| *g = generator);
    result
}

impl Tensor {
    /// Numbers of type f32 spread evenly over `[0, 1)`, from this thread's generator.
    ///
    /// # Errors
    /// The shape does not fit in memory.
    pub fn rand(shape: impl Into<Shape>) -> Result<Tensor> {
        with_default_generator(|g| g.rand(shape, DType::F32))
    }

    /// Standard normal numbers of type f32, from this thread's generator.
    ///
    /// # Errors
    /// The shape does not fit in memory.
    pub fn randn(shape: impl Into<Shape>) -> Result<Tensor> {
        with_default_generator(|g| g.randn(shape, DType::F32))
    }

    /// Integers from `low` up to, without, `high`, from this thread's generator.
    ///
    /// # Errors
    /// The range is empty, or the shape does not fit in memory.
    pub fn randint(low: i64, high: i64, shape: impl Into<Shape>) -> Result<Tensor> {
        with_default_generator(|g| g.randint(low, high, shape))
    }

    /// The integers from 0 to `n - 1` in random order, from this thread's generator.
    ///
    /// # Errors
    /// The shape does not fit in memory.
    pub fn randperm(n: usize) -> Result<Tensor> {
        with_default_generator(|g| g.randperm(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_numbers() {
        // Known answers of the Random123 distribution.
        assert_eq!(philox(0, 0, 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox(u64::MAX, u64::MAX, u64::MAX), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn a_seed_gives_these_numbers_in_every_release() {
        let mut g = Generator::new(42);
        assert_eq!([g.next_u64(), g.below(10), g.below(1000)], [11_307_114_055_752_567_099, 0, 987]);
        let normal = g.randn([3], DType::F64).unwrap().to_vec::<f64>().unwrap();
        assert_eq!(
            normal.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
            [4_603_139_277_756_095_929, 13_830_857_217_258_751_713, 13_818_798_155_120_409_180]
        );
        assert_eq!(g.below(0), 0);
    }

    #[test]
    fn normal_numbers_have_their_moments() {
        let x = Generator::new(3).normal(2.0, 3.0, [100_001], DType::F64).unwrap().to_vec::<f64>().unwrap();
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let var = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / x.len() as f64;
        assert!((mean - 2.0).abs() < 0.03, "{mean}");
        assert!((var - 9.0).abs() < 0.15, "{var}");
    }

    #[test]
    fn a_permutation_has_every_number_once() {
        let mut p = Generator::new(9).randperm(100).unwrap().to_vec::<i64>().unwrap();
        assert_ne!(p, (0..100).collect::<Vec<_>>());
        p.sort_unstable();
        assert_eq!(p, (0..100).collect::<Vec<_>>());
    }
}
