//! Submodules by name and path, `apply`, lists of layers, and states that somebody has tampered with.

use std::sync::Arc;

use gabor_nn::{
    Conv2d, Flatten, Forward, Linear, Module, ModuleDict, ModuleList, ReLU, Sequential, Training, init, seq,
};
use tensor::{Error, Parameter, Result, State, Tensor};

#[derive(Module)]
struct Net {
    features: Sequential,
    extra: Option<Linear>,
    none: Option<Linear>,
    heads: Vec<Box<dyn Forward>>,
    scale: Parameter,
    count: State,
    training: Training,
    width: usize,
    sizes: Vec<usize>,
}

fn net() -> Result<Net> {
    Ok(Net {
        features: seq![Conv2d::new(1, 2, 3), ReLU, ReLU, Flatten]?,
        extra: Some(Linear::new(2, 2).build()?),
        none: None,
        heads: vec![Box::new(Linear::new(2, 1).build()?), Box::new(seq![ReLU]?)],
        scale: Parameter::new(Tensor::ones([1])?)?,
        count: State::new(Tensor::new(0i64)?),
        training: Training::default(),
        width: 2,
        sizes: vec![],
    })
}

fn names(module: &dyn Module) -> Vec<String> {
    module.named_modules().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn modules_come_in_pytorchs_order() -> Result<()> {
    let net = net()?;
    assert_eq!((net.width, net.sizes.len(), net.training.get(), net.none.is_none()), (2, 0, true, true));
    let expected = [
        "",
        "features",
        "features.0",
        "features.1",
        "features.2",
        "features.3",
        "extra",
        "heads",
        "heads.0",
        "heads.1",
        "heads.1.0",
    ];
    assert_eq!(names(&net), expected);
    assert_eq!(net.named_children().into_iter().map(|(n, _)| n).collect::<Vec<_>>(), ["features", "extra", "heads"]);
    assert_eq!(net.children().len(), 3);
    let types: Vec<&str> = net.modules().into_iter().map(Module::type_name).collect();
    assert_eq!(types[..3], ["Net", "Sequential", "Conv2d"]);
    assert_eq!(types[8], "Linear", "a box shows what is in it");
    assert_eq!(net.count.tensor().item()?, 0.0);
    assert_eq!(net.scale.shape().to_vec(), [1]);
    Ok(())
}

#[test]
fn shared_modules_are_listed_once_and_values_without_size_each_time() -> Result<()> {
    let shared = Arc::new(Linear::new(2, 2).build()?);
    let net = seq![shared.clone(), ReLU, shared, ReLU]?;
    assert_eq!(names(&net), ["", "0", "1", "3"]);
    Ok(())
}

#[test]
fn paths_lead_to_modules_and_parameters() -> Result<()> {
    let net = net()?;
    let conv: &Conv2d = net.get_submodule("features.0")?.downcast_ref().expect("a convolution");
    assert_eq!(conv.weight.id(), net.get_parameter("features.0.weight")?.id());
    assert!(net.get_submodule("heads.0")?.downcast_ref::<Linear>().is_some());
    assert!(net.get_submodule("")?.downcast_ref::<Net>().is_some());
    assert_eq!(net.get_buffer("count")?.id(), net.count.id());
    let dynamic: &dyn Module = &net;
    assert_eq!(dynamic.get_submodule("heads.1.0")?.type_name(), "ReLU");

    assert_eq!(
        format!("{dynamic:?}"),
        "Net(features: Sequential(0: Conv2d, 1: ReLU, 2: ReLU, 3: Flatten), extra: Linear, heads: Vec(0: Linear, 1: Sequential(0: ReLU)))"
    );

    let text = |path: &str| net.get_submodule(path).unwrap_err().to_string();
    assert_eq!(
        text("feature"),
        "get_submodule: the module is a Net and has no `feature`; it has features, extra, heads"
    );
    assert_eq!(text("extra.0"), "get_submodule: `extra` is a Linear and has no `0`; it has nothing inside");
    assert!(net.get_submodule(".").is_err() && net.get_submodule("features.").is_err());
    let error = net.get_parameter("features.0.weights").unwrap_err();
    assert_eq!(error.to_string(), "get_parameter: there is no `features.0.weights`; perhaps `features.0.weight`");
    assert!(net.get_parameter("count").is_err(), "a buffer is no parameter");
    assert!(net.get_buffer("scale").is_err());
    Ok(())
}

#[test]
fn apply_calls_children_first() -> Result<()> {
    let net = net()?;
    let mut order = Vec::new();
    net.apply(|module| {
        order.push(module.type_name());
        match module.downcast_ref::<Linear>() {
            Some(linear) => init::constant_(&linear.weight, 3.0),
            None => Ok(()),
        }
    })?;
    assert_eq!(
        order,
        ["Conv2d", "ReLU", "ReLU", "Flatten", "Sequential", "Linear", "Linear", "ReLU", "Sequential", "Vec", "Net"]
    );
    assert_eq!(net.get_parameter("heads.0.weight")?.tensor().to_vec::<f32>()?, [3.0; 2]);
    assert_eq!(net.get_parameter("extra.weight")?.tensor().to_vec::<f32>()?, [3.0; 4]);
    let refuse = |module: &dyn Module| match module.type_name() {
        "Conv2d" => Err(Error::custom("no")),
        _ => Ok(()),
    };
    assert_eq!(net.apply(refuse).unwrap_err().to_string(), "`features.0`: no");
    let part = net.get_submodule("features")?;
    assert!((&part).apply(refuse).is_err());
    Ok(())
}

#[test]
fn lists_and_dicts_name_their_layers() -> Result<()> {
    let mut list = ModuleList::new();
    list.push(Linear::new(2, 2))?;
    list.insert(0, ReLU)?;
    assert_eq!((list.len(), list.is_empty(), list.get(2).is_none()), (2, false, true));
    assert_eq!(list.state_dict()[0].0, "1.weight");
    assert_eq!(names(&list), ["", "0", "1"]);
    let error = list.insert(3, ReLU).unwrap_err().to_string();
    assert_eq!(error, "insert: position 3 of 2 layers; use push");
    assert!(list.push(Linear::new(0, 2)).unwrap_err().to_string().contains("`2`"));

    let mut dict = ModuleDict::new();
    dict.insert("b", Linear::new(2, 2))?;
    dict.insert("a", ReLU)?;
    dict.insert("b", Linear::new(2, 3).bias(false))?;
    assert_eq!(names(&dict), ["", "b", "a"]);
    assert_eq!(dict.state_dict().len(), 1);
    assert_eq!((dict.len(), dict.iter().count(), dict.is_empty()), (2, 2, false));
    assert!(dict.insert("a.b", ReLU).is_err() && dict.insert("", ReLU).is_err());
    Ok(())
}

#[test]
fn a_name_that_comes_twice_is_refused() -> Result<()> {
    let layer = Linear::new(1, 1).bias(false).build()?;
    let state = [("weight".to_owned(), Tensor::zeros([1, 1])?), ("weight".to_owned(), Tensor::ones([1, 1])?)];
    for strict in [true, false] {
        assert_eq!(
            layer.load_state_dict(&state, strict).unwrap_err().to_string(),
            "load_state_dict: the state does not fit the module, 1 twice\n  twice weight, the state has it more than once"
        );
    }
    Ok(())
}

#[test]
fn thousands_of_strange_names_are_listed_in_no_time() -> Result<()> {
    let one = Parameter::new(Tensor::ones([1])?)?;
    let module: Vec<Parameter> = vec![one; 5000];
    let value = Tensor::ones([1])?;
    let state: Vec<(String, Tensor)> = (0..5000).map(|i| (format!("{i}").repeat(40), value.clone())).collect();
    let start = std::time::Instant::now();
    let text = module.load_state_dict(&state, true).unwrap_err().to_string();
    assert!(text.starts_with("load_state_dict: the state does not fit the module, 5000 missing, 5000 unexpected"));
    // All pairs would be 10^11 comparisons of characters.
    assert!(start.elapsed().as_secs() < 20);

    let twice: Vec<(String, Tensor)> = state.iter().chain(&state).cloned().collect();
    let text = module.load_state_dict(&twice, true).unwrap_err().to_string();
    assert!(text.contains("5000 missing, 10000 unexpected, 5000 twice"), "{}", &text[..200]);

    let long = [("x".repeat(10_000_000), value)];
    assert!(Linear::new(1, 1).build()?.load_state_dict(&long, true).is_err());
    assert!(Linear::new(1, 1).build()?.get_parameter(&"x".repeat(10_000_000)).is_err());
    Ok(())
}
