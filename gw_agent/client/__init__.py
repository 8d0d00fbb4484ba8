"""The command-line client `nvmeof-gw`; it needs gw_agent only for the generated messages."""
import os

# What gRPC's own log says of a failed connection is in the error that a command ends with.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
