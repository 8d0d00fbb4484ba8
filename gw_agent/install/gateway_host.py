"""The service of a gateway host: systemd's unit, logrotate's rules, sample configuration, links to the programs.

Promises: what is in /etc is the administrator's once it is there, and is never changed or removed by this; the unit is
ours (`systemctl edit` keeps changes of it apart), and so are the links. Each file is there as a whole or not at all.
"""
from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import List

from gw_agent.install import sources
from gw_agent.install.refusal import Refused

UNIT_PLACE = "usr/local/lib/systemd/system/nvmeof-gw-warden@.service"
LOGROTATE_PLACE = "etc/logrotate.d/nvmeof-ha"
CONFIG_PLACE = "etc/nvmeof-ha/gateway.conf"
LINKS_PLACE = "usr/local/bin"
PROGRAMS = ("nvmeof-gw", "nvmeof-gw-warden", "nvmeof-gw-agent")


@dataclass(frozen=True)
class File:
    """`theirs`: of the administrator once it is there."""

    place: Path
    text: str
    theirs: bool


def install(root: Path, dry_run: bool) -> List[str]:
    """What was done and what comes next. Raises Refused, Incomplete, OSError."""
    programs = Path(sys.executable).parent
    if not (programs / "nvmeof-gw-warden").exists():
        raise Refused(f"there is no nvmeof-gw-warden beside {sys.executable}; pip install nvmeof-ha into a virtual "
                      "environment and run its nvmeof-ha-install")
    if any(letter.isspace() or letter in "%\"'\\$" for letter in str(programs)):
        raise Refused(f"{programs} has a letter in its name that systemd would not take as it is; make the virtual "
                      "environment elsewhere, e.g. in /opt/nvmeof-ha")
    said = [_put(file, dry_run) for file in _files(root, programs)]
    said += [_link(root / LINKS_PLACE / name, programs / name, dry_run) for name in PROGRAMS]
    return said + [f"Say who this gateway is in /{CONFIG_PLACE} (name, group, addr, pool), and look at it with:",
                   "  nvmeof-gw-warden --check-config --connect", "Then:", "  systemctl daemon-reload",
                   "  systemctl enable --now nvmeof-gw-warden@gateway"]


def remove(root: Path, dry_run: bool) -> List[str]:
    """Raises OSError."""
    said = []
    programs = Path(sys.executable).parent
    for file in _files(root, programs):
        if not file.place.exists():
            continue
        if file.theirs and file.place.read_text(encoding="utf-8") != file.text:
            said.append(f"kept: {file.place} (it was changed)")
        else:
            said.append(_removed(file.place, dry_run))
    said += [_removed(place, dry_run) for place in (root / LINKS_PLACE / name for name in PROGRAMS)
             if place.is_symlink() and os.readlink(place) == str(programs / place.name)]
    return (said or ["nothing of it is there"]) + [
        "A gateway that runs goes on. Unless it was done before, do:",
        "  systemctl disable --now 'nvmeof-gw-warden@*'", "  systemctl daemon-reload"]


def _files(root: Path, programs: Path) -> List[File]:
    unit = sources.UNIT.read_text(encoding="utf-8").replace("@programs@", str(programs)).replace(
        "@readme@", sources.readme().as_uri().replace("%", "%%"))
    return [File(root / UNIT_PLACE, unit, theirs=False),
            File(root / LOGROTATE_PLACE, sources.LOGROTATE.read_text(encoding="utf-8"), theirs=True),
            File(root / CONFIG_PLACE, sources.SAMPLE.read_text(encoding="utf-8"), theirs=True)]


def _put(file: File, dry_run: bool) -> str:
    there = file.place.exists()
    if there and file.place.read_text(encoding="utf-8") == file.text:
        return f"up to date: {file.place}"
    if there and file.theirs:
        return f"kept: {file.place} (it differs from that of this version)"
    verb = "replaced" if there else "installed"
    if dry_run:
        return f"would be {verb}: {file.place}"
    _make_directory(file.place.parent)
    new = file.place.with_name(f".{file.place.name}.new")
    new.write_text(file.text, encoding="utf-8")
    new.chmod(0o644)
    new.replace(file.place)
    return f"{verb}: {file.place}"


def _link(place: Path, program: Path, dry_run: bool) -> str:
    if place == program or (place.is_symlink() and os.readlink(place) == str(program)):
        return f"up to date: {place}"
    if place.exists() and not place.is_symlink():
        return f"kept: {place} (it is another program)"
    if dry_run:
        return f"would be linked: {place} to {program}"
    _make_directory(place.parent)
    new = place.with_name(f".{place.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(program)
    new.replace(place)
    return f"linked: {place} to {program}"


def _make_directory(path: Path) -> None:
    """For all to read, whatever the umask."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        made.chmod(0o755)


def _removed(place: Path, dry_run: bool) -> str:
    if dry_run:
        return f"would be removed: {place}"
    place.unlink()
    return f"removed: {place}"
