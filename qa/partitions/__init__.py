"""Cuts, stalls and pauses on hosts that are network namespaces: what moves, what ends, and how long nobody serves.

`python -m partitions` plays all of it, several times if asked, and prints a table; `test_partitions.py` plays what is
quick and telling.
"""
