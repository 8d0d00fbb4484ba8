"""Testbed: real Ceph clusters and gateways on one machine, for work by hand, the demo and the tests.

Everything listens on loopback addresses and lives in one private directory per cluster. Nothing here
is needed by an installed mgr module or gateway.
"""
