//! Errors of layers name the path of the layer, without a word in the user's code.

use gabor_nn::{
    AvgPool2d, BatchNorm2d, Conv2d, Dropout, Flatten, Forward, Linear, MaxPool2d, Module, ReLU, Sequential, seq,
};
use tensor::{DType, Error, Parameter, Result, Tensor};

#[derive(Module)]
struct LeNet {
    conv1: Conv2d,
    pool: MaxPool2d,
    fc1: Linear,
}

impl Forward for LeNet {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.pool.forward(&self.conv1.forward(x)?.relu()?)?;
        self.fc1.forward(&x.flatten(1, -1)?)
    }
}

#[derive(Module)]
struct Ensemble {
    first: LeNet,
    many: Vec<LeNet>,
    extra: Option<Box<LeNet>>,
    head: Sequential,
}

impl Forward for Ensemble {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = self.first.forward(x)?;
        for net in self.many.iter().chain(self.extra.as_deref()) {
            y = y.add(&net.forward(x)?)?;
        }
        self.head.forward(&y)
    }
}

fn lenet(features: usize) -> Result<LeNet> {
    Ok(LeNet { conv1: Conv2d::new(1, 2, 3).build()?, pool: MaxPool2d::new(2), fc1: Linear::new(features, 4).build()? })
}

fn ensemble(features: [usize; 4]) -> Result<Ensemble> {
    let [a, b, c, d] = features;
    Ok(Ensemble {
        first: lenet(a)?,
        many: vec![lenet(18)?, lenet(b)?],
        extra: Some(Box::new(lenet(c)?)),
        head: seq![ReLU, seq![Linear::new(d, 2)]?]?,
    })
}

fn image(size: usize) -> Result<Tensor> {
    Tensor::zeros([3, 1, size, size])
}

/// What stands before the colon: the operation and the place.
fn place(result: Result<Tensor>) -> String {
    let text = result.unwrap_err().to_string();
    text.split_once(": ").unwrap().0.to_owned()
}

#[test]
fn a_walk_through_the_model_tells_each_layer_its_path() -> Result<()> {
    type Walk = fn(&Ensemble);
    let walks: [Walk; 5] = [
        |net| drop(net.parameters()),
        |net| drop(net.state_dict()),
        |net| net.train(),
        |net| net.eval(),
        |net| net.zero_grad(),
    ];
    for walk in walks {
        for (features, path) in [
            ([9, 18, 18, 4], "linear `first.fc1`"),
            ([18, 9, 18, 4], "linear `many.1.fc1`"),
            ([18, 18, 9, 4], "linear `extra.fc1`"),
            ([18, 18, 18, 5], "linear `head.1.0`"),
        ] {
            let net = ensemble(features)?;
            walk(&net);
            assert_eq!(place(net.forward(&image(8)?)), path);
        }
        let net = ensemble([18, 18, 18, 4])?;
        walk(&net);
        assert_eq!(place(net.forward(&image(2)?)), "conv2d `first.conv1`");
        assert_eq!(place(net.forward(&image(3)?)), "max_pool2d `first.pool`");
        assert_eq!(place(net.forward(&image(8)?.to_dtype(DType::U8)?)), "conv2d `first.conv1`");
        net.forward(&image(8)?)?;
    }
    Ok(())
}

#[test]
fn call_finds_the_path_without_a_walk_before() -> Result<()> {
    let net = ensemble([18, 9, 18, 4])?;
    assert_eq!(place(net.call(&image(8)?)), "linear `many.1.fc1`");
    let net: Box<dyn Forward> = Box::new(ensemble([18, 18, 18, 5])?);
    assert_eq!(place(net.call(&image(8)?)), "linear `head.1.0`");
    assert_eq!(ensemble([18, 18, 18, 4])?.call(&image(8)?)?.shape(), &[3, 2]);
    Ok(())
}

#[test]
fn a_sequential_knows_its_layers_and_what_is_inside_of_them() -> Result<()> {
    let net = seq![ReLU, seq![Dropout::new(0.1), lenet(9)?]?]?;
    let error = net.forward(&image(8)?).unwrap_err();
    assert_eq!(error.layer().as_deref(), Some("1.1.fc1"));
    assert_eq!(place(Err(error)), "linear `1.1.fc1`");
    // Flatten has no parameter and no label: the path of the container and the position are enough.
    let net = seq![ReLU, seq![ReLU, Flatten]?]?;
    assert_eq!(place(net.forward(&Tensor::zeros([3])?)), "flatten `1.1`");
    net.eval();
    assert_eq!(place(net.forward(&Tensor::zeros([3])?)), "flatten `1.1`");

    #[derive(Module)]
    struct Net {
        features: Sequential,
    }
    let net = Net { features: seq![BatchNorm2d::new(1), AvgPool2d::new(9), seq![Flatten]?]? };
    assert_eq!(place(net.features.forward(&image(4)?)), "avg_pool2d `1`");
    net.eval();
    assert_eq!(place(net.features.forward(&image(4)?)), "avg_pool2d `features.1`");
    assert_eq!(place(net.features.layers()[2].forward(&Tensor::zeros([3])?)), "flatten `features.2.0`");
    Ok(())
}

