"""What each shape list comes to, against the libraries that do layers."""

import re

import pytest

pytest.importorskip("scipy")
pytest.importorskip("rich")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from benchmarks import commands, readme, report, results, totals
from benchmarks.analysis import compare
from benchmarks.problems import read_list

LIST = [str(problem) for problem in read_list("training").values()]
HAND = "n1c2h9w9k2a3b3s1p1d1g1"


def match(problem, direction, times):
    """Ours takes 1 s, the others what `times` says."""
    seconds = {"conv2d": 1.0, "conv2d again": 1.0, **times}
    errors = {"conv2d": 3e-7}
    rows = {
        name: {"status": "ok", "call": 1.0, "rms_error": errors.get(name, 4e-7), "seconds": [time]}
        for name, time in seconds.items()
    }
    what = {"problem": problem, "direction": direction, "dtype": "float32", "threads": 1}
    return {**what, "cache": "warm", "rounds": 1, "rows": rows}


@pytest.fixture
def result():
    nchw, last, onnx = totals.RIVALS
    matches = [
        match(LIST[0], "forward", {nchw: 8.0, last: 4.0, "OpenVINO": 0.1}),
        match(LIST[1], "forward", {nchw: 0.5, onnx: 0.25, "conv2d channels_last": 0.01}),
        match(LIST[0], "backward", {nchw: 2.0, "conv2d one by one": 1.5}),
        match(LIST[2], "forward", {"OpenVINO": 0.5}),
        match(HAND, "forward", {nchw: 3.0}),
    ]
    return {
        "kind": "contest",
        "date": "2026-01-02T03:04:05+00:00",
        "command": "python -m benchmarks run training",
        "machine": {"cpu": "A CPU"},
        "peers": {},
        "settings": {"rounds": 1, "least": 0.002, "lists": ["training"]},
        "left_out": [],
        "matches": matches,
    }


def test_worst_ratio_and_geometric_mean(result):
    found = totals.totals(result, compare(result))
    assert [(t.name, t.direction, len(t.duels), t.lost) for t in found] == [
        ("training", "forward", 2, 1),
        ("training", "backward", 1, 0),
        ("Problems by hand", "forward", 1, 0),
    ]
    forward = found[0]
    assert forward.mean == pytest.approx(1.0)  # of 4 and 1/4
    assert [d.ratio for d in forward.duels] == [0.25, 4.0]
    assert [d.rival.label for d in forward.duels] == ["ONNX Runtime", "PyTorch channels_last"]
    assert (forward.error, forward.their_error) == (3e-7, 4e-7)


def test_ours_used_in_another_way_is_no_rival(result):
    best = [c.best.label for c in compare(result)]
    assert best == ["OpenVINO", "ONNX Runtime", "PyTorch NCHW", "OpenVINO", "PyTorch NCHW"]


def test_both_forms_of_the_report_show_them(result, tmp_path):
    results.save(result, tmp_path / "result.json")
    report.write(tmp_path / "result.json", tmp_path / "page.html")
    text = (tmp_path / "page.md").read_text()
    setting = "float32, 1 thread, warm cache"
    row = f"| training | Y | {setting} | 2 | 1.00 | 0.25 | {LIST[1]} | 1 | 3.0e-07 | 4.0e-07 |"
    assert row in text
    assert re.search(rf"\| {LIST[1]} \| Y \| {setting} \| 0.25 .*ONNX Runtime.*3.0e-07", text)
    page = (tmp_path / "page.html").read_text()
    assert "Rows lost to them" in page
    assert re.search(rf"training</td>.*{setting}</td><td>2</td><td>1.00</td><td>0.25", page)
    assert "conv2d one by one" in page


def test_run_ends_with_them(result, capsys):
    commands._show(result)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(" 0.25 loss")
    assert lines[1].endswith(f"{LIST[1]} Y, ONNX Runtime, errors 3.0e-07 and 4.0e-07")
    assert (
        "training Y, float32, 1 thread, warm cache: 2 rows, mean 1.00, worst 0.25, lost 1" in lines
    )


def test_readme_has_a_row_for_each_list(result):
    table = readme.table(result, "layers.json")
    assert table.startswith("| layers, float32 | Y | dX | dW |")
    assert "| training (2) | 1.00 (0.25) | - | - |" in table
    assert "the worst of them; below 1 we lose. A CPU, 1 thread, 2026-01-02" in table
    result["matches"].append(match("9x9_3x3", "forward", {"OpenCV": 2.0}))
    table = readme.table(result, "both.json")
    assert "(2x OpenCV) | - | - |" in table
    assert "| training (2) | 1.00 (0.25) | - | - |" in table
