"""Differences between the Ceph releases that this module runs on (16.2 to 20.2).  No other file knows them."""

from __future__ import annotations

from typing import Any, Optional

CLICommand: Optional[Any]

try:
    # Since release 20 a module without a command registry of its own loads, and then fails every command.
    from mgr_module import CLICommandBase
except ImportError:
    from mgr_module import CLICommand  # type: ignore[no-redef]
    MON_OWNS_NVME_GW = False
else:
    CLICommand = CLICommandBase.make_registry_subtype("NvmeofHaCommand")
    MON_OWNS_NVME_GW = True

COMMAND_PREFIXES = ("nvmeof-ha",) if MON_OWNS_NVME_GW else ("nvmeof-ha", "nvme-gw")
"""The first works on every release, so that is what messages name.  ``ceph nvme-gw ...`` belongs to the mon from
release 20 on; registering it there breaks the mon's own commands, even while this module is only installed and not
enabled."""
