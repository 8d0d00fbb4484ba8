"""Why nothing was done."""
from __future__ import annotations


class Refused(Exception):
    """Nothing was changed; the text says why and what to do."""
