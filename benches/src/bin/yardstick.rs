//! Times this framework on the cases of a file, one JSON line a timing: `{"case", "ms" (median), "min_ms", "iters"}`.
//!
//! usage: `yardstick [--cases FILE] [--only SUBSTRING] [--threads N] [--budget SECONDS]`
//!
//! A net is timed three ways: `train/NAME` (zero_grad, forward, cross entropy, backward, optimizer step), `infer/NAME` (its
//! batch) and `infer/NAME/b1` (one image); `captured/NAME` is `train/NAME` by a captured step, where one can be recorded. A convolution is timed as `fwd`, `bwd_data` and `bwd_weight` (bias gradient
//! included); a pool as `fwd` and `fwd_bwd`. Matrix products, batch norm and elementwise operators have cases of their own.
//! The names are those of PyTorch's figures, so that a ratio is a join on `case`.
//!
//! Kernels also have `"floor_ms"`, the time at the roof, and `"of_roof"`, that time divided by the least one. The roof is the
//! machine's multiply-adds, or for kernels that hardly compute its copy bandwidth for the bytes that must move. Convolutions
//! count as direct sums: Winograd's filtering may exceed 1.
#![forbid(unsafe_code)]

use std::cell::OnceCell;
use std::error::Error;
use std::time::{Duration, Instant};

use benches::{Arguments, optimizer, processor, roofs};
use gabor::nn::functional::cross_entropy;
use gabor::nn::{BatchNorm2d, Conv2d, Forward, Module};
use gabor::{AvgPoolOptions, CapturedStep, Conv2dOptions, GradOptions, Pair, PoolOptions, Tensor, no_grad};
use serde_json::Value;

/// What bounds a case.
#[derive(Clone, Copy)]
enum Roof {
    /// Nothing that is known beforehand.
    None,
    /// Floating-point operations.
    Operations(usize),
    /// Bytes that must be read and written.
    Bytes(usize),
}

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// What was asked for on the command line.
struct Options {
    cases: String,
    only: String,
    threads: usize,
    budget: f64,
    /// Operations in a nanosecond, once they are measured.
    peak: OnceCell<f64>,
}

