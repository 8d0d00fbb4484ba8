"""A mgr module for benchmarks only; see ``module.py``."""

from .module import Module  # noqa: F401  ceph-mgr looks for it here
