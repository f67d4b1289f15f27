//! Data sets in folders: where the files may lie, and everything that can be wrong with them.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use gabor_data::{Dataset, FashionMnist, Kmnist, Mnist, Split};
use tempfile::TempDir;

/// An IDX file of bytes.
fn idx(sizes: &[u32], element: impl Fn(usize) -> u8) -> Vec<u8> {
    let count = sizes.iter().product::<u32>() as usize;
    let sizes_bytes = sizes.iter().flat_map(|s| s.to_be_bytes());
    [0, 0, 8, sizes.len() as u8].into_iter().chain(sizes_bytes).chain((0..count).map(element)).collect()
}

fn images(count: u32) -> Vec<u8> {
    idx(&[count, 28, 28], |i| (i / 784) as u8 * 51)
}

fn labels(count: u32) -> Vec<u8> {
    idx(&[count], |i| i as u8)
}

fn write(folder: &Path, name: &str, bytes: &[u8], gzipped: bool) {
    fs::create_dir_all(folder).unwrap();
    if gzipped {
        let mut file =
            GzEncoder::new(fs::File::create(folder.join(format!("{name}.gz"))).unwrap(), Compression::fast());
        file.write_all(bytes).unwrap();
        file.finish().unwrap();
    } else {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// A folder with six training and three test images.
fn folder(inside: &str, gzipped: bool) -> TempDir {
    let root = TempDir::new().unwrap();
    let raw = root.path().join(inside);
    write(&raw, "train-images-idx3-ubyte", &images(6), gzipped);
    write(&raw, "train-labels-idx1-ubyte", &labels(6), gzipped);
    write(&raw, "t10k-images-idx3-ubyte", &images(3), gzipped);
    write(&raw, "t10k-labels-idx1-ubyte", &labels(3), gzipped);
    root
}

/// A flat folder whose test files are these.
fn with(images: &[u8], labels: &[u8]) -> TempDir {
    let root = TempDir::new().unwrap();
    write(root.path(), "t10k-images-idx3-ubyte", images, false);
    write(root.path(), "t10k-labels-idx1-ubyte", labels, true);
    root
}

fn error(root: &TempDir) -> String {
    Mnist::load(root.path(), Split::Test).unwrap_err().to_string().replace(root.path().to_str().unwrap(), "ROOT")
}

#[test]
fn files_are_found_in_torchvisions_folder_and_in_the_root_packed_or_not() {
    for gzipped in [false, true] {
        for inside in ["MNIST/raw", ""] {
            let root = folder(inside, gzipped);
            let train = Mnist::load(root.path(), Split::Train).unwrap();
            let test = Mnist::load(root.path(), Split::Test).unwrap();
            assert_eq!((train.len(), test.len()), (6, 3));
            let (x, y) = train.batch(&[5, 0, 2]).unwrap();
            assert_eq!(x.shape(), &[3, 1, 28, 28]);
            let x = x.to_vec::<f32>().unwrap();
            assert_eq!([x[0], x[784], x[2 * 784 + 783]], [1.0, 0.0, 0.4]);
            assert_eq!(y.to_vec::<i64>().unwrap(), [5, 0, 2]);
            assert_eq!(format!("{train:?}"), "mnist(6 images of 28x28)");
        }
    }
    let root = folder("FashionMNIST/raw", true);
    assert_eq!(FashionMnist::load(root.path(), Split::Test).unwrap().len(), 3);
    let root = folder("KMNIST/raw", false);
    assert_eq!(Kmnist::load(root.path(), Split::Test).unwrap().len(), 3);
    assert!(Mnist::load(root.path(), Split::Test).is_err(), "another data set's folder is not MNIST's");
}

#[test]
fn torchvisions_folder_wins_over_loose_files_and_both_files_come_from_one() {
    let root = folder("MNIST/raw", false);
    write(root.path(), "t10k-images-idx3-ubyte", &images(2), false);
    write(root.path(), "t10k-labels-idx1-ubyte", &labels(2), false);
    assert_eq!(Mnist::load(root.path(), Split::Test).unwrap().len(), 3);
    fs::remove_file(root.path().join("MNIST/raw/t10k-labels-idx1-ubyte")).unwrap();
    assert_eq!(Mnist::load(root.path(), Split::Test).unwrap().len(), 2);
}

#[test]
fn a_missing_data_set_says_where_it_was_looked_for_and_what_to_put_there() {
    let root = TempDir::new().unwrap();
    assert_eq!(
        error(&root),
        "mnist: no data set in ROOT/MNIST/raw or ROOT; put the four files train-images-idx3-ubyte, \
         train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte there, gzipped or not (from \
         http://ossci-datasets.s3.amazonaws.com/mnist/ or http://yann.lecun.com/exdb/mnist/), or download them with the \
         feature `download`"
    );
    let text = FashionMnist::load("/no/such/folder", Split::Train).unwrap_err().to_string();
    assert!(text.starts_with("fashion_mnist: no data set in /no/such/folder/FashionMNIST/raw or /no/such/folder; "));
}

#[test]
fn files_that_are_no_images_or_do_not_fit_are_errors() {
    assert_eq!(
        error(&with(&images(3), &labels(2))),
        "mnist: 3 images of 28x28 but 2 labels; the two files do not belong together"
    );
    assert_eq!(error(&with(&images(3), &idx(&[3], |_| 10))), "mnist: label 0 is 10, expected 0 to 9");
    assert_eq!(
        error(&with(&idx(&[3, 28, 27], |_| 0), &labels(3))),
        "mnist: ROOT/t10k-images-idx3-ubyte: shape [3, 28, 27], expected [N, 28, 28]"
    );
    assert_eq!(
        error(&with(&labels(3), &labels(3))),
        "mnist: ROOT/t10k-images-idx3-ubyte: shape [3], expected [N, 28, 28]"
    );
    assert_eq!(
        error(&with(&images(3), &idx(&[3, 1], |_| 0))),
        "mnist: ROOT/t10k-labels-idx1-ubyte.gz: shape [3, 1], expected [N]"
    );
    assert_eq!(
        error(&with(&images(3)[..1000], &labels(3))),
        "read_idx: ROOT/t10k-images-idx3-ubyte: shape [3, 28, 28] needs 2352 bytes, more than the file holds; it is cut \
         short, get it again"
    );
    assert_eq!(
        error(&with(b"<html>not found</html>", &labels(3))),
        "read_idx: ROOT/t10k-images-idx3-ubyte: not an IDX file, its magic number is 0x3c68746d"
    );
}

#[test]
fn more_than_any_such_data_set_has_is_refused_before_it_is_unpacked() {
    let root = with(&[0, 0, 8, 3, 0, 1, 0x86, 0xa0, 0, 0, 0, 28, 0, 0, 0, 28], &labels(3));
    assert_eq!(
        error(&root),
        "read_idx: ROOT/t10k-images-idx3-ubyte: shape [100000, 28, 28] is more than the allowed 67108864 elements"
    );
}
