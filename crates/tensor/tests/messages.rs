//! The exact texts of the commonest mistakes, and operators that panic with the text of their method.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gabor_tensor::{DType, PadMode, Result, Tensor};

fn zeros<const N: usize>(shape: [usize; N]) -> Tensor {
    Tensor::zeros(shape).unwrap()
}

fn whole(numbers: &[i64]) -> Tensor {
    Tensor::from_slice(numbers, [numbers.len()]).unwrap()
}

#[test]
fn mistakes_are_named_with_their_numbers() {
    let x = zeros([2, 3]);
    let table: &[(Result<Tensor>, &str)] = &[
        (x.add(&zeros([4])), "add: shapes [2, 3] and [4] do not broadcast, dimension 1 is 3 and 4"),
        (x.mul(&whole(&[1, 2, 3])), "mul: dtypes differ, f32 and i64; convert one with to_dtype(DType::F32)"),
        (x.sum_dim(2, false), "sum: dimension 2 is out of range, expected -2 to 1"),
        (x.sum_dim([0, -2], false), "sum: dimension 0 appears more than once in [0, -2]"),
        (x.reshape([4, -1]), "reshape: 6 elements ([2, 3]) cannot fill [4, -1]"),
        (x.reshape([4, 2]), "reshape: 6 elements ([2, 3]) cannot fill [4, 2] (8)"),
        (
            x.t().unwrap().view(6),
            "view: shape [3, 2] with strides [1, 3] cannot be seen as [6] without a copy; use reshape",
        ),
        (x.expand([2, 4]), "expand: [2, 3] cannot be expanded to [2, 4]; only sizes of 1 can be repeated"),
        (x.permute([0, 0]), "permute: dimension 0 appears more than once in [0, 0]"),
        (x.select(1, 3), "select: index 3 is out of range for dimension 1 of size 3"),
        (
            x.exp().unwrap().to_dtype(DType::I64).unwrap().exp(),
            "exp: i64 is not supported, expected f32 or f64; convert with to_dtype",
        ),
        (Tensor::cat(&[&x, &zeros([2, 4])], 0), "cat: shapes [2, 3] and [2, 4] differ outside of dimension 0"),
        (Tensor::stack(&[&x, &zeros([3, 2])], 0), "stack: shapes [2, 3] and [3, 2] differ; stack needs equal ones"),
        (zeros([0]).max(), "max: no elements to choose from, shape [0]; reduce over dimensions that are not 0"),
        (
            zeros([0, 2]).argmax(Some(0), false),
            "argmax: no elements to choose from, shape [0, 2]; reduce over dimensions that are not 0",
        ),
        (
            x.gather(1, &whole(&[1])),
            "gather: the index of shape [1] does not lie within the tensor of shape [2, 3]; it needs as many dimensions, none larger but dimension 1",
        ),
        (
            x.gather(1, &Tensor::new([[0i64, -1]]).unwrap()),
            "gather: index -1 is out of range for dimension 1 of size 3",
        ),
        (x.index_select(0, &whole(&[2])), "index_select: index 2 is out of range for dimension 0 of size 2"),
        (
            x.index_select(0, &zeros([1])),
            "index_select: f32 is not supported, expected an i64 index; convert with to_dtype",
        ),
        (x.embedding(&whole(&[0, 2]), None), "embedding: index 2 is out of range for dimension 0 of size 2"),
        (zeros([3]).embedding(&whole(&[0]), None), "embedding: the weight needs 2 dimensions, got [3]"),
        (whole(&[1, 3]).one_hot(3), "one_hot: index 3 is out of range for dimension 1 of size 3"),
        (whole(&[]).one_hot(-1), "one_hot: -1 classes for numbers of shape [0]; give at least 1"),
        (
            x.pad(&[1, 2, 3], PadMode::Constant(0.0)),
            "pad: 3 numbers for shape [2, 3]; give a pair for each axis, at most 4",
        ),
        (x.pad(&[-2, -2], PadMode::Constant(0.0)), "pad: (-2, -2) leaves no valid size of dimension 1, which has 3"),
        (
            x.pad(&[3, 0], PadMode::Reflect),
            "pad: (3, 0) for dimension 1 of size 3; a mirrored margin must be smaller than the dimension",
        ),
        (
            x.pad(&[4, 0], PadMode::Circular),
            "pad: (4, 0) for dimension 1 of size 3; a wrapped margin must not be larger than the dimension",
        ),
        (
            x.pad(&[1, 1, 1, 1], PadMode::Reflect),
            "pad: Reflect goes around the last 1 to 3 axes with 1 or 2 before them, got 4 numbers for shape [2, 3]; add a dimension with unsqueeze",
        ),
        (x.topk(4, 1, true).map(|t| t.0), "topk: k is 4 and dimension 1 has size 3; k must not be larger"),
        (x.where_cond(&x, &x), "where: f32 is not supported, expected a bool condition; convert with to_dtype"),
        (x.clamp(None, None), "clamp: neither min nor max is given; give at least one"),
        (
            whole(&[1]).add_scalar(0.5),
            "scalar: 0.5 is not a whole number and the tensor is i64; convert it with to_dtype first",
        ),
        (Tensor::from_slice(&[1f32], [2]), "from_slice: 1 elements cannot fill [2] (2)"),
        (Tensor::zeros([usize::MAX, 2]), "zeros: a tensor of shape [18446744073709551615, 2] does not fit in memory"),
    ];
    for (result, expected) in table {
        assert_eq!(result.as_ref().map(Tensor::shape).unwrap_err().to_string(), *expected);
    }
}

