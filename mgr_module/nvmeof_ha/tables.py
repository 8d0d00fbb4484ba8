"""Tables for people: aligned columns of text, and ages as people say them.  Pure.

A row is as wide as its texts; the last column may be long, so it is the one for reasons.
"""

from __future__ import annotations

from typing import Optional, Sequence

NOTHING = "-"
GAP = "  "


def table(heading: Sequence[str], rows: Sequence[Sequence[object]], indent: str = "") -> str:
    """Lines that end with a newline each; an empty text is shown as ``-``, None as well."""
    lines = [list(heading)] + [[NOTHING if cell in ("", None) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "".join(indent + GAP.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() + "\n"
                   for line in lines)


def seconds(value: Optional[float]) -> str:
    """``0.31 s``, ``12.3 s``, ``2 min 5 s``, ``3 h 2 min``, ``4 d 1 h``; "" for None."""
    if value is None:
        return ""
    if value < 10:
        return f"{value:.2f} s"
    if value < 99.95:
        return f"{value:.1f} s"
    whole = int(value)
    for unit_s, unit, part_s, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit_s:
            return f"{whole // unit_s} {unit} {whole % unit_s // part_s} {part}"
    raise AssertionError(f"{value} s fits no unit")
