"""The release of this software; gateways say theirs in their beacons, and the mgr's health compares."""

from __future__ import annotations

RELEASE = "0.1.0"
"""The same as in ``setup.cfg``, which the mgr's copy of the module does not have (a test compares)."""
