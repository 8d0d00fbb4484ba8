"""The mgr module's directory among those of ceph-mgr.

Promises: it is there as a whole or not at all, as it was or as it will be: the new one is made aside and renamed, so
that a mgr that starts meanwhile finds no half of it. What is there already and alike is left alone.
"""
from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Dict, List

from gw_agent.install import sources
from gw_agent.install.refusal import Refused

DEFAULT_TO = "/usr/share/ceph/mgr"
ASIDE = ".nvmeof-ha-install"
"""Not a directory that a mgr takes for a module: there is no module.py right in it."""
_SKIPPED = "__pycache__"


def install(modules: Path, dry_run: bool) -> List[str]:
    """What was done and what comes next. Raises Refused, Incomplete, OSError."""
    _check(modules)
    source, place = sources.mgr_module(), modules / sources.MODULE
    there = place.exists()
    if there and contents(place) == contents(source):
        return [f"{place} is up to date already"]
    verb = "replaced" if there else "installed"
    if dry_run:
        return [f"would be {verb}: {place}, {len(contents(source))} files"]
    aside = _emptied(modules)
    try:
        _copy(source, aside / "new")
        if there:
            place.rename(aside / "old")
        (aside / "new").rename(place)
    except OSError:
        if not place.exists() and (aside / "old").exists():
            (aside / "old").rename(place)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return [f"{verb}: {place}", "Do the same on every mgr host. Then, on each of them, the active mgr's last:",
            "  systemctl restart ceph-mgr.target", "and once, if it is not enabled yet:",
            "  ceph mgr module enable nvmeof_ha"]


def remove(modules: Path, dry_run: bool) -> List[str]:
    """Raises Refused, OSError."""
    _check(modules)
    place = modules / sources.MODULE
    if not place.exists():
        return [f"{place} is not there"]
    if dry_run:
        return [f"would be removed: {place}"]
    aside = _emptied(modules)
    try:
        place.rename(aside / "old")
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return [f"removed: {place}", "A mgr that runs still has it. Unless it was done before, do:",
            "  ceph mgr module disable nvmeof_ha"]


def contents(directory: Path) -> Dict[str, bytes]:
    """The module's files, by their path in it."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*"))
            if path.is_file() and _SKIPPED not in path.parts}


def _check(modules: Path) -> None:
    if not modules.is_dir():
        raise Refused(f"there is no directory {modules}; is ceph-mgr installed on this host? Else name the directory "
                      "of its modules with --to (`ceph config get mgr mgr_module_path`)")
    if not os.access(modules, os.W_OK | os.X_OK):
        raise Refused(f"{modules} may not be written by this user; run this as root, or name another directory with "
                      "--to")
    place = modules / sources.MODULE
    if place.is_symlink():
        raise Refused(f"{place} is a symbolic link to {os.readlink(place)}; remove it first if this is not meant")
    if place.exists() and not (place / "module.py").is_file():
        raise Refused(f"{place} is no mgr module; move it away first")


def _emptied(modules: Path) -> Path:
    aside = modules / ASIDE
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o755)
    return aside


def _copy(source: Path, to: Path) -> None:
    """Readable for the mgr's user, whatever the umask."""
    shutil.copytree(source, to, ignore=shutil.ignore_patterns(_SKIPPED))
    for path in (to, *to.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
