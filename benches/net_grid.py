"""Times random small CNNs, ours and PyTorch's in turn, and prints those where we are slowest beside it.

usage: net_grid.py [--count N] [--seed N] [--show N] [options of compare.py]

The nets are plausible ones: two to six convolutions with kernels of 1 to 7, strides, batch norm, residual blocks, depthwise layers,
both kinds of pools, eight activations, images of 8 to 64 pixels, batches of 1 to 128, and three optimizers. The same seed gives the
same nets. Training, evaluation and evaluation of one image are timed. Build ours first, as for compare.py, which does the timing.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ACTIVATIONS = ["ReLU", "ReLU", "ReLU", "LeakyReLU", "Sigmoid", "Tanh", "GELU", "SiLU"]
POOLS = [(2, 2, 0), (2, 2, 0), (3, 2, 1), (3, 2, 0), (3, 3, 0), (2, 1, 0)]
MOMENTUM = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}
OPTIMIZERS = [("SGD", {"lr": 0.01}), ("SGD", MOMENTUM), ("Adam", {"lr": 1e-3}), ("AdamW", {"lr": 1e-3})]
# Multiply-adds of a batch: the fewest and the most.
WORK = (200_000, 2_000_000_000)
FEATURES = 6000


def residual(channels):
    """A block of two 3x3 convolutions around which the input goes."""
    conv = {"type": "Conv2d", "in_channels": channels, "out_channels": channels, "kernel_size": 3, "padding": 1, "bias": False}
    norm = {"type": "BatchNorm2d", "num_features": channels}
    return {"type": "Residual", "body": [conv, norm, {"type": "ReLU"}, conv, norm], "shortcut": []}


def net(pick, name):
    """A net, or None if it is too large or too small."""
    channels, height = pick.choice([1, 3, 3, 3]), pick.choice([8, 14, 20, 28, 28, 32, 32, 40, 48, 64])
    width = max(6, height + pick.randint(-5, 9)) if pick.random() < 0.3 else height
    image, batch = [channels, height, width], pick.choice([1, 8, 16, 32, 50, 64, 100, 128])
    act, norm = pick.choice(ACTIVATIONS), pick.random() < 0.45
    layers, wide, work = [], pick.choice([8, 12, 16, 20, 32, 48, 64]), 0
    for i in range(pick.randint(2, 6)):
        kernel, stride = pick.choice([1, 3, 3, 3, 5, 7] if i else [3, 3, 5, 7]), pick.choice([1, 1, 1, 1, 2])
        padding, groups, out, kind = pick.choice([0, kernel // 2, kernel // 2]), 1, wide, pick.random()
        if i and kind < 0.12 and channels >= 16:
            kernel, padding, groups, out = 3, 1, channels, channels
        elif i and kind < 0.2 and norm and channels <= 64:
            layers.append(residual(channels))
            work += 18 * channels * channels * height * width
            continue
        sizes = [(n + 2 * padding - kernel) // stride + 1 for n in (height, width)]
        if min(sizes) < 2:
            break
        layers.append({"type": "Conv2d", "in_channels": channels, "out_channels": out, "kernel_size": kernel, "stride": stride,
                       "padding": padding, "groups": groups, "bias": not norm})  # fmt: skip
        work += kernel * kernel * channels // groups * out * sizes[0] * sizes[1]
        channels, (height, width) = out, sizes
        layers += [{"type": "BatchNorm2d", "num_features": channels}] if norm else []
        layers.append({"type": act})
        if pick.random() < 0.5 and min(sizes) >= 4:
            window, step, edge = pick.choice(POOLS)
            kind = pick.choice(["MaxPool2d", "AvgPool2d"])
            layers.append({"type": kind, "kernel_size": window, "stride": step, "padding": edge})
            height, width = ((n + 2 * edge - window) // step + 1 for n in (height, width))
        wide = min(128, wide * 2) if pick.random() < 0.6 else wide
    if pick.random() < 0.4:
        layers.append({"type": "AdaptiveAvgPool2d", "output_size": 1})
        height = width = 1
    features = channels * height * width
    if features > FEATURES or not WORK[0] <= work * batch <= WORK[1]:
        return None
    layers.append({"type": "Flatten"})
    if pick.random() < 0.5:
        layers += [{"type": "Linear", "in_features": features, "out_features": 64}, {"type": act}]
        features = 64
    layers.append({"type": "Linear", "in_features": features, "out_features": 10})
    optimizer, options = pick.choice(OPTIMIZERS)
    return {"name": f"{name}_b{batch}_{optimizer}_{act}{'_norm' if norm else ''}", "layers": layers, "input": image, "batch": batch,
            "loss": "CrossEntropyLoss", "classes": 10, "optimizer": optimizer, "options": options}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=30)
    options, rest = parser.parse_known_args()
    pick, nets = random.Random(options.seed), []
    while len(nets) < options.count:
        made = net(pick, f"net{options.seed}_{len(nets)}")
        nets += [made] if made else []
    with tempfile.TemporaryDirectory() as folder:
        cases, figures = pathlib.Path(folder) / "cases.json", pathlib.Path(folder) / "figures.json"
        cases.write_text(json.dumps({"nets": nets, "convs": [], "pools": []}))
        command = [sys.executable, str(HERE / "compare.py"), "--cases", str(cases), "--json", str(figures)]
        command += ["--only", f"/net{options.seed}_", "--modes", "eager,channels-last"]
        subprocess.run([*command, *rest], check=True, stdout=subprocess.DEVNULL)
        found = json.loads(figures.read_text())
    # A captured step has no rival of its own.
    known = {case: t for case, t in found.items() if "eager" in t}
    ratios = sorted((min(t["eager"], t["channels-last"]) / t["ours"], case, t) for case, t in known.items())
    for ratio, case, times in ratios[: options.show]:
        print(f"{ratio:.2f}  {case}  ours {times['ours']:.4f} ms, {times['eager']:.4f} and {times['channels-last']:.4f}")
    for kind in "train/", "infer/":
        of_kind = [ratio for ratio, case, _ in ratios if case.startswith(kind)]
        below = sum(ratio < 1 for ratio in of_kind)
        print(f"{kind}: {len(of_kind)} cases, {below} slower than PyTorch, median ratio {of_kind[len(of_kind) // 2]:.2f}")


if __name__ == "__main__":
    main()
