//! The 8x8 handwritten digits, embedded: real data with no download.

use std::io::Read;
use std::sync::OnceLock;

use tensor::{Error, Result};

use crate::images::{LabelledImages, Split};

/// One line per image: 64 pixels from 0 to 16, then the class.
static FILE: &[u8] = include_bytes!("../data/digits.csv.gz");

const OP: &str = "digits";
const COUNT: usize = 1797;
const SIDE: usize = 8;
/// Every this many-th image of each class is for testing.
const TEST_EVERY: usize = 5;

/// The 1,797 handwritten digits of 8x8 pixels that scikit-learn users know, embedded in this crate.
///
/// Inputs are `[N, 1, 8, 8]` in `[0, 1]` (the original pixels divided by 16), targets are the digits.
///
/// # The split
/// 1,437 images are for training and 360 for testing, always the same: with the images sorted by digit (and, within a digit,
/// in the order of the file), every fifth one, starting with the first, is a test image. So both parts hold the ten
/// digits in the same proportions, and each of the 13 writers, whose images follow each other in the file, occurs in
/// both. The test images are thus new images by known hands. (The last 360 images would be by three or four people
/// only: their accuracy says more about these people than about the net.)
///
/// # Where they come from
/// E. Alpaydin, C. Kaynak (1998), *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository,
/// <https://doi.org/10.24432/C50P49>, licensed [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/). These are the
/// images of its test part, unchanged; the scale and the split are ours. Who passes the data on must keep this attribution.
///
/// ```
/// use gabor_data::{Dataset, Digits, Split};
///
/// let (train, test) = (Digits::load(Split::Train)?, Digits::load(Split::Test)?);
/// assert_eq!((train.len(), test.len()), (1437, 360));
/// let (image, label) = test.batch(&[0])?;
/// assert_eq!(image.shape(), &[1, 1, 8, 8]);
/// assert_eq!(label.to_vec::<i64>()?, [0]);
/// # Ok::<(), gabor_data::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Digits;

impl Digits {
    /// The images of one part, in the order of the file. The embedded file is unpacked once.
    ///
    /// # Errors
    /// Memory runs out.
    pub fn load(split: Split) -> Result<LabelledImages> {
        static PARTS: OnceLock<Result<[LabelledImages; 2]>> = OnceLock::new();
        let [train, test] = PARTS.get_or_init(|| parts(&unpack(FILE)?)).as_ref().map_err(Clone::clone)?;
        Ok(match split {
            Split::Train => train.clone(),
            Split::Test => test.clone(),
        })
    }
}

fn unpack(packed: &[u8]) -> Result<String> {
    let mut text = String::new();
    // No line is longer than 64 pixels of up to three characters and a class.
    flate2::read::GzDecoder::new(packed)
        .take(COUNT as u64 * 200)
        .read_to_string(&mut text)
        .map_err(|error| Error::format(OP, format!("the embedded file does not unpack: {error}")))?;
    Ok(text)
}

fn parts(text: &str) -> Result<[LabelledImages; 2]> {
    let mut rows = Vec::with_capacity(COUNT);
    for (at, line) in text.lines().enumerate() {
        let row = line
            .split(',')
            .map(str::parse)
            .collect::<Result<Vec<u8>, _>>()
            .map_err(|error| Error::format(OP, format!("line {}: {error}", at + 1)))?;
        if row.len() != SIDE * SIDE + 1 {
            return Err(Error::format(OP, format!("line {} has {} numbers, expected 65", at + 1, row.len())));
        }
        rows.push(row);
    }
    let is_test = test_images(&rows.iter().map(|row| row[SIDE * SIDE]).collect::<Vec<_>>());
    let part = |test: bool| {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for (row, _) in rows.iter().zip(&is_test).filter(|&(_, &is_test)| is_test == test) {
            pixels.extend_from_slice(&row[..SIDE * SIDE]);
            labels.push(row[SIDE * SIDE]);
        }
        LabelledImages::new(OP, pixels, labels, (SIDE, SIDE), 16, 10)
    };
    Ok([part(false)?, part(true)?])
}

/// Whether each image is for testing, from the classes of all.
fn test_images(labels: &[u8]) -> Vec<bool> {
    let mut by_class: Vec<usize> = (0..labels.len()).collect();
    by_class.sort_by_key(|&i| labels[i]); // stable
    let mut is_test = vec![false; labels.len()];
    by_class.iter().step_by(TEST_EVERY).for_each(|&i| is_test[i] = true);
    is_test
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Dataset;

    fn labels(split: Split) -> Vec<i64> {
        Digits::load(split).unwrap().labels().unwrap().to_vec().unwrap()
    }

    #[test]
    fn both_parts_hold_the_digits_in_the_same_proportions() {
        let (train, test) = (labels(Split::Train), labels(Split::Test));
        assert_eq!((train.len(), test.len()), (1437, 360));
        // scikit-learn's counts.
        for (digit, total) in [178, 182, 177, 183, 181, 182, 181, 179, 174, 180].into_iter().enumerate() {
            let count = |labels: &[i64]| labels.iter().filter(|&&l| l == digit as i64).count();
            assert_eq!(count(&train) + count(&test), total, "{digit}");
            assert!((total / 5..=total / 5 + 1).contains(&count(&test)), "{digit}: {}", count(&test));
        }
    }

    #[test]
    fn the_pixels_are_those_of_the_file() {
        // The file begins with the digits 0 to 9; of these only the 0 is first of its class and divisible by five.
        let (x, y) = Digits::load(Split::Test).unwrap().batch(&[0]).unwrap();
        let first = [0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0].map(|v| v / 16.0);
        assert_eq!(x.to_vec::<f32>().unwrap()[..8], first);
        assert_eq!(y.to_vec::<i64>().unwrap(), [0]);
        let x = Digits::load(Split::Train).unwrap().images().unwrap();
        assert_eq!(x.shape(), &[1437, 1, 8, 8]);
        let x = x.to_vec::<f32>().unwrap();
        assert!(x.iter().all(|v| (0.0..=1.0).contains(v)) && x.contains(&1.0));
        // The sum over all pixels of the file is 561,718.
        let test = Digits::load(Split::Test).unwrap().images().unwrap().to_vec::<f32>().unwrap();
        assert_eq!(x.iter().chain(&test).map(|v| v * 16.0).sum::<f32>(), 561_718.0);
    }

    #[test]
    fn a_damaged_file_would_be_an_error() {
        assert!(
            unpack(&FILE[..1000]).unwrap_err().to_string().starts_with("digits: the embedded file does not unpack")
        );
        assert_eq!(parts("1,2").unwrap_err().to_string(), "digits: line 1 has 2 numbers, expected 65");
        assert!(parts("1,300").unwrap_err().to_string().starts_with("digits: line 1: number too large"));
    }
}
