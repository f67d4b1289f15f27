//! What the yardstick, the criterion benches and the golden runner share: PyTorch's calls, nets and optimizers read from
//! JSON at run time.
//!
//! A net is a list of layers, each an object with PyTorch's class name under `type` and its arguments under their own
//! names. An argument that is not understood is an error, never silence.
#![forbid(unsafe_code)]

mod arguments;
mod layers;
mod optimizer;
pub mod roofs;

pub use arguments::{Arguments, Refusal};
pub use layers::net;
pub use optimizer::optimizer;

/// The processor's name, with its family and model where the system tells them.
pub fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let of =
            |line: &str| line.split_once(':').filter(|(key, _)| key.trim() == name).map(|(_, v)| v.trim().to_owned());
        info.lines().find_map(of)
    };
    match (field("model name"), field("cpu family"), field("model")) {
        (Some(name), Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        _ => std::env::consts::ARCH.to_owned(),
    }
}
