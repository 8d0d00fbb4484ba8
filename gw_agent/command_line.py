"""The command line of nvmeof-gw-warden and nvmeof-gw-agent, which is the same.

`answer` does what needs no running gateway: --check-config and --print-config.
"""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Optional

DEFAULT_CONFIG = "/etc/nvmeof-ha/gateway.conf"
SAMPLE = Path(__file__).with_name("gateway.conf.sample")
"""Every option with its default and what it is for."""


def parse(program: str, description: str) -> argparse.Namespace:
    """Ends the process when the arguments are wrong."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--config", default=DEFAULT_CONFIG, metavar="FILE",
                        help="settings of the gateway (default: %(default)s)")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--check-config", action="store_true",
                         help="say what is wrong with the settings and what they name, and end: with 1 if the gateway "
                              "could not work, else with 0; run it as the gateway's user")
    instead.add_argument("--print-config", action="store_true",
                         help="print a sample of the settings, with every option explained, and end")
    parser.add_argument("--connect", action="store_true",
                        help="with --check-config: ask the cluster too; it and the gateway are not changed")
    parser.add_argument("--format", choices=("plain", "json"), help="with --check-config: how to say it")
    arguments = parser.parse_args()
    if (arguments.connect or arguments.format) and not arguments.check_config:
        parser.error("--connect and --format go with --check-config")
    return arguments


def answer(arguments: argparse.Namespace) -> Optional[int]:
    """The exit status when that was all that was asked for; None: serve."""
    if arguments.print_config:
        print(SAMPLE.read_text(encoding="utf-8"), end="")
        return 0
    if not arguments.check_config:
        return None
    from gw_agent import config_check   # brings much that a gateway does without
    report = config_check.check(arguments.config, arguments.connect)
    print(report.as_json() if arguments.format == "json" else report.text())
    return 0 if report.well else 1
