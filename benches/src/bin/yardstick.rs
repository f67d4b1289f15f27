//! Times this framework on the cases of a file, one JSON line a timing: `{"case", "ms" (median), "min_ms", "iters"}`.
//!
//! usage: `yardstick [--cases FILE] [--only SUBSTRING] [--threads N] [--budget SECONDS]`
//!
//! A net is timed three ways: `train/NAME` (zero_grad, forward, cross entropy, backward, optimizer step), `infer/NAME` (its
//! batch) and `infer/NAME/b1` (one image). A convolution is timed as `fwd`, `bwd_data` and `bwd_weight` (bias gradient
//! included); a pool as `fwd` and `fwd_bwd`. The names are those of PyTorch's figures, so that a ratio is a join on `case`.
#![forbid(unsafe_code)]

use std::error::Error;
use std::time::{Duration, Instant};

use benches::{Arguments, optimizer};
use gabor::nn::functional::cross_entropy;
use gabor::nn::{Forward, Module};
use gabor::{AvgPoolOptions, Conv2dOptions, GradOptions, Pair, Parameter, PoolOptions, Tensor, no_grad};
use serde_json::Value;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// What was asked for on the command line.
struct Options {
    cases: String,
    only: String,
    threads: usize,
    budget: f64,
}

impl Options {
    fn read() -> Outcome<Options> {
        let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/cases.json");
        let mut options = Options { cases: beside.to_owned(), only: String::new(), threads: 2, budget: 1.0 };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--cases" => options.cases = value()?,
                "--only" => options.only = value()?,
                "--threads" => options.threads = value()?.parse()?,
                "--budget" => options.budget = value()?.parse()?,
                other => {
                    let usage = "yardstick [--cases FILE] [--only SUBSTRING] [--threads N] [--budget SECONDS]";
                    return Err(format!("{other}: unknown; usage: {usage}").into());
                }
            }
        }
        Ok(options)
    }

    fn wants(&self, case: &str) -> bool {
        case.contains(&self.only)
    }

    /// Runs `step` for its share of the budget, if the case is wanted, and prints its line.
    fn emit(&self, case: &str, share: f64, mut step: impl FnMut() -> Outcome) -> Outcome {
        if !self.wants(case) {
            return Ok(());
        }
        let (median, least, iters) = timed(&mut step, Duration::from_secs_f64(self.budget * share))?;
        let rounded = |ms: f64| (ms * 1e5).round() / 1e5;
        let case = Value::from(case);
        println!(r#"{{"case": {case}, "ms": {}, "min_ms": {}, "iters": {iters}}}"#, rounded(median), rounded(least));
        Ok(())
    }
}

/// Median and minimum in milliseconds, and how many times it ran: until the budget is spent, five times at least, after
/// three runs to warm up.
fn timed(step: &mut dyn FnMut() -> Outcome, budget: Duration) -> Outcome<(f64, f64, usize)> {
    for _ in 0..3 {
        step()?;
    }
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < budget || times.len() < 5 {
        let before = Instant::now();
        step()?;
        times.push(before.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    let median = if times.len() % 2 == 1 { times[middle] } else { (times[middle - 1] + times[middle]) / 2.0 };
    Ok((median, times[0], times.len()))
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), str::to_owned)
}

fn main() -> Outcome {
    let options = Options::read()?;
    eprintln!("{}, {:?}, {} threads", processor(), kernels::isa::isa(), options.threads);
    kernels::par::set_num_threads(options.threads);
    gabor::manual_seed(0);
    let text = std::fs::read_to_string(&options.cases).map_err(|error| format!("{}: {error}", options.cases))?;
    let spec: Value = serde_json::from_str(&text)?;
    let list = |name: &str| spec[name].as_array().map_or(&[][..], Vec::as_slice);
    learn_kernel(&options)?;
    for case in list("nets") {
        net(&options, case)?;
    }
    for case in list("convs") {
        convolution(&options, case)?;
    }
    for case in list("pools") {
        pool(&options, case)?;
    }
    Ok(())
}

fn text<'a>(case: &'a Value, field: &str) -> Outcome<&'a str> {
    case[field].as_str().ok_or_else(|| format!("a case without the text {field}: {case}").into())
}

fn sizes(case: &Value, field: &str) -> Outcome<Vec<usize>> {
    let list = case[field].as_array().map(|list| list.iter().map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())));
    list.and_then(Iterator::collect).ok_or_else(|| format!("a case without the sizes {field}: {case}").into())
}

fn pair(case: &Value, field: &str) -> Outcome<Pair> {
    match sizes(case, field)?.as_slice() {
        &[h, w] => Ok(Pair::from((h, w))),
        other => Err(format!("{field}: expected two sizes, got {other:?}").into()),
    }
}

