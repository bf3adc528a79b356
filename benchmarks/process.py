"""A peer's process seen from the contest: requests out, answers in; it sleeps between its turns."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from typing import Any

from .machine import thread_settings


class Died(Exception):
    """The process ended, or did not answer in time."""


class Process:
    """Starts with the first request. Stopped between requests, so that no thread of it spins."""

    def __init__(self, module: str, name: str, threads: int) -> None:
        """As `benchmarks.worker` takes them."""
        self.command = [sys.executable, "-m", "benchmarks.worker", module, name, str(threads)]
        self.environment = {**os.environ, **thread_settings(threads)}
        self.child: subprocess.Popen[str] | None = None
        self.answers: queue.Queue[str] = queue.Queue()

    def ask(self, patience: float, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        child = self._awake()
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(request) + "\n")
            child.stdin.flush()
            line = self.answers.get(timeout=patience)
        except queue.Empty:
            self.end()
            raise Died(f"no answer in {patience:.0f} s") from None
        except OSError:
            line = ""
        if not line:
            raise Died(self._why())
        self._signal("SIGSTOP")
        return dict(json.loads(line))

    def _awake(self) -> subprocess.Popen[str]:
        if self.child is None:
            self.child = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self.environment,
                text=True,
            )
            self.answers = queue.Queue()
            threading.Thread(target=_listen, args=(self.child, self.answers), daemon=True).start()
        else:
            self._signal("SIGCONT")
        return self.child

    def _signal(self, name: str) -> None:
        if self.child is not None and hasattr(signal, name):
            with contextlib.suppress(ProcessLookupError):
                self.child.send_signal(getattr(signal, name))

    def _why(self) -> str:
        assert self.child is not None
        code = self.child.wait()
        self.end()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def end(self) -> None:
        """End the process; the next request starts a new one."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            for pipe in (self.child.stdin, self.child.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]
            self.child = None


def _listen(child: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
    """Pass the answers on; an empty one says that there will be no more."""
    assert child.stdout is not None
    with contextlib.suppress(ValueError):  # closed by `end`
        for line in child.stdout:
            answers.put(line)
    answers.put("")
