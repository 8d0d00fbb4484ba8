"""What setup.cfg promises about the installed package."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import List

import pytest

from gw_agent.install import mgr_module
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
    for name, directory in (('gw_agent', REPOSITORY / 'gw_agent'),
                            ('nvmeof_ha_core', REPOSITORY / 'mgr_module/nvmeof_ha/core')):
        found = {'.'.join((name, *init.parent.relative_to(directory).parts))
                 for init in directory.rglob('__init__.py')}
        assert found <= listed, f'add to packages in setup.cfg: {sorted(found - listed)}'


def test_core_and_generated_modules_are_found_from_anywhere(tmp_path):
    program = ('import nvmeof_ha_core, gw_agent.client.main, gw_agent.pb.gateway_pb2_grpc; '
               'print(nvmeof_ha_core.__file__)')
    done = subprocess.run([sys.executable, '-c', program], cwd=tmp_path, env={'PATH': '/usr/bin:/bin'},
                          stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    core = REPOSITORY / 'mgr_module/nvmeof_ha/core/__init__.py'
    assert Path(done.stdout.strip()) == core, 'a second copy of the core is installed'


def test_every_directory_of_the_mgr_module_is_installed():
    module = REPOSITORY / 'mgr_module/nvmeof_ha'
    listed = {target.rpartition('share/nvmeof-ha/mgr/')[2] for target in settings()['options.data_files']}
    found = {str(path.parent.relative_to(module.parent)) for path in module.rglob('*')
             if path.is_file() and '__pycache__' not in path.parts}
    assert found <= listed, f'add to options.data_files in setup.cfg: {sorted(found - listed)}'


@pytest.fixture(scope='module')
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a virtual environment with the wheel installed; what it requires is found in this one."""
    directory = tmp_path_factory.mktemp('wheel')
    copy = directory / 'source'   # generating the protobuf modules here would disturb other tests
    skipped = shutil.ignore_patterns('__pycache__', '*_pb2*.py')
    for name in ('gw_agent', 'mgr_module', 'proto'):
        shutil.copytree(REPOSITORY / name, copy / name, ignore=skipped)
    for name in ('setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(REPOSITORY / name, copy / name)
    built = run([sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--wheel-dir', str(directory), str(copy)],
                directory)
    assert built.returncode == 0, built.stdout
    environment = directory / 'environment'
    run(['/usr/bin/python3', '-m', 'venv', '--system-site-packages', '--without-pip', str(environment)],
        directory).check_returncode()
    packages, = environment.glob('lib/python3*/site-packages')
    (packages / 'required.pth').write_text(sysconfig.get_path('purelib') + '\n')
    wheel, = directory.glob('*.whl')
    done = run([sys.executable, '-m', 'pip', '--python', str(environment / 'bin/python'), 'install', '--no-deps',
                '--no-index', '--no-compile', str(wheel)], directory)
    assert done.returncode == 0, done.stdout
    return environment / 'bin'


def run(command: List[str], directory: Path) -> 'subprocess.CompletedProcess[str]':
    environment = {name: value for name, value in os.environ.items() if not name.startswith('PYTHON')}
    return subprocess.run(command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=240, check=False)


def test_the_wheel_brings_all_that_a_gateway_host_and_a_mgr_host_need(installed: Path, tmp_path: Path):
    for program in ('nvmeof-gw', 'nvmeof-gw-warden', 'nvmeof-gw-agent', 'nvmeof-ha-install'):
        done = run([str(installed / program), '--help'], tmp_path)
        assert done.returncode == 0 and program in done.stdout, done.stdout
    sample = run([str(installed / 'nvmeof-gw-warden'), '--print-config'], tmp_path).stdout
    assert sample == (REPOSITORY / 'gw_agent/gateway.conf.sample').read_text()
    (tmp_path / 'ceph.conf').touch()
    (tmp_path / 'keyring').write_text('[client.nvmeof.gw1]\nkey = x\n')
    (tmp_path / 'keyring').chmod(0o600)
    config = tmp_path / 'gateway.conf'
    config.write_text(sample.replace('#config_file = /etc/ceph', f'config_file = {tmp_path}')
                      .replace('#keyring =', f'keyring = {tmp_path}/keyring')
                      .replace('#tgt_path = /usr/local/bin/nvmf_tgt', 'tgt_path = /bin/true')
                      .replace('#port = 5500', 'port = 0'))
    checked = run([str(installed / 'nvmeof-gw-agent'), '--check-config', '--config', str(config)], tmp_path)
    assert checked.returncode == 0 and 'no problems' in checked.stdout, checked.stdout

    assert run([str(installed / 'nvmeof-ha-install'), 'mgr-module', '--to', str(tmp_path)], tmp_path).returncode == 0
    assert (mgr_module.contents(tmp_path / 'nvmeof_ha')
            == mgr_module.contents(REPOSITORY / 'mgr_module/nvmeof_ha'))
    done = run([str(installed / 'nvmeof-ha-install'), 'gateway', '--root', str(tmp_path / 'root')], tmp_path)
    assert done.returncode == 0, done.stdout
    unit = (tmp_path / 'root/usr/local/lib/systemd/system/nvmeof-gw-warden@.service').read_text()
    assert f'ExecStart={installed}/nvmeof-gw-warden --config /etc/nvmeof-ha/%i.conf\n' in unit
    assert f'Documentation=file://{installed.parent}/share/nvmeof-ha/README.md\n' in unit
    assert (installed.parent / 'share/nvmeof-ha/README.md').exists()


def test_the_wheel_asks_for_what_it_needs_and_has_one_core(installed: Path, tmp_path: Path):
    program = ('import nvmeof_ha_core, gw_agent, gw_agent.pb.gateway_pb2_grpc; '
               'from importlib.metadata import requires; '
               'print(nvmeof_ha_core.__file__, gw_agent.__file__); '
               'print(*(r.split(";")[0].strip() for r in requires("nvmeof-ha") if "extra" not in r), sep="\\n")')
    done = run([str(installed / 'python'), '-c', program], tmp_path)
    first, *required = done.stdout.splitlines()
    assert all(Path(path).is_relative_to(installed.parent) for path in first.split()), done.stdout
    asked = settings()['options']['install_requires'].split()
    # Compared by their letters: the bounds of one requirement may come in any order.
    assert ({''.join(sorted(r.replace(' ', ''))) for r in required} == {''.join(sorted(r)) for r in asked}), done.stdout
