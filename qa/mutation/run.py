"""Run mutants: which layer notices which, how long it takes, and what survives.

Asking all layers about all mutants would take an hour.  So ``noticed.txt`` remembers what noticed each mutant, and that is
asked first; all layers are asked when it does not notice it any more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from .copies import QA, Mutant, mutate
from .layers import LAYERS, NOTICED

LIMIT_S = 900.0
"""For one layer of one mutant: a mutant may also hang.  Several times what the longest takes on a busy machine."""

Check = Tuple[str, str]
"""(layer, what): one scenario, seed, scope or file of unit tests; "" for all that the layer has time for."""

EVERYTHING: Sequence[Check] = [(layer, "") for layer in LAYERS]
UNCHANGED = Mutant("nothing is taken away", ())

REMEMBERED = Path(__file__).with_name("noticed.txt")
"""``layer what: mutant`` in each line."""


class Outcome(NamedTuple):
    """``layer``: who noticed, "" if nobody did; ``what`` of it, and what it ``found``; ``broken``: why nothing could be
    said."""

    mutant: Mutant
    seconds: float
    layer: str = ""
    what: str = ""
    found: str = ""
    broken: str = ""


def remembered() -> Dict[str, Check]:
    lines = REMEMBERED.read_text().splitlines() if REMEMBERED.exists() else []
    known = {}
    for line in lines:
        who, _, name = line.partition(": ")
        layer, _, what = who.partition(" ")
        known[name] = (layer, what)
    return known


def remember(outcomes: Iterable[Outcome]) -> None:
    REMEMBERED.write_text("".join(f"{f'{o.layer} {o.what}'.strip()}: {o.mutant.name}\n" for o in outcomes if o.layer))


def ask(directory: Path, layer: str, what: str) -> Optional[Tuple[str, str]]:
    """(what noticed, what it found), or None.  Raises ``RuntimeError`` if the layer could not be run."""
    path = [directory, QA, QA.parent / "vstart-scripts", QA.parent]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        run = subprocess.run([sys.executable, "-m", "mutation.layers", layer, *what.split()], cwd=directory,
                             env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return what, f"it does not end within {LIMIT_S:g} s"
    if run.returncode not in (0, NOTICED):
        raise RuntimeError(f"{layer} could not be run (exit code {run.returncode}):\n{run.stdout}{run.stderr}")
    who, _, found = run.stdout.partition("\n")
    return (who, found) if run.returncode == NOTICED else None


def judge(mutant: Mutant, first: Sequence[Check] = (), then: Sequence[Check] = EVERYTHING) -> Outcome:
    """Ask ``first``, then ``then``; stop at the first that notices."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        mutate(Path(directory), mutant)
        for layer, what in [*first, *then]:
            try:
                noticed = ask(Path(directory), layer, what)
            except RuntimeError as error:
                return Outcome(mutant, time.monotonic() - began, broken=str(error))
            if noticed is not None:
                return Outcome(mutant, time.monotonic() - began, layer, *noticed)
    return Outcome(mutant, time.monotonic() - began)


def begin(pool: Executor, mutants: Iterable[Mutant]) -> "List[Future[Outcome]]":
    """Have the pool judge these mutants; each is a future from now on."""
    known = remembered()
    return [pool.submit(judge, mutant, [known[m] for m in [mutant.name] if m in known]) for mutant in mutants]


def begin_unchanged(pool: Executor) -> "List[Future[Outcome]]":
    """A copy without a change is put before everything that noticed a mutant; who notices it is wrong.  (That the code as
    it is passes the rest of each layer is what the layer's own tests say.)"""
    return [pool.submit(judge, UNCHANGED, [check], ()) for check in sorted(set(remembered().values()))]
