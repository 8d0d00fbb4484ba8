"""Benchmarks on a real cluster, by `qa/bench.sh`.  They print figures; they never fail for a slow machine."""
