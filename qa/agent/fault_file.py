"""Faults of an agent that its warden starts, and starts again: asked for by a file, told in another one.

The file holds one Fault (`fault_steps.py`). While it is there, steps of the agent count; the fault takes the file away, so
that the next agent meets none. The steps that were taken since the file came are in the file beside it.
"""
from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Iterator, List

from fault_steps import Fault, Steps
from gw_agent.config_store import ConfigStore
from gw_agent.move_words import MoveWords

VARIABLE = "NVMEOF_HA_TEST_FAULT"


class FaultFile:
    """The file as a test uses it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._taken = path.with_suffix(".taken")

    def ask(self, fault: Fault) -> None:
        self.forget()
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(asdict(fault)))
        new.replace(self.path)

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
        self._taken.unlink(missing_ok=True)

    def met(self) -> bool:
        """The fault that was asked for has happened."""
        return not self.path.exists()

    def taken(self) -> List[str]:
        return self._taken.read_text().splitlines() if self._taken.exists() else []


class FileSteps(Steps):
    """Of one agent."""

    def __init__(self, path: str) -> None:
        super().__init__(Fault())
        self._path = path
        self._text = ""

    @contextmanager
    def _step(self, name: str, counts: bool) -> Iterator[None]:
        self._look()
        told = len(self.taken)
        with super()._step(name, counts):
            if len(self.taken) > told:
                with open(os.path.splitext(self._path)[0] + ".taken", "a", encoding="utf-8") as file:
                    file.write("".join(f"{step}\n" for step in self.taken[told:]))
            yield

    def _look(self) -> None:
        try:
            with open(self._path, encoding="utf-8") as file:
                text = file.read()
        except FileNotFoundError:
            text = ""
        if text != self._text:
            self._text, self.armed, self.taken, self._counted = text, bool(text), [], Counter()
            self._fault = Fault(**json.loads(text)) if text else Fault()

    def _end(self) -> None:
        os.unlink(self._path)
        super()._end()


def watch(path: str) -> None:
    """From now on the steps of this process count while the file is there."""
    steps = FileSteps(path)
    steps.watch()
    open_store = ConfigStore.open.__func__   # type: ignore[attr-defined]
    make_words = MoveWords.__init__

    async def open_watched(cls: Any, cluster: Any, *args: Any) -> Any:
        return await open_store(cls, steps.cluster(cluster), *args)

    def make_watched(words: MoveWords, ioctx: Any, *args: Any) -> None:
        make_words(words, steps.pool(ioctx), *args)

    ConfigStore.open = classmethod(open_watched)   # type: ignore[assignment,method-assign]
    MoveWords.__init__ = make_watched   # type: ignore[method-assign]
