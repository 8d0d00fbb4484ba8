"""The thrasher: seeded rounds of faults on a real cluster with a Linux host that writes through three gateways.

It looks for what no scenario thought of. A round breaks one or two things, mends them, waits until every ANA group is
back at its owner, and reads every acknowledged block. What must not be, whatever is broken, is a finding.
"""
