"""What setup.cfg promises about the installed package."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

from nvmeof_ha.core.release import RELEASE

REPOSITORY = Path(__file__).resolve().parents[2]


def settings() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(REPOSITORY / 'setup.cfg')
    return parser


def test_the_release_that_beacons_name_is_that_of_the_package():
    assert RELEASE == settings()['metadata']['version']


def test_every_package_of_the_gateway_and_the_core_is_installed():
    listed = set(settings()['options']['packages'].split())
    for name, directory in (('gw_agent', REPOSITORY / 'gw_agent'), ('gw_client', REPOSITORY / 'gw_client'),
                            ('nvmeof_ha_core', REPOSITORY / 'mgr_module/nvmeof_ha/core')):
        found = {'.'.join((name, *init.parent.relative_to(directory).parts))
                 for init in directory.rglob('__init__.py')}
        assert found <= listed, f'add to packages in setup.cfg: {sorted(found - listed)}'


def test_core_and_generated_modules_are_found_from_anywhere(tmp_path):
    program = ('import nvmeof_ha_core, gw_agent.pb.gateway_pb2_grpc, gw_agent.pb.monitor_pb2_grpc, gw_client.main; '
               'print(nvmeof_ha_core.__file__)')
    done = subprocess.run([sys.executable, '-c', program], cwd=tmp_path, env={'PATH': '/usr/bin:/bin'},
                          stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    core = REPOSITORY / 'mgr_module/nvmeof_ha/core/__init__.py'
    assert Path(done.stdout.strip()) == core, 'a second copy of the core is installed'
