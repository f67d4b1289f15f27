//! Names, order, sharing, loading and errors of modules.

use std::sync::Arc;

use gabor_nn::{Flatten, Forward, Linear, Module, ReLU, Sequential, Training, seq};
use tensor::{DType, Parameter, Result, State, Tensor};

#[derive(Module)]
struct Block<A, const N: usize, B = ReLU>
where
    A: Send,
{
    late: A,
    scale: Parameter,
    #[module(skip)]
    #[allow(dead_code, reason = "shows that a field can be left out")]
    history: std::collections::BTreeMap<usize, (u8, u8)>,
    steps: State,
    many: Vec<B>,
    shift: Option<Parameter>,
    r#type: usize,
    training: Training,
}

#[derive(Module)]
struct Tuple(Linear, #[module(skip)] std::cell::Cell<fn(i32) -> i32>, [Parameter; 2]);

#[derive(Module)]
struct Unit;

#[derive(Module)]
struct Borrowed<'a, M: Module + ?Sized + 'a>(&'a M);

fn names(module: &dyn Module) -> Vec<String> {
    module.state_dict().into_iter().map(|(name, _)| name).collect()
}

fn parameter(shape: &[usize]) -> Result<Parameter> {
    Parameter::new(Tensor::zeros(shape)?)
}

fn block() -> Result<Block<Linear, 3, Linear>> {
    Ok(Block {
        late: Linear::new(2, 2).build()?,
        scale: parameter(&[2])?,
        history: std::collections::BTreeMap::new(),
        steps: State::new(Tensor::new(0i64)?),
        many: vec![Linear::new(2, 3).bias(false).build()?, Linear::new(3, 2).bias(false).build()?],
        shift: Some(parameter(&[2])?),
        r#type: 7,
        training: Training::default(),
    })
}

#[test]
fn names_come_in_pytorchs_order() -> Result<()> {
    let module = block()?;
    let expected = ["scale", "shift", "steps", "late.weight", "late.bias", "many.0.weight", "many.1.weight"];
    assert_eq!(names(&module), expected);
    assert_eq!(module.named_buffers().len(), 1);
    assert_eq!(module.num_parameters(), 2 + 2 + 4 + 2 + 6 + 6);
    assert_eq!(module.type_name(), "Block");
    assert_eq!(module.r#type, 7);

    let tuple = Tuple(Linear::new(1, 1).build()?, std::cell::Cell::new(|x| x), [parameter(&[1])?, parameter(&[1])?]);
    assert_eq!(names(&tuple), ["0.weight", "0.bias", "2.0", "2.1"]);
    assert_eq!(tuple.1.get()(1), 1);
    assert!(names(&Unit).is_empty());
    assert_eq!(names(&Borrowed(&tuple)), ["0.0.weight", "0.0.bias", "0.2.0", "0.2.1"]);
    Ok(())
}

#[test]
fn sequential_keys_are_positions() -> Result<()> {
    let inner = seq![Linear::new(4, 4), ReLU]?;
    let net = seq![Flatten, inner, Linear::new(4, 2).bias(false)]?;
    assert_eq!(names(&net), ["1.0.weight", "1.0.bias", "2.weight"]);
    assert_eq!(format!("{net:?}"), "Sequential(0: Flatten, 1: Sequential, 2: Linear)");
    let empty: Sequential = seq![]?;
    assert!(empty.is_empty());
    Ok(())
}

#[test]
fn shared_parameters_are_listed_once() -> Result<()> {
    let shared = Linear::new(3, 3).build()?;
    let net = seq![shared.clone(), ReLU, shared.clone()]?;
    assert_eq!(net.parameters().len(), 2);
    assert_eq!(net.num_parameters(), 12);
    assert_eq!(names(&net), ["0.weight", "0.bias", "2.weight", "2.bias"], "PyTorch saves both names");
    net.forward(&Tensor::ones([1, 3])?)?.sum()?.backward()?;
    let bias = shared.bias.as_ref().and_then(Parameter::grad);
    assert!(bias.is_some());
    net.zero_grad();
    assert!(shared.weight.grad().is_none());

    let layer = Arc::new(Linear::new(3, 3).build()?);
    assert_eq!(seq![layer.clone(), layer]?.num_parameters(), 12);
    Ok(())
}

#[test]
fn loading_lists_every_misfit_and_changes_nothing() -> Result<()> {
    let net = seq![Linear::new(2, 3), Linear::new(3, 1)]?;
    let before = net.state_dict();
    let state = vec![
        ("0.weigth".to_owned(), Tensor::ones([3, 2])?),
        ("0.bias".to_owned(), Tensor::ones([3])?),
        ("1.weight".to_owned(), Tensor::ones([1, 4])?),
        ("1.bias".to_owned(), Tensor::ones([1])?),
        ("optimizer".to_owned(), Tensor::ones([1])?),
    ];
    let error = net.load_state_dict(&state, true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "load_state_dict: the state does not fit the module, 1 missing, 2 unexpected, 1 misshapen\n  \
         missing 0.weight [3, 2]; the state has 0.weigth\n  \
         unexpected 0.weigth [3, 2]; the module has 0.weight\n  \
         unexpected optimizer [1]\n  \
         misshapen 1.weight, the state has [1, 4] and the module [1, 3]"
    );
    assert!(net.load_state_dict(&state, false).is_err(), "a wrong shape is never ignored");
    for ((_, a), (_, b)) in before.iter().zip(net.state_dict()) {
        assert_eq!(a.to_vec::<f32>()?, b.to_vec::<f32>()?);
    }

    let report = net.load_state_dict(&[state[1].clone(), state[4].clone()], false)?;
    assert_eq!(report.missing, ["0.weight", "1.weight", "1.bias"]);
    assert_eq!(report.unexpected, ["optimizer"]);
    assert_eq!(net.state_dict()[1].1.to_vec::<f32>()?, [1.0; 3]);

    let double =
        net.state_dict().into_iter().map(|(n, t)| Ok((n, t.to_dtype(DType::F64)?))).collect::<Result<Vec<_>>>()?;
    net.load_state_dict(&double, true)?;
    assert_eq!(net.state_dict()[0].1.dtype(), DType::F32, "numbers are converted to the module's dtype");
    Ok(())
}

#[test]
fn switches_and_freezing_reach_every_layer() -> Result<()> {
    let module = Arc::new(block()?);
    module.eval();
    assert!(!module.training.get());
    module.train();
    assert!(module.training.get());
    module.requires_grad_(false);
    assert!(module.parameters().iter().all(|p| !p.requires_grad()));
    assert!(!module.late.forward(&Tensor::ones([1, 2])?)?.requires_grad());
    module.requires_grad_(true);
    module.to_dtype(DType::F64)?;
    assert_eq!(module.late.forward(&Tensor::full([1, 2], 1f64)?)?.dtype(), DType::F64);
    assert_eq!(module.steps.tensor().dtype(), DType::I64, "counts stay counts");
    assert!(module.to_dtype(DType::I64).is_err());
    Ok(())
}

#[test]
fn errors_name_the_path_of_the_layer() -> Result<()> {
    let net = seq![Flatten, seq![Linear::new(400, 120), ReLU]?]?;
    let error = net.forward(&Tensor::zeros([64, 16, 4, 4])?).unwrap_err();
    assert_eq!(
        error.to_string(),
        "linear `1.0`: input has 256 features (shape [64, 256]), the weight expects 400; \
         use Linear::new(256, 120) or change what comes before"
    );
    let error = seq![Linear::new(400, 10)]?.forward(&Tensor::zeros([64, 16, 5, 5])?).unwrap_err();
    assert_eq!(
        error.to_string(),
        "linear `0`: input has 5 features (shape [64, 16, 5, 5]), the weight expects 400; did you forget Flatten?"
    );
    let error = seq![ReLU, Linear::new(0, 3)].unwrap_err();
    assert_eq!(error.to_string(), "linear `1`: in_features is 0; it must be at least 1");
    Ok(())
}