#[test]
fn operators_panic_with_the_text_of_the_method() {
    let (a, b, i) = (zeros([2, 3]), zeros([4]), whole(&[1, 2, 3]));
    type Panic<'a> = Box<dyn Fn() -> Tensor + 'a>;
    let table: Vec<(Panic<'_>, Result<Tensor>)> = vec![
        (Box::new(|| &a + &b), a.add(&b)),
        (Box::new(|| &a - &b), a.sub(&b)),
        (Box::new(|| &a * &b), a.mul(&b)),
        (Box::new(|| &a / &b), a.div(&b)),
        (Box::new(|| a.clone() + i.clone()), a.add(&i)),
        (Box::new(|| &i * 0.5), i.mul_scalar(0.5)),
        (Box::new(|| -&i.eq(&i).unwrap()), i.eq(&i).unwrap().neg()),
    ];
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let panics: Vec<_> =
        table.iter().map(|(f, _)| catch_unwind(AssertUnwindSafe(f)).map(|y| y.shape().to_vec())).collect();
    std::panic::set_hook(before);
    for (panic, (_, result)) in panics.into_iter().zip(&table) {
        let panic = panic.expect_err("a panic");
        let text = panic.downcast_ref::<String>().expect("a formatted text");
        assert_eq!(*text, result.as_ref().map(Tensor::shape).unwrap_err().to_string());
    }
}

#[test]
fn paddings_beyond_all_bounds_are_errors_and_never_panics() {
    let shapes = [zeros([2, 3]), zeros([0, 3]), zeros([2, 0])];
    let modes = [PadMode::Constant(0.0), PadMode::Reflect, PadMode::Replicate, PadMode::Circular];
    let huge = isize::MAX / 2;
    let pads = [
        [huge, 0],
        [isize::MAX, isize::MAX],
        [isize::MIN, isize::MIN],
        [isize::MIN, isize::MAX],
        [0, isize::MAX],
        [-4, 4],
        [-2, -2],
    ];
    for (x, mode, pad) in shapes.iter().flat_map(|x| modes.map(|m| (x, m))).flat_map(|(x, m)| pads.map(|p| (x, m, p))) {
        // Without elements, and only then, a huge shape needs no memory.
        match x.pad(&pad, mode) {
            Ok(y) => assert!(y.numel() == 0, "{mode:?} {pad:?} of {:?} gave {:?}", x.shape(), y.shape()),
            Err(error) => assert!(error.to_string().starts_with("pad: "), "{error}"),
        }
    }
}
