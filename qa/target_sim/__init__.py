"""A stand-in for SPDK's nvmf_tgt for machines without SPDK: same command line, same JSON-RPC, real NVMe/TCP, real
RBD I/O.
"""
