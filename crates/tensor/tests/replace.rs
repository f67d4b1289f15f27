//! Operators that work in the memory of a tensor that is not used any more: values and gradients are those of the others, and what
//! somebody still holds never changes.

use gabor_tensor::{DType, Generator, GradOptions, Result, Tensor, grad, set_detect_anomaly};

type Pair = (fn(&Tensor) -> Result<Tensor>, fn(Tensor) -> Result<Tensor>);

const OPERATORS: [Pair; 2] = [
    (Tensor::relu, Tensor::relu_),
    (
        |x| x.add(&x.full_like(1.0)?),
        |x| {
            let ones = x.full_like(1.0)?;
            x.add_(&ones)
        },
    ),
];

/// Whatever makes the operand: fresh memory, an operand held elsewhere, one that its own rule saves, a view.
const SOURCES: [fn(&Tensor) -> Result<Tensor>; 5] = [
    |x| x.mul_scalar(3.0),
    |x| Ok(x.clone()),
    Tensor::sigmoid,
    |x| x.transpose(0, 1)?.contiguous()?.transpose(0, 1),
    |x| x.mul(x)?.reshape([5, 3])?.reshape([3, 5]),
];

#[test]
fn values_and_gradients_to_the_second_order_are_the_same() -> Result<()> {
    for anomaly in [false, true] {
        set_detect_anomaly(anomaly);
        for (plain, owned) in OPERATORS {
            for source in SOURCES {
                let x = Generator::new(3).randn([3, 5], DType::F64)?.requires_grad_()?;
                let before = x.to_vec::<f64>()?;
                let run = |f: &dyn Fn(Tensor) -> Result<Tensor>| -> Result<[Vec<f64>; 3]> {
                    let y = f(source(&x)?)?.square()?;
                    let options = GradOptions { create_graph: true, ..GradOptions::default() };
                    let first = grad(&y.sum()?, &[&x], &options)?.remove(0).expect("y depends on x");
                    let second = grad(&first.square()?.sum()?, &[&x], &GradOptions::default())?
                        .remove(0)
                        .expect("so does its gradient");
                    Ok([y.to_vec()?, first.to_vec()?, second.to_vec()?])
                };
                assert_eq!(run(&|x| plain(&x))?, run(&|x| owned(x))?);
                assert_eq!(x.to_vec::<f64>()?, before, "the source is held and stays");
            }
        }
    }
    set_detect_anomaly(false);
    Ok(())
}

#[test]
fn what_others_hold_stays() -> Result<()> {
    for (_, owned) in OPERATORS {
        let x = Generator::new(4).randn([3, 5], DType::F32)?.mul_scalar(2.0)?;
        let (copy, held) = (x.to_vec::<f32>()?, x.clone());
        let row = x.narrow(0, 1, 1)?;
        owned(x)?;
        assert_eq!(held.to_vec::<f32>()?, copy);
        drop(held);
        // A view of a part holds the whole.
        assert_eq!(row.to_vec::<f32>()?, copy[5..10]);
    }
    Ok(())
}

#[test]
fn other_types_go_the_usual_way() -> Result<()> {
    assert_eq!(Tensor::new([-1i64, 2])?.relu_()?.to_vec::<i64>()?, [0, 2]);
    assert_eq!(Tensor::new([1i64, 2])?.add_(&Tensor::new(1i64)?)?.to_vec::<i64>()?, [2, 3]);
    assert!(Tensor::new([1f32, 2.0])?.add_(&Tensor::new([1f64, 2.0])?).is_err());
    assert_eq!(Tensor::zeros([0, 2])?.relu_()?.shape(), &[0, 2]);
    Ok(())
}
