"""ceph-mgr module ``nvmeof_ha``: high availability for NVMe-oF gateways.

ceph-mgr looks for ``Module`` and ``StandbyModule`` here.  Elsewhere (tests, tools) only ``nvmeof_ha.core`` and the
parts that need no mgr can be imported: ``ceph_module`` is built into ceph-mgr itself.
"""

from __future__ import annotations

try:
    import ceph_module
except ImportError:
    ceph_module = None
else:
    from .module import Module  # noqa: F401
    from .standby import StandbyModule  # noqa: F401
