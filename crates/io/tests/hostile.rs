//! Broken and malicious files are errors, never panics, hangs or large allocations.

use std::fmt::Write;
use std::time::{Duration, Instant};

use gabor_io::{Archive, Checkpoint, load, read_tensors, write_tensors};
use nn::Linear;
use tensor::{Error, Tensor};

fn sample() -> Archive {
    let mut archive = Archive::new(vec![
        ("conv.weight".to_string(), Tensor::arange(0f32, 12.0, 1.0).unwrap().reshape([2, 3, 2]).unwrap()),
        ("steps".to_string(), Tensor::new([1i64 << 60, -5]).unwrap()),
        ("mean".to_string(), Tensor::new([0.1f64, f64::NAN]).unwrap()),
        ("image".to_string(), Tensor::new([[0u8, 255, 7]]).unwrap()),
        ("mask".to_string(), Tensor::new([true, false, true]).unwrap()),
        ("scalar".to_string(), Tensor::new(2.5f32).unwrap()),
        ("empty".to_string(), Tensor::zeros([0, 4]).unwrap()),
        ("a \"quoted\" \u{e9}\n name".to_string(), Tensor::new([1f32]).unwrap()),
    ]);
    archive.metadata.insert("format".into(), "pt".into());
    archive.metadata.insert("zeta".into(), "\"\\ \u{1f600}".into());
    archive
}

/// A file of this header and so many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(std::iter::repeat_n(1, data));
    bytes
}

