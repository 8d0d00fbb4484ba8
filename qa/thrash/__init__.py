"""The thrasher: seeded rounds of faults on a real cluster with a Linux host that writes through its gateways.

It looks for what no scenario thought of. A round breaks two kinds of things for a while, over and over, mends them,
waits until every ANA group is back at its owner, and reads every acknowledged block. What must not be, whatever is
broken, is a finding: of the host's data, of the targets' states against the maps and fences (`history.py`), of the logs.
"""
