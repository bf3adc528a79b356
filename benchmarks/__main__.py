"""`python -m benchmarks`: run the contest, make the report, list what there is."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import commands
from .problems import BACKWARD, DIRECTIONS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands_of = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands_of.add_parser("run", help="compare with all peers that are installed"))
    report = commands_of.add_parser("report", help="make the page of a result, HTML and Markdown")
    report.add_argument("result", nargs="?", type=Path, help="JSON; default: what was made last")
    report.add_argument("--against", type=Path, help="an older result, to lay beside it")
    report.add_argument("--out", type=_file, help="the page; default: beside the result")
    report.add_argument("--open", action="store_true", help="show it in a browser")
    report.set_defaults(command=commands.report)
    readme = commands_of.add_parser("readme", help="write the speed tables into README.md")
    readme.add_argument(
        "result", nargs="*", type=Path, help="default: newest in benchmarks/results"
    )
    readme.set_defaults(command=commands.readme)
    peers = commands_of.add_parser("peers", help="the peers, their versions, and which are absent")
    peers.set_defaults(command=commands.peers)
    listing = commands_of.add_parser("list", help="the shape lists, or the problems of one")
    listing.add_argument("name", nargs="?")
    listing.set_defaults(command=commands.list_problems)
    arguments = parser.parse_args()
    try:
        arguments.command(arguments)
    except ValueError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        parser.exit(130, "interrupted; the same command goes on where this one stopped\n")


def _file(text: str) -> Path:
    """Where something is to be written, found out before the work is done."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder, not a file")
    return path


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "problem",
        nargs="*",
        help="256x256_3x3, n1c64h56w56k64a3b3s1p1d1g1, or a shape list; default: planar",
    )
    run.add_argument("--short", action="store_true", help="a short list, float32, within 5 minutes")
    run.add_argument(
        "--direction",
        nargs="+",
        choices=(*DIRECTIONS, BACKWARD),
        default=DIRECTIONS,
        help="default: all but backward, which is dX, dW and db in one call",
    )
    run.add_argument("--dtype", nargs="+", choices=("float32", "float64"), help="default: both")
    run.add_argument("--threads", nargs="+", type=int, help="default: 1 and all")
    run.add_argument("--cache", nargs="+", choices=("warm", "cold"), help="default: both")
    run.add_argument("--peer", nargs="+", help="only these; default: all that are installed")
    run.add_argument("--rounds", type=int, help="default: 30; 10 of a short run")
    run.add_argument("--least", type=float, default=2.0, help="milliseconds of a turn")
    run.add_argument("--minutes", type=float, help="begin no match after so long")
    run.add_argument("--out", type=_file, help="where the result goes; default: .cache/benchmarks")
    run.set_defaults(command=commands.run)


if __name__ == "__main__":
    main()