#[test]
fn the_longest_path_wins_and_prefixes_do_not_double() -> Result<()> {
    let net = ensemble([9, 18, 18, 4])?;
    net.first.parameters();
    assert_eq!(place(net.forward(&image(8)?)), "linear `fc1`");
    net.parameters();
    net.first.zero_grad();
    assert_eq!(place(net.forward(&image(8)?)), "linear `first.fc1`");

    let error = |net: &LeNet| net.forward(&Tensor::zeros([3, 1, 8, 8]).unwrap()).unwrap_err();
    let alone = lenet(9)?;
    assert_eq!(error(&alone).in_layer("left").layer().as_deref(), Some("left"));
    alone.eval();
    assert_eq!(error(&alone).in_layer("left").layer().as_deref(), Some("left.fc1"));
    assert_eq!(error(&net.first).in_layer("first").layer().as_deref(), Some("first.fc1"), "it is there already");

    // A layer that was cloned stands in two places.
    #[derive(Module)]
    struct Pair {
        a: Linear,
        b: Linear,
    }
    let a = Linear::new(2, 2).build()?;
    let pair = Pair { b: a.clone(), a };
    pair.eval();
    assert_eq!(place(pair.a.forward(&Tensor::zeros([1, 3])?)), "linear `a`");
    assert_eq!(place(pair.b.forward(&Tensor::zeros([1, 3])?)), "linear `b`");
    Ok(())
}

#[test]
fn without_a_path_the_line_of_the_call_is_named() -> Result<()> {
    let layer = Linear::new(400, 10).build()?;
    let (error, line) = (layer.forward(&Tensor::zeros([1, 2])?).unwrap_err(), line!());
    assert_eq!(error.layer(), None);
    assert_eq!(place(Err(error)), format!("linear at {}:{line}", file!()));
    let (error, line) = (Flatten.forward(&Tensor::zeros([2])?).unwrap_err(), line!());
    assert_eq!(place(Err(error)), format!("flatten at {}:{line}", file!()));
    let boxed: Box<dyn Forward> = Box::new(layer);
    let (error, line) = (boxed.forward(&Tensor::zeros([1, 2])?).unwrap_err(), line!());
    assert_eq!(place(Err(error.clone())), format!("linear at {}:{line}", file!()));
    assert!(matches!(error.without_layer(), Error::Shape { op: "linear", .. }));
    Ok(())
}

#[test]
fn another_padding_is_proposed_where_it_is_enough() -> Result<()> {
    let advice = |net: &dyn Forward, size: usize| {
        let text = net.call(&image(size).unwrap()).unwrap_err().to_string();
        text.rsplit_once("; ").unwrap().1.to_owned()
    };
    let net = lenet(18)?;
    net.forward(&image(8)?)?;
    assert_eq!(advice(&net, 6), "use padding 1 in the conv2d with weight [2, 1, 3, 3], or Linear::new(8, 4)");
    assert_eq!(advice(&net, 6), "use padding 1 in `conv1`, or Linear::new(8, 4)", "the names are known now");
    assert_eq!(advice(&net, 12), "use Linear::new(50, 4) or change what comes before", "less padding than none");
    // Without a graph nothing is known of what came before.
    let plain = tensor::no_grad(|| advice(&net, 6));
    assert_eq!(plain, "use Linear::new(8, 4) or change what comes before");

    #[derive(Module)]
    struct Residual {
        conv1: Conv2d,
        conv2: Conv2d,
        fc: Linear,
    }
    impl Forward for Residual {
        fn forward(&self, x: &Tensor) -> Result<Tensor> {
            let x = self.conv1.forward(x)?;
            let y = self.conv2.forward(&x)?.add(&x)?;
            self.fc.forward(&y.flatten(1, -1)?)
        }
    }
    let same = || Conv2d::new(1, 1, 3).padding(1).build();
    let net = Residual { conv1: same()?, conv2: same()?, fc: Linear::new(16, 1).build()? };
    assert_eq!(
        advice(&net, 6),
        "use Linear::new(36, 1) or change what comes before",
        "both branches would have to change"
    );
    Ok(())
}

/// A layer of a user, who knows nothing of labels.
#[derive(Module)]
struct ChannelScale {
    weight: Parameter,
}

impl Forward for ChannelScale {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.mul(&self.weight.tensor())
    }
}

#[test]
fn a_layer_of_ones_own_is_known_by_its_parameters() -> Result<()> {
    #[derive(Module)]
    struct Net {
        conv: Conv2d,
        scale: ChannelScale,
        head: Parameter,
    }
    impl Forward for Net {
        fn forward(&self, x: &Tensor) -> Result<Tensor> {
            self.scale.forward(&self.conv.forward(x)?)?.flatten(1, -1)?.matmul(&self.head.tensor())
        }
    }
    let scale =
        |channels: usize| Ok::<_, Error>(ChannelScale { weight: Parameter::new(Tensor::ones([channels, 1, 1])?)? });
    let net = |channels: usize| {
        let head = Parameter::new(Tensor::ones([7, 2])?)?;
        Ok::<_, Error>(Net { conv: Conv2d::new(1, 2, 3).build()?, scale: scale(channels)?, head })
    };
    let wrong = net(3)?;
    assert_eq!(place(wrong.forward(&image(4)?)), "mul", "nobody has asked for the parameters yet");
    assert_eq!(place(wrong.call(&image(4)?)), "mul `scale`");
    assert_eq!(place(seq![ReLU, net(3)?]?.forward(&image(4)?)), "mul `1.scale`");
    assert_eq!(place(seq![Conv2d::new(1, 2, 3), scale(3)?]?.forward(&image(4)?)), "mul `1`");
    // A parameter of the model itself, which is no layer.
    let root = net(2)?;
    root.eval();
    assert_eq!(place(root.forward(&image(4)?)), "matmul");
    assert_eq!(place(seq![ReLU, root]?.forward(&image(4)?)), "matmul `1`");
    Ok(())
}
