"""The contest catches wrong results, survives crashes and goes on where it was interrupted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("scipy")
pytest.importorskip("packaging")

from benchmarks import contest, results
from benchmarks.analysis import compare
from benchmarks.contest import Contestant, Match, Settings

ROOT = Path(__file__).parent.parent
FAKES = """
import os, signal, time
from benchmarks.peers import Peer
import benchmarks.arrays as arrays

def prepare_with(change):
    def prepare(problem, direction, dtype, inputs, threads):
        result = arrays.expected(problem, direction, inputs).astype(dtype)
        calls = []
        def run():
            calls.append(1)
            return change(result.copy(), len(calls))
        return run
    return prepare

def wrong(result, call):
    result[..., 0, 0] *= 1.01
    return result

def slow(result, call):
    time.sleep(0.002)
    return result

def crash(result, call):
    if call > 40:
        os.kill(os.getpid(), signal.SIGSEGV)
    return result

def crash_at_once(result, call):
    os._exit(3)

def fail(result, call):
    raise RuntimeError("not today")

def fake(name, change, can=lambda *what: True, module="numpy"):
    return Peer(name, module, "numpy", can, prepare_with(change))

def same(result, call):
    return result

PEERS = (
    fake("conv2d", same),
    fake("slow", slow),
    fake("wrong", wrong),
    fake("crash", crash),
    fake("crash at once", crash_at_once),
    fake("fail", fail),
    fake("cannot", same, can=lambda *what: False),
    fake("absent", same, module="no_such_library"),
)
"""
MATCH = Match("20x21_3x3", "forward", "float32", 1, "warm")


@pytest.fixture
def play(tmp_path, monkeypatch):
    """Play with fake peers of these names; returns the result."""
    (tmp_path / "fakes.py").write_text(FAKES)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "fakes", raising=False)

    def play(*names, match=MATCH, rounds=3, log=None, minutes=None):
        log = log or results.Log(tmp_path / "log.jsonl", {"settings": rounds, "command": "again"})
        contestants = [Contestant(name, "fakes", name) for name in names]
        settings = Settings(rounds, 1e-4, minutes)
        contest.play([match], contestants, settings, log, lambda match, rounds: None)
        return log.result()

    return play


def only(result):
    (comparison,) = compare(result)
    return comparison, {other.label: other for other in comparison.others}


@pytest.mark.parametrize("direction", ["forward", "input", "weight"])
def test_slower_peer_is_ranked_slower(play, direction):
    comparison, others = only(
        play("conv2d", "slow", match=Match("20x21_3x3", direction, "float32", 1, "warm"))
    )
    assert comparison.verdict == "win"
    assert comparison.best is others["slow"]
    assert others["slow"].ratio.low > 5
    assert others["slow"].median > 0.002


def test_wrong_result_is_shown_and_not_ranked(play):
    result = play("conv2d", "slow", "wrong")
    comparison, others = only(result)
    assert others["wrong"].status == "wrong"
    assert "wrong" in others["wrong"].note
    assert others["wrong"].ratio is None
    assert comparison.best.label == "slow"
    assert result["matches"][0]["rows"]["wrong"]["seconds"] == [None] * 3


@pytest.mark.parametrize(("name", "note"), [("crash", "SIGSEGV"), ("crash at once", "exit code 3")])
def test_dead_process_has_a_row_and_the_run_goes_on(play, name, note):
    result = play("conv2d", name, "slow", rounds=4)
    comparison, others = only(result)
    assert others[name].status == "died"
    assert note in others[name].note
    assert others[name].ratio is None
    assert all(result["matches"][0]["rows"]["conv2d"]["seconds"])
    assert comparison.best.label == "slow"


def test_exception_of_a_peer_is_its_note(play):
    _, others = only(play("conv2d", "fail"))
    assert others["fail"].status == "failed"
    assert others["fail"].note == "RuntimeError: not today"


def test_peer_that_cannot_has_no_row(play):
    _, others = only(play("conv2d", "cannot"))
    assert not others


@pytest.mark.parametrize("command", ["run", "report"])
def test_folder_is_no_result(command, tmp_path):
    """It is found out before the contest, not after."""
    line = [sys.executable, "-m", "benchmarks", command, "--out", str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"{tmp_path} is a folder, not a file" in done.stderr


def test_absent_peer_is_named(play, monkeypatch, capsys):
    commands = pytest.importorskip("benchmarks.commands")
    monkeypatch.setattr(commands.adapters, "modules", lambda: ["fakes"])
    play("conv2d")
    contestants, facts = commands._contestants(["absent"])
    assert facts["absent"] == {"present": False}
    assert "absent" not in [each.label for each in contestants]
    assert "not installed, so left out: absent" in capsys.readouterr().out


def test_interrupted_run_goes_on(play, tmp_path):
    path = tmp_path / "log.jsonl"
    header = {"settings": 5, "command": "again"}
    play("conv2d", "slow", rounds=2, log=results.Log(path, header))
    lines = path.read_text().splitlines()
    assert "finished" in json.loads(lines[-1])
    interrupted = [*lines[:-2], lines[-2][:20]]  # in the middle of a line
    path.write_text("\n".join(interrupted))
    before = json.loads(lines[2])["seconds"]["conv2d"]
    result = play("conv2d", "slow", rounds=5, log=results.Log(path, header))
    seconds = result["matches"][0]["rows"]["conv2d"]["seconds"]
    assert len(seconds) == 5
    assert all(seconds)
    assert seconds[0] == before


def test_unfinished_run_of_other_settings_is_not_lost(tmp_path):
    path = tmp_path / "log.jsonl"
    results.Log(path, {"settings": 1, "command": "python -m benchmarks run"})
    with pytest.raises(SystemExit, match="unfinished run"):
        results.Log(path, {"settings": 2, "command": "other"})


def test_what_there_was_no_time_for_is_left_out(play):
    result = play("conv2d", minutes=1e-9)
    assert result["left_out"] == ["20x21_3x3 forward float32 1 thread warm"]
    assert not result["matches"]


def test_saved_result_reads_back(play, tmp_path):
    result = play("conv2d", "slow")
    results.save(result, tmp_path / "result.json")
    assert results.read(tmp_path / "result.json") == result


def test_far_slower_peers_have_fewer_turns(tmp_path):
    contestants = [Contestant(name, "fakes", name) for name in ("fast", "close", "far", "hopeless")]
    log = results.Log(tmp_path / "log.jsonl", {"settings": 1, "command": ""})
    game = contest._Game(MATCH, dict.fromkeys(contestants), Settings(), log, lambda *_: None)
    calls = {"fast": 0.1, "close": 0.3, "far": 0.9, "hopeless": 2.0}
    rows = {name: {"status": "ok", "call": call} for name, call in calls.items()}
    game._choose_rounds(rows)
    assert {each.label: n for each, n in game.every.items()} == {"fast": 1, "close": 1, "far": 3}
    assert rows["hopeless"]["status"] == "slow"
