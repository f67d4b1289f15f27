//! Integers and truth values: results are those of PyTorch, except where a comment says otherwise.

use gabor_tensor::{DType, Result, Tensor};

fn bytes(numbers: &[u8]) -> Tensor {
    Tensor::from_slice(numbers, numbers.len()).unwrap()
}

#[test]
fn bytes_wrap_around() -> Result<()> {
    let x = bytes(&[0, 5, 200]);
    assert_eq!(x.mul_scalar(-1.0)?.to_vec::<u8>()?, [0, 251, 56]);
    assert_eq!(x.sub_scalar(1.0)?.to_vec::<u8>()?, [255, 4, 199]);
    assert_eq!(x.add_scalar(300.0)?.to_vec::<u8>()?, [44, 49, 244]);
    assert_eq!(x.neg()?.to_vec::<u8>()?, [0, 251, 56]);
    assert_eq!(x.abs()?.to_vec::<u8>()?, [0, 5, 200]);
    assert_eq!(x.sign()?.to_vec::<u8>()?, [0, 1, 1]);
    assert_eq!(x.masked_fill(&x.gt_scalar(3.0)?, -1.0)?.to_vec::<u8>()?, [0, 255, 255]);
    assert!(x.masked_fill(&x.gt_scalar(3.0)?, 300.0).is_err());
    Ok(())
}

#[test]
fn bounds_that_no_element_can_reach_do_nothing() -> Result<()> {
    let x = bytes(&[0, 5, 200]);
    assert_eq!(x.clamp(Some(-5.0), Some(300.0))?.to_vec::<u8>()?, [0, 5, 200]);
    assert_eq!(x.hardtanh(-1.0, 1.0)?.to_vec::<u8>()?, [0, 1, 1]);
    assert_eq!(x.relu()?.to_vec::<u8>()?, [0, 5, 200]);
    assert_eq!(Tensor::new([3i64, -7])?.relu()?.to_vec::<i64>()?, [3, 0]);
    assert_eq!(Tensor::new([3i64, -7])?.clamp(None, Some(f64::INFINITY))?.to_vec::<i64>()?, [3, -7]);
    Ok(())
}

/// Numbers are compared as numbers. PyTorch agrees about fractions; it makes -1 a byte first, 255, and finds nothing larger.
#[test]
fn integers_are_compared_with_any_number() -> Result<()> {
    let (x, i) = (bytes(&[0, 5, 200]), Tensor::new([0i64, 5, -7])?);
    assert_eq!(x.gt_scalar(0.5)?.to_vec::<bool>()?, [false, true, true]);
    assert_eq!(i.gt_scalar(0.5)?.to_vec::<bool>()?, [false, true, false]);
    assert_eq!(i.eq_scalar(0.5)?.to_vec::<bool>()?, [false; 3]);
    assert_eq!(i.ne_scalar(f64::NAN)?.to_vec::<bool>()?, [true; 3]);
    assert_eq!(i.lt_scalar(f64::INFINITY)?.to_vec::<bool>()?, [true; 3]);
    assert_eq!(x.gt_scalar(-1.0)?.to_vec::<bool>()?, [true; 3]);
    assert_eq!(x.lt_scalar(300.0)?.to_vec::<bool>()?, [true; 3]);
    assert_eq!(x.gt_scalar(3.0)?.eq_scalar(2.0)?.to_vec::<bool>()?, [false; 3]);
    Ok(())
}

#[test]
fn truth_values_add_and_multiply_as_logic() -> Result<()> {
    let (a, b) = (Tensor::new([true, true, false])?, Tensor::new([true, false, false])?);
    for y in [a.add(&b)?, a.maximum(&b)?, a.logical_or(&b)?] {
        assert_eq!(y.to_vec::<bool>()?, [true, true, false]);
    }
    for y in [a.mul(&b)?, a.minimum(&b)?, a.logical_and(&b)?] {
        assert_eq!(y.to_vec::<bool>()?, [true, false, false]);
    }
    assert_eq!(a.square()?.dtype(), DType::I64);
    for refused in [a.sub(&b), a.neg(), a.abs(), a.relu(), a.floor(), a.add_scalar(1.0), a.clamp(Some(0.0), None)] {
        assert!(refused.unwrap_err().to_string().contains("bool is not supported"));
    }
    Ok(())
}

#[test]
fn logic_takes_whatever_is_not_zero_for_true() -> Result<()> {
    let x = Tensor::new([0f32, -0.5, f32::NAN])?;
    assert_eq!(x.logical_not()?.to_vec::<bool>()?, [true, false, false]);
    assert_eq!(x.logical_and(&x.flip(0)?)?.to_vec::<bool>()?, [false, true, false]);
    Ok(())
}

#[test]
fn products_wrap_around_and_maxima_have_places() -> Result<()> {
    let x = bytes(&[200, 3, 100, 7]).reshape([2, 2])?;
    assert_eq!(x.matmul(&x)?.to_vec::<u8>()?, [108, 109, 220, 93]);
    let large = Tensor::new([[i64::MAX, 1]])?;
    assert_eq!(large.matmul(&Tensor::new([[2i64], [1]])?)?.to_vec::<i64>()?, [-1]);
    assert_eq!(Tensor::new([0.5f32])?.floor()?.item()?, 0.0);
    assert_eq!(x.floor()?.to_vec::<u8>()?, x.to_vec::<u8>()?);
    Ok(())
}
