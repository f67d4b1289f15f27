//! Activations beside PyTorch's numbers, kinks included.

use gabor_nn::{functional as f, *};
use tensor::{DType, Result, Tensor, gradcheck};

const X: [f64; 14] = [-25.0, -4.0, -3.0, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 3.0, 4.0, 6.0, 25.0];

/// Name, values and slopes at `X`, from PyTorch; its slope 1/6 of hardsigmoid is rounded to f32 and exact here.
#[allow(clippy::approx_constant, reason = "printed by PyTorch")]
const CASES: &[(&str, &[f64], &[f64])] = &[
    (
        "relu6",
        &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25, 0.5, 1.0, 3.0, 4.0, 6.0, 6.0],
        &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0],
    ),
    (
        "hardswish",
        &[
            -0.0,
            -0.0,
            -0.0,
            -0.3333333333333333,
            -0.20833333333333334,
            -0.11458333333333333,
            0.0,
            0.13541666666666666,
            0.2916666666666667,
            0.6666666666666666,
            3.0,
            4.0,
            6.0,
            25.0,
        ],
        &[
            0.0,
            0.0,
            0.0,
            0.16666666666666669,
            0.33333333333333337,
            0.4166666666666667,
            0.5,
            0.5833333333333334,
            0.6666666666666666,
            0.8333333333333333,
            1.0,
            1.0,
            1.0,
            1.0,
        ],
    ),
    (
        "hardsigmoid",
        &[
            0.0,
            0.0,
            0.0,
            0.3333333333333333,
            0.4166666666666667,
            0.4583333333333333,
            0.5,
            0.5416666666666666,
            0.5833333333333334,
            0.6666666666666666,
            1.0,
            1.0,
            1.0,
            1.0,
        ],
        &[
            0.0,
            0.0,
            0.0,
            0.16666666666666666,
            0.16666666666666666,
            0.16666666666666666,
            0.16666666666666666,
            0.16666666666666666,
            0.16666666666666666,
            0.16666666666666666,
            0.0,
            0.0,
            0.0,
            0.0,
        ],
    ),
    (
        "mish",
        &[
            -3.4719859662168955e-10,
            -0.07259174079202535,
            -0.1456474612756246,
            -0.30340146137410895,
            -0.22074377465173,
            -0.129926963679141,
            0.0,
            0.1695724096638176,
            0.3752452113048951,
            0.8650983882673103,
            2.9865350049679575,
            3.9974128069762385,
            5.999926634065252,
            25.0,
        ],
        &[
            -3.33310652754411e-10,
            -0.05377320979348033,
            -0.09339311453232084,
            0.059216755877395014,
            0.28951067791351226,
            0.43981560172180506,
            0.6,
            0.7541726677205928,
            0.8864243753577272,
            1.0490362200997922,
            1.0211069109294435,
            1.0044328769037503,
            1.00013414050621,
            1.0,
        ],
    ),
    (
        "logsigmoid",
        &[
            -25.000000000013888,
            -4.0181499279178094,
            -3.048587351573742,
            -1.3132616875182228,
            -0.9740769841801067,
            -0.8259394198788436,
            -0.6931471805599453,
            -0.5759394198788436,
            -0.4740769841801067,
            -0.31326168751822286,
            -0.04858735157374206,
            -0.018149927917809738,
            -0.0024756851377304495,
            -1.3887943864867583e-11,
        ],
        &[
            0.9999999999861121,
            0.9820137900379085,
            0.9525741268224333,
            0.7310585786300049,
            0.6224593312018545,
            0.5621765008857982,
            0.5,
            0.4378234991142019,
            0.37754066879814546,
            0.2689414213699951,
            0.04742587317756679,
            0.017986209962091555,
            0.0024726231566347748,
            1.3887943864771146e-11,
        ],
    ),
    (
        "softsign",
        &[
            -0.9615384615384616,
            -0.8,
            -0.75,
            -0.5,
            -0.3333333333333333,
            -0.2,
            0.0,
            0.2,
            0.3333333333333333,
            0.5,
            0.75,
            0.8,
            0.8571428571428571,
            0.9615384615384616,
        ],
        &[
            0.001479289940828403,
            0.04000000000000001,
            0.0625,
            0.25,
            0.4444444444444444,
            0.64,
            1.0,
            0.64,
            0.4444444444444444,
            0.25,
            0.0625,
            0.04000000000000001,
            0.020408163265306117,
            0.001479289940828403,
        ],
    ),
    (
        "selu",
        &[
            -1.7580993408229604,
            -1.7258986281898945,
            -1.6705687287671118,
            -1.1113307378125625,
            -0.6917581878028713,
            -0.388890197478119,
            0.0,
            0.2626752468388701,
            0.5253504936777402,
            1.0507009873554805,
            3.1521029620664414,
            4.202803949421922,
            6.304205924132883,
            26.26752468388701,
        ],
        &[
            2.4416384954718613e-11,
            0.03220071265748214,
            0.08753061208026487,
            0.646768603034814,
            1.0663411530445053,
            1.3692091433692577,
            1.7580993408473766,
            1.0507009873554805,
            1.0507009873554805,
            1.0507009873554805,
            1.0507009873554805,
            1.0507009873554805,
            1.0507009873554805,
            1.0507009873554805,
        ],
    ),
    (
        "celu(2)",
        &[
            -1.999992546693656,
            -1.7293294335267746,
            -1.5537396797031404,
            -0.7869386805747332,
            -0.44239843385719024,
            -0.2350061948308092,
            0.0,
            0.25,
            0.5,
            1.0,
            3.0,
            4.0,
            6.0,
            25.0,
        ],
        &[
            3.726653172078671e-06,
            0.1353352832366127,
            0.22313016014842982,
            0.6065306597126334,
            0.7788007830714049,
            0.8824969025845955,
            1.0,
            1.0,
            1.0,
            1.0,
            1.0,
            1.0,
            1.0,
            1.0,
        ],
    ),
    (
        "hardshrink",
        &[-25.0, -4.0, -3.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 3.0, 4.0, 6.0, 25.0],
        &[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    ),
    (
        "softshrink",
        &[-24.5, -3.5, -2.5, -0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 2.5, 3.5, 5.5, 24.5],
        &[1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    ),
    (
        "tanhshrink",
        &[
            -24.0,
            -3.000670700260933,
            -2.0049452463132695,
            -0.23840584404423515,
            -0.03788284273999026,
            -0.005081337596290869,
            0.0,
            0.005081337596290869,
            0.03788284273999026,
            0.23840584404423515,
            2.0049452463132695,
            3.000670700260933,
            5.000012288349204,
            24.0,
        ],
        &[
            1.0,
            0.9986590493169741,
            0.9901339628345598,
            0.5800256583859739,
            0.2135522670340726,
            0.05998515119362202,
            0.0,
            0.05998515119362202,
            0.2135522670340726,
            0.5800256583859739,
            0.9901339628345598,
            0.9986590493169741,
            0.9999754234525947,
            1.0,
        ],
    ),
    (
        "threshold(0.5,-7)",
        &[-7.0, -7.0, -7.0, -7.0, -7.0, -7.0, -7.0, -7.0, -7.0, 1.0, 3.0, 4.0, 6.0, 25.0],
        &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    ),
    (
        "prelu(.25)",
        &[-6.25, -1.0, -0.75, -0.25, -0.125, -0.0625, 0.0, 0.25, 0.5, 1.0, 3.0, 4.0, 6.0, 25.0],
        &[0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    ),
];

fn layer(name: &str) -> Result<Layer> {
    let prelu = PReLU::new(1).build()?;
    prelu.to_dtype(DType::F64)?;
    Ok(match name {
        "relu6" => Box::new(ReLU6),
        "hardswish" => Box::new(Hardswish),
        "hardsigmoid" => Box::new(Hardsigmoid),
        "mish" => Box::new(Mish),
        "logsigmoid" => Box::new(LogSigmoid),
        "softsign" => Box::new(Softsign),
        "selu" => Box::new(SELU),
        "celu(2)" => Box::new(CELU::new(2.0)),
        "hardshrink" => Box::new(Hardshrink::default()),
        "softshrink" => Box::new(Softshrink::default()),
        "tanhshrink" => Box::new(Tanhshrink),
        "threshold(0.5,-7)" => Box::new(Threshold::new(0.5, -7.0)),
        "prelu(.25)" => Box::new(prelu),
        other => panic!("no layer is called {other}"),
    })
}

#[test]
fn values_and_slopes_are_pytorchs() -> Result<()> {
    for &(name, values, slopes) in CASES {
        let layer = layer(name)?;
        let x = Tensor::new(X)?.requires_grad_()?;
        let y = layer.forward(&x)?;
        y.sum()?.backward()?;
        let grad = x.grad().expect("a leaf").to_vec::<f64>()?;
        for (i, &at) in X.iter().enumerate() {
            let (value, slope) = (y.to_vec::<f64>()?[i], grad[i]);
            assert!((value - values[i]).abs() <= 1e-12 * values[i].abs().max(1.0), "{name}({at}) is {value}");
            // PyTorch's softplus, in mish, is straight above 20: a difference of 1e-9.
            assert!((slope - slopes[i]).abs() <= 3e-9, "the slope of {name} at {at} is {slope}");
        }
    }
    Ok(())
}

#[test]
fn nan_stays_and_infinities_go_where_pytorchs_go() -> Result<()> {
    let ends = [
        ("relu6", 6.0, 0.0),
        ("hardswish", f64::INFINITY, f64::NAN),
        ("hardsigmoid", 1.0, 0.0),
        ("mish", f64::INFINITY, f64::NAN),
        ("logsigmoid", 0.0, f64::NEG_INFINITY),
        ("softsign", f64::NAN, f64::NAN),
        ("selu", f64::INFINITY, -1.758_099_340_847_376_6),
        ("celu(2)", f64::INFINITY, -2.0),
        ("hardshrink", f64::INFINITY, f64::NEG_INFINITY),
        ("tanhshrink", f64::INFINITY, f64::NEG_INFINITY),
        ("threshold(0.5,-7)", f64::INFINITY, -7.0),
        ("prelu(.25)", f64::INFINITY, f64::NEG_INFINITY),
    ];
    for (name, high, low) in ends {
        let x = Tensor::new([f64::NAN, f64::INFINITY, f64::NEG_INFINITY])?;
        let y = layer(name)?.forward(&x)?.to_vec::<f64>()?;
        assert!(y[0].is_nan(), "{name}");
        for (got, expected) in [(y[1], high), (y[2], low)] {
            let same = got == expected || got.is_nan() && expected.is_nan() || (got - expected).abs() < 1e-12;
            assert!(same, "{name}: {got}, {expected}");
        }
    }
    Ok(())
}

#[test]
fn gradients_hold_between_the_kinks() -> Result<()> {
    let x = Tensor::new([[-3.3f64, -0.7, 0.2], [0.6, 2.9, 6.4]])?;
    for &(name, ..) in CASES {
        let layer = layer(name)?;
        gradcheck(|x| layer.forward(&x[0]), std::slice::from_ref(&x)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    gradcheck(|x| f::prelu(&x[0], &x[1]), &[x.clone(), Tensor::new([0.1f64, -0.2, 0.3])?])?;
    gradcheck(|x| f::glu(&x[0], 0), std::slice::from_ref(&x))?;
    gradcheck(|x| Softmin::new(1).forward(&x[0]), &[x])?;
    Ok(())
}

#[test]
fn glu_softmin_and_softmax2d() -> Result<()> {
    let x = Tensor::new([[1f64, 2.0, 0.0, 1e9], [3.0, 4.0, 0.0, -1e9]])?;
    assert_eq!(GLU::default().forward(&x)?.to_vec::<f64>()?, [0.5, 2.0, 1.5, 0.0]);
    assert_eq!(GLU::new(0).forward(&x)?.shape(), &[1, 4]);
    let error = f::glu(&Tensor::ones([2, 3])?, 1).unwrap_err().to_string();
    assert_eq!(error, "glu: dimension 1 of [2, 3] has the odd size 3; it is cut into two halves");
    let y = Softmin::new(-1).forward(&Tensor::new([0f64, 2f64.ln()])?)?.to_vec::<f64>()?;
    assert!((y[0] - 2.0 / 3.0).abs() < 1e-12);
    let y = Softmax2d.forward(&Tensor::randn([2, 3, 4, 5])?)?.sum_dim(1, false)?;
    assert!(y.to_vec::<f32>()?.iter().all(|&s| (s - 1.0).abs() < 1e-6));
    assert!(Softmax2d.forward(&Tensor::ones([2, 3])?).is_err());
    Ok(())
}

#[test]
fn prelu_learns_a_slope_for_each_channel() -> Result<()> {
    let layer = PReLU::new(2).init(0.5).build()?;
    let x = Tensor::new([[-2f32, -4.0], [3.0, -6.0]])?;
    let y = layer.forward(&x)?;
    assert_eq!(y.to_vec::<f32>()?, [-1.0, -2.0, 3.0, -3.0]);
    y.sum()?.backward()?;
    assert_eq!(layer.weight.grad().expect("learned").to_vec::<f32>()?, [-2.0, -10.0]);
    assert_eq!(layer.forward(&Tensor::ones([2, 2, 3, 3])?)?.shape(), &[2, 2, 3, 3]);
    let error = layer.forward(&Tensor::ones([2, 3])?).unwrap_err().to_string();
    assert!(
        error.contains("weight [2] for input [2, 3]; it has one element, or one for each of 3 channels"),
        "{error}"
    );
    assert!(layer.forward(&Tensor::ones([2])?).is_err());
    assert_eq!(PReLU::new(1).build()?.forward(&Tensor::new(-4f32)?)?.item()?, -1.0);
    assert!(PReLU::new(0).build().is_err());
    Ok(())
}

#[test]
fn options_without_sense_are_refused() {
    let x = Tensor::ones([2]).unwrap();
    assert!(f::celu(&x, 0.0).is_err() && f::celu(&x, f64::NAN).is_err());
    assert!(f::softshrink(&x, -1.0).is_err() && f::softshrink(&x, f64::NAN).is_err());
}
