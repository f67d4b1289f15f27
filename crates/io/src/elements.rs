//! Elements as little-endian bytes, and back.

use safetensors::Dtype;
use tensor::{DType, Result, Tensor};

/// The name of a dtype in files.
pub(crate) fn name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "F32",
        DType::F64 => "F64",
        DType::I64 => "I64",
        DType::U8 => "U8",
        DType::Bool => "BOOL",
    }
}

/// The elements in row-major order.
pub(crate) fn to_bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    match tensor.dtype() {
        DType::F32 => {
            tensor.with_slice::<f32, _>(|x| x.iter().map(|v| v.to_le_bytes()).collect::<Vec<_>>().into_flattened())
        }
        DType::F64 => {
            tensor.with_slice::<f64, _>(|x| x.iter().map(|v| v.to_le_bytes()).collect::<Vec<_>>().into_flattened())
        }
        DType::I64 => {
            tensor.with_slice::<i64, _>(|x| x.iter().map(|v| v.to_le_bytes()).collect::<Vec<_>>().into_flattened())
        }
        DType::U8 => tensor.with_slice::<u8, _>(<[u8]>::to_vec),
        DType::Bool => tensor.with_slice::<bool, _>(|x| x.iter().map(|&v| u8::from(v)).collect()),
    }
}

/// A tensor of these bytes. Types that do not exist here become the next larger one: half precision f32, integers i64.
/// `Err` says what is wrong with them.
pub(crate) fn from_bytes(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Result<Tensor, String> {
    let tensor = match dtype {
        Dtype::F32 => Tensor::from_vec(words(bytes, f32::from_le_bytes), shape),
        Dtype::F64 => Tensor::from_vec(words(bytes, f64::from_le_bytes), shape),
        Dtype::F16 => Tensor::from_vec(words(bytes, |b| half(u16::from_le_bytes(b))), shape),
        Dtype::BF16 => {
            Tensor::from_vec(words(bytes, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)), shape)
        }
        Dtype::I64 => Tensor::from_vec(words(bytes, i64::from_le_bytes), shape),
        Dtype::I32 => Tensor::from_vec(words(bytes, |b| i64::from(i32::from_le_bytes(b))), shape),
        Dtype::I16 => Tensor::from_vec(words(bytes, |b| i64::from(i16::from_le_bytes(b))), shape),
        Dtype::I8 => Tensor::from_vec(words(bytes, |b| i64::from(i8::from_le_bytes(b))), shape),
        Dtype::U32 => Tensor::from_vec(words(bytes, |b| i64::from(u32::from_le_bytes(b))), shape),
        Dtype::U16 => Tensor::from_vec(words(bytes, |b| i64::from(u16::from_le_bytes(b))), shape),
        Dtype::U8 => Tensor::from_slice(bytes, shape),
        Dtype::BOOL => match bytes.iter().find(|&&b| b > 1) {
            Some(byte) => return Err(format!("the byte {byte} is no truth value")),
            None => Tensor::from_vec(bytes.iter().map(|&b| b == 1).collect::<Vec<_>>(), shape),
        },
        other => return Err(format!("dtype {other} is not supported, shape {shape:?}; convert it to F32 or I64")),
    };
    tensor.map_err(|error| error.to_string())
}

fn words<const N: usize, T>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&word| from(word)).collect()
}

/// IEEE half precision, exactly.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10) & 31, u32::from(bits) & 1023);
    match exponent {
        // Multiples of 2^-24.
        0 => f32::from_bits((fraction as f32 / 16_777_216.0).to_bits() | sign),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves() {
        for (bits, value) in [
            (0x3c00, 1.0f32),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x0001, 5.960_464_5e-8),
            (0x7c00, f32::INFINITY),
            (0x8000, -0.0),
            (0x3555, 0.333_251_95),
        ] {
            assert_eq!(half(bits).to_bits(), value.to_bits(), "{bits:04x}");
        }
        assert!(half(0x7e01).is_nan());
    }

    #[test]
    fn narrower_types_become_wider_ones() {
        let read = |dtype, bytes: &[u8], n| from_bytes(dtype, &[n], bytes).unwrap();
        assert_eq!(read(Dtype::I32, &[255, 255, 255, 255, 7, 0, 0, 0], 2).to_vec::<i64>().unwrap(), [-1, 7]);
        assert_eq!(read(Dtype::U16, &[255, 255], 1).to_vec::<i64>().unwrap(), [65535]);
        assert_eq!(read(Dtype::I8, &[128], 1).to_vec::<i64>().unwrap(), [-128]);
        assert_eq!(read(Dtype::BF16, &[0xc0, 0x3f], 1).to_vec::<f32>().unwrap(), [1.5]);
        assert!(from_bytes(Dtype::BOOL, &[1], &[2]).unwrap_err().contains("byte 2"));
        assert!(from_bytes(Dtype::F8_E4M3, &[1], &[2]).unwrap_err().contains("not supported"));
    }
}
