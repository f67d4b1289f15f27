//! Chains of views, and joining and padding, against positions computed one by one.

use gabor_tensor::{DType, GradOptions, PadMode, Tensor, grad};
use proptest::prelude::*;

use crate::array::{Array, laid, layout, places, shape, size, whole};
use crate::few;

/// One step of a chain; the numbers are taken modulo what the shape allows.
#[derive(Clone, Copy, Debug)]
enum Step {
    Permute(u64),
    Narrow(usize, usize, usize),
    Slice(usize, usize, usize),
    Select(usize, usize),
    Unsqueeze(usize),
    Squeeze,
    Expand(usize),
    Reshape(usize),
    Flip(usize),
    Windows(usize, usize, usize),
}

fn step() -> impl Strategy<Value = Step> + Clone {
    let n = || 0..6usize;
    prop_oneof![
        3 => any::<u64>().prop_map(Step::Permute),
        2 => (n(), n(), n()).prop_map(|(a, b, c)| Step::Narrow(a, b, c)),
        2 => (n(), n(), 1..4usize).prop_map(|(a, b, c)| Step::Slice(a, b, c)),
        1 => (n(), n()).prop_map(|(a, b)| Step::Select(a, b)),
        1 => n().prop_map(Step::Unsqueeze),
        1 => Just(Step::Squeeze),
        1 => n().prop_map(Step::Expand),
        2 => n().prop_map(Step::Reshape),
        1 => n().prop_map(Step::Flip),
        1 => (n(), 1..4usize, 1..3usize).prop_map(|(a, b, c)| Step::Windows(a, b, c)),
    ]
}

/// The step on a tensor and on an array of positions; `None` if the shape leaves nothing to do.
fn apply(step: Step, x: &Tensor, plain: &Array) -> Option<(Tensor, Array)> {
    let shape = plain.shape.clone();
    let rank = shape.len();
    // An axis, and its size.
    let axis = |a: usize| (rank > 0).then(|| (a % rank, shape[a % rank]));
    // The same index with another number in one place.
    let put = |i: &[usize], at: usize, v: usize| [&i[..at], &[v], &i[at + 1..]].concat();
    let resized = |at: usize, n: usize| put(&shape, at, n);
    Some(match step {
        Step::Permute(seed) => {
            let mut order: Vec<usize> = (0..rank).collect();
            for i in (1..rank).rev() {
                order.swap(i, (seed >> (4 * i)) as usize % (i + 1));
            }
            let turned: Vec<usize> = order.iter().map(|&a| shape[a]).collect();
            let y = x.permute(order.iter().map(|&a| a as isize).collect::<Vec<_>>()).unwrap();
            let plain = Array::build(&turned, |i| {
                let mut from = vec![0; rank];
                order.iter().zip(i).for_each(|(&a, &i)| from[a] = i);
                plain.at(&from)
            });
            (y, plain)
        }
        Step::Narrow(a, start, len) => {
            let (a, n) = axis(a)?;
            let start = start % (n + 1);
            let len = len % (n - start + 1);
            let y = x.narrow(a as isize, start as isize, len).unwrap();
            (y, Array::build(&resized(a, len), |i| plain.at(&put(i, a, i[a] + start))))
        }
        Step::Slice(a, start, step) => {
            let (a, n) = axis(a)?;
            let start = start % (n + 1);
            let y = x.slice(a as isize - rank as isize, start as isize, None, step).unwrap();
            let count = (n - start).div_ceil(step);
            (y, Array::build(&resized(a, count), |i| plain.at(&put(i, a, start + i[a] * step))))
        }
        Step::Select(a, at) => {
            let (a, n) = axis(a).filter(|(_, n)| *n > 0)?;
            let at = at % n;
            let rest = [&shape[..a], &shape[a + 1..]].concat();
            let y = x.select(a as isize, at as isize - n as isize).unwrap();
            (y, Array::build(&rest, |i| plain.at(&[&i[..a], &[at], &i[a..]].concat())))
        }
        Step::Unsqueeze(a) if rank < 5 => {
            let a = a % (rank + 1);
            let shape = [&shape[..a], &[1], &shape[a..]].concat();
            (x.unsqueeze(a as isize).unwrap(), Array { shape, data: plain.data.clone() })
        }
        Step::Squeeze => {
            let shape = shape.iter().copied().filter(|&n| n != 1).collect();
            (x.squeeze(()).unwrap(), Array { shape, data: plain.data.clone() })
        }
        Step::Expand(n) if rank < 5 => {
            let to: Vec<usize> = [2].into_iter().chain(shape.iter().map(|&s| if s == 1 { n } else { s })).collect();
            let y = x.expand(to.iter().map(|&n| n as isize).collect::<Vec<_>>()).unwrap();
            (y, Array::build(&to, |i| plain.broadcast_at(i)))
        }
        Step::Reshape(a) => {
            let (a, n) = axis(a).filter(|_| rank > 1)?;
            // Two neighbours become one, which leaves all other sizes.
            let (first, second) = if a + 1 < rank { (a, a + 1) } else { (a - 1, a) };
            let merged = [&shape[..first], &[shape[first] * shape[second]], &shape[second + 1..]].concat();
            let _ = n;
            (x.reshape(&merged[..]).unwrap(), Array { shape: merged, data: plain.data.clone() })
        }
        Step::Flip(a) => {
            let (a, n) = axis(a)?;
            (x.flip(a as isize).unwrap(), Array::build(&shape, |i| plain.at(&put(i, a, n - 1 - i[a]))))
        }
        Step::Windows(a, size, step) if rank < 5 => {
            let (a, n) = axis(a).filter(|(_, n)| *n >= size)?;
            let to = [&resized(a, (n - size) / step + 1)[..], &[size]].concat();
            let y = x.unfold_dim(a as isize, size, step).unwrap();
            (y, Array::build(&to, |i| plain.at(&put(&i[..rank], a, i[a] * step + i[rank]))))
        }
        _ => return None,
    })
}

