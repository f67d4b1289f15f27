//! MNIST and the two data sets made in its image, from a folder in torchvision's layout.

use std::path::{Path, PathBuf};

use tensor::{Error, Result};

use crate::idx;
use crate::images::{LabelledImages, Split};

const SIDE: usize = 28;
const CLASSES: u8 = 10;
/// The most bytes of a file: 60,000 images are 47,040,000.
pub(crate) const LIMIT: usize = 64 << 20;

/// A file as its mirrors have it, gzipped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packed<'a> {
    /// The name without `.gz`.
    pub(crate) name: &'a str,
    /// The MD5 of the gzipped file, in hexadecimal.
    #[cfg_attr(not(feature = "download"), allow(dead_code))]
    pub(crate) md5: &'a str,
}

/// A data set of four files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// What errors are called.
    pub(crate) op: &'static str,
    /// torchvision's name of the folder.
    pub(crate) folder: &'a str,
    /// Addresses, ending in `/`, that a file's name is put behind.
    pub(crate) mirrors: &'a [&'a str],
    /// Training images and labels, test images and labels.
    pub(crate) files: [Packed<'a>; 4],
}

const fn source(
    op: &'static str,
    folder: &'static str,
    mirrors: &'static [&'static str],
    [train_images, train_labels, test_images, test_labels]: [&'static str; 4],
) -> Source<'static> {
    let files = [
        Packed { name: "train-images-idx3-ubyte", md5: train_images },
        Packed { name: "train-labels-idx1-ubyte", md5: train_labels },
        Packed { name: "t10k-images-idx3-ubyte", md5: test_images },
        Packed { name: "t10k-labels-idx1-ubyte", md5: test_labels },
    ];
    Source { op, folder, mirrors, files }
}

const MNIST: Source<'static> = source(
    "mnist",
    "MNIST",
    &["http://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"],
    [
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ],
);

const FASHION_MNIST: Source<'static> = source(
    "fashion_mnist",
    "FashionMNIST",
    &["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"],
    [
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ],
);

const KMNIST: Source<'static> = source(
    "kmnist",
    "KMNIST",
    &["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"],
    [
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    ],
);

/// The 70,000 handwritten digits of Y. LeCun, C. Cortes and C. Burges: 60,000 to train, 10,000 to test, 28x28 pixels.
///
/// The files are looked for in `ROOT/MNIST/raw`, where torchvision keeps them, and in `ROOT` itself, unpacked or gzipped;
/// inputs are `[N, 1, 28, 28]` in `[0, 1]`, targets are the digits. Normalisation is yours: the usual numbers are
///
/// ```no_run
/// use gabor_data::{Dataset, Mnist, Split, normalize};
/// let train = Mnist::load("data", Split::Train)?.map(|x| normalize(&x, &[0.1307], &[0.3081]));
/// # Ok::<(), gabor_data::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Mnist;

impl Mnist {
    /// Reads one part from the folder `root`.
    ///
    /// # Errors
    /// The files are missing, damaged, not 28x28 images with labels from 0 to 9, or do not belong together.
    pub fn load(root: impl AsRef<Path>, split: Split) -> Result<LabelledImages> {
        MNIST.load(root.as_ref(), split)
    }

    /// Downloads the four files to `ROOT/MNIST/raw`; a file that is there already stays. Feature `download`.
    ///
    /// Progress is shown on stderr if that is a terminal. A file appears only when it is complete and its checksum right.
    /// Whether the data's terms allow your use is for you to judge.
    ///
    /// ```no_run
    /// use gabor_data::{Mnist, Split};
    /// Mnist::download("data")?;
    /// let train = Mnist::load("data", Split::Train)?;
    /// # Ok::<(), gabor_data::Error>(())
    /// ```
    ///
    /// # Errors
    /// No mirror has a file, or a file or folder cannot be written.
    #[cfg(feature = "download")]
    pub fn download(root: impl AsRef<Path>) -> Result<()> {
        crate::download::download(&MNIST, root.as_ref())
    }
}

/// Zalando's 70,000 articles of clothing, in the format and numbers of [`Mnist`] (MIT licence, (c) 2017 Zalando SE).
///
/// The files are looked for in `ROOT/FashionMNIST/raw` and in `ROOT`. The usual normalisation is mean 0.2860, std 0.3530.
#[derive(Debug, Clone, Copy)]
pub struct FashionMnist;

