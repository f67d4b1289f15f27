//! Hooks see and replace what goes through layers, by path.

use std::sync::{Arc, Mutex};

use gabor_nn::{
    BatchNorm2d, Conv2d, Dropout, Flatten, Forward, HookHandle, Hooked, Linear, MaxPool2d, Module, ReLU, Sequential,
    seq, summary,
};
use tensor::{Error, Result, Tensor};

#[derive(Module)]
struct Block {
    conv: Conv2d,
    norm: BatchNorm2d,
    act: Hooked<ReLU>,
    bare: ReLU,
}

impl Forward for Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.act.forward(&self.norm.forward(&self.conv.forward(x)?)?)
    }
}

#[derive(Module)]
struct Net {
    blocks: Vec<Hooked<Block>>,
    pool: MaxPool2d,
    drop: Dropout,
    head: Sequential,
}

impl Forward for Net {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        self.head.forward(&self.drop.forward(&self.pool.forward(&x)?)?)
    }
}

fn block(inputs: usize) -> Result<Hooked<Block>> {
    let (conv, norm) = (Conv2d::new(inputs, 3, 3).padding(1).build()?, BatchNorm2d::new(3).build()?);
    Ok(Hooked::new(Block { conv, norm, act: Hooked::new(ReLU), bare: ReLU }))
}

fn net() -> Result<Net> {
    Ok(Net {
        blocks: vec![block(1)?, block(3)?],
        pool: MaxPool2d::new(2),
        drop: Dropout::new(0.5),
        head: seq![Flatten, seq![Linear::new(12, 4), ReLU]?, Linear::new(4, 2)]?,
    })
}

#[test]
fn every_layer_of_a_struct_and_of_a_sequential_is_seen_in_order() -> Result<()> {
    let net = net()?;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut handles: Vec<HookHandle> = Vec::new();
    for (path, _) in net.named_modules() {
        if path.is_empty() || path == "blocks" || path.ends_with("bare") {
            assert!(net.register_forward_hook(&path, |_, _| Ok(None)).is_err(), "{path}");
            continue;
        }
        let (seen, name) = (seen.clone(), path.clone());
        handles.push(net.register_forward_hook(&path, move |x, y| {
            seen.lock().unwrap().push((name.clone(), x.shape().to_vec(), y.shape().to_vec()));
            Ok(None)
        })?);
    }
    let x = Tensor::ones([2, 1, 4, 4])?;
    net.forward(&x)?;
    let order: Vec<String> = seen.lock().unwrap().drain(..).map(|(name, _, _)| name).collect();
    let expected = [
        "blocks.0.conv",
        "blocks.0.norm",
        "blocks.0.act",
        "blocks.0",
        "blocks.1.conv",
        "blocks.1.norm",
        "blocks.1.act",
        "blocks.1",
        "pool",
        "drop",
        "head.0",
        "head.1.0",
        "head.1.1",
        "head.1",
        "head.2",
        "head",
    ];
    assert_eq!(order, expected);
    handles.drain(..).for_each(|handle| handle.remove());
    net.forward(&x)?;
    assert!(seen.lock().unwrap().is_empty());
    Ok(())
}

#[test]
fn outputs_and_inputs_are_replaced_with_their_gradients() -> Result<()> {
    let layer = Linear::new(1, 1).bias(false).build()?;
    layer.weight.set(&Tensor::new([[3f32]])?)?;
    let net = seq![layer.clone(), layer]?;
    let x = Tensor::new([[2f32]])?;
    assert_eq!(net.forward(&x)?.item()?, 18.0);
    let double = net.register_forward_hook("0", |x, y| Ok(Some(y.add(x)?)))?;
    assert_eq!(net.forward(&x)?.item()?, 24.0, "copies of a layer have hooks of their own");
    let shift = net.register_forward_pre_hook("0", |x| Ok(Some(x.add_scalar(1.0)?)))?;
    let more = net.register_forward_pre_hook("0", |x| Ok(Some(x.mul_scalar(10.0)?)))?;
    assert_eq!(net.forward(&x)?.item()?, 360.0, "in the order of registration; outputs see the new input");
    let whole = net.register_forward_hook("", |x, y| Ok(Some(y.add(x)?)))?;
    assert_eq!(net.forward(&x)?.item()?, 362.0);
    for handle in [shift, more, whole] {
        handle.remove();
        handle.remove();
    }
    net.zero_grad();
    net.forward(&x)?.sum()?.backward()?;
    // (w x + x) w: the slope in w is 2 w x + x.
    assert_eq!(net.parameters()[0].grad().unwrap().item()?, 14.0);
    double.remove();
    assert_eq!(net.forward(&x)?.item()?, 18.0);
    Ok(())
}

