"""Runs the yardstick and PyTorch in turn and prints the ratios: PyTorch's fastest mode divided by ours.

usage: compare.py [--cases FILE] [--only PART]... [--rounds N] [--budget SECONDS] [--threads N] [--modes LIST]
                  [--yardstick FILE] [--python FILE] [--markdown FILE] [--json FILE]

Build ours first: cargo build --release -p benches --bins. PyTorch runs under --python, in one process for each of its modes
(eager is NCHW; channels-last; compile), which waits asleep while another one is timed. The figure of a case is the minimum
of all rounds. The machine should be idle: PyTorch's threads lose much when something else holds a core.
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
# The ratio that is asked of each case, 1 unless it is here; the first pattern that fits counts.
TARGETS = {
    "train/learn_kernel_10it": 60, "train/digits": 4, "train/lenet": 2.5, "train/resnet20": 1.5, "train/vgg": 1.5,
    "train/mobile": 1.7, "infer/lenet*/b1": 8, "infer/digits*/b1": 8, "infer/vgg*/b1": 1.4, "infer/*/b1": 2, "infer/": 1.5,
    "conv/": 1, "pool/*/fwd_bwd": 2.5, "pool/": 1,
}  # fmt: skip


def target(case, spec):
    """The ratio that is asked for. More is asked of Winograd's filtering of 3x3 windows side by side with 16 channels or more."""
    case = case.replace("captured/", "train/")
    if case.startswith("conv/"):
        conv = next((c for c in spec.get("convs", []) if case.split("/")[1] == c["name"]), None)
        out, channels, *kernel = conv["weight"] if conv else (0, 0)
        dense = conv and conv["stride"] == conv["dilation"] == [1, 1] and kernel == [3, 3]
        return 1.4 if dense and min(out, channels) >= 16 else 1.0
    for pattern, ratio in TARGETS.items():
        start, _, end = pattern.partition("*")
        if case.startswith(start) and case.endswith(end):
            return ratio
    return 1.0


class PyTorch:
    """A process that times PyTorch in one of its modes whenever it is asked."""

    def __init__(self, options, mode):
        arguments = ["--cases", options.cases, "--threads", str(options.threads), "--budget", str(options.budget)]
        command = [options.python, str(HERE / "pytorch.py"), "--mode", mode, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def time(self, part):
        print(part, file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.strip() == "done":
                return
            if line.startswith("{"):
                yield json.loads(line)
        sys.exit("PyTorch's process ended; see its message above")


def ours(options, part):
    arguments = ["--cases", options.cases, "--threads", str(options.threads), "--budget", str(options.budget)]
    done = subprocess.run([options.yardstick, "--only", part, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    # The first line says which processor and instruction set it is.
    header = done.stderr.strip().splitlines()[0]
    return header, [json.loads(line) for line in done.stdout.splitlines()]


def peak_memory(options, case):
    """The largest resident size of a process that trains a case, in MiB."""
    command = [options.yardstick, "--only", case, "--cases", options.cases, "--threads", str(options.threads)]
    process = subprocess.Popen([*command, "--budget", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return os.wait4(process.pid, 0)[2].ru_maxrss / 1024


def table(figures, modes, spec, markdown):
    """A row for each case; the modes of PyTorch in milliseconds, ours, the ratio, what is asked for."""
    rows = [["case", *(f"PyTorch {mode}" for mode in modes), "ours", "of roof", "ratio", "asked", ""]]
    for case, times in figures.items():
        # A captured step is another way to the same thing, which PyTorch's compiled mode may be too.
        rivals = [figures.get(case.replace("captured/", "train/"), {}).get(mode) for mode in modes]
        known = [t for t in rivals if t]
        ratio, asked = min(known) / times["ours"] if known else math.nan, target(case, spec)
        shown = [f"{t:.4g}" if t else "-" for t in (*rivals, times["ours"])]
        roof = f"{times['floor'] / times['ours']:.0%}" if "floor" in times else ""
        rows.append([case, *shown, roof, f"{ratio:.2f}", f"{asked:g}", "" if ratio >= asked else "below"])
    if markdown:
        rows.insert(1, ["---"] * len(rows[0]))
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=str(HERE / "cases.json"))
    parser.add_argument("--only", action="append", help="a part of names; may be repeated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--modes", default="eager,channels-last,compile")
    parser.add_argument("--yardstick", default=str(HERE.parent / "target/release/yardstick"))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--markdown")
    parser.add_argument("--json")
    options = parser.parse_args()
    spec = json.loads(pathlib.Path(options.cases).read_text())
    nets = [f"/{net['name']}" for net in spec.get("nets", [])]
    parts = options.only or ["/learn_kernel", *nets, "conv/", "pool/", "gemm/", "norm/", "elementwise/"]
    modes = options.modes.split(",")
    rivals, figures, header = {mode: PyTorch(options, mode) for mode in modes}, {}, ""
    for turn in range(options.rounds):
        for part in parts:
            print(f"round {turn + 1} of {options.rounds}: {part}", file=sys.stderr)
            header, lines = ours(options, part)
            timed = [("ours", line) for line in lines]
            timed += [(mode, line) for mode in modes for line in rivals[mode].time(part)]
            for who, line in timed:
                times = figures.setdefault(line["case"], {})
                times[who] = min(times.get(who, math.inf), line["min_ms"])
                if "floor_ms" in line:
                    # The least: a roof that was measured while the machine did something else is too low.
                    times["floor"] = min(times.get("floor", math.inf), line["floor_ms"])
    for rival in rivals.values():
        rival.process.stdin.close()
        rival.process.wait()
    figures = {case: times for case, times in figures.items() if "ours" in times}
    print(header)
    print(table(figures, modes, spec, markdown=False))
    convs = [min(t[m] for m in modes if m in t) / t["ours"] for c, t in figures.items() if c.startswith("conv/")]
    if convs:
        print(f"convolutions, geometric mean: {math.exp(sum(map(math.log, convs)) / len(convs)):.2f} (asked: 1.7)")
    if not options.only:
        for case, limit in (("train/lenet_sigmoid_avg_b256", 45), ("train/vgg_small_b64", 190)):
            print(f"peak memory of {case}: {peak_memory(options, case):.0f} MiB (asked: {limit} at most)")
    if options.markdown:
        pathlib.Path(options.markdown).write_text(f"{header}\n\n{table(figures, modes, spec, markdown=True)}\n")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
