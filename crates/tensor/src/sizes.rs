//! A short list of sizes or strides.
//!
//! Up to four dimensions it has a fixed size and copying it is a few moves, without a loop or a call: every tensor carries
//! two such lists, and a small operator copies dozens.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// What is stored inline.
const SHORT: usize = 4;

/// How many of a short list count. A whole word, so that lists are moved by words.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Len {
    Zero,
    One,
    Two,
    Three,
    Four,
}

impl Len {
    /// None above four.
    fn of(len: usize) -> Option<Len> {
        [Len::Zero, Len::One, Len::Two, Len::Three, Len::Four].get(len).copied()
    }
}

/// A list of numbers, inline up to four of them.
pub(crate) enum Sizes {
    /// The first `len` count; the others are 0.
    Short { len: Len, list: [usize; SHORT] },
    /// More than four, or what was once more than four.
    Long(Vec<usize>),
}

impl Sizes {
    pub(crate) const fn new() -> Sizes {
        Sizes::Short { len: Len::Zero, list: [0; SHORT] }
    }

    #[inline]
    pub(crate) fn from_slice(sizes: &[usize]) -> Sizes {
        let (len, list) = match *sizes {
            [] => (Len::Zero, [0; SHORT]),
            [a] => (Len::One, [a, 0, 0, 0]),
            [a, b] => (Len::Two, [a, b, 0, 0]),
            [a, b, c] => (Len::Three, [a, b, c, 0]),
            [a, b, c, d] => (Len::Four, [a, b, c, d]),
            _ => return long(sizes),
        };
        Sizes::Short { len, list }
    }

    pub(crate) fn from_elem(size: usize, len: usize) -> Sizes {
        let Some(short) = Len::of(len) else { return Sizes::Long(vec![size; len]) };
        let mut list = [0; SHORT];
        list[..len].fill(size);
        Sizes::Short { len: short, list }
    }

    /// Strides of a contiguous row-major array of these sizes, in elements. Axes of size 0 count as 1.
    #[inline]
    pub(crate) fn strides(&self) -> Sizes {
        // Written out, so that the list is made of registers and not changed in memory.
        let step = |a: usize, b: usize| a.saturating_mul(b.max(1));
        match *self {
            Sizes::Short { len, list: [_, b, c, d] } => {
                let list = match len {
                    Len::Zero => [0; SHORT],
                    Len::One => [1, 0, 0, 0],
                    Len::Two => [b.max(1), 1, 0, 0],
                    Len::Three => [step(c.max(1), b), c.max(1), 1, 0],
                    Len::Four => [step(step(d.max(1), c), b), step(d.max(1), c), d.max(1), 1],
                };
                Sizes::Short { len, list }
            }
            Sizes::Long(ref sizes) => long_strides(sizes),
        }
    }

    /// The product of up to four sizes that are too small for an overflow, the usual case.
    #[inline]
    pub(crate) fn small_product(&self) -> Option<usize> {
        match *self {
            Sizes::Short { len, list: [a, b, c, d] } if (a | b | c | d) < 1 << (usize::BITS / 4 - 2) => {
                Some(match len {
                    Len::Zero => 1,
                    Len::One => a,
                    Len::Two => a * b,
                    Len::Three => a * b * c,
                    Len::Four => a * b * c * d,
                })
            }
            _ => None,
        }
    }

    pub(crate) fn push(&mut self, size: usize) {
        self.insert(self.len(), size);
    }

    /// Puts `size` before what is at `at`, which is at most the length.
    pub(crate) fn insert(&mut self, at: usize, size: usize) {
        match self {
            Sizes::Short { len, list } => match Len::of(*len as usize + 1) {
                Some(more) => {
                    list.copy_within(at..*len as usize, at + 1);
                    list[at] = size;
                    *len = more;
                }
                None => {
                    let mut long = list.to_vec();
                    long.insert(at, size);
                    *self = Sizes::Long(long);
                }
            },
            Sizes::Long(list) => list.insert(at, size),
        }
    }

