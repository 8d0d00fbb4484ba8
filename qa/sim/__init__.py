"""Seeded simulation of a whole gateway group in virtual time, around the real core.

The core's state machine, register, lease and plan run unchanged.  Faked are Ceph, SPDK, the network and the clocks, each
by the facts that its module names.  One seed is one run: faults are drawn from it, a safety phase is followed by a heal
and a liveness phase, and the history is checked while it happens.
"""
