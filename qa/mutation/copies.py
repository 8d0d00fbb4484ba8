"""Copies of the code with one guard taken away.

A patch is exact old text and new text of one file; the old text must be there exactly once.  So whoever moves a guard is
told that its mutant has to move too, instead of leaving a mutant that changes nothing.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Dict, NamedTuple, Tuple

QA = Path(__file__).parents[1]
SOURCES: Dict[str, Path] = {"nvmeof_ha": QA.parent / "mgr_module" / "nvmeof_ha", "sim": QA / "sim",
                            "gw_agent": QA.parent / "gw_agent"}
"""Top-level packages that are copied; the rest is used as it is.  The simulation stands for what carries out the agent's
plan, whose guards are taken away there."""


class Patch(NamedTuple):
    """``file``: below a copied package's parent, e.g. ``nvmeof_ha/core/machine.py``."""

    file: str
    old: str
    new: str


class Mutant(NamedTuple):
    """``name`` says what is done without the guard."""

    name: str
    patches: Tuple[Patch, ...]


class PatchError(ValueError):
    """The text to be replaced is not there exactly once, or what comes out is no Python."""


def mutate(directory: Path, mutant: Mutant) -> None:
    """Write the copies into ``directory``, with the guard taken away."""
    for name, source in SOURCES.items():
        shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__", "test_*.py"))
    for patch in mutant.patches:
        path = directory / patch.file
        text = path.read_text()
        found = text.count(patch.old)
        if found != 1:
            raise PatchError(f"mutant {mutant.name!r}: {patch.file} has the text to be replaced {found} times, not once: "
                             f"move the mutant to where the guard is now\n{patch.old}")
        changed = text.replace(patch.old, patch.new)
        try:
            compile(changed, patch.file, "exec")
        except SyntaxError as error:
            raise PatchError(f"mutant {mutant.name!r}: {patch.file} is no Python any more: {error}") from None
        path.write_text(changed)
