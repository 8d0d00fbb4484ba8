"""nvmeof-ha-install: puts the mgr module, or a gateway host's service, where they belong, and takes them away again.

May be repeated: what is in place already is left as it is. Exit status: 0 when all is as asked; 1 when it was refused
or failed (the reason is on standard error); 2 for wrong arguments.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from gw_agent.install import gateway_host, mgr_module
from gw_agent.install.refusal import Refused
from gw_agent.install.sources import Incomplete

PROGRAM = "nvmeof-ha-install"


def _arguments(given: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Installs parts of nvmeof-ha on this host.")
    parts = parser.add_subparsers(dest="part", metavar="PART", required=True)
    module = parts.add_parser("mgr-module", help="the ceph-mgr module, on each mgr host")
    module.add_argument("--to", type=Path, default=Path(mgr_module.DEFAULT_TO), metavar="DIR",
                        help="directory of ceph-mgr's modules (default: %(default)s)")
    gateway = parts.add_parser("gateway", help="systemd unit, logrotate rules, sample configuration and links to the "
                                               "programs, on each gateway host")
    gateway.add_argument("--root", type=Path, default=Path("/"), metavar="DIR",
                         help="install below this directory, for an image of a host (default: %(default)s)")
    for part in (module, gateway):
        part.add_argument("--remove", action="store_true", help="take it away again; edited configuration stays")
        part.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    return parser.parse_args(given)


def main(given: Optional[Sequence[str]] = None) -> int:
    """Console script; returns the exit status."""
    arguments = _arguments(given)
    try:
        if arguments.part == "mgr-module":
            said = (mgr_module.remove if arguments.remove else mgr_module.install)(arguments.to, arguments.dry_run)
        else:
            said = (gateway_host.remove if arguments.remove else gateway_host.install)(arguments.root,
                                                                                       arguments.dry_run)
    except (Refused, Incomplete) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        hint = "; run this as root" if isinstance(error, PermissionError) else ""
        print(f"{PROGRAM}: {error.filename}: {error.strerror}{hint}", file=sys.stderr)
        return 1
    print("\n".join(said))
    return 0
