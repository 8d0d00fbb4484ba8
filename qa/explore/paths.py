"""A path of the exploration as text: a scenario file that ``story.py`` plays again, and that fails until what it shows is
mended."""

from __future__ import annotations

from typing import Sequence

FAULTS_STOP = "faults stop"
HOLDS = "every invariant holds"


def scenario(begin: str, path: Sequence[str], wrong: str, before: str) -> str:
    """A file in the language of ``qa/scenarios`` that fails as long as the violation is there; what is wrong, first."""
    lines = ["", wrong, "", "The shortest path, as a scenario (save it as qa/scenarios/NAME.txt):", "", begin, "----", HOLDS,
             "", *path, "----", HOLDS, "", "Before the last step:", before]
    return "\n".join(lines)


def steps(text: str) -> str:
    """The scenario file in the text of a violation."""
    begin = text.index("\nexplored ") + 1
    return text[begin:text.index("\nBefore the last step:", begin)]
