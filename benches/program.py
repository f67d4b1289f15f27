"""Measures a small program that trains LeNet with Gabor's default features: build time, crates, size, start-up and memory.

usage: program.py [--folder DIR] [--starts N]

Builds from an empty target folder. Fetch the dependencies first (any build of the workspace does), so that no download is timed.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MANIFEST = f"""[package]
name = "lenet"
version = "0.1.0"
edition = "2024"

[dependencies]
gabor = {{ path = "{ROOT / 'crates/gabor'}" }}

[workspace]
"""
PROGRAM = """use gabor::prelude::*;

fn main() -> Result<()> {
    manual_seed(0);
    let net = seq![
        Conv2d::new(1, 6, 5).padding(2), Sigmoid, AvgPool2d::new(2),
        Conv2d::new(6, 16, 5), Sigmoid, AvgPool2d::new(2),
        Flatten, Linear::new(400, 120), Sigmoid, Linear::new(120, 84), Sigmoid, Linear::new(84, 10),
    ]?;
    let mut sgd = SGD::new(net.parameters(), 0.01).momentum(0.9).build()?;
    let (x, y) = (Tensor::randn([256, 1, 28, 28])?, Tensor::randint(0, 10, [256])?);
    for _ in 0..std::env::args().nth(1).map_or(1, |steps| steps.parse().expect("a number of steps")) {
        sgd.zero_grad();
        functional::cross_entropy(&net.forward(&x)?, &y)?.backward()?;
        sgd.step()?;
    }
    Ok(())
}
"""


def run(program, steps):
    """Milliseconds from the start of the process to its end, and its largest resident size in MiB."""
    start = time.monotonic()
    process = subprocess.Popen([program, str(steps)])
    _, status, usage = os.wait4(process.pid, 0)
    took = (time.monotonic() - start) * 1e3
    assert status == 0, "the program failed"
    return took, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", help="where to build; a fresh folder unless given")
    parser.add_argument("--starts", type=int, default=20)
    options = parser.parse_args()
    folder = pathlib.Path(options.folder or tempfile.mkdtemp())
    (folder / "src").mkdir(parents=True, exist_ok=True)
    (folder / "Cargo.toml").write_text(MANIFEST)
    (folder / "src/main.rs").write_text(PROGRAM)
    # The same versions as in the workspace; cargo drops what is not needed.
    shutil.copy(ROOT / "Cargo.lock", folder)
    shutil.rmtree(folder / "target", ignore_errors=True)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(folder / "target")}
    tree = ["cargo", "tree", "--offline", "-e", "normal,build", "--prefix", "none", "--no-dedupe"]
    crates = set(subprocess.run(tree, cwd=folder, check=True, capture_output=True, text=True).stdout.splitlines())
    start = time.monotonic()
    subprocess.run(["cargo", "build", "--release", "--offline", "--quiet"], cwd=folder, env=environment, check=True)
    print(f"clean release build: {time.monotonic() - start:.1f} s on {os.cpu_count()} cores (asked: 60 at most)")
    print(f"crates: {len(crates)} (asked: fewer than 60)")
    program = folder / "target/release/lenet"
    subprocess.run(["strip", "-o", folder / "stripped", program], check=True)
    print(f"stripped binary: {(folder / 'stripped').stat().st_size / 1e6:.2f} MB (asked: less than 4)")
    starts = [run(program, 1)[0] for _ in range(options.starts)]
    print(f"start of the process to the end of one step and of the process: {min(starts):.1f} ms at least, ", end="")
    print(f"{statistics.median(starts):.1f} in the median of {len(starts)} (asked: less than 30)")
    print(f"peak memory of 200 steps: {run(program, 200)[1]:.0f} MiB")
    if not options.folder:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
