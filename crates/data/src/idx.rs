//! The IDX format of MNIST: four bytes of magic, a size for each dimension, then bytes; gzipped or plain.
//!
//! ```text
//! 0 0 8 n          8 = the elements are bytes, n = the number of dimensions
//! n big-endian u32  the sizes
//! ...              the elements, row-major
//! ```
//!
//! A file may be hostile. The rules, each an error with the name of the file: the magic begins with two zeros, the elements
//! are bytes, there are 1 to 3 dimensions, no size is 0, their product stays below a limit and below what the file can
//! hold (only then is memory reserved), no byte is missing and none is left over.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use tensor::{Error, Result, Tensor};

const OP: &str = "read_idx";
/// The most elements that are read, 1 GiB.
const LIMIT: usize = 1 << 30;
const MAX_DIMENSIONS: u8 = 3;
const BYTES: u8 = 8;
/// What the first bytes of a gzip file are.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// How many bytes one byte of a gzip file can become: 258 from two bits, as the deflate format limits it.
const GZIP_RATIO: u64 = 1032;

/// The shape and the elements of an IDX file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Idx {
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// The tensor of type u8 in the IDX file at `path`, gzipped or plain (the content decides, not the name).
///
/// ```no_run
/// let images = gabor_data::read_idx("data/MNIST/raw/t10k-images-idx3-ubyte.gz")?;
/// assert_eq!(images.shape(), &[10_000, 28, 28]);
/// # Ok::<(), gabor_data::Error>(())
/// ```
///
/// # Errors
/// The file cannot be read, is not an IDX file of bytes with one to three dimensions, holds more than 2^30 elements, is cut
/// short, or goes on after the last element.
pub fn read_idx(path: impl AsRef<Path>) -> Result<Tensor> {
    let idx = read(path.as_ref(), LIMIT)?;
    Tensor::from_slice(&idx.bytes, idx.shape)
}

/// The tensor of type u8 in the bytes of an IDX file, gzipped or plain.
///
/// ```
/// let file = [0, 0, 8, 1, 0, 0, 0, 2, 7, 9]; // one dimension of size 2
/// assert_eq!(gabor_data::parse_idx(&file)?.to_vec::<u8>()?, [7, 9]);
/// # Ok::<(), gabor_data::Error>(())
/// ```
///
/// # Errors
/// As [`read_idx`].
pub fn parse_idx(bytes: &[u8]) -> Result<Tensor> {
    let idx = decode("bytes", bytes, bytes.len() as u64, LIMIT)?;
    Tensor::from_slice(&idx.bytes, idx.shape)
}

/// Reads a file of at most `limit` elements.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Idx> {
    let io = |error: io::Error| Error::io(OP, path, &error);
    let file = File::open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    if !about.is_file() {
        return Err(Error::format(OP, format!("{} is not a file", path.display())));
    }
    decode(&path.display().to_string(), BufReader::new(file), about.len(), limit)
}

/// Reads `len` bytes, which may be gzipped.
fn decode(name: &str, mut source: impl BufRead, len: u64, limit: usize) -> Result<Idx> {
    let wrong = |message: String| Error::format(OP, format!("{name}: {message}"));
    let start = source.fill_buf().map_err(|error| wrong(error.to_string()))?;
    if start.starts_with(&GZIP) {
        let most = len.saturating_mul(GZIP_RATIO);
        decode_plain(MultiGzDecoder::new(source), most, limit).map_err(wrong)
    } else {
        decode_plain(source, len, limit).map_err(wrong)
    }
}

