"""The published ceph-nvmeof command-line client, unchanged, in a virtual environment of its own in this checkout."""
from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Tuple

import pytest

VERSION = "1.5.1"
HERE = Path(__file__).parent
REQUIREMENTS = HERE / "published-client.txt"
DIRECTORY = HERE.parents[1] / ".venv-published-client"
INSTALL_S = 280


def installed() -> Path:
    """The directory of its programs; installs it when it is missing or the requirements have changed."""
    stamp = DIRECTORY / "requirements.txt"
    with open(REQUIREMENTS, "rb") as requirements:
        fcntl.flock(requirements, fcntl.LOCK_EX)   # two test runs that start at once would break each other's
        if not stamp.exists() or stamp.read_bytes() != REQUIREMENTS.read_bytes():
            shutil.rmtree(DIRECTORY, ignore_errors=True)
            _run(sys.executable, "-m", "venv", str(DIRECTORY))
            _run(str(DIRECTORY / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                 "--no-deps", "--only-binary", ":all:", "-r", str(REQUIREMENTS))
            _run(str(DIRECTORY / "bin" / "python"), "-c", "import control.cli")
            shutil.copyfile(REQUIREMENTS, stamp)
    return DIRECTORY / "bin"


def _run(*command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=INSTALL_S,
                          env=environment, check=False)
    if done.returncode != 0:
        pytest.fail(f"the published client cannot be installed into {DIRECTORY}: {' '.join(command)} ended with "
                    f"{done.returncode}:\n{done.stdout[-2000:]}\nIt needs a package index that has ceph-nvmeof "
                    f"{VERSION} and what else {REQUIREMENTS.name} names.", pytrace=False)


class PublishedClient:
    """One process that runs command lines of the client; a context manager."""

    def __enter__(self) -> PublishedClient:
        programs = installed()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._process = subprocess.Popen(
            [str(programs / "python"), str(HERE / "published_client_loop.py")], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env={**environment, "NVMEOF_VERSION": VERSION})
        return self

    def __exit__(self, *_exception: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def run(self, addr: str, port: int, output: str, *argv: str) -> Tuple[int, str, str]:
        """Exit status, output, errors of one command line to the gateway there."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(["--server-address", addr, "--server-port", str(port), "--format", output, "--output", "stdio",
                          *argv]), file=self._process.stdin, flush=True)
        answer: Any = json.loads(self._process.stdout.readline())
        return tuple(answer)
