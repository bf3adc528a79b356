"""The examples in docstrings and in the README do what they say."""

import doctest
import re

import pytest
from helpers import ROOT

import conv2d

MODULES = [conv2d.api, conv2d.dispatch, conv2d.kernel, conv2d.reference, conv2d.threads]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_docstrings(module):
    try:
        failed, tried = doctest.testmod(module)
    finally:
        conv2d._door.limit_threads(conv2d.threads.CPUS, 0)
    assert tried > 0
    assert failed == 0


@pytest.mark.parametrize("name", conv2d.__all__)
def test_every_public_function_has_an_example(name):
    function = getattr(conv2d, name)
    if callable(function) and function is not conv2d.Gradients:
        if name == "get_num_threads":  # shown with set_num_threads
            function = conv2d.set_num_threads
        assert ">>> " in function.__doc__


def test_readme():
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    if not blocks:
        pytest.skip("no Python in the README")
    names = {}
    for block in blocks:
        if ">>> " in block:
            test = doctest.DocTestParser().get_doctest(block, names, "README", "README.md", 0)
            runner = doctest.DocTestRunner()
            runner.run(test, clear_globs=False)
            names.update(test.globs)
            assert runner.failures == 0
        else:
            exec(compile(block, "README.md", "exec"), names)