/// Reads at most `most` bytes; errors are what is wrong with them.
fn decode_plain(mut source: impl Read, most: u64, limit: usize) -> Result<Idx, String> {
    let mut fill = |buffer: &mut [u8], what: &str| match source.read_exact(buffer) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(format!("the file ends within its {what}; it is cut short, get it again"))
        }
        Err(error) => Err(format!("{error}; the file is damaged, get it again")),
    };
    let mut magic = [0; 4];
    fill(&mut magic, "magic number")?;
    let [0, 0, kind, dimensions] = magic else {
        return Err(format!("not an IDX file, its magic number is 0x{:08x}", u32::from_be_bytes(magic)));
    };
    if kind != BYTES {
        return Err(format!("the elements are of type 0x{kind:02x}, expected 0x08 (bytes)"));
    }
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        return Err(format!("{dimensions} dimensions, expected 1 to {MAX_DIMENSIONS}"));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        let mut size = [0; 4];
        fill(&mut size, "sizes")?;
        shape.push(u32::from_be_bytes(size) as usize);
    }
    if shape.contains(&0) {
        return Err(format!("shape {shape:?} has a size of 0"));
    }
    let count = shape
        .iter()
        .try_fold(1usize, |n, &size| n.checked_mul(size))
        .filter(|&n| n <= limit)
        .ok_or_else(|| format!("shape {shape:?} is more than the allowed {limit} elements"))?;
    if count as u64 > most {
        return Err(format!(
            "shape {shape:?} needs {count} bytes, more than the file holds; it is cut short, get it again"
        ));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(count).map_err(|_| format!("no memory for {count} bytes of shape {shape:?}"))?;
    bytes.resize(count, 0);
    fill(&mut bytes, "elements")?;
    // Asking for one byte more also lets the gzip decoder verify its checksum.
    match source.read(&mut [0]) {
        Ok(0) => Ok(Idx { shape, bytes }),
        Ok(_) => Err(format!("the file goes on after the {count} elements of shape {shape:?}")),
        Err(error) => Err(format!("{error}; the file is damaged, get it again")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn file(magic: [u8; 4], sizes: &[u32], elements: &[u8]) -> Vec<u8> {
        let sizes = sizes.iter().flat_map(|s| s.to_be_bytes());
        magic.into_iter().chain(sizes).chain(elements.iter().copied()).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn wrong(bytes: &[u8]) -> String {
        let text = parse_idx(bytes).unwrap_err().to_string();
        text.strip_prefix("read_idx: bytes: ").unwrap_or_else(|| panic!("{text}")).to_owned()
    }

    #[test]
    fn good_files_plain_and_gzipped() {
        let bytes = file([0, 0, 8, 3], &[2, 1, 3], &[1, 2, 3, 4, 5, 255]);
        for bytes in [gzip(&bytes), bytes] {
            let x = parse_idx(&bytes).unwrap();
            assert_eq!(x.shape(), &[2, 1, 3]);
            assert_eq!(x.to_vec::<u8>().unwrap(), [1, 2, 3, 4, 5, 255]);
        }
        // A gzip file may have several members.
        let joined = [gzip(&file([0, 0, 8, 1], &[2], &[])), gzip(&[6, 7])].concat();
        assert_eq!(parse_idx(&joined).unwrap().to_vec::<u8>().unwrap(), [6, 7]);
    }

    #[test]
    fn wrong_headers() {
        assert_eq!(wrong(b"\x89PNG...."), "not an IDX file, its magic number is 0x89504e47");
        assert_eq!(wrong(&file([0, 1, 8, 1], &[1], &[0])), "not an IDX file, its magic number is 0x00010801");
        assert_eq!(wrong(&file([0, 0, 13, 1], &[1], &[0; 4])), "the elements are of type 0x0d, expected 0x08 (bytes)");
        assert_eq!(wrong(&file([0, 0, 8, 0], &[], &[0])), "0 dimensions, expected 1 to 3");
        assert_eq!(wrong(&file([0, 0, 8, 255], &[1], &[0])), "255 dimensions, expected 1 to 3");
        assert_eq!(wrong(&file([0, 0, 8, 2], &[3, 0], &[])), "shape [3, 0] has a size of 0");
    }

    #[test]
    fn every_way_of_being_cut_short() {
        let whole = file([0, 0, 8, 2], &[2, 3], &[1, 2, 3, 4, 5, 6]);
        for len in 0..whole.len() {
            let error = wrong(&whole[..len]);
            assert!(error.ends_with("cut short, get it again"), "{len}: {error}");
            let error = wrong(&gzip(&whole[..len]));
            assert!(error.ends_with("cut short, get it again"), "{len}: {error}");
        }
        let packed = gzip(&whole);
        for len in 2..packed.len() {
            let error = wrong(&packed[..len]);
            assert!(error.ends_with("get it again"), "{len}: {error}");
        }
        assert_eq!(wrong(&whole[..13]), "the file ends within its elements; it is cut short, get it again");
        assert_eq!(wrong(&[0, 0]), "the file ends within its magic number; it is cut short, get it again");
        assert_eq!(wrong(&whole[..7]), "the file ends within its sizes; it is cut short, get it again");
    }

    #[test]
    fn bytes_left_over() {
        let long = file([0, 0, 8, 1], &[2], &[1, 2, 3]);
        for bytes in [gzip(&long), long] {
            assert_eq!(wrong(&bytes), "the file goes on after the 2 elements of shape [2]");
        }
        let followed = [gzip(&file([0, 0, 8, 1], &[1], &[1])), b"rubbish, much of it".to_vec()].concat();
        assert!(wrong(&followed).ends_with("the file is damaged, get it again"));
    }

    #[test]
    fn huge_sizes_reserve_no_memory() {
        let most = u32::MAX;
        for sizes in [&[most][..], &[most, most], &[most, most, most], &[1 << 15, 1 << 15, 2]] {
            let bytes = file([0, 0, 8, sizes.len() as u8], sizes, &[0]);
            for bytes in [gzip(&bytes), bytes] {
                assert!(wrong(&bytes).ends_with("is more than the allowed 1073741824 elements"));
            }
        }
        let within = file([0, 0, 8, 3], &[1 << 15, 1 << 15, 1], &[0]);
        for bytes in [gzip(&within), within] {
            assert_eq!(
                wrong(&bytes),
                "shape [32768, 32768, 1] needs 1073741824 bytes, more than the file holds; it is cut short, get it again"
            );
        }
    }

    #[test]
    fn the_ratio_of_gzip_admits_its_best_case() {
        let zeros = file([0, 0, 8, 1], &[4_000_000], &vec![0; 4_000_000]);
        let packed = gzip(&zeros);
        assert!(packed.len() < 5000);
        assert_eq!(parse_idx(&packed).unwrap().numel(), 4_000_000);
    }

    #[test]
    fn a_flipped_bit_is_found_by_the_checksum() {
        let elements: Vec<u8> = (0..1000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 26) as u8).collect();
        let packed = gzip(&file([0, 0, 8, 1], &[1000], &elements));
        for at in 10..packed.len() {
            let mut damaged = packed.clone();
            damaged[at] ^= 0x10;
            // Some bits mean nothing, such as those that fill the last byte before the checksum.
            if let Ok(x) = parse_idx(&damaged) {
                assert_eq!(x.to_vec::<u8>().unwrap(), elements, "byte {at}");
            }
        }
    }

    #[test]
    fn files_that_are_none() {
        let error = read_idx("/no/such/file").unwrap_err().to_string();
        assert!(error.starts_with("read_idx: /no/such/file: "), "{error}");
        let folder = std::env::temp_dir();
        let error = read_idx(&folder).unwrap_err().to_string();
        assert_eq!(error, format!("read_idx: {} is not a file", folder.display()));
    }
}
