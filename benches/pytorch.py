"""Times PyTorch on a case file, under the names that the yardstick uses. Needs torch and numpy.

usage: pytorch.py [--cases FILE] [--threads N] [--budget SECONDS] [--mode eager|channels-last|compile]

Waits for lines on its standard input, each a part of a case's name; times every case that contains it, prints one JSON line
{"case", "min_ms", "ms", "iters"} for each, and a line "done". Between them it does not touch the processor.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class Residual(nn.Module):
    """relu(body(x) + shortcut(x)); an empty shortcut hands x on."""

    def __init__(self, body, shortcut):
        super().__init__()
        self.body, self.shortcut = layers(body), layers(shortcut)

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


def layers(specs):
    """The net of a list of layers, each with PyTorch's name and arguments."""
    made = []
    for spec in specs:
        arguments = {k: tuple(v) if isinstance(v, list) and k not in ("body", "shortcut") else v for k, v in spec.items()}
        kind = arguments.pop("type")
        made.append(Residual(**arguments) if kind == "Residual" else getattr(nn, kind)(**arguments))
    return nn.Sequential(*made)


class Timer:
    def __init__(self, options):
        self.budget, self.mode = options.budget, options.mode
        self.wanted = ""

    def format(self, tensor):
        """The tensor in the memory order of the mode."""
        return tensor.to(memory_format=torch.channels_last) if self.mode == "channels-last" else tensor

    def wants(self, *cases):
        return any(self.wanted in case for case in cases)

    def time(self, case, share, step):
        """Runs a step for its share of the budget, five times at least, after three runs to warm up."""
        if not self.wants(case):
            return
        for _ in range(3):
            step()
        times, end = [], time.perf_counter() + self.budget * share
        while len(times) < 5 or time.perf_counter() < end:
            start = time.perf_counter()
            step()
            times.append((time.perf_counter() - start) * 1e3)
        figures = {"case": case, "min_ms": min(times), "ms": statistics.median(times), "iters": len(times)}
        print(json.dumps(figures), flush=True)

    def learn_kernel(self):
        """Ten steps towards the kernel [1, -1] that finds the edges of a stripe."""
        image = torch.ones(1, 1, 6, 8)
        image[..., 2:6] = 0
        edges = (image[..., :-1] - image[..., 1:]).contiguous()
        conv = nn.Conv2d(1, 1, (1, 2), bias=False)

        def steps():
            for _ in range(10):
                loss = (conv(image) - edges) ** 2
                conv.zero_grad()
                loss.sum().backward()
                conv.weight.data[:] -= 3e-2 * conv.weight.grad

        self.time("train/learn_kernel_10it", 1.0, steps)

    def operators(self):
        """Matrix products, batch norm and elementwise operators."""
        for n in 256, 1024:
            a, b = torch.randn(n, n), torch.randn(n, n)
            self.time(f"gemm/{n}", 0.25, lambda: a @ b)
        x, y = (self.format(torch.randn(64, 64, 32, 32)) for _ in range(2))
        self.time("elementwise/add", 0.25, lambda: x + y)
        self.time("elementwise/relu", 0.25, lambda: F.relu(x))
        self.time("elementwise/sigmoid", 0.25, lambda: torch.sigmoid(x))
        norm = nn.BatchNorm2d(64)
        with torch.no_grad():
            self.time("norm/batch/fwd", 0.25, lambda: norm(x))
        x.requires_grad_()

        def both():
            x.grad = None
            norm(x).backward(y)

        self.time("norm/batch/fwd_bwd", 0.25, both)

    def net(self, spec):
        train, infer = "train/" + spec["name"], "infer/" + spec["name"]
        if not self.wants(train, infer, infer + "/b1"):
            return
        net = self.format(layers(spec["layers"]))
        x = self.format(torch.randn(spec["batch"], *spec["input"]))
        y = torch.randint(spec["classes"], (spec["batch"],))
        optimizer = getattr(torch.optim, spec["optimizer"])(net.parameters(), **spec["options"])
        call = net
        if self.mode == "compile":
            # The compiler gives up after eight graphs of a process, and batches of 1 deserve a graph of their own.
            torch._dynamo.reset()
            call = torch.compile(net, dynamic=False)

        def step():
            optimizer.zero_grad()
            F.cross_entropy(call(x), y).backward()
            optimizer.step()

        self.time(train, 1.0, step)
        net.eval()
        one = self.format(x[:1].contiguous())
        with torch.inference_mode():
            self.time(infer, 0.5, lambda: call(x))
            self.time(infer + "/b1", 0.5, lambda: call(one))

    def conv(self, spec):
        name = "conv/" + spec["name"]
        if not self.wants(name + "/fwd", name + "/bwd_data", name + "/bwd_weight"):
            return
        x, w = self.format(torch.randn(spec["input"])), self.format(torch.randn(spec["weight"]))
        b = torch.zeros(spec["weight"][0])
        stride, padding, dilation, groups = (spec[key] for key in ("stride", "padding", "dilation", "groups"))
        gradient = torch.randn_like(F.conv2d(x, w, b, stride, padding, dilation, groups))

        def back(*needed):
            return lambda: torch.ops.aten.convolution_backward(
                gradient, x, w, [b.numel()], stride, padding, dilation, False, (0, 0), groups, needed
            )

        self.time(name + "/fwd", 0.25, lambda: F.conv2d(x, w, b, stride, padding, dilation, groups))
        self.time(name + "/bwd_data", 0.25, back(True, False, False))
        self.time(name + "/bwd_weight", 0.25, back(False, True, True))

    def pool(self, spec):
        name = "pool/" + spec["name"]
        if not self.wants(name + "/fwd", name + "/fwd_bwd"):
            return
        window = spec["kernel_size"], spec["stride"], spec["padding"]
        pool = {"MaxPool2d": F.max_pool2d, "AvgPool2d": F.avg_pool2d}[spec["kind"]]
        x = self.format(torch.randn(spec["input"])).requires_grad_()
        gradient = torch.randn_like(pool(x, *window))

        def forward():
            with torch.no_grad():
                pool(x, *window)

        def both():
            x.grad = None
            pool(x, *window).backward(gradient)

        self.time(name + "/fwd", 0.25, forward)
        self.time(name + "/fwd_bwd", 0.25, both)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", default=pathlib.Path(__file__).with_name("cases.json"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--budget", type=float, default=1.0)
    parser.add_argument("--mode", default="eager", choices=["eager", "channels-last", "compile"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    cases, timer = json.loads(pathlib.Path(options.cases).read_text()), Timer(options)
    for line in sys.stdin:
        timer.wanted = line.strip()
        # What compilation does not change is not timed again.
        kinds = ["nets"] if options.mode == "compile" else ["nets", "convs", "pools"]
        if options.mode != "compile":
            timer.learn_kernel()
            timer.operators()
        for kind, run in zip(kinds, (timer.net, timer.conv, timer.pool)):
            for spec in cases.get(kind, []):
                run(spec)
        print("done", flush=True)


if __name__ == "__main__":
    main()
