"""Guests by hand: `python3 -m guest build | start | run | bg | wait | stop` (with qa/ on PYTHONPATH)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from guest import Guest, GuestError, GuestTimeout, Image, ImageError, PackageError
from guest.guest import MEMORY_MIB, RUN_S, START_S
from guest.image import CACHE, SUITES

TIMED_OUT = 124


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="guest", description="A Linux NVMe/TCP host in QEMU.",
                                     epilog="NVME_GUEST_SUITE in the environment chooses the Debian suite: " + " or ".join(SUITES))
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build the image unless it is there")
    summaries = {"start": "boot a guest", "run": "run a shell command, end with its exit code (124: it took too long)",
                 "bg": "start a shell command, print its job name", "wait": "wait for a job, as `run` does", "stop": "power off"}
    for name, summary in summaries.items():
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument("-n", "--name", default="guest", help="name of the guest (default: %(default)s)")
        command.add_argument("-d", "--directory", type=Path, default=CACHE / "state",
                             help="where its state is (default: %(default)s)")
        if name == "start":
            command.add_argument("-m", "--memory-mib", type=int, default=MEMORY_MIB, help="default: %(default)s")
        if name in ("start", "run", "wait"):
            command.add_argument("-t", "--timeout-s", type=float, default=START_S if name == "start" else RUN_S,
                                 help="default: %(default)s")
        if name in ("run", "bg"):
            command.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
        if name == "wait":
            command.add_argument("job")
    return parser.parse_args()


def act(given: argparse.Namespace) -> int:
    if given.command == "build":
        image = Image()
        image.ensure()
        print(f"{image.kernel} {image.initramfs}")
        return 0
    guest = Guest(given.name, given.directory)
    if given.command == "start":
        print(f"{given.name}: up after {guest.start(given.memory_mib, timeout_s=given.timeout_s):.1f} s, process {guest.pid()}")
    elif given.command == "bg":
        print(guest.bg(" ".join(given.words)))
    elif given.command == "stop":
        guest.stop()
    else:
        code, output = (guest.run(" ".join(given.words), given.timeout_s) if given.command == "run"
                        else guest.wait(given.job, given.timeout_s))
        sys.stdout.write(output)
        return code
    return 0


def main() -> int:
    try:
        return act(arguments())
    except GuestTimeout as error:
        print(error, file=sys.stderr)
        return TIMED_OUT
    except (GuestError, ImageError, PackageError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
