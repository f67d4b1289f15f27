"""Times random convolutions, ours and PyTorch's in turn, and prints where we are slowest beside it.

usage: conv_grid.py [--count N] [--seed N] [--show N] [options of compare.py]

The shapes are plausible ones: kernels up to 7x7, strides up to 3, dilations up to 2, groups, odd images, batches of 1 to 64, up to 0.2
billion multiply-adds. The same seed gives the same shapes. Build ours first, as for compare.py, which does the timing.

Give two rounds and 0.15 s or more: with one round of 0.02 s ours was seen up to 17 times as slow as with those.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
MOST = 200_000_000


def shape(pick):
    """A convolution, or None if it is too large or has no output."""
    kernel = [pick.choice([1, 1, 2, 3, 3, 3, 4, 5, 7]) for _ in range(2)]
    if pick.random() < 0.8:
        kernel[1] = kernel[0]
    stride, dilation = [pick.choice([1, 1, 1, 2, 2, 3])] * 2, [pick.choice([1, 1, 1, 1, 2])] * 2
    channels, out = pick.choice([1, 3, 6, 8, 16, 24, 32, 64, 96, 128, 256]), pick.choice([4, 6, 16, 20, 32, 64, 128, 256])
    groups = pick.choice([1, 1, 1, 1, 2, 4, channels])
    if channels % groups:
        groups = 1
    out = channels if groups == channels and groups > 1 else out - out % groups or groups
    size = [pick.randint(4, 64) for _ in range(2)]
    batch = pick.choice([1, 1, 4, 16, 32, 64])
    padding = [(k - 1) * d // 2 if pick.random() < 0.7 else 0 for k, d in zip(kernel, dilation)]
    results = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in zip(size, padding, dilation, kernel, stride)]
    if min(results) < 1:
        return None
    work = batch * out * channels // groups * kernel[0] * kernel[1] * results[0] * results[1]
    if work > MOST:
        return None
    name = f"b{batch}_{channels}to{out}_{size[0]}x{size[1]}_k{kernel[0]}{kernel[1]}_s{stride[0]}_p{padding[0]}{padding[1]}_d{dilation[0]}_g{groups}"
    weight = [out, channels // groups, *kernel]
    return {"name": name, "input": [batch, channels, *size], "weight": weight, "stride": stride, "padding": padding,
            "dilation": dilation, "groups": groups}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=30)
    options, rest = parser.parse_known_args()
    pick = random.Random(options.seed)
    convs = {}
    while len(convs) < options.count:
        conv = shape(pick)
        if conv:
            convs[conv["name"]] = conv
    with tempfile.TemporaryDirectory() as folder:
        cases, figures = pathlib.Path(folder) / "cases.json", pathlib.Path(folder) / "figures.json"
        cases.write_text(json.dumps({"nets": [], "convs": list(convs.values()), "pools": []}))
        command = [sys.executable, str(HERE / "compare.py"), "--cases", str(cases), "--only", "conv/", "--json", str(figures)]
        subprocess.run([*command, "--modes", "eager,channels-last", *rest], check=True, stdout=subprocess.DEVNULL)
        found = json.loads(figures.read_text())
    ratios = sorted((min(t["eager"], t["channels-last"]) / t["ours"], case, t) for case, t in found.items())
    for ratio, case, times in ratios[: options.show]:
        print(f"{ratio:.2f}  {case}  ours {times['ours']:.4f} ms, {times['eager']:.4f} and {times['channels-last']:.4f}")
    below = sum(ratio < 1 / 1.2 for ratio, _, _ in ratios)
    middle = ratios[len(ratios) // 2][0]
    print(f"{len(ratios)} passes of {len(convs)} convolutions: {below} slower than 1.2 times PyTorch, median ratio {middle:.2f}")


if __name__ == "__main__":
    main()
