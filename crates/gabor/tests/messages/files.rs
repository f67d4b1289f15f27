//! State and files.

use super::{Case::*, Row, zeros};
use gabor::prelude::*;

pub(crate) const ROWS: &[Row] = &[
    Row(
        77,
        "keys of other names",
        Says(
            || {
                let net = seq![Linear::new(2, 3)]?;
                net.load_state_dict(&[("0.weigth".into(), zeros([3, 2])?), ("extra".into(), zeros([1])?)], true)
                    .map(drop)
            },
            "load_state_dict: the state does not fit the module, 2 missing, 2 unexpected\n  \
             missing 0.weight [3, 2]; the state has 0.weigth\n  \
             missing 0.bias [3]\n  \
             unexpected 0.weigth [3, 2]; the module has 0.weight\n  \
             unexpected extra [1]",
        ),
    ),
    Row(
        77,
        "keys of a wrapped model",
        Says(
            || {
                let net = seq![Linear::new(2, 3)]?;
                let wrapped: Vec<_> =
                    net.state_dict().into_iter().map(|(name, t)| (format!("module.{name}"), t)).collect();
                net.load_state_dict(&wrapped, true).map(drop)
            },
            "load_state_dict: the state does not fit the module, 2 missing, 2 unexpected; the names of the state begin with `module.`, take it away\n  \
             missing 0.weight [3, 2]; the state has module.0.weight\n  \
             missing 0.bias [3]\n  \
             unexpected module.0.weight [3, 2]; the module has 0.weight\n  \
             unexpected module.0.bias [3]",
        ),
    ),
    Row(
        77,
        "keys of a part of the model",
        Says(
            || {
                let (net, part) = (seq![seq![Linear::new(2, 3).bias(false)]?]?, seq![Linear::new(2, 3).bias(false)]?);
                net.load_state_dict(&part.state_dict(), true).map(drop)
            },
            "load_state_dict: the state does not fit the module, 1 missing, 1 unexpected; the names of the module begin with `0.`, put it before those of the state\n  \
             missing 0.0.weight [3, 2]; the state has 0.weight\n  \
             unexpected 0.weight [3, 2]; the module has 0.0.weight",
        ),
    ),
    Row(
        78,
        "entries of other shapes",
        Says(
            || {
                let (big, small) = (seq![Linear::new(3, 4)]?, seq![Linear::new(2, 3)]?);
                small.load_state_dict(&big.state_dict(), true).map(drop)
            },
            "load_state_dict: the state does not fit the module, 2 misshapen\n  \
             misshapen 0.weight, the state has [4, 3] and the module [3, 2]\n  \
             misshapen 0.bias, the state has [4] and the module [3]",
        ),
    ),
    Row(
        79,
        "a data set that is not there",
        Says(
            || Mnist::load("/nowhere", Split::Train).map(drop),
            "mnist: no data set in /nowhere/MNIST/raw or /nowhere; put the four files train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte there, gzipped or not (from http://ossci-datasets.s3.amazonaws.com/mnist/ or http://yann.lecun.com/exdb/mnist/), or download them with the feature `download`",
        ),
    ),
    Row(
        80,
        "a download with another checksum",
        Elsewhere(
            "crates/data/src/download/tests.rs",
            "the checksum of the 13 bytes is b86ddfb61d985fab4b15ef4dc65ea28f, expected ",
        ),
    ),
    Row(
        81,
        "a pickle with code in it",
        Says(
            || gabor::io::Archive::from_bytes(b"PK\x03\x04archive/data.pkl").map(drop),
            "load: a pickle, which may hold code, as torch.save writes; save the state dict in Python with safetensors.torch.save_file",
        ),
    ),
];
