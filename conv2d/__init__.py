"""2-D convolution with gradients, fast on the CPU, from NumPy arrays."""

from . import kernel, reference
from ._version import __version__
from .api import (
    Gradients,
    conv2d,
    conv2d_backward,
    conv2d_input,
    conv2d_weight,
    conv_transpose2d,
)
from .dispatch import info
from .threads import get_num_threads, set_num_threads

__all__ = [
    "Gradients",
    "__version__",
    "conv2d",
    "conv2d_backward",
    "conv2d_input",
    "conv2d_weight",
    "conv_transpose2d",
    "get_num_threads",
    "info",
    "kernel",
    "reference",
    "set_num_threads",
]
