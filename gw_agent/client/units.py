"""Numbers as a person reads them."""
from __future__ import annotations

from typing import Optional

SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
EXACT_BELOW = 10_000


def size(size_bytes: int) -> str:
    """Exact in the largest unit in which it is a short whole number, else rounded; "unknown" for 0."""
    if not size_bytes:
        return "unknown"
    unit = 0
    while size_bytes % 1024 == 0 and unit < len(SIZES) - 1:
        size_bytes //= 1024
        unit += 1
    if size_bytes < EXACT_BELOW:
        return f"{size_bytes} {SIZES[unit]}"
    rounded = float(size_bytes)
    while rounded >= 1024 and unit < len(SIZES) - 1:
        rounded /= 1024
        unit += 1
    return f"{rounded:.2f} {SIZES[unit]}"


def count(number: float) -> str:
    """Three digits or more: `0`, `7.5`, `813`, `12.4k`, `3.1M`."""
    if number >= 999_950:
        return f"{number / 1e6:.1f}M"
    if number >= 9_999.5:
        return f"{number / 1e3:.1f}k"
    return f"{number:.0f}" if number >= 99.5 or number == int(number) else f"{number:.1f}"


def megabytes(number_bytes: float) -> str:
    """In MB (10^6)."""
    if not number_bytes:
        return "0"
    return f"{number_bytes / 1e6:.2f}" if number_bytes < 99.5e6 else f"{number_bytes / 1e6:.0f}"


def milliseconds(seconds: Optional[float]) -> str:
    """ "-" where there is nothing to measure."""
    return "-" if seconds is None else f"{seconds * 1e3:.2f}" if seconds < 0.0995 else f"{seconds * 1e3:.0f}"


def age(seconds: float) -> str:
    """Of the last news: `0.3 s`, `42 s`, `7 min`, `5 h`."""
    if seconds < 120:
        return f"{max(seconds, 0):.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
