"""The report and the README's table from stored JSON."""

import json
import re
import shutil
import subprocess

import pytest

pytest.importorskip("scipy")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from benchmarks import readme, report, results

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PROBLEMS = ["28x28_3x3", "64x64_3x3", "128x128_3x3", "256x256_3x3", "256x256_5x5"]


def row(seconds, **more):
    return {"status": "ok", "call": 1.0, "rms_error": 6e-8, "seconds": seconds, **more}


def match(problem, direction, threads, theirs=2.0):
    rows = {
        "conv2d": row([1e-3 / threads, 1.1e-3 / threads]),
        "conv2d again": row([1e-3 / threads, 1.1e-3 / threads]),
        "Peer <b>": row([theirs * 1e-3 / threads, theirs * 1.1e-3 / threads]),
        "liar": row([None, None], status="wrong", largest_error=0.1),
        "crash": row([1e-3, None], status="died", note="killed by SIGSEGV"),
        "FMA peak": row([1e-3, 1e-3], work=1e8 * threads),
        "copy": row([1e-3, 1e-3], work=2e7),
        "copy, streaming": row([1e-3, 1e-3], work=3e7),
        "copy, fresh destination": row([1e-3, 1e-3], work=1e7),
    }
    what = {"problem": problem, "direction": direction, "dtype": "float32"}
    return {**what, "threads": threads, "cache": "warm", "rounds": 2, "rows": rows}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A result on disk: one problem is lost, one peer is absent."""
    matches = [
        match(problem, direction, threads, theirs=0.5 if problem == "64x64_3x3" else 2.0)
        for threads in (1, 2)
        for problem in PROBLEMS
        for direction in ("forward", "weight")
    ]
    peers = {
        "conv2d": {"present": True, "version": "1.2", "bytes": 4e6, "import": 0.05},
        "Peer <b>": {"present": True, "version": "3.4", "bytes": 4e8, "import": 1.5},
        "missing": {"present": False},
    }
    result = {
        "kind": "contest",
        "date": "2026-01-02T03:04:05+00:00",
        "command": "python -m benchmarks run planar",
        "machine": {"cpu": "A CPU", "cores": 2, "system": "Linux", "python": "3.11"},
        "peers": peers,
        "settings": {"rounds": 2, "least": 0.002, "lists": ["planar"]},
        "finished": "2026-01-02T03:05:05+00:00",
        "left_out": ["1024x1024_3x3 forward float32 1 thread warm"],
        "matches": matches,
    }
    path = tmp_path_factory.mktemp("stored") / "stored.json"
    results.save(result, path)
    return path


@pytest.fixture(scope="module")
def page(stored):
    path = stored.with_name("page.html")
    report.write(stored, path)
    return path


def test_page_needs_nothing_else(page):
    text = page.read_text()
    assert "<script" not in text
    assert not re.findall(r'(?:src|href)="(?!#)', text)
    assert "Peer <b>" not in text
    assert "Peer &lt;b&gt;" in text


def test_both_forms_say_the_same(page):
    for text in (page.read_text(), page.with_suffix(".md").read_text()):
        assert "planar: against the fastest peer of each row we win 12 of 12" in text
        assert "by hand: against the fastest peer of each row we win 4 of 8 (Y 2 of 4" in text
        assert "tie 0 and lose 4" in text
        assert "from 0.50 (64x64_3x3 Y, float32, 1 thread, warm cache against Peer" in text
        for words in (
            "off by up to 1.0e-01",
            "killed by SIGSEGV",
            "absent",
            "python -m benchmarks run planar",
            "A CPU",
            "no time for 1 comparison",
        ):
            assert words in text


def test_lost_rows_come_first(page):
    text = page.with_suffix(".md").read_text()
    lost = text[text.index("## Where we do not win") : text.index("## Y")]
    assert lost.count("| loss |") == 4
    assert "64x64_3x3 Y, float32, 1 thread, warm cache against Peer" in lost


def test_figures_are_there_and_take_the_colours_of_the_page(page):
    text = page.read_text()
    for title in ("Roofline", "plane size, 3x3", "Error beside speed", "best peer over ours"):
        assert title in text
    assert "currentColor" in text
    assert "#010203" not in text
    ids = re.findall(r'<(?:clipPath|path|g)[^>]* id="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_slower_result_is_shown_against_the_older(stored, tmp_path):
    slower = results.read(stored)
    for each in slower["matches"]:
        ours = each["rows"]["conv2d"]
        ours["seconds"] = [2 * seconds for seconds in ours["seconds"]]
    results.save(slower, tmp_path / "slower.json")
    report.write(tmp_path / "slower.json", tmp_path / "page.html", against=stored)
    text = (tmp_path / "page.md").read_text()
    side = text[text.index("## Against the result of 2026-01-02") : text.index("## Y")]
    assert side.count("| 0.5 |") == 20


def test_report_without_a_peer(stored, tmp_path):
    alone = results.read(stored)
    for each in alone["matches"]:
        for label in "Peer <b>", "liar", "crash":
            del each["rows"][label]
    results.save(alone, tmp_path / "alone.json")
    report.write(tmp_path / "alone.json", tmp_path / "page.html")
    assert (tmp_path / "page.md").read_text().count("| alone |") == len(alone["matches"])


def test_report_of_pytest_benchmark(tmp_path):
    benchmarks = [
        {
            "extra_info": {
                "problem": "28x28_3x3",
                "direction": "forward",
                "dtype": "float32",
                "threads": 1,
                "peer": peer,
                "version": "1",
                "rms_error": 1e-8,
                "largest_error": 1e-7,
            },
            "stats": {"median": median},
        }
        for peer, median in (("conv2d", 1e-6), ("other", 3e-6))
    ]
    machine = {"cpu": {"brand_raw": "A CPU"}, "processor": "", "system": "Linux", "release": "6"}
    content = {
        "benchmarks": benchmarks,
        "datetime": "2026-01-02",
        "machine_info": {**machine, "python_version": "3.11"},
    }
    (tmp_path / "pytest.json").write_text(json.dumps(content))
    report.write(tmp_path / "pytest.json", tmp_path / "page.html")
    text = (tmp_path / "page.md").read_text()
    assert "we win 1 of 1" in text
    assert "3.00 [3.00, 3.00]" in text
    assert "pytest-benchmark" in text


def test_speed_table_of_the_readme(stored, tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"# Title\n{readme.BEGIN}\nold\n{readme.END}\nrest\n")
    readme.renew(path, [stored])
    readme.renew(path, [stored])  # as often as one likes
    text = path.read_text()
    assert text.startswith(f"# Title\n{readme.BEGIN}\n| float32 | Y | dX | dW |")
    assert "old" not in text
    assert text.endswith(f"{readme.END}\nrest\n")
    assert "| 64x64_3x3 | 0.14 (0.5x Peer <b>) | - |" in text
    path.write_text("nothing")
    with pytest.raises(ValueError, match="speed table"):
        readme.renew(path, [stored])


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [420, 1280])
def test_page_fits_the_window_of_a_browser(page, tmp_path, width):
    probe = (
        "<script>document.title = [document.documentElement.scrollWidth <= innerWidth,"
        "document.querySelectorAll('figure svg').length,"
        "[...document.querySelectorAll('details[open] > .figures svg')].every("
        "s => s.getBoundingClientRect().width > 200)].join()</script>"
    )
    copy = tmp_path / "probe.html"
    copy.write_text(f"{page.read_text()}{probe}")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"]
    command += ["--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--window-size={width},900", "--dump-dom", copy.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    fits, figures, wide = re.search(r"<title>(\w+),(\d+),(\w+)</title>", dom).groups()
    assert (fits, wide) == ("true", "true")
    assert int(figures) >= 16
