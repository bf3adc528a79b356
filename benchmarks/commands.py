"""What the commands of `python -m benchmarks` do."""

from __future__ import annotations

import argparse
import shlex
import sys
import webbrowser
from datetime import datetime, timezone
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from . import limits, machine, results, summary
from . import peers as adapters
from .analysis import AGAIN, OURS, compare
from .contest import Contestant, Match, Settings, play
from .problems import lists, read_list, select
from .totals import totals

FULL = {
    "problem": ["planar"],
    "dtype": ["float32", "float64"],
    "cache": ["warm", "cold"],
    "rounds": 30,
}
SHORT = {"problem": ["short"], "dtype": ["float32"], "cache": ["warm"], "rounds": 10, "minutes": 4}


def run(arguments: argparse.Namespace) -> None:
    """Play the contest; with the same arguments, an interrupted one goes on."""
    for name, value in (SHORT if arguments.short else FULL).items():
        setattr(arguments, name, getattr(arguments, name) or value)
    matches = _matches(arguments)
    contestants, facts = _contestants(arguments.peer)
    settings = Settings(arguments.rounds, arguments.least / 1e3, arguments.minutes)
    out = arguments.out or results.WORK / ("short.json" if arguments.short else "run.json")
    header = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "machine": machine.describe(),
        "peers": facts,
        "settings": {
            "rounds": settings.rounds,
            "least": settings.least,
            "lists": arguments.problem,
            "matches": [str(match) for match in matches],
            "contestants": [each.label for each in contestants],
        },
    }
    log = results.Log(results.WORK / f"{out.stem}.jsonl", header)
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(
        *columns, TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False)
    ) as bar:
        task = bar.add_task("", total=len(matches) * settings.rounds)
        play(
            matches,
            contestants,
            settings,
            log,
            lambda match, rounds: bar.update(task, description=match, advance=rounds),
        )
    results.save(log.result(), out)
    _show(log.result())
    print(f"{out}\nnow: python -m benchmarks report {out}")


def _show(result: dict[str, Any]) -> None:
    """Each match against the best of the rivals, the worst first, and what the lists come to."""
    found = totals(result, compare(result))
    for total in found:
        print()
        for duel in total.duels:
            ours = duel.comparison.ours
            print(
                f"{duel.ratio:5.2f} {duel.verdict:4} {ours.gflops:7.4g} GFLOP/s  "
                f"{duel.comparison.problem} {summary.SYMBOLS[total.direction]}, "
                f"{duel.rival.label}, errors {ours.error:.1e} and {duel.rival.error:.1e}"
            )
    print()
    for total in found:
        print(
            f"{total.name} {summary.SYMBOLS[total.direction]}, "
            f"{summary.setting_text(total.setting)}: {len(total.duels)} rows, "
            f"mean {total.mean:.2f}, worst {total.duels[0].ratio:.2f}, lost {total.lost}"
        )


def _matches(arguments: argparse.Namespace) -> list[Match]:
    """Every combination; thread counts outermost, as they take processes of their own."""
    texts = [str(problem) for problem in select(arguments.problem)]
    threads = arguments.threads or sorted({1, len(machine.cpus())})
    if max(threads) > len(machine.cpus()) or min(threads) < 1:
        raise ValueError(f"--threads {threads}: this machine has {len(machine.cpus())}")
    return [
        Match(text, direction, dtype, count, cache)
        for count in threads
        for text in texts
        for direction in arguments.direction
        for dtype in arguments.dtype
        for cache in arguments.cache
    ]


def _contestants(names: list[str] | None) -> tuple[list[Contestant], dict[str, Any]]:
    """Who takes part, and what is known of each peer, the absent ones too."""
    contestants = [Contestant(AGAIN, "benchmarks.peers.ours", OURS)]
    facts: dict[str, Any] = {}
    for module in adapters.modules():
        for peer in adapters.load(module).values():
            if names and peer.name not in (*names, OURS):
                continue
            facts[peer.name] = {"present": peer.present}
            if peer.present:
                contestants.append(Contestant(peer.name, module, peer.name))
                facts[peer.name] |= {
                    "version": peer.version,
                    "bytes": machine.installed_bytes(peer.module, peer.distribution),
                    "import": machine.import_seconds(peer.module),
                }
    unknown = set(names or ()) - set(facts)
    if unknown:
        raise ValueError(f"no peer named {', '.join(unknown)}: see python -m benchmarks peers")
    absent = [name for name, fact in facts.items() if not fact["present"]]
    if absent:
        print(f"not installed, so left out: {', '.join(absent)}")
    for limit in limits.PEERS:
        if limit.present:
            contestants.append(Contestant(limit.name, limits.__name__, limit.name))
    return contestants, facts


def report(arguments: argparse.Namespace) -> None:
    """Make the page."""
    from . import report as pages

    source = arguments.result or results.newest(results.WORK, results.KEPT)
    page = arguments.out or results.WORK / f"{source.stem}.html"
    pages.write(source, page, arguments.against)
    print(f"{page}\n{page.with_suffix('.md')}")
    if arguments.open:
        webbrowser.open(page.resolve().as_uri())


def readme(arguments: argparse.Namespace) -> None:
    """Renew the speed table."""
    from .readme import renew

    renew(results.ROOT / "README.md", arguments.result or [results.newest(results.KEPT)])


def peers(arguments: argparse.Namespace) -> None:
    """Show the peers."""
    table = Table("peer", "version")
    for module in adapters.modules():
        for peer in adapters.load(module).values():
            table.add_row(peer.name, peer.version if peer.present else "absent")
    Console().print(table)


def list_problems(arguments: argparse.Namespace) -> None:
    """Show the shape lists, or one."""
    if not arguments.name:
        print(*lists(), sep="\n")
        return
    table = Table("name", "problem", "MFLOP", "MB (float32)", "flop/byte")
    for name, problem in read_list(arguments.name).items():
        flops, traffic = problem.flops, problem.bytes("float32")
        sizes = f"{flops / 1e6:.1f}", f"{traffic / 1e6:.2f}", f"{flops / traffic:.1f}"
        table.add_row(name, str(problem), *sizes)
    Console().print(table)
