"""Where the guest's packages come from. No guest runs here."""

from __future__ import annotations

from pathlib import Path

import pytest

from guest.debian import PackageError, machine_stanzas, sources_for
from guest.elf import needed_libraries
from guest.image import Image, ImageError

ONE_LINE = """
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/keys/debian.gpg] http://mirror.example/debian bookworm main contrib   # ours
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/security bookworm-security main
deb http://other.example/tools nodistro main
"""
STANZAS = """
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 bWFkZSB1cA==

Types: deb
Enabled: no
URIs: http://disabled.example/debian
Suites: bookworm
Components: main
"""


def machine(directory: Path, one_line: str = "", stanzas: str = "") -> list[dict[str, str]]:
    (directory / "sources.list").write_text(one_line)
    (directory / "sources.list.d").mkdir()
    (directory / "sources.list.d" / "debian.sources").write_text(stanzas)
    return machine_stanzas(directory)


def test_another_suite_is_taken_from_the_mirror_of_the_machine(tmp_path: Path) -> None:
    text = sources_for("trixie", machine(tmp_path, ONE_LINE), "bookworm")
    assert text == ("Types: deb\nSuites: trixie\nComponents: main\nURIs: http://mirror.example/debian\n"
                    "Signed-By: /keys/debian.gpg\n\n"
                    "Types: deb\nSuites: trixie-security\nComponents: main\nURIs: http://mirror.example/security\n")


def test_a_sources_file_keeps_its_key_and_loses_pockets_that_the_guest_does_not_use(tmp_path: Path) -> None:
    text = sources_for("bookworm", machine(tmp_path, "", STANZAS), "bookworm")
    assert text == ("Types: deb\nSuites: bookworm bookworm-updates\nComponents: main\nURIs: http://mirror.example/debian\n"
                    "Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n bWFkZSB1cA==\n")


def test_a_machine_of_the_unstable_suite_has_sources_without_the_codename_of_its_os_release(tmp_path):
    text = sources_for("bookworm", machine(tmp_path, "deb http://mirror.example/debian sid main"), "forky")
    assert "Suites: bookworm\n" in text and "URIs: http://mirror.example/debian\n" in text


def test_a_machine_without_a_debian_mirror_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no source for bookworm main in .* add the Debian mirror"):
        sources_for("bookworm", machine(tmp_path, "deb http://other.example/tools nodistro main"), "bookworm")


def test_an_unknown_suite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVME_GUEST_SUITE", "potato")
    with pytest.raises(ImageError, match="'potato'.*bookworm, trixie"):
        Image()


def test_a_dynamic_program_names_its_libraries_and_other_files_none() -> None:
    assert "libc.so.6" in needed_libraries(Path("/bin/ls").read_bytes())
    assert needed_libraries(b"#!/bin/sh\n") == []
