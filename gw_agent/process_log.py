"""Logging of the warden and the agent: one line format, to a file or to standard error."""
from __future__ import annotations

import logging
import os
import sys
from typing import IO, NoReturn, Optional

from gw_agent.settings import GatewaySettings


def start(settings: GatewaySettings, process: str) -> Optional[IO[bytes]]:
    """Set logging up; returns the open log file for children to print to (None: standard error).

    Raises OSError when the file cannot be opened.
    """
    form = f"%(asctime)s.%(msecs)03d {process} {settings.name} %(levelname)s %(name)s: %(message)s"
    handler: logging.Handler = logging.StreamHandler()
    output: Optional[IO[bytes]] = None
    if settings.log_file is not None:
        handler = logging.FileHandler(settings.log_file)
        output = open(settings.log_file, "ab", buffering=0)  # pylint: disable=consider-using-with
    handler.setFormatter(logging.Formatter(form, "%Y-%m-%dT%H:%M:%S"))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for library in ("asyncio", "grpc"):   # their debug lines are about themselves
        logging.getLogger(library).setLevel(max(logging.getLogger().level, logging.INFO))
    return output


def end(status: int) -> NoReturn:
    """End the process at once, with everything logged and printed."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