proptest! {
    #![proptest_config(few(160))]

    #[test]
    fn chains_of_views_take_the_right_elements(
        shape in shape(0..=4),
        layout in layout(),
        steps in proptest::collection::vec(step(), 1..7),
        seed in any::<u64>(),
    ) {
        // Each element is its own position, so a view shows where it takes from.
        let n: usize = shape.iter().product();
        let x = Tensor::arange(0f64, n as f64, 1.0).unwrap().reshape(&shape[..]).unwrap();
        let x = laid(&x, if matches!(layout, crate::array::Layout::Repeated) { crate::array::Layout::Plain } else { layout });
        let leaf = x.clone().requires_grad_().unwrap();
        let (mut y, mut plain) = (leaf.clone(), Array::of(&x));
        for step in steps {
            if let Some((view, positions)) = apply(step, &y, &plain)
                && positions.data.len() < 4000 {
                (y, plain) = (view, positions);
                prop_assert_eq!(&Array::of(&y), &plain, "{:?}", step);
            }
        }
        // The gradient of a position is the sum over the places where it is shown.
        let g = whole(&plain.shape, seed);
        let mut expected = vec![0.0; n];
        Array::of(&g).data.iter().zip(&plain.data).for_each(|(g, &at)| expected[at as usize] += g);
        let options = GradOptions { gradient: Some(&g), ..GradOptions::default() };
        let got = grad(&y, &[&leaf], &options).unwrap();
        prop_assert_eq!(&Array::of(got[0].as_ref().unwrap()).data, &expected);
        prop_assert_eq!(&Array::of(&y.contiguous().unwrap()), &plain);
    }

    #[test]
    fn parts_are_joined_and_parted(
        shape in shape(1..=3),
        axis in 0..3usize,
        sizes in proptest::collection::vec(size(), 1..4),
        layouts in proptest::collection::vec(layout(), 4),
        part in 1..4usize,
        seed in any::<u64>(),
    ) {
        let a = axis % shape.len();
        let part_of = |n: usize| [&shape[..a], &[n], &shape[a + 1..]].concat();
        for dtype in [DType::F64, DType::F32, DType::I64] {
            let parts: Vec<Tensor> = sizes.iter().zip(&layouts).enumerate()
                .map(|(k, (&n, &layout))| laid(&whole(&part_of(n), seed ^ k as u64), layout).to_dtype(dtype).unwrap())
                .collect();
            let arrays: Vec<Array> = parts.iter().map(Array::of).collect();
            let joined = Tensor::cat(&parts.iter().collect::<Vec<_>>(), a as isize).unwrap();
            let total: usize = sizes.iter().sum();
            let expected = Array::build(&part_of(total), |i| {
                let (mut k, mut at) = (0, i[a]);
                while at >= sizes[k] {
                    at -= sizes[k];
                    k += 1;
                }
                arrays[k].at(&[&i[..a], &[at], &i[a + 1..]].concat())
            });
            prop_assert_eq!(&Array::of(&joined), &expected);
            let again = joined.split_sizes(&sizes, a as isize).unwrap();
            prop_assert!(again.iter().map(Array::of).eq(arrays.iter().cloned()));
            let pieces = joined.split(part, a as isize).unwrap();
            prop_assert_eq!(&Array::of(&Tensor::cat(&pieces.iter().collect::<Vec<_>>(), a as isize).unwrap()), &expected);
            prop_assert!(pieces.iter().all(|p| p.dims()[a] <= part));
            let chunks = joined.chunk(part, a as isize).unwrap();
            prop_assert!(chunks.len() <= part || total == 0);
            prop_assert_eq!(chunks.iter().map(|c| c.dims()[a]).sum::<usize>(), total);
        }
    }

    #[test]
    fn paddings_take_the_right_elements(
        shape in proptest::collection::vec(1..6usize, 3..=4),
        pads in proptest::collection::vec(-2isize..4, 4),
        axes in 1..3usize,
        layout in layout(),
        seed in any::<u64>(),
    ) {
        let x = laid(&whole(&shape, seed), layout);
        let xs = Array::of(&x);
        let rank = shape.len();
        let pads = &pads[..2 * axes];
        let margin = |axis: usize| if axis + axes >= rank { (pads[2 * (rank - 1 - axis)], pads[2 * (rank - 1 - axis) + 1]) } else { (0, 0) };
        let to: Vec<isize> = (0..rank).map(|a| shape[a] as isize + margin(a).0 + margin(a).1).collect();
        for mode in [PadMode::Constant(7.0), PadMode::Reflect, PadMode::Replicate, PadMode::Circular] {
            let got = x.pad(pads, mode);
            // What PyTorch allows: images with a batch, no empty side, reflections and wraps inside of the image.
            let around = matches!(mode, PadMode::Constant(_)) || rank <= axes + 2;
            let fits = around && (0..rank).all(|a| {
                let (n, (before, after)) = (shape[a] as isize, margin(a));
                match mode {
                    PadMode::Constant(_) => to[a] >= 0 && -before <= n && -after <= n,
                    PadMode::Reflect => before < n && after < n && to[a] > 0,
                    PadMode::Replicate => to[a] > 0,
                    PadMode::Circular => before <= n && after <= n && to[a] >= 0,
                }
            });
            let Ok(y) = got else {
                let cropped = (0..rank).any(|a| -margin(a).0 >= shape[a] as isize || -margin(a).1 >= shape[a] as isize || to[a] <= 0);
                prop_assert!(!fits || cropped, "{:?} of {:?} by {:?} is refused", mode, shape, pads);
                continue;
            };
            let size: Vec<usize> = to.iter().map(|&n| n as usize).collect();
            let expected = Array::build(&size, |i| {
                let mut inside = true;
                let from: Vec<usize> = (0..rank).map(|a| {
                    let (n, at) = (shape[a] as isize, i[a] as isize - margin(a).0);
                    inside &= (0..n).contains(&at);
                    (match mode {
                        PadMode::Constant(_) => at.clamp(0, n - 1),
                        PadMode::Reflect => if at < 0 { -at } else if at >= n { 2 * (n - 1) - at } else { at },
                        PadMode::Replicate => at.clamp(0, n - 1),
                        PadMode::Circular => {
                            // What is cropped does not come back.
                            let (low, high) = ((-margin(a).0).max(0), n - (-margin(a).1).max(0));
                            low + (at - low).rem_euclid((high - low).max(1))
                        }
                    }) as usize
                }).collect();
                if inside || !matches!(mode, PadMode::Constant(_)) { xs.at(&from) } else { 7.0 }
            });
            prop_assert_eq!(&Array::of(&y), &expected, "{:?}", mode);
        }
    }
}

#[test]
fn all_places_are_listed() {
    assert_eq!(places(&[2, 2]), [[0, 0], [0, 1], [1, 0], [1, 1]]);
    assert_eq!(places(&[2, 0]).len(), 0);
    assert_eq!(places(&[]).len(), 1);
}
