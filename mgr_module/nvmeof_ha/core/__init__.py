"""The pure core of NVMe-oF high availability: everything that is decided is decided here.

No clock, no lock, no I/O, no logging, no randomness; standard library only.  The mgr module imports it as
``nvmeof_ha.core``, the gateway host as ``nvmeof_ha_core``: one copy, two names.

The caller's duties (the drivers in ``driver.py`` and on the gateway host keep them):

1. feed every event with a monotonic ``now`` in seconds, one event at a time, in the order of their arrival;
2. carry out the returned actions in order; their results come back as events, never as return values;
3. report ``Committed`` only when two of the three seats acknowledged exactly that (ballot, epoch);
4. stop for good on ``Deposed`` and on an ``InvariantViolated`` error.
"""