impl Options {
    fn read() -> Outcome<Options> {
        let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/cases.json");
        let (cases, only, peak) = (beside.to_owned(), String::new(), OnceCell::new());
        let mut options = Options { cases, only, threads: 2, budget: 1.0, peak };
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
    fn emit(&self, case: &str, share: f64, roof: Roof, mut step: impl FnMut() -> Outcome) -> Outcome {
        if !self.wants(case) {
            return Ok(());
        }
        let (median, least, iters) = timed(&mut step, Duration::from_secs_f64(self.budget * share))?;
        let rounded = |ms: f64| (ms * 1e5).round() / 1e5;
        let moment = Duration::from_millis(100);
        let floor = |work: usize, a_nanosecond: f64| work as f64 / a_nanosecond / 1e6;
        let floor = match roof {
            Roof::None => None,
            Roof::Operations(n) => Some(floor(n, *self.peak.get_or_init(|| roofs::multiply_adds(moment)))),
            // Of blocks of the same size, so that the same caches hold them.
            Roof::Bytes(n) => {
                Some(floor(n, roofs::copies((n / 2 / self.threads.max(1)).clamp(4096, 128 << 20), moment)))
            }
        };
        let share = floor
            .map_or(String::new(), |floor| format!(r#", "floor_ms": {:.5}, "of_roof": {:.3}"#, floor, floor / least));
        let case = Value::from(case);
        let (median, least) = (rounded(median), rounded(least));
        println!(r#"{{"case": {case}, "ms": {median}, "min_ms": {least}, "iters": {iters}{share}}}"#);
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

fn main() -> Outcome {
    let options = Options::read()?;
    eprintln!("{}, {:?}, {} threads", processor(), kernels::isa::isa(), options.threads);
    kernels::par::set_num_threads(options.threads);
    gabor::manual_seed(0);
    let text = std::fs::read_to_string(&options.cases).map_err(|error| format!("{}: {error}", options.cases))?;
    let spec: Value = serde_json::from_str(&text)?;
    let list = |name: &str| spec[name].as_array().map_or(&[][..], Vec::as_slice);
    learn_kernel(&options)?;
    operators(&options)?;
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
    let conv = Conv2d::new(1, 1, (1, 2)).bias(false).build()?;
    options.emit("train/learn_kernel_10it", 1.0, Roof::None, || {
        for _ in 0..10 {
            let l = conv.forward(&x)?.sub(&y)?.square()?;
            conv.zero_grad();
            l.sum()?.backward()?;
            conv.weight.update(|w, grad| w - grad * 3e-2)?;
        }
        Ok(())
    })?;
    let mut step = CapturedStep::new(|_: &[Tensor]| {
        let l = conv.forward(&x)?.sub(&y)?.square()?.sum()?;
        l.backward()?;
        Ok(l)
    });
    options.emit("captured/learn_kernel_10it", 1.0, Roof::None, || {
        for _ in 0..10 {
            conv.zero_grad();
            step.run(&[])?;
            conv.weight.update(|w, grad| w - grad * 3e-2)?;
        }
        Ok(())
    })
}

/// Matrix products, batch norm and elementwise operators.
fn operators(options: &Options) -> Outcome {
    for n in [256, 1024] {
        let case = format!("gemm/{n}");
        if options.wants(&case) {
            let (a, b) = (Tensor::randn([n, n])?, Tensor::randn([n, n])?);
            options.emit(&case, 0.25, Roof::Operations(2 * n * n * n), || Ok(a.matmul(&b).map(drop)?))?;
        }
    }
    let names = ["elementwise/add", "elementwise/relu", "elementwise/sigmoid", "norm/batch/fwd", "norm/batch/fwd_bwd"];
    if !names.iter().any(|case| options.wants(case)) {
        return Ok(());
    }
    let [add, relu, sigmoid, fwd, both] = names;
    let shape = [64, 64, 32, 32];
    let (x, y) = (Tensor::randn(shape)?, Tensor::randn(shape)?);
    let array = 4 * x.numel();
    options.emit(add, 0.25, Roof::Bytes(3 * array), || Ok(x.add(&y).map(drop)?))?;
    options.emit(relu, 0.25, Roof::Bytes(2 * array), || Ok(x.relu().map(drop)?))?;
    options.emit(sigmoid, 0.25, Roof::Bytes(2 * array), || Ok(x.sigmoid().map(drop)?))?;
    let norm = BatchNorm2d::new(64).build()?;
    // Statistics and result each need the input once; backward reads input and gradient twice and writes once.
    options.emit(fwd, 0.25, Roof::Bytes(3 * array), || no_grad(|| Ok(norm.forward(&x).map(drop)?)))?;
    let x = x.requires_grad_()?;
    options.emit(both, 0.25, Roof::Bytes(8 * array), || {
        x.zero_grad();
        Ok(norm.forward(&x)?.backward_with(&y)?)
    })
}

fn net(options: &Options, case: &Value) -> Outcome {
    let name = text(case, "name")?;
    let [train, infer, single] = [format!("train/{name}"), format!("infer/{name}"), format!("infer/{name}/b1")];
    let captured = format!("captured/{name}");
    if ![&train, &captured, &infer, &single].iter().any(|case| options.wants(case)) {
        return Ok(());
    }
    let net = benches::net(&case["layers"])?;
    let batch = case["batch"].as_u64().ok_or("a net without a batch")? as usize;
    let classes = case["classes"].as_i64().ok_or("a net without classes")?;
    let shape = [vec![batch], sizes(case, "input")?].concat();
    let (x, y) = (Tensor::randn(shape)?, Tensor::randint(0, classes, batch)?);
    let arguments = case["options"].as_object().ok_or("a net without options")?;
    let mut optimizer = optimizer(text(case, "optimizer")?, &Arguments::new(arguments), net.parameters())?;
    options.emit(&train, 1.0, Roof::None, || {
        optimizer.zero_grad();
        cross_entropy(&net.forward(&x)?, &y)?.backward()?;
        Ok(optimizer.step()?)
    })?;
    let mut step = CapturedStep::new(|batch: &[Tensor]| {
        let loss = cross_entropy(&net.forward(&batch[0])?, &batch[1])?;
        loss.backward()?;
        Ok(loss)
    });
    // Batch norm keeps statistics from run to run, which cannot be repeated.
    if options.wants(&captured) && step.run(&[&x, &y]).is_ok() {
        options.emit(&captured, 1.0, Roof::None, || {
            optimizer.zero_grad();
            step.run(&[&x, &y])?;
            Ok(optimizer.step()?)
        })?;
    }
    net.eval();
    let one = x.narrow(0, 0, 1)?.contiguous()?;
    options.emit(&infer, 0.5, Roof::None, || no_grad(|| Ok(net.forward(&x).map(drop)?)))?;
    options.emit(&single, 0.5, Roof::None, || no_grad(|| Ok(net.forward(&one).map(drop)?)))
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
    let products = x.conv2d(&w, None, &geometry)?.numel() * w.numel() / w.dims()[0];
    let roof = Roof::Operations(2 * products);
    options.emit(&fwd, 0.25, roof, || Ok(x.conv2d(&w, Some(&b), &geometry).map(drop)?))?;
    let gy = Tensor::randn(x.conv2d(&w, Some(&b), &geometry)?.shape())?;
    let back = GradOptions { gradient: Some(&gy), retain_graph: true, ..GradOptions::default() };
    // Only what is asked for is a leaf, so that nothing else is computed.
    let leaf = x.clone().requires_grad_()?;
    let y = leaf.conv2d(&w, Some(&b), &geometry)?;
    options.emit(&bwd_data, 0.25, roof, || Ok(gabor::grad(&y, &[&leaf], &back).map(drop)?))?;
    let (w, b) = (w.requires_grad_()?, b.requires_grad_()?);
    let y = x.conv2d(&w, Some(&b), &geometry)?;
    options.emit(&bwd_weight, 0.25, roof, || Ok(gabor::grad(&y, &[&w, &b], &back).map(drop)?))
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
    // Forward reads and writes; backward reads the gradient and writes that of the input. Places of maxima are not counted.
    let forward = 4 * (x.numel() + gy.numel());
    options.emit(&fwd, 0.25, Roof::Bytes(forward), || no_grad(|| run().map(drop)))?;
    options.emit(&both, 0.25, Roof::Bytes(2 * forward), || {
        x.zero_grad();
        Ok(run()?.backward_with(&gy)?)
    })
}
