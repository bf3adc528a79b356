"""OpenVINO: a model of one convolution, the filters a constant; held to float32; inference only."""

from __future__ import annotations

from benchmarks.arrays import Arrays
from benchmarks.peers import Peer, Run
from benchmarks.problems import Problem


def can(problem: Problem, direction: str, dtype: str) -> bool:
    return direction == "forward" and dtype == "float32"


def prepare(problem: Problem, direction: str, dtype: str, arrays: Arrays, threads: int) -> Run:
    import openvino
    from openvino import opset13 as ops

    top, bottom, left, right = problem.pad
    sides = [[top, left], [bottom, right]]
    stride, dilation = [problem.stride] * 2, [problem.dilation] * 2
    x = ops.parameter(list(problem.x_shape), arrays.x.dtype.type)
    if problem.groups == 1:
        y = ops.convolution(x, ops.constant(arrays.w), stride, *sides, dilation)
    else:
        groups, (k, *rest) = problem.groups, problem.w_shape
        w = arrays.w.reshape(groups, k // groups, *rest)
        y = ops.group_convolution(x, ops.constant(w), stride, *sides, dilation)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    model = openvino.Core().compile_model(openvino.Model([y], [x]), "CPU", settings)
    request = model.create_infer_request()
    return lambda: request.infer({0: arrays.x}, share_inputs=True, share_outputs=True)[0]


PEERS = (Peer("OpenVINO", "openvino", "openvino", can, prepare),)
