"""Generate gw_agent/pb/*_pb2.py from proto/*.proto: setuptools' `build_py` command with that step in front.

Named in setup.cfg, so that `pip install .` and `pip install -e .` both do it. The files are written beside
gw_agent/pb/__init__.py and are not kept in git. Mapping proto/ to gw_agent/pb makes the generated modules
import one another by their full name (`from gw_agent.pb import gateway_pb2`).
"""

from __future__ import annotations

from pathlib import Path

from setuptools.command.build_py import build_py
from setuptools.errors import ExecError

PACKAGE = 'gw_agent/pb'
SOURCE = Path(__file__).resolve().parent


class BuildPy(build_py):
    """build_py, after the protobuf modules were generated."""

    def run(self) -> None:
        generate(SOURCE.parent)
        super().run()


def generate(repository: Path) -> None:
    """Write the modules of every proto/*.proto into gw_agent/pb of this checkout."""
    # Only the build environment has it, and setuptools imports this file also to ask for metadata.
    from grpc_tools import protoc

    files = sorted(path.name for path in (repository / 'proto').glob('*.proto'))
    if not files:
        raise ExecError(f'no *.proto file in {repository / "proto"}; the checkout is incomplete')
    well_known = Path(protoc.__file__).parent / '_proto'
    arguments = ['protoc', f'-I{PACKAGE}={repository / "proto"}', f'-I{well_known}',
                 f'--python_out={repository}', f'--grpc_python_out={repository}',
                 *(f'{PACKAGE}/{name}' for name in files)]
    rc = protoc.main(arguments)
    if rc:
        raise ExecError(f'`{" ".join(arguments)}` ended with {rc}; its messages are above')
