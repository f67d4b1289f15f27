"""Turns the operator test vectors of the ONNX project into the container that `tests/onnx.rs` reads.

usage: convert.py OUT_DIR
needs: onnx==1.22.0 (the last release that carries the vectors), numpy, safetensors

    pip install onnx==1.22.0 safetensors
    python crates/gabor/tests/onnx/convert.py crates/gabor/tests/onnx/cases

It takes every model with one node of a type in OPERATORS from `onnx/backend/test/data/{node,pytorch-converted,pytorch-operator}` and
writes NODE.json + NODE.safetensors for each of the three. A case:
  name     the name of ONNX's test
  op       the type of the node
  opset    the version of the operator set
  attrs    the node's attributes; a tensor among them becomes {"tensor": key}
  inputs   keys of its inputs, null for one that is left out
  outputs  keys of what it gives, null for one that is not asked for
  dtypes   the element types of all tensors
  dropped  why the tensors are not in the file, if they are not
"""
import json
import os
import sys

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

OPERATORS = set("""
Abs Add And ArgMax ArgMin AveragePool BatchNormalization Clip Col2Im Concat Conv ConvTranspose Cos CumSum DepthToSpace Div
Dropout Elu Equal Erf Exp Expand Flatten Gather GatherElements Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual
GroupNormalization HardSigmoid HardSwish InstanceNormalization LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
MatMul Max MaxPool Mean Min Mish Mul Neg NegativeLogLikelihoodLoss Not OneHot Or PRelu Pad Pow Reciprocal ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize
ScatterElements Selu Sigmoid Sign Sin Slice Softmax SoftmaxCrossEntropyLoss Softplus SpaceToDepth Split Sqrt Squeeze Sub Sum
Swish Tanh TopK Transpose Unsqueeze Where
""".split())
# Bytes of one case; element types as the runner knows them; 32-bit integers are read as 64-bit ones.
LARGE = 350_000
KNOWN = {"float32", "float64", "int64", "int32", "uint8", "bool"}


def attribute(value, key, tensors):
    """An attribute as JSON."""
    value = onnx.helper.get_attribute_value(value)
    if isinstance(value, onnx.TensorProto):
        tensors[key] = numpy_helper.to_array(value)
        return {"tensor": key}
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (list, tuple)) or hasattr(value, "extend"):
        return [v.decode() if isinstance(v, bytes) else v for v in value]
    return value


def read(path):
    """A tensor file."""
    proto = onnx.TensorProto()
    with open(path, "rb") as file:
        proto.ParseFromString(file.read())
    return numpy_helper.to_array(proto)


def case(directory, name):
    """A case and its tensors, or None."""
    model = onnx.load(os.path.join(directory, name, "model.onnx"))
    graph = model.graph
    if len(graph.node) != 1 or graph.node[0].op_type not in OPERATORS or graph.node[0].domain not in ("", "ai.onnx"):
        return None
    if not all(value.type.HasField("tensor_type") for value in (*graph.input, *graph.output)):
        return None
    node = graph.node[0]
    data = os.path.join(directory, name, "test_data_set_0")
    values = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    given = [i.name for i in graph.input if i.name not in values]
    for i, n in enumerate(given):
        path = os.path.join(data, f"input_{i}.pb")
        values[n] = read(path)
    results = {n.name: read(os.path.join(data, f"output_{i}.pb")) for i, n in enumerate(graph.output)}
    tensors = {}

    def put(key, value):
        tensors[key] = value
        return key

    short = name.removeprefix("test_")
    made = {
        "name": short,
        "op": node.op_type,
        "opset": max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
        "attrs": {a.name: attribute(a, f"{short}.{a.name}", tensors) for a in node.attribute},
        "inputs": [put(f"{short}.in{i}", values[n]) if n else None for i, n in enumerate(node.input)],
        "outputs": [put(f"{short}.out{i}", results[n]) if n in results else None for i, n in enumerate(node.output)],
    }
    made["dtypes"] = sorted({str(t.dtype) for t in tensors.values()})
    window = node.op_type in ("Conv", "ConvTranspose", "MaxPool", "AveragePool")
    made["dtypes"] = ["string" if t == "object" else t for t in made["dtypes"]]
    missing = sorted(set(made["dtypes"]) - KNOWN)
    if missing:
        made["dropped"] = f"there is no {' or '.join(missing)}"
    elif window and tensors[made["inputs"][0]].ndim > 4:
        made["dropped"] = "there are no windows over volumes"
    elif sum(t.nbytes for t in tensors.values()) > LARGE:
        made["dropped"] = "its tensors are too large for this file"
    if "dropped" in made:
        tensors = {}
    return made, tensors


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    base = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data")
    for kind in ("node", "pytorch-converted", "pytorch-operator"):
        cases, tensors = [], {}
        for name in sorted(os.listdir(os.path.join(base, kind))):
            # The expanded ones are the same vectors with the operator written out in others.
            made = None if "_expanded" in name else case(os.path.join(base, kind), name)
            if made:
                cases.append(made[0])
                tensors.update({k: np.array(t, order="C") for k, t in made[1].items()})
        save_file(tensors, f"{out}/{kind}.safetensors", metadata={"onnx": onnx.__version__})
        with open(f"{out}/{kind}.json", "w") as file:
            # A line for each case.
            file.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
        print(kind, len(cases), "cases,", sum(t.nbytes for t in tensors.values()), "bytes")


main()