impl FashionMnist {
    /// What the classes are.
    pub const CLASSES: [&'static str; 10] =
        ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

    /// Reads one part from the folder `root`.
    ///
    /// # Errors
    /// As [`Mnist::load`].
    pub fn load(root: impl AsRef<Path>, split: Split) -> Result<LabelledImages> {
        FASHION_MNIST.load(root.as_ref(), split)
    }

    /// Downloads the four files to `ROOT/FashionMNIST/raw`, as [`Mnist::download`] does. Feature `download`.
    ///
    /// # Errors
    /// As [`Mnist::download`].
    #[cfg(feature = "download")]
    pub fn download(root: impl AsRef<Path>) -> Result<()> {
        crate::download::download(&FASHION_MNIST, root.as_ref())
    }
}

/// Kuzushiji-MNIST: 70,000 cursive Japanese characters in ten classes, in the format and numbers of [`Mnist`] (CC BY-SA 4.0,
/// "KMNIST Dataset", created by CODH, adapted from "Kuzushiji Dataset", NIJL and others).
///
/// The files are looked for in `ROOT/KMNIST/raw` and in `ROOT`.
#[derive(Debug, Clone, Copy)]
pub struct Kmnist;

impl Kmnist {
    /// What the classes are.
    pub const CLASSES: [&'static str; 10] = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"];

    /// Reads one part from the folder `root`.
    ///
    /// # Errors
    /// As [`Mnist::load`].
    pub fn load(root: impl AsRef<Path>, split: Split) -> Result<LabelledImages> {
        KMNIST.load(root.as_ref(), split)
    }

    /// Downloads the four files to `ROOT/KMNIST/raw`, as [`Mnist::download`] does. Feature `download`.
    ///
    /// # Errors
    /// As [`Mnist::download`].
    #[cfg(feature = "download")]
    pub fn download(root: impl AsRef<Path>) -> Result<()> {
        crate::download::download(&KMNIST, root.as_ref())
    }
}

impl Source<'_> {
    /// torchvision's folder for the files.
    pub(crate) fn raw(&self, root: &Path) -> PathBuf {
        root.join(self.folder).join("raw")
    }

    fn load(&self, root: &Path, split: Split) -> Result<LabelledImages> {
        let [train_images, train_labels, test_images, test_labels] = self.files.map(|file| file.name);
        let (images, labels) = match split {
            Split::Train => (train_images, train_labels),
            Split::Test => (test_images, test_labels),
        };
        let folders = [self.raw(root), root.to_owned()];
        // Both from one folder, so that they belong together.
        let (images, labels) = folders
            .iter()
            .find_map(|folder| Some((find(folder, images)?, find(folder, labels)?)))
            .ok_or_else(|| self.missing(&folders))?;
        let (pixels, size) = match idx::read(&images, LIMIT)? {
            idx::Idx { shape, bytes } if shape.len() == 3 => (bytes, (shape[1], shape[2])),
            idx::Idx { shape, .. } => return Err(self.wrong(&images, &shape, "[N, 28, 28]")),
        };
        if size != (SIDE, SIDE) {
            return Err(self.wrong(&images, &[pixels.len() / (size.0 * size.1), size.0, size.1], "[N, 28, 28]"));
        }
        let classes = match idx::read(&labels, LIMIT)? {
            idx::Idx { shape, bytes } if shape.len() == 1 => bytes,
            idx::Idx { shape, .. } => return Err(self.wrong(&labels, &shape, "[N]")),
        };
        LabelledImages::new(self.op, pixels, classes, size, u8::MAX, CLASSES)
    }

    fn wrong(&self, file: &Path, shape: &[usize], expected: &str) -> Error {
        Error::format(self.op, format!("{}: shape {shape:?}, expected {expected}", file.display()))
    }

    fn missing(&self, folders: &[PathBuf]) -> Error {
        let folders: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
        let files = self.files.map(|f| f.name);
        Error::format(
            self.op,
            format!(
                "no data set in {}; put the four files {} there, gzipped or not (from {}), or download them with the \
                 feature `download`",
                folders.join(" or "),
                files.join(", "),
                self.mirrors.join(" or "),
            ),
        )
    }
}

/// The file `name` or `name.gz` in `folder`.
pub(crate) fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    [folder.join(name), folder.join(format!("{name}.gz"))].into_iter().find(|path| path.exists())
}
