"""Where the files are that get installed: in a checkout, or where pip put them (share/nvmeof-ha)."""
from __future__ import annotations

from importlib import metadata
from pathlib import Path

DISTRIBUTION = "nvmeof-ha"
MODULE = "nvmeof_ha"
_HERE = Path(__file__).resolve().parent
_CHECKOUT = _HERE.parents[1]
UNIT = _HERE / "nvmeof-gw-warden@.service"
LOGROTATE = _HERE / "logrotate"
SAMPLE = _HERE.parent / "gateway.conf.sample"
"""Beside this package in both cases."""


class Incomplete(Exception):
    """The installation lacks files; the text says what to do."""


def mgr_module() -> Path:
    """The directory of the mgr module. Raises Incomplete."""
    checkout = _CHECKOUT / "mgr_module" / MODULE
    return checkout if checkout.is_dir() else _shared(f"mgr/{MODULE}/module.py").parent


def readme() -> Path:
    """Raises Incomplete."""
    checkout = _CHECKOUT / "README.md"
    return checkout if checkout.exists() else _shared("README.md")


def _shared(name: str) -> Path:
    try:
        files = metadata.files(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.as_posix().endswith(f"share/{DISTRIBUTION}/{name}"):
            return Path(str(file.locate())).resolve()
    raise Incomplete(f"share/{DISTRIBUTION}/{name} is not among the installed files; install nvmeof-ha from its wheel "
                     "(pip install), or run `python3 -m gw_agent.install` in a checkout")
