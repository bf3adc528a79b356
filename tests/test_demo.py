"""The demo on a small part of its picture: what it finds is right, and its page is whole."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import conv2d  # before the checkout is on the path, so that an installed package is what is tested

for needed in ("skimage", "matplotlib", "scipy", "PIL", "rich", "jinja2"):
    pytest.importorskip(needed)
ROOT = Path(__file__).parents[1]
SECTIONS = ("formulas", "picture", "forward", "weight", "input", "layer", "speed", "repeat")


@pytest.fixture(scope="module")
def demo():
    sys.path.append(str(ROOT))
    yield importlib.import_module("demo.__main__")
    sys.path.remove(str(ROOT))


@pytest.fixture(scope="module")
def results(demo):
    picture = np.ascontiguousarray(demo.tasks.load_picture()[380:680, 540:940])
    view = slice(40, 240), slice(80, 280)
    with demo.Progress(disable=True) as progress:
        return demo.run(picture, view, progress, steps=(150, 40), budget=0, crop=16)


@pytest.fixture(scope="module")
def html(demo, results, tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "demo.html"
    path.write_text(demo.page.render(results), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def test_finds_the_filter(results):
    learnt = results.learnt
    assert learnt.error < 0.3
    assert np.corrcoef(learnt.found.ravel(), learnt.true.ravel())[0, 1] > 0.95
    assert learnt.losses[-1] < 1.1 * 0.002 < learnt.losses[0]


def test_undoes_the_blur(results):
    before, after = results.restored.psnr
    assert after > before + 6
    assert results.restored.restored.min() >= 0


def test_times_everything(demo, results):
    assert len(results.timings) == demo.speed.count()
    assert max(timing.error for timing in results.timings) < 1e-3
    ours = [timing for timing in results.timings if timing.who.startswith("conv2d")]
    assert max(timing.error for timing in ours) < 1e-5


def test_known_filters_are_what_they_say(results):
    known = {item.name: item.picture for item in results.known}
    np.testing.assert_array_equal(known["Identity"], results.picture)
    across = conv2d.conv2d(results.picture, np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], "f4"))
    np.testing.assert_array_equal(known["Sobel, across"], across)


def test_layer_is_each_filter_by_itself(results):
    filters, pictures, stride = results.layer
    assert pictures.shape == (8, *(-(-side // stride) for side in results.picture.shape))
    top, left = (
        max((rows - 1) * stride + size - side, 0) // 2
        for rows, size, side in zip(
            pictures.shape[1:], filters.shape[2:], results.picture.shape, strict=True
        )
    )
    padding = (top, filters.shape[2] - 1 - top), (left, filters.shape[3] - 1 - left)
    for w, picture in zip(filters[:, 0], pictures, strict=True):
        whole = conv2d.conv2d(results.picture, w, padding=padding)
        np.testing.assert_allclose(picture, whole[::stride, ::stride], atol=1e-6)


def test_page_has_every_section(html):
    assert re.findall(r'id="(\w+)"', html) == list(SECTIONS)
    assert html.count("<img") == html.count(" alt=") >= 20
    assert "nan" not in re.sub(r"<[^>]*>", " ", html.split("</style>")[1]).split()


def test_page_needs_nothing_else(html):
    addresses = re.findall(r'(?:src|srcset|href)="([^"]*)"', html)
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    assert not re.search(r"url\(|@import|<script|https?://", html)