#[test]
fn a_shared_layer_has_one_list_of_hooks() -> Result<()> {
    let shared = Arc::new(Linear::new(2, 2).build()?);
    let net = seq![shared.clone(), shared]?;
    let count = Arc::new(Mutex::new(0));
    let own = count.clone();
    let handle = net.register_forward_hook("1", move |_, _| {
        *own.lock().unwrap() += 1;
        Ok(None)
    })?;
    net.forward(&Tensor::ones([1, 2])?)?;
    assert_eq!(*count.lock().unwrap(), 2);
    drop(net);
    handle.remove();
    Ok(())
}

#[test]
fn hooks_may_fail_and_may_remove_themselves() -> Result<()> {
    let net = net()?;
    let handle = net.register_forward_hook("head.1.1", |_, _| Err(Error::custom("hook: too dark")))?;
    let x = Tensor::ones([2, 1, 4, 4])?;
    assert_eq!(net.forward(&x).unwrap_err().to_string(), "hook `head.1.1`: too dark");
    handle.remove();

    let own: Arc<Mutex<Option<HookHandle>>> = Arc::default();
    let (inside, count) = (own.clone(), Arc::new(Mutex::new(0)));
    let seen = count.clone();
    *own.lock().unwrap() = Some(net.register_forward_pre_hook("pool", move |_| {
        *seen.lock().unwrap() += 1;
        inside.lock().unwrap().take().expect("runs once").remove();
        Ok(None)
    })?);
    net.forward(&x)?;
    net.forward(&x)?;
    assert_eq!(*count.lock().unwrap(), 1);
    Ok(())
}

#[test]
fn a_place_without_hooks_says_so() -> Result<()> {
    let net = net()?;
    let text = |path: &str| net.register_forward_hook(path, |_, _| Ok(None)).unwrap_err().to_string();
    assert_eq!(
        text("blocks.1.bare"),
        "register_forward_hook: `blocks.1.bare` is a ReLU and keeps no hooks; wrap the field in Hooked"
    );
    assert_eq!(text("head.3"), "register_forward_hook: `head` is a Sequential and has no `3`; it has 0, 1, 2");
    assert!(text("").starts_with("register_forward_hook: the module is a Net and keeps no hooks"));
    Ok(())
}

#[test]
fn a_wrapped_layer_keeps_its_names_and_methods() -> Result<()> {
    let net = net()?;
    assert_eq!(net.state_dict()[0].0, "blocks.0.conv.weight");
    assert_eq!(net.blocks[0].conv.options().stride.h, 1);
    assert!(net.get_submodule("blocks.0")?.downcast_ref::<Block>().is_some());
    assert_eq!(net.blocks[1].type_name(), "Block");
    let error = net.call(&Tensor::ones([2, 1, 5])?).unwrap_err().to_string();
    assert!(error.contains("`blocks.0.conv`"), "{error}");
    Ok(())
}

#[test]
fn a_summary_lists_shapes_and_leaves_no_trace() -> Result<()> {
    let net = net()?;
    net.get_submodule("head")?.requires_grad_(false);
    let before = net.state_dict();
    let found = summary(&net, &[2, 1, 4, 4])?;
    let row = |path: &str| found.rows.iter().find(|row| row.path == path).expect("it is listed");
    let shape = |path: &str| row(path).output.as_ref().map(|shape| shape.to_vec());
    assert_eq!(found.rows.len(), net.named_modules().len());
    assert_eq!(shape(""), Some(vec![2, 2]));
    assert_eq!(shape("blocks.1.norm"), Some(vec![2, 3, 4, 4]));
    assert_eq!(shape("head.1.1"), Some(vec![2, 4]));
    assert_eq!((shape("blocks.0.bare"), row("blocks.0.bare").parameters), (None, 0));
    assert_eq!((row("blocks.0.conv").parameters, row("blocks.0").parameters), (30, 0));
    assert_eq!((found.parameters, found.trainable), (net.num_parameters(), net.num_parameters() - 62));
    for ((name, a), (_, b)) in before.iter().zip(net.state_dict()) {
        assert_eq!(
            a.to_dtype(tensor::DType::F64)?.to_vec::<f64>()?,
            b.to_dtype(tensor::DType::F64)?.to_vec::<f64>()?,
            "{name}"
        );
    }
    let text = summary(&net, &[2, 2, 4, 4]).unwrap_err().to_string();
    assert!(text.contains("`blocks.0.conv`"), "{text}");
    let shared = Arc::new(Linear::new(2, 2).build()?);
    let twice = summary(&seq![shared.clone(), shared]?, &[1, 2])?;
    assert_eq!((twice.parameters, twice.rows.len()), (6, 2));
    Ok(())
}