fn refused(bytes: &[u8]) -> String {
    match Archive::from_bytes(bytes) {
        Err(Error::Format { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn everything_comes_back() {
    let archive = sample();
    let bytes = archive.to_bytes().unwrap();
    assert_eq!(bytes, archive.to_bytes().unwrap());
    let back = Archive::from_bytes(&bytes).unwrap();
    assert_eq!(back.metadata, archive.metadata);
    assert_eq!(back.tensors.len(), archive.tensors.len());
    for (name, tensor) in &archive.tensors {
        let other = back.tensor(name).unwrap();
        assert_eq!((other.dtype(), other.shape()), (tensor.dtype(), tensor.shape()), "{name}");
        assert_eq!(other.to_string(), tensor.to_string(), "{name}");
    }
    assert_eq!(back.to_bytes().unwrap(), bytes);
    // Elements are aligned to their size: eight bytes first.
    assert_eq!(back.tensors[0].0, "steps");
    // A view is stored in row-major order.
    let view = Tensor::new([[1f32, 2.0], [3.0, 4.0]]).unwrap().t().unwrap();
    let back = Archive::from_bytes(&Archive::new(vec![("v".into(), view)]).to_bytes().unwrap()).unwrap();
    assert_eq!(back.tensors[0].1.to_vec::<f32>().unwrap(), [1.0, 3.0, 2.0, 4.0]);
}

#[test]
fn every_truncation_and_every_surplus_is_refused() {
    let bytes = sample().to_bytes().unwrap();
    for length in 0..bytes.len() {
        refused(&bytes[..length]);
    }
    let mut longer = bytes.clone();
    longer.push(0);
    refused(&longer);
}

#[test]
fn any_changed_header_byte_is_refused_or_read() {
    let bytes = sample().to_bytes().unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for at in 0..header {
        for value in [0, 1, b'"', b'{', b'9', b'-', 0x7f, 0x80, 0xff, bytes[at] ^ 1, bytes[at] ^ 0x20] {
            let mut changed = bytes.clone();
            changed[at] = value;
            // A changed name or dtype of the same size is another valid file.
            if let Err(error) = Archive::from_bytes(&changed) {
                assert!(matches!(error, Error::Format { .. }), "{error}");
            }
        }
    }
}

#[test]
fn lies_about_lengths() {
    let entry =
        |shape: &str, offsets: &str| format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#);
    for (shape, offsets, data) in [
        ("[2]", "[0,4]", 4),                                      // fewer bytes than the shape needs
        ("[1]", "[0,8]", 8),                                      // more
        ("[1]", "[4,8]", 8),                                      // a hole before
        ("[1]", "[4,0]", 4),                                      // backwards
        ("[1]", "[0,4]", 3),                                      // the end is missing
        ("[1]", "[0,4]", 5),                                      // something after the end
        ("[4611686018427387904,4]", "[0,0]", 0),                  // the number of elements overflows
        ("[9223372036854775807]", "[0,36893488147419103228]", 0), // the number of bytes overflows
        ("[1000000000000]", "[0,4000000000000]", 0),              // four terabytes that are not there
        ("[-1]", "[0,4]", 4),
        ("[1.5]", "[0,4]", 4),
        ("[[1]]", "[0,4]", 4),
        ("1", "[0,4]", 4),
    ] {
        refused(&file(&entry(shape, offsets), data));
    }
    for length in [u64::MAX, u64::MAX - 7, 1 << 63, 100_000_001, 99_999_999, 3] {
        let mut bytes = file("{}", 0);
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        refused(&bytes);
    }
    // Two tensors on the same bytes would make a small file large.
    refused(&file(
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
        4,
    ));
    // A zero among the sizes makes an empty tensor, but the other sizes must not overflow even then.
    let empty = |shape: &str| file(&entry(shape, "[0,0]"), 0);
    assert_eq!(Archive::from_bytes(&empty("[0,1000000]")).unwrap().tensors[0].1.dims(), [0, 1_000_000]);
    let message = refused(&empty("[0,4611686018427387904]"));
    assert_eq!(message, "tensor \"a\": from_slice: a tensor of shape [0, 4611686018427387904] does not fit in memory");
    assert!(Archive::from_bytes(&file("{}", 0)).unwrap().tensors.is_empty());
}

#[test]
fn strange_headers() {
    refused(b"");
    refused(&file("", 0));
    refused(&file("[]", 0));
    refused(&file(" {}", 0));
    refused(&file("{\"a\":1}", 0));
    refused(&file(&"[".repeat(100_000), 0));
    refused(&file(&format!("{{\"a\":{}", "{\"a\":".repeat(100_000)), 0));
    refused(&file(r#"{"__metadata__":{"a":1}}"#, 0));
    let one = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    assert!(refused(&file(&format!(r#"{{"a":{one},"a":{one}}}"#), 1)).contains("two tensors are called \"a\""));
    assert!(refused(&file(&format!(r#"{{"a":{one},"\u0061":{one}}}"#), 1)).contains("two tensors"));
    let strange = r#"{"a":{"dtype":"F8_E5M2","shape":[1],"data_offsets":[0,1]}}"#;
    assert!(refused(&file(strange, 1)).contains("tensor \"a\": dtype F8_E5M2 is not supported"));
    refused(&file(&strange.replace("F8_E5M2", "Q7"), 1));
}

#[test]
fn names_that_cannot_be_written() {
    let one = || Tensor::new([1f32]).unwrap();
    let twice = Archive::new(vec![("a".into(), one()), ("a".into(), one())]).to_bytes();
    assert_eq!(twice.unwrap_err().to_string(), "save: two tensors are called \"a\"; give each its own name");
    assert!(Archive::new(vec![("__metadata__".into(), one())]).to_bytes().is_err());
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    write_tensors(&path, &sample().tensors).unwrap();
    assert_eq!(read_tensors(&path).unwrap().len(), 8);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let text = read_tensors(&path).unwrap_err().to_string();
    assert!(text.starts_with(&format!("load: {}: not a whole safetensors file", path.display())), "{text}");
    assert!(matches!(read_tensors(folder.path()).unwrap_err(), Error::Format { .. }));
    assert!(matches!(read_tensors(folder.path().join("none")).unwrap_err(), Error::Io { .. }));
}

/// A name of so many dots was compared with the module's names at each of them, which took hours.
#[test]
fn a_name_of_a_million_dots_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let name = ".".repeat(1_000_000);
    std::fs::write(&path, file(&format!(r#"{{"{name}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}}}"#), 0))
        .unwrap();
    let start = Instant::now();
    let error = load(&path, &Linear::new(2, 2).build().unwrap()).unwrap_err().to_string();
    assert!(error.contains("2 missing, 1 unexpected"), "{}", &error[..200]);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// For each state all entries of the file were looked through, which took minutes.
#[test]
fn a_checkpoint_of_fifty_thousand_states_opens_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let mut header = String::from(r#"{"__metadata__":{"format":"gabor checkpoint""#);
    for i in 0..50_000 {
        write!(header, r#","states.{i}.kind":"SGD","states.{i}.lr":"{i}""#).unwrap();
    }
    header.push_str(r#"},"states.7.x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#);
    std::fs::write(&path, file(&header, 0)).unwrap();
    let start = Instant::now();
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.state("49999").unwrap().number("lr"), Some(49_999.0));
    assert!(checkpoint.state("7").unwrap().tensor("x").is_some());
    assert!(checkpoint.state("8").unwrap().tensors.is_empty());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
