"""PyTorch, in both of its memory layouts."""

from __future__ import annotations

from functools import partial

from benchmarks.arrays import Arrays
from benchmarks.peers import Peer, Run, floats
from benchmarks.problems import BACKWARD, Problem


def can(problem: Problem, direction: str, dtype: str) -> bool:
    return floats(dtype) and (problem.symmetric or (problem.same and direction == "forward"))


def prepare(
    layout: str, problem: Problem, direction: str, dtype: str, arrays: Arrays, threads: int
) -> Run:
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    x, w, dy = (
        torch.from_numpy(array).to(memory_format=getattr(torch, layout))
        for array in (arrays.x, arrays.w, arrays.dy)
    )
    stride, dilation, groups = [problem.stride] * 2, [problem.dilation] * 2, problem.groups
    pad = [problem.pad[0], problem.pad[2]]
    if direction == "forward":
        padding = pad if problem.symmetric else "same"
        return lambda: torch.nn.functional.conv2d(x, w, None, stride, padding, dilation, groups)
    both = direction == BACKWARD
    need = [both or direction == "input", both or direction == "weight", both]
    settings = ([problem.k] if both else None, stride, pad, dilation, False, [0, 0], groups, need)
    if both:
        return lambda: torch.ops.aten.convolution_backward(dy, x, w, *settings)
    which = need.index(True)
    return lambda: torch.ops.aten.convolution_backward(dy, x, w, *settings)[which]


PEERS = tuple(
    Peer(f"PyTorch {name}", "torch", "torch", can, partial(prepare, layout))
    for name, layout in (("NCHW", "contiguous_format"), ("channels_last", "channels_last"))
)
