"""Debian packages for the guest: fetched with apt from the mirror that this machine uses, never installed.

apt works in a directory of its own with an empty package database, so it fetches every dependency, and the machine's own
lists and packages stay as they are. Another suite than the machine's is looked for on the same mirror.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

SOURCES = Path("/etc/apt")
UPDATE_PAUSES_S = (2.0, 10.0, 30.0)
POCKETS = ("", "-updates", "-security")
OPTION_FIELDS = {"signed-by": "Signed-By", "trusted": "Trusted", "check-valid-until": "Check-Valid-Until",
                 "allow-insecure": "Allow-Insecure"}
# Where a source may name the machine's suite otherwise. A machine of the unstable suite has the codename of the next
# release in os-release, but seldom in its sources.
OTHER_SUITE_NAMES = ("stable", "testing", "unstable", "sid")
KEPT_FIELDS = ("URIs", *OPTION_FIELDS.values())


class PackageError(Exception):
    """The guest's packages cannot be fetched; the text says what to do."""


def parse_one_line(text: str) -> list[dict[str, str]]:
    """Entries of a sources.list file as stanzas; source packages and comments are left out."""
    stanzas = []
    for line in text.splitlines():
        found = re.match(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line.strip())
        if not found:
            continue
        options, uri, suite, components = found.groups()
        stanza = {"URIs": uri, "Suites": suite, "Components": components.strip()}
        for option in (options or "").split():
            name, _, value = option.partition("=")
            if name in OPTION_FIELDS:
                stanza[OPTION_FIELDS[name]] = value.replace(",", " ")
        stanzas.append(stanza)
    return stanzas


def parse_stanzas(text: str) -> list[dict[str, str]]:
    """Stanzas of a .sources file that are enabled and offer binary packages."""
    stanzas = []
    for block in re.split(r"\n\s*\n", text):
        stanza: dict[str, str] = {}
        field = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                stanza[field] = stanza.get(field, "") + "\n" + line
            else:
                field, _, value = line.partition(":")
                stanza[field] = value.strip()
        if "deb" in stanza.get("Types", "").split() and stanza.get("Enabled", "yes").lower() != "no":
            stanzas.append(stanza)
    return stanzas


def machine_stanzas(directory: Path = SOURCES) -> list[dict[str, str]]:
    stanzas = []
    for path in [directory / "sources.list", *sorted((directory / "sources.list.d").glob("*"))]:
        if path.suffix in (".list", ".sources") and path.is_file():
            parse = parse_stanzas if path.suffix == ".sources" else parse_one_line
            stanzas += parse(path.read_text())
    return stanzas


def machine_codename(release: Path = Path("/etc/os-release")) -> str:
    found = re.search(r'^VERSION_CODENAME="?(\w+)', release.read_text(), re.MULTILINE)
    if not found:
        raise PackageError(f"{release} has no VERSION_CODENAME: the guest image can be built on Debian only")
    return found.group(1)


def sources_for(suite: str, stanzas: list[dict[str, str]], codename: str) -> str:
    """The machine's Debian sources as a .sources file for another (or the same) suite."""
    result = []
    for stanza in stanzas:
        suites = [suite + pocket for pocket in POCKETS for name in (*OTHER_SUITE_NAMES, codename)
                  if name + pocket in stanza["Suites"].split()]
        if suites and "main" in stanza.get("Components", "").split():
            kept = [f"{field}: {stanza[field]}" for field in KEPT_FIELDS if field in stanza]
            result.append("\n".join(["Types: deb", f"Suites: {' '.join(suites)}", "Components: main", *kept]) + "\n")
    if not result:
        raise PackageError(f"no source for {codename} main in {SOURCES}/sources.list or sources.list.d: "
                           "add the Debian mirror that this machine shall use")
    return "\n".join(result)


class Download:
    """One directory in which apt keeps lists and packages of one suite."""

    def __init__(self, suite: str, directory: Path) -> None:
        self.suite = suite
        self.lists = directory / "lists"
        self.packages = directory / "packages"
        self.configuration = directory / "apt.conf"
        self.sources = directory / "guest.sources"
        self.status = directory / "status"

    def prepare(self) -> None:
        for path in (self.lists, self.packages):
            (path / "partial").mkdir(parents=True, exist_ok=True)
        self.status.write_text("")
        self.sources.write_text(sources_for(self.suite, machine_stanzas(), machine_codename()))
        options = {"Dir::Etc::sourcelist": self.sources, "Dir::Etc::sourceparts": "-", "Dir::State::lists": self.lists,
                   "Dir::State::status": self.status, "Dir::Cache::archives": self.packages, "Dir::Cache::pkgcache": "",
                   "Dir::Cache::srcpkgcache": "", "APT::Sandbox::User": "", "Acquire::Languages": "none",
                   "APT::Architecture": "amd64", "APT::Architectures": "amd64",
                   "Debug::NoLocking": "1", "Acquire::Retries": "3",
                   "APT::Update::Error-Mode": "any"}   # by default an update that fetched nothing has succeeded
        # Hooks are for changes of the machine, which this is none.
        hooks = "#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n"
        self.configuration.write_text(hooks + "".join(f'{name} "{value}";\n' for name, value in options.items()))

    def apt(self, program: str, *arguments: str) -> str:
        if not shutil.which(program):
            raise PackageError(f"{program} is not installed: the guest image can be built on Debian only")
        command = [program, "-c", str(self.configuration), "-q", *arguments]
        done = subprocess.run(command, cwd=self.packages, capture_output=True, text=True, check=False,
                              env={**os.environ, "LC_ALL": "C"})
        if done.returncode:
            raise PackageError(f"`{' '.join(command)}` failed: {done.stderr.strip()}\n"
                               f"check the network and the mirror in {self.sources}")
        return done.stdout

    def update(self) -> None:
        """Mirrors fail for moments: tried again before it is given up."""
        for pause_s in UPDATE_PAUSES_S:
            try:
                self.apt("apt-get", "update")
                return
            except PackageError:
                time.sleep(pause_s)
        self.apt("apt-get", "update")

    def fetch(self, names: list[str]) -> None:
        """The named packages and all that they depend on."""
        self.apt("apt-get", "install", "-d", "-y", "--no-install-recommends", *names)

    def fetch_dependency(self, name: str) -> str:
        """Only the first package that `name` depends on (for a kernel: without what would install it). Its name."""
        output = self.apt("apt-cache", "depends", name)
        found = re.search(r"Depends: (\S+)", output)
        if not found:
            raise PackageError(f"{name} of {self.suite} depends on nothing: apt-cache says {output!r}")
        self.apt("apt-get", "download", found.group(1))
        return found.group(1)