/// Ten steps of the tutorial's kernel.
fn learn_kernel(options: &Options) -> Outcome {
    let mut x = Tensor::ones([1, 1, 6, 8])?;
    x.assign((.., .., .., 2..6), &Tensor::zeros(())?)?;
    let y = x.i((.., .., .., ..7))?.sub(&x.i((.., .., .., 1..))?)?.contiguous()?;
    let weight = Parameter::new(Tensor::rand([1, 1, 1, 2])?)?;
    options.emit("train/learn_kernel_10it", 1.0, || {
        for _ in 0..10 {
            let l = x.conv2d(&weight.tensor(), None, &Conv2dOptions::new())?.sub(&y)?.square()?;
            weight.zero_grad();
            l.sum()?.backward()?;
            weight.update(|w, grad| w - grad * 3e-2)?;
        }
        Ok(())
    })
}

fn net(options: &Options, case: &Value) -> Outcome {
    let name = text(case, "name")?;
    let [train, infer, single] = [format!("train/{name}"), format!("infer/{name}"), format!("infer/{name}/b1")];
    if ![&train, &infer, &single].iter().any(|case| options.wants(case)) {
        return Ok(());
    }
    let net = benches::net(&case["layers"])?;
    let batch = case["batch"].as_u64().ok_or("a net without a batch")? as usize;
    let classes = case["classes"].as_i64().ok_or("a net without classes")?;
    let shape = [vec![batch], sizes(case, "input")?].concat();
    let (x, y) = (Tensor::randn(shape)?, Tensor::randint(0, classes, batch)?);
    let arguments = case["options"].as_object().ok_or("a net without options")?;
    let mut optimizer = optimizer(text(case, "optimizer")?, &Arguments::new(arguments), net.parameters())?;
    options.emit(&train, 1.0, || {
        optimizer.zero_grad();
        cross_entropy(&net.forward(&x)?, &y)?.backward()?;
        Ok(optimizer.step()?)
    })?;
    net.eval();
    let one = x.narrow(0, 0, 1)?.contiguous()?;
    options.emit(&infer, 0.5, || no_grad(|| Ok(net.forward(&x).map(drop)?)))?;
    options.emit(&single, 0.5, || no_grad(|| Ok(net.forward(&one).map(drop)?)))
}

fn convolution(options: &Options, case: &Value) -> Outcome {
    let name = format!("conv/{}", text(case, "name")?);
    let [fwd, bwd_data, bwd_weight] = ["fwd", "bwd_data", "bwd_weight"].map(|what| format!("{name}/{what}"));
    if ![&fwd, &bwd_data, &bwd_weight].iter().any(|case| options.wants(case)) {
        return Ok(());
    }
    let (x, w) = (Tensor::randn(sizes(case, "input")?)?, Tensor::randn(sizes(case, "weight")?)?);
    let b = Tensor::zeros(w.dims()[0])?;
    let groups = case["groups"].as_u64().unwrap_or(1) as usize;
    let geometry = Conv2dOptions::new()
        .stride(pair(case, "stride")?)
        .padding(pair(case, "padding")?)
        .dilation(pair(case, "dilation")?)
        .groups(groups);
    options.emit(&fwd, 0.25, || Ok(x.conv2d(&w, Some(&b), &geometry).map(drop)?))?;
    let gy = Tensor::randn(x.conv2d(&w, Some(&b), &geometry)?.shape())?;
    let back = GradOptions { gradient: Some(&gy), retain_graph: true, ..GradOptions::default() };
    // Only what is asked for is a leaf, so that nothing else is computed.
    let leaf = x.clone().requires_grad_()?;
    let y = leaf.conv2d(&w, Some(&b), &geometry)?;
    options.emit(&bwd_data, 0.25, || Ok(gabor::grad(&y, &[&leaf], &back).map(drop)?))?;
    let (w, b) = (w.requires_grad_()?, b.requires_grad_()?);
    let y = x.conv2d(&w, Some(&b), &geometry)?;
    options.emit(&bwd_weight, 0.25, || Ok(gabor::grad(&y, &[&w, &b], &back).map(drop)?))
}

fn pool(options: &Options, case: &Value) -> Outcome {
    let name = format!("pool/{}", text(case, "name")?);
    let [fwd, both] = ["fwd", "fwd_bwd"].map(|what| format!("{name}/{what}"));
    if ![&fwd, &both].iter().any(|case| options.wants(case)) {
        return Ok(());
    }
    let x = Tensor::randn(sizes(case, "input")?)?.requires_grad_()?;
    let (kernel, stride, padding) = (pair(case, "kernel_size")?, pair(case, "stride")?, pair(case, "padding")?);
    let max = PoolOptions::new(kernel).stride(stride).padding(padding);
    let avg = AvgPoolOptions::new(kernel).stride(stride).padding(padding);
    let run = || match text(case, "kind")? {
        "MaxPool2d" => Ok(x.max_pool2d(&max)?),
        "AvgPool2d" => Ok(x.avg_pool2d(&avg)?),
        other => Err(Box::<dyn Error>::from(format!("no pool {other}"))),
    };
    let gy = Tensor::randn(run()?.shape())?;
    options.emit(&fwd, 0.25, || no_grad(|| run().map(drop)))?;
    options.emit(&both, 0.25, || {
        x.zero_grad();
        Ok(run()?.backward_with(&gy)?)
    })
}
