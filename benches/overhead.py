"""Counts what a small operator costs: instructions by callgrind, and nanoseconds.

usage: overhead.py [--binary FILE] [--only OPERATOR]... [--times N]

Build first: cargo build --release -p benches --bins. Needs valgrind. Each operator works on an image of 6x8 pixels and is recorded
for gradients: forward alone, and with a call of `backward` that frees the old gradient and makes a new one. The program runs with
two counts and the difference is divided, so that its start does not count. The kernels are within the figures.
"""

import argparse
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
OPERATORS = ["add", "mul", "relu", "sum", "conv2d"]


def instructions(command):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(re.search(r"Collected\s*:\s*(\d+)", done.stderr)[1])


def nanoseconds(command):
    """The least of five runs."""
    return min(int(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(5))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target/release/small_operators"))
    parser.add_argument("--only", action="append", choices=OPERATORS)
    parser.add_argument("--times", type=int, default=1000)
    options = parser.parse_args()
    print("operator  way      instructions      ns")
    for operator in options.only or OPERATORS:
        for way in "forward", "both":
            few, many, most = ([options.binary, operator, way, str(n * options.times)] for n in (1, 2, 100))
            each = (instructions(many) - instructions(few)) / options.times
            print(f"{operator:9} {way:8} {each:12.0f}  {nanoseconds(most) / (100 * options.times):6.0f}")


if __name__ == "__main__":
    main()
