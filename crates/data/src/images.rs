//! Grey images with a class each, kept as bytes and turned into numbers between 0 and 1 a batch at a time.

use std::fmt;
use std::sync::Arc;

use tensor::{Error, Result, Tensor};

use crate::dataset::{Dataset, check_indices};

/// Which part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// The images to learn from.
    Train,
    /// The images to judge by.
    Test,
}

/// Grey images with a class each: inputs `[N, 1, H, W]` of type f32 in `[0, 1]`, targets `[N]` of type i64.
///
/// Cheap to clone: the pixels, one byte each, are shared.
#[derive(Clone)]
pub struct LabelledImages {
    name: &'static str,
    pixels: Arc<[u8]>,
    labels: Arc<[u8]>,
    height: usize,
    width: usize,
    /// The byte that is 1.0.
    white: f32,
}

impl LabelledImages {
    /// Images of `height` by `width` bytes, `white` of which is 1.0, and their classes below `classes`.
    pub(crate) fn new(
        name: &'static str,
        pixels: Vec<u8>,
        labels: Vec<u8>,
        (height, width): (usize, usize),
        white: u8,
        classes: u8,
    ) -> Result<Self> {
        let size = height * width;
        if labels.len().checked_mul(size) != Some(pixels.len()) {
            return Err(Error::format(
                name,
                format!(
                    "{} images of {height}x{width} but {} labels; the two files do not belong together",
                    pixels.len() / size.max(1),
                    labels.len()
                ),
            ));
        }
        if let Some((at, label)) = labels.iter().enumerate().find(|&(_, &label)| label >= classes) {
            return Err(Error::format(name, format!("label {at} is {label}, expected 0 to {}", classes - 1)));
        }
        if let Some(at) = pixels.iter().position(|&p| p > white) {
            return Err(Error::format(
                name,
                format!("a pixel of image {} is {}, expected 0 to {white}", at / size, pixels[at]),
            ));
        }
        let white = f32::from(white);
        Ok(LabelledImages { name, pixels: pixels.into(), labels: labels.into(), height, width, white })
    }

    /// The numbers of some pixels. Vectors divide faster than a table is read.
    fn numbers(&self, pixels: &[u8]) -> Vec<f32> {
        pixels.iter().map(|&p| f32::from(p) / self.white).collect()
    }

    /// All images at once, `[N, 1, H, W]` of type f32 in `[0, 1]`: four times the memory of the dataset itself.
    ///
    /// # Errors
    /// The tensor does not fit in memory.
    pub fn images(&self) -> Result<Tensor> {
        Tensor::from_vec(self.numbers(&self.pixels), [self.len(), 1, self.height, self.width])
    }

    /// All classes, `[N]` of type i64.
    ///
    /// # Errors
    /// The tensor does not fit in memory.
    pub fn labels(&self) -> Result<Tensor> {
        Tensor::from_vec(self.labels.iter().map(|&l| i64::from(l)).collect(), self.len())
    }

    /// The height and the width of each image.
    pub fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }
}

impl fmt::Debug for LabelledImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} images of {}x{})", self.name, self.len(), self.height, self.width)
    }
}

impl Dataset for LabelledImages {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn batch(&self, indices: &[usize]) -> Result<(Tensor, Tensor)> {
        check_indices(self.name, indices, self.len())?;
        let size = self.height * self.width;
        // Images far apart are waited for together if they are only copied at first.
        let mut pixels = Vec::with_capacity(indices.len() * size);
        indices.iter().for_each(|&i| pixels.extend_from_slice(&self.pixels[i * size..(i + 1) * size]));
        let numbers = self.numbers(&pixels);
        let labels = indices.iter().map(|&i| i64::from(self.labels[i])).collect();
        Ok((
            Tensor::from_vec(numbers, [indices.len(), 1, self.height, self.width])?,
            Tensor::from_vec(labels, indices.len())?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(pixels: Vec<u8>, labels: Vec<u8>, white: u8) -> Result<LabelledImages> {
        LabelledImages::new("spots", pixels, labels, (1, 2), white, 3)
    }

    #[test]
    fn batches_are_rows_of_the_whole() {
        let data = two(vec![0, 16, 8, 4], vec![2, 1], 16).unwrap();
        let (x, y) = data.batch(&[1, 0]).unwrap();
        assert_eq!(x.shape(), &[2, 1, 1, 2]);
        assert_eq!(x.to_vec::<f32>().unwrap(), [0.5, 0.25, 0.0, 1.0]);
        assert_eq!(y.to_vec::<i64>().unwrap(), [1, 2]);
        assert_eq!(data.images().unwrap().to_vec::<f32>().unwrap(), [0.0, 1.0, 0.5, 0.25]);
        assert_eq!(data.labels().unwrap().to_vec::<i64>().unwrap(), [2, 1]);
        assert_eq!(format!("{data:?}"), "spots(2 images of 1x2)");
        assert_eq!(data.size(), (1, 2));
        let error = data.batch(&[2]).unwrap_err().to_string();
        assert_eq!(error, "spots: index 2 is out of range for dimension 0 of size 2");
    }

    #[test]
    fn bytes_that_contradict_each_other_are_errors() {
        let text = |r: Result<LabelledImages>| r.unwrap_err().to_string();
        assert_eq!(
            text(two(vec![0; 4], vec![0; 3], 255)),
            "spots: 2 images of 1x2 but 3 labels; the two files do not belong together"
        );
        assert_eq!(text(two(vec![0; 4], vec![0, 3], 255)), "spots: label 1 is 3, expected 0 to 2");
        assert_eq!(text(two(vec![0, 0, 0, 17], vec![0, 0], 16)), "spots: a pixel of image 1 is 17, expected 0 to 16");
    }
}
