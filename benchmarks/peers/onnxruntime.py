"""ONNX Runtime: a graph of one Conv, the filters a constant; inference only, no float64."""

from __future__ import annotations

from benchmarks.arrays import Arrays
from benchmarks.peers import Peer, Run
from benchmarks.problems import Problem


def can(problem: Problem, direction: str, dtype: str) -> bool:
    return direction == "forward" and dtype == "float32"


def prepare(problem: Problem, direction: str, dtype: str, arrays: Arrays, threads: int) -> Run:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    top, bottom, left, right = problem.pad
    node = helper.make_node(
        "Conv",
        ["x", "w"],
        ["y"],
        strides=[problem.stride] * 2,
        pads=[top, left, bottom, right],
        dilations=[problem.dilation] * 2,
        group=problem.groups,
    )
    shapes = ("x", problem.x_shape), ("y", problem.y_shape)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, s) for name, s in shapes)
    graph = helper.make_graph([node], "conv", [x], [y], [numpy_helper.from_array(arrays.w, "w")])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"x": arrays.x})[0]


PEERS = (Peer("ONNX Runtime", "onnxruntime", "onnxruntime", can, prepare),)
