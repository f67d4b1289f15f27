"""Counts what a small operator costs: instructions by callgrind, and nanoseconds.

usage: overhead.py [--binary FILE] [--only OPERATOR]... [--times N]

Build first: cargo build --release -p benches --bins. Needs valgrind. Each operator works on an image of 6x8 pixels and is recorded
for gradients: forward alone, and with a call of `backward` that frees the old gradient and makes a new one. The program runs with
two counts and the difference is divided, so that its start does not count.

"Outside" leaves out what functions of the kernels execute themselves (all of the crate but its pool, handles and tests of geometry):
the instructions as counted, the nanoseconds as the same share of the time. Valgrind knows no AVX-512, whose kernels are shorter, so that
this share of the time is, if anything, too small by them and the figure is one for AVX2: the time is measured with it.
"""

import argparse
import os
import pathlib
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
OPERATORS = ["add", "mul", "relu", "sum", "conv2d"]
# Parts of the kernels' crate that are overhead: memory, handles, and what is asked before a loop.
OVERHEAD = re.compile(r"gabor_kernels::(buffer|handle|par)\b|ConvGeometry|direct_way")


def instructions(command):
    """All instructions, and those in functions of the kernels."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "counts"
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *command]
        subprocess.run(command, capture_output=True, check=True)
        text = out.read_text()
    names, total, inside, kernel, call = {}, 0, 0, False, False
    for line in text.splitlines():
        if line.startswith(("fn=", "cfn=")):
            which, number, name = re.match(r"(c?fn)=(\(\d+\)) ?(.*)", line).groups()
            name = names.setdefault(number, name)
            if which == "fn":
                kernel = "gabor_kernels" in name and not OVERHEAD.search(name)
        elif line.startswith("calls="):
            call = True
        elif found := re.match(r"[-+*\d]\S* (\d+)$", line):
            # The line behind a call is the cost of what was called, which has lines of its own.
            cost = 0 if call else int(found[1])
            total, inside, call = total + cost, inside + cost * kernel, False
    return total, inside


def nanoseconds(command):
    """The least of five runs."""
    environment = {**os.environ, "GABOR_ISA": "avx2"}
    runs = [subprocess.run(command, capture_output=True, check=True, env=environment).stdout for _ in range(5)]
    return min(map(int, runs))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target/release/small_operators"))
    parser.add_argument("--only", action="append", choices=OPERATORS)
    parser.add_argument("--times", type=int, default=1000)
    options = parser.parse_args()
    print("operator  way      instructions  outside      ns  outside")
    for operator in options.only or OPERATORS:
        for way in "forward", "both":
            few, many, most = ([options.binary, operator, way, str(n * options.times)] for n in (1, 2, 100))
            counts = zip(instructions(many), instructions(few))
            total, inside = ((more - less) / options.times for more, less in counts)
            ns = nanoseconds(most) / (100 * options.times)
            share = (total - inside) / total
            print(f"{operator:9} {way:8} {total:12.0f}  {total - inside:7.0f}  {ns:6.0f}  {ns * share:7.0f}")


if __name__ == "__main__":
    main()
