//! Optimizers.

use super::{Case::*, Row, zeros};
use gabor::Lint;
use gabor::prelude::*;

fn weight() -> Result<Vec<Parameter>> {
    Ok(vec![Parameter::new(zeros([2])?)?])
}

fn net() -> Result<Sequential> {
    seq![Linear::new(3, 2), ReLU, Linear::new(2, 1)]
}

fn backward(net: &Sequential) -> Result<()> {
    net.forward(&Tensor::ones([2, 3])?)?.sum()?.backward()
}

pub(crate) const ROWS: &[Row] = &[
    Row(
        53,
        "a learning rate below 0",
        Says(
            || SGD::new(weight()?, -0.1).build().map(drop),
            "SGD: lr is -0.1; use a finite number that is not negative",
        ),
    ),
    Row(
        53,
        "a learning rate of NaN",
        Says(
            || Adam::new(weight()?, f64::NAN).build().map(drop),
            "Adam: lr is NaN; use a finite number that is not negative",
        ),
    ),
    Row(
        53,
        "an infinite learning rate, later",
        Says(
            || SGD::new(weight()?, 0.1).build()?.set_lr(f64::INFINITY),
            "SGD: lr is inf; use a finite number that is not negative",
        ),
    ),
    Row(
        54,
        "momentum below 0",
        Says(
            || SGD::new(weight()?, 0.1).momentum(-0.5).build().map(drop),
            "SGD: momentum is -0.5; use a finite number that is not negative",
        ),
    ),
    Row(
        54,
        "momentum above 1",
        Warns(
            || SGD::new(weight()?, 0.1).momentum(9.0).build().map(drop),
            Lint::MomentumAboveOne,
            "SGD: momentum is 9, steps grow without end; use a number below 1, such as 0.9",
        ),
    ),
    Row(
        54,
        "a beta of 1",
        Says(
            || Adam::new(weight()?, 0.1).betas((0.9, 1.0)).build().map(drop),
            "Adam: beta2 is 1; use a number from 0 up to, without, 1",
        ),
    ),
    Row(
        55,
        "weight decay below 0",
        Says(
            || AdamW::new(weight()?, 0.1).weight_decay(-1e-4).build().map(drop),
            "AdamW: weight_decay is -0.0001; use a finite number that is not negative",
        ),
    ),
    Row(
        55,
        "weight decay of NaN in a group",
        Says(
            || SGD::new(weight()?, 0.1).group(weight()?, GroupOptions::new().weight_decay(f64::NAN)).build().map(drop),
            "SGD: group 1: weight_decay is NaN; use a finite number that is not negative",
        ),
    ),
    Row(
        56,
        "nesterov without momentum",
        Says(
            || SGD::new(weight()?, 0.1).nesterov(true).build().map(drop),
            "SGD: nesterov needs a momentum and no dampening, momentum is 0 and dampening 0; set momentum(0.9) and dampening(0.0)",
        ),
    ),
    Row(
        56,
        "nesterov with dampening",
        Says(
            || SGD::new(weight()?, 0.1).momentum(0.9).dampening(0.5).nesterov(true).build().map(drop),
            "SGD: nesterov needs a momentum and no dampening, momentum is 0.9 and dampening 0.5; set momentum(0.9) and dampening(0.0)",
        ),
    ),
    Row(
        57,
        "no parameters",
        Says(
            || SGD::new(seq![Flatten, ReLU]?.parameters(), 0.1).build().map(drop),
            "SGD: no parameters; is the module empty, or are all of its parameters frozen?",
        ),
    ),
    Row(
        58,
        "a parameter in two groups",
        Says(
            || {
                let net = net()?;
                SGD::new(net.parameters(), 0.1)
                    .group(net.layers()[2].parameters(), GroupOptions::new())
                    .build()
                    .map(drop)
            },
            "SGD: 2.weight [1, 2] is parameter 2 of group 0 and parameter 0 of group 1; name each parameter once",
        ),
    ),
    Row(
        58,
        "a parameter twice in one group",
        Says(
            || {
                let w = weight()?;
                SGD::new([w.clone(), w].concat(), 0.1).build().map(drop)
            },
            "SGD: the parameter of shape [2] is parameter 0 of group 0 and parameter 1 of group 0; name each parameter once",
        ),
    ),
    Row(59, "a tensor that is a result", Impossible("optimizers take Parameters, which are leaves always")),
    Row(
        60,
        "step before backward",
        Warns(
            || SGD::new(net()?.parameters(), 0.1).build()?.step(),
            Lint::NothingToStep,
            "SGD: step() moves nothing, no parameter has a gradient; call zero_grad(), backward() and step() in this order",
        ),
    ),
    Row(
        60,
        "forgotten zero_grad",
        Warns(
            || {
                let net = net()?;
                let mut sgd = SGD::new(net.parameters(), 0.1).build()?;
                for _ in 0..3 {
                    backward(&net)?;
                    sgd.step()?;
                }
                Ok(())
            },
            Lint::GradientsNotZeroed,
            "SGD: step() uses a gradient of 0.weight [2, 3] that a step before has used; call zero_grad() before backward()",
        ),
    ),
    Row(
        61,
        "the state of another optimizer",
        Says(
            || {
                let net = net()?;
                let state = SGD::new(net.parameters(), 0.1).build()?.state_dict()?;
                Adam::new(net.parameters(), 0.1).build()?.load_state_dict(&state)
            },
            "Adam: the state is that of SGD; load it into the kind that saved it",
        ),
    ),
    Row(
        61,
        "the state of another net",
        Says(
            || {
                let (saved, here) = (net()?, seq![Linear::new(4, 2)]?);
                let build = |net: &Sequential| SGD::new(net.parameters(), 0.1).momentum(0.9).build();
                let (mut old, mut new) = (build(&saved)?, build(&here)?);
                backward(&saved)?;
                old.step()?;
                new.load_state_dict(&old.state_dict()?)
            },
            "SGD: the state does not fit: group 0 has 2 parameters here and 4 in the state, state.0.momentum_buffer is f32 [2, 3] and 0.weight f32 [2, 4], 2 numbers belong to nothing here (it has 1 groups), 2 tensors belong to nothing here; build it as it was when saved",
        ),
    ),
    Row(
        62,
        "a gradient of NaN",
        Says(
            || {
                let net = net()?;
                backward(&net)?;
                let bias = &net.parameters()[3];
                bias.set_grad(&Tensor::new([f32::NAN])?)?;
                gabor::optim::clip_grad_norm_checked_(&net.parameters(), 1.0, 2.0).map(drop)
            },
            "clip_grad_norm_: the total norm of order 2 is NaN, in the gradient of 2.bias [1]; lower the learning rate, or look for a division by 0",
        ),
    ),
];
