"""Results on disk: a log of a line a round that can be taken up again, and the JSON made of it."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
WORK = ROOT / ".cache" / "benchmarks"  # logs, and results that nobody asked to keep
STORED = 1000  # rounds of pytest-benchmark that are looked at
KEPT = Path(__file__).parent / "results"  # in git


class Log:
    """JSON lines, the first a header; a line that an interruption cut short is dropped."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        """Take up an unfinished log of the same settings, or begin one."""
        self.path = path
        self.header = header
        self.matches: dict[str, dict[str, Any]] = {}
        self.finished: dict[str, Any] | None = None
        lines = _lines(path) if path.exists() else []
        if lines and "finished" not in lines[-1]:
            self._take_up(lines)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
            self._write({"header": header})

    def _take_up(self, lines: list[dict[str, Any]]) -> None:
        before = lines[0]["header"]
        if before["settings"] != self.header["settings"]:
            raise SystemExit(
                f"{self.path} holds an unfinished run of other settings: finish it with\n"
                f"    {before['command']}\nor delete it"
            )
        self.header = before
        self.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        for line in lines[1:]:
            self._apply(line)

    def _write(self, line: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _add(self, line: dict[str, Any]) -> None:
        self._write(line)
        self._apply(line)

    def _apply(self, line: dict[str, Any]) -> None:
        if "finished" in line:
            self.finished = line
            return
        key = line["match"]
        if "rows" in line:
            match = self.matches.setdefault(key, {**line["what"], "rows": {}, "rounds": []})
            match["rows"] |= line["rows"]
        elif "died" in line:
            self.matches[key]["rows"][line["died"]] |= {"status": "died", "note": line["note"]}
        else:
            self.matches[key]["rounds"].append(line["seconds"])

    def rounds(self, match: str) -> int:
        """How many rounds of a match are there."""
        return len(self.matches[match]["rounds"]) if match in self.matches else 0

    def start(self, match: str, what: dict[str, Any], rows: dict[str, Any]) -> int:
        """Note who takes part; returns the number of the first round to play."""
        self._add({"match": match, "what": what, "rows": rows})
        return self.rounds(match)

    def round(self, match: str, seconds: dict[str, float]) -> None:
        """Note one round."""
        short = {label: float(f"{value:.4g}") for label, value in seconds.items()}
        self._add({"match": match, "seconds": short})

    def death(self, match: str, label: str, note: str) -> None:
        """Note that the process of a contestant ended."""
        self._add({"match": match, "died": label, "note": note})

    def finish(self, left_out: list[str]) -> None:
        """Note that all is done but what there was no time for."""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._add({"finished": now, "left_out": left_out})

    def result(self) -> dict[str, Any]:
        """All of it as one object: seconds by rounds, None where a contestant had no turn."""
        matches = []
        for match in self.matches.values():
            rounds = match["rounds"]
            rows = {
                label: {**row, "seconds": [each.get(label) for each in rounds]}
                for label, row in match["rows"].items()
            }
            matches.append({**match, "rows": rows, "rounds": len(rounds)})
        finished = self.finished or {"finished": None, "left_out": []}
        return {"kind": "contest", **self.header, **finished, "matches": matches}


def _lines(path: Path) -> list[dict[str, Any]]:
    lines = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def save(result: dict[str, Any], path: Path) -> None:
    """Write a result, a line a match, so that git shows what changed."""
    matches = ",\n".join(json.dumps(match) for match in result["matches"])
    head = json.dumps({**result, "matches": []}, indent=1)
    assert head.endswith('"matches": []\n}')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head.removesuffix("[]\n}") + f"[\n{matches}\n]\n}}\n")


def read(path: Path) -> dict[str, Any]:
    """A result of the contest, or what `pytest benchmarks/ --benchmark-json` wrote."""
    content = json.loads(path.read_text())
    return _from_pytest(content, path) if "benchmarks" in content else content


def _from_pytest(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The same form; one round where pytest-benchmark did not store them all."""
    matches: dict[tuple[str, ...], dict[str, Any]] = {}
    peers = {}
    for benchmark in content["benchmarks"]:
        info = benchmark["extra_info"]
        what = {name: info[name] for name in ("problem", "direction", "dtype", "threads")}
        match = matches.setdefault(tuple(map(str, what.values())), {**what, "rows": {}})
        seconds = benchmark["stats"].get("data") or [benchmark["stats"]["median"]]
        errors = {name: info[name] for name in ("rms_error", "largest_error")}
        match["rows"][info["peer"]] = {"status": "ok", "seconds": seconds[:STORED], **errors}
        peers[info["peer"]] = {"present": True, "version": info["version"]}
    machine = content["machine_info"]
    return {
        "kind": "pytest-benchmark",
        "date": content["datetime"],
        "command": f"pytest benchmarks/ --benchmark-json {path.name}",
        "machine": {
            "cpu": machine["cpu"].get("brand_raw", machine["processor"]),
            "system": f"{machine['system']} {machine['release']}",
            "python": machine["python_version"],
        },
        "peers": peers,
        "settings": {},
        "left_out": [],
        "matches": [{**match, "cache": "warm", "rounds": 0} for match in matches.values()],
    }


def newest(*folders: Path) -> Path:
    """The result written last."""
    files = [file for folder in folders for file in folder.glob("*.json")]
    if not files:
        raise SystemExit("no results yet: python -m benchmarks run --short")
    return max(files, key=lambda file: file.stat().st_mtime)