    /// Takes away what is at `at`.
    pub(crate) fn remove(&mut self, at: usize) {
        match self {
            Sizes::Short { len, list } => {
                list.copy_within(at + 1.., at);
                list[SHORT - 1] = 0;
                *len = Len::of(*len as usize - 1).expect("it was one of them");
            }
            Sizes::Long(list) => {
                list.remove(at);
            }
        }
    }
}

/// Apart from the usual case, which is compiled into many places.
#[cold]
fn long_strides(sizes: &[usize]) -> Sizes {
    let mut strides = sizes.to_vec();
    let mut product = 1usize;
    for stride in strides.iter_mut().rev() {
        let size = std::mem::replace(stride, product);
        product = product.saturating_mul(size.max(1));
    }
    Sizes::Long(strides)
}

#[cold]
fn long(sizes: &[usize]) -> Sizes {
    Sizes::Long(sizes.to_vec())
}

impl Clone for Sizes {
    #[inline]
    fn clone(&self) -> Sizes {
        match *self {
            Sizes::Short { len, list } => Sizes::Short { len, list },
            Sizes::Long(ref sizes) => long(sizes),
        }
    }
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes::new()
    }
}

impl Deref for Sizes {
    type Target = [usize];
    #[inline]
    fn deref(&self) -> &[usize] {
        match self {
            Sizes::Short { len, list } => &list[..*len as usize],
            Sizes::Long(list) => list,
        }
    }
}

impl DerefMut for Sizes {
    #[inline]
    fn deref_mut(&mut self) -> &mut [usize] {
        match self {
            Sizes::Short { len, list } => &mut list[..*len as usize],
            Sizes::Long(list) => list,
        }
    }
}

impl PartialEq for Sizes {
    #[inline]
    fn eq(&self, other: &Sizes) -> bool {
        match (self, other) {
            (Sizes::Short { len: n, list: a }, Sizes::Short { len: m, list: b }) => n == m && a == b,
            _ => self[..] == other[..],
        }
    }
}

impl Eq for Sizes {}

impl std::hash::Hash for Sizes {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self[..].hash(state);
    }
}

impl FromIterator<usize> for Sizes {
    fn from_iter<I: IntoIterator<Item = usize>>(sizes: I) -> Sizes {
        let mut list = Sizes::new();
        list.extend(sizes);
        list
    }
}

impl Extend<usize> for Sizes {
    fn extend<I: IntoIterator<Item = usize>>(&mut self, sizes: I) {
        sizes.into_iter().for_each(|size| self.push(size));
    }
}

impl<'a> IntoIterator for &'a Sizes {
    type Item = &'a usize;
    type IntoIter = std::slice::Iter<'a, usize>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self[..], f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_five_words() {
        assert_eq!(size_of::<Sizes>(), 5 * size_of::<usize>());
    }

    #[test]
    fn a_list_is_a_vector_on_both_sides_of_four() {
        for n in 0..8 {
            let plain: Vec<usize> = (1..=n).collect();
            let list = Sizes::from_slice(&plain);
            assert_eq!((&list[..], &list.clone()[..]), (&plain[..], &plain[..]));
            for at in 0..=n {
                let (mut more, mut list) = (plain.clone(), list.clone());
                more.insert(at, 77);
                list.insert(at, 77);
                assert_eq!(list[..], more[..]);
                assert_eq!(list, Sizes::from_slice(&more));
                more.remove(at / 2);
                list.remove(at / 2);
                assert_eq!(list[..], more[..]);
                // A list that was long stays equal to one that never was.
                assert_eq!(list, more.iter().copied().collect::<Sizes>());
            }
        }
        assert_ne!(Sizes::from_slice(&[0]), Sizes::new());
    }

    #[test]
    fn strides_are_products_of_the_sizes_behind() {
        for sizes in
            [&[][..], &[7], &[2, 3], &[5, 0, 3], &[2, 3, 4, 5], &[2, 0, 4, 0], &[2, 3, 4, 5, 6], &[1, usize::MAX, 2, 2]]
        {
            let plain: Vec<usize> = (0..sizes.len())
                .map(|i| sizes[i + 1..].iter().fold(1usize, |n, &size| n.saturating_mul(size.max(1))))
                .collect();
            assert_eq!(Sizes::from_slice(sizes).strides()[..], plain[..], "{sizes:?}");
        }
    }
}
