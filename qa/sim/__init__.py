"""Seeded simulation of a whole gateway group in virtual time, around the real core and the real driver of the mgr.

The state machine, the register, lease and plan, the driver with all that it is made of, and the pure parts of the warden
run unchanged.  Faked are Ceph, SPDK, the network and the clocks, each by the facts that its module names; the loops of
warden and agent are stand-ins, and their modules say what of them is real.  One seed is one run: faults are drawn from
it, a safety phase is followed by a heal and a liveness phase, and the history is checked while it happens.

Not modelled: several groups, namespaces that move, I/O that hangs for good, partial answers of the mons, a standby mgr,
hosts' own multipath beyond one write at a time for each ANA group.
"""
