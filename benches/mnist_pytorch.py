"""Images per second of LeNet on MNIST: the example `lenet` with its loader against PyTorch with all images in one tensor.

usage: mnist_pytorch.py --data-dir DIR [--rounds N] [--lenet FILE] [--python FILE]

DIR/MNIST/raw holds the four files, compressed or not. Build first: cargo build --release -p examples --example lenet.
Both train one epoch in batches of 64 with SGD (rate 0.05, momentum 0.9), ours and PyTorch's two modes in turn, two threads each.
"""

import argparse
import gzip
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def array(folder, name, header):
    """The bytes of a file of the data set, without its header."""
    import torch

    packed = folder / f"{name}.gz"
    data = gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / name).read_bytes()
    return torch.frombuffer(bytearray(data[header:]), dtype=torch.uint8)


def pytorch(folder, mode):
    """Trains one epoch and prints the images per second."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    torch.set_num_threads(2)
    torch.manual_seed(0)
    images = array(folder, "train-images-idx3-ubyte", 16).view(-1, 1, 28, 28).float() / 255
    labels = array(folder, "train-labels-idx1-ubyte", 8).long()
    net = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    if mode == "channels-last":
        net, images = (it.to(memory_format=torch.channels_last) for it in (net, images))
    sgd = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)

    def step(batch):
        """As in the example: loss and correct answers are summed up."""
        x, y = images[batch], labels[batch]
        out = net(x)
        loss = F.cross_entropy(out, y)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        return loss.item() * len(y), (out.argmax(1) == y).sum().item()

    step(torch.arange(64))
    start = time.perf_counter()
    sums = [step(batch) for batch in torch.randperm(len(images)).split(64)]
    seconds = time.perf_counter() - start
    print(f"accuracy {sum(right for _, right in sums) / len(images):.3f}, {len(images) / seconds:.1f} images/sec")


def rate(command):
    """The images per second that a program prints."""
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(re.search(r"([\d.]+) images/sec", text)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lenet", default=str(ROOT / "target/release/examples/lenet"))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--pytorch", choices=["eager", "channels-last"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pytorch:
        return pytorch(pathlib.Path(options.data_dir) / "MNIST/raw", options.pytorch)
    os.environ["GABOR_NUM_THREADS"] = "2"
    ours = [options.lenet, *"--variant relu-max --epochs 1 --batch-size 64 --lr 0.05 --data-dir".split(), options.data_dir]
    rival = [options.python, __file__, "--data-dir", options.data_dir, "--pytorch"]
    commands = {"ours": ours, "eager": [*rival, "eager"], "channels-last": [*rival, "channels-last"]}
    best = dict.fromkeys(commands, 0.0)
    for _ in range(options.rounds):
        for who, command in commands.items():
            best[who] = max(best[who], rate(command))
    print(", ".join(f"{who} {images:.0f} images/s" for who, images in best.items()))
    print(f"ratio {best['ours'] / max(best['eager'], best['channels-last']):.2f} (asked: 3)")


if __name__ == "__main__":
    main()
