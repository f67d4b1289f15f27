//! Picking by index and its adjoints, element by element.

use gabor_tensor::{DType, GradOptions, Tensor, grad};
use proptest::prelude::*;

use crate::array::{Array, laid, layout, offset, places, shape, whole};
use crate::few;

/// Random positions below `n`.
fn positions(shape: &[usize], n: usize, seed: u64) -> Tensor {
    gabor_tensor::Generator::new(seed).randint(0, n as i64, shape).unwrap()
}

fn with(shape: &[usize], axis: usize, n: usize) -> Vec<usize> {
    [&shape[..axis], &[n], &shape[axis + 1..]].concat()
}

proptest! {
    #![proptest_config(few(96))]

    #[test]
    fn elements_are_gathered_and_scattered(
        shape in shape(1..=4), axis in 0..4usize, n in 0..6usize, layouts in (layout(), layout()), seed in any::<u64>(),
    ) {
        let a = axis % shape.len();
        if shape[a] == 0 {
            return Ok(());
        }
        let to = with(&shape, a, n);
        let index = laid(&positions(&to, shape[a], seed), layouts.1);
        let x = laid(&whole(&shape, seed ^ 1), layouts.0);
        let source = whole(&to, seed ^ 2);
        let (xs, is, ss) = (Array::of(&x), Array::of(&index), Array::of(&source));
        let from = |i: &[usize]| [&i[..a], &[is.at(i) as usize], &i[a + 1..]].concat();
        let gathered = Array::build(&to, |i| xs.at(&from(i)));
        let mut sums = xs.clone();
        let mut spread = Array { data: vec![0.0; xs.data.len()], ..xs.clone() };
        for i in places(&to) {
            sums.data[offset(&shape, &from(&i))] += ss.at(&i);
            spread.data[offset(&shape, &from(&i))] += ss.at(&i);
        }
        for dtype in [DType::F64, DType::F32, DType::I64] {
            let [x, source] = [&x, &source].map(|t| t.to_dtype(dtype).unwrap());
            prop_assert_eq!(&Array::of(&x.gather(a as isize, &index).unwrap()), &gathered);
            prop_assert_eq!(&Array::of(&x.scatter_add(a as isize, &index, &source).unwrap()), &sums);
            if dtype.is_float() {
                let x = x.requires_grad_().unwrap();
                let y = x.gather(a as isize, &index).unwrap();
                let options = GradOptions { gradient: Some(&source), ..GradOptions::default() };
                prop_assert_eq!(&Array::of(grad(&y, &[&x], &options).unwrap()[0].as_ref().unwrap()), &spread);
            }
        }
    }

    #[test]
    fn rows_are_selected_and_added(
        shape in shape(1..=4), axis in 0..4usize, n in 0..6usize, layouts in (layout(), layout()), seed in any::<u64>(),
    ) {
        let a = axis % shape.len();
        if shape[a] == 0 {
            return Ok(());
        }
        let index = laid(&positions(&[n], shape[a], seed), layouts.1);
        let to = with(&shape, a, n);
        let x = laid(&whole(&shape, seed ^ 1), layouts.0);
        let source = laid(&whole(&to, seed ^ 2), layouts.0);
        let (xs, is, ss) = (Array::of(&x), Array::of(&index), Array::of(&source));
        let from = |i: &[usize]| [&i[..a], &[is.data[i[a]] as usize], &i[a + 1..]].concat();
        let mut sums = xs.clone();
        for i in places(&to) {
            sums.data[offset(&shape, &from(&i))] += ss.at(&i);
        }
        let selected = Array::build(&to, |i| xs.at(&from(i)));
        for dtype in [DType::F64, DType::F32, DType::I64] {
            let [x, source] = [&x, &source].map(|t| t.to_dtype(dtype).unwrap());
            let at = a as isize - shape.len() as isize;
            prop_assert_eq!(&Array::of(&x.index_select(at, &index).unwrap()), &selected);
            prop_assert_eq!(&Array::of(&x.index_add(at, &index, &source).unwrap()), &sums);
        }
    }

    #[test]
    fn embeddings_are_rows(rows in 1..6usize, width in 0..4usize, shape in shape(0..=3), padding in proptest::option::of(0..6usize), seed in any::<u64>()) {
        let padding = padding.map(|p| p % rows);
        let weight = whole(&[rows, width], seed);
        let index = positions(&shape, rows, seed ^ 1);
        let (ws, is) = (Array::of(&weight), Array::of(&index));
        let to = [&shape[..], &[width]].concat();
        let row = |i: &[usize]| is.at(&i[..shape.len()]) as usize;
        let g = whole(&to, seed ^ 2);
        let gs = Array::of(&g);
        let mut expected = Array { data: vec![0.0; rows * width], ..ws.clone() };
        for i in places(&to).iter().filter(|i| Some(row(i)) != padding) {
            expected.data[row(i) * width + i[shape.len()]] += gs.at(i);
        }
        let weight = weight.requires_grad_().unwrap();
        let y = weight.embedding(&index, padding.map(|p| p as isize - rows as isize)).unwrap();
        prop_assert_eq!(&Array::of(&y), &Array::build(&to, |i| ws.at(&[row(i), i[shape.len()]])));
        let got = grad(&y, &[&weight], &GradOptions { gradient: Some(&g), ..GradOptions::default() }).unwrap();
        prop_assert_eq!(&Array::of(got[0].as_ref().unwrap()), &expected);
        let hot = Array::of(&index.one_hot(rows as isize).unwrap());
        let of = [&shape[..], &[rows]].concat();
        prop_assert_eq!(&hot, &Array::build(&of, |i| f64::from(row(i) == i[shape.len()])));
    }
}
