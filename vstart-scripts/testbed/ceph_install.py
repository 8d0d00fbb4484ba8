"""What the testbed must know about the installed Ceph: its release and where its parts are.

The one place of the testbed that differs by release (16 to 20).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional

from .daemon import CLEAN_ENVIRONMENT

PROGRAMS = ('ceph', 'rbd', 'ceph-mon', 'ceph-mgr', 'ceph-osd', 'ceph-authtool', 'monmaptool')
MGR_MODULES = Path('/usr/share/ceph/mgr')
CLASS_DIRECTORIES = ('/usr/lib/*/rados-classes', '/usr/lib64/rados-classes', '/usr/lib/rados-classes')

# Each ceph-mgr loads every module that it finds, enabled or not, whenever it starts or is replaced. These are
# needed by no other and off by default; without them that takes 1.7 s of processor time instead of 2.8.
SKIPPED_MODULES = frozenset((
    'alerts', 'cephadm', 'dashboard', 'diskprediction_local', 'influx', 'insights', 'k8sevents', 'localpool',
    'mirroring', 'osd_perf_query', 'osd_support', 'restful', 'rook', 'selftest', 'snap_schedule', 'stats',
    'telegraf', 'test_orchestrator', 'zabbix'))

BCRYPT_STUB = '''"""Stands in for bcrypt, whose compiled module refuses to load in a sub-interpreter."""


def hashpw(*_args):
    raise NotImplementedError('this testbed has no bcrypt')


gensalt = hashpw
'''


class CephNotInstalled(RuntimeError):
    """A part of Ceph that the testbed needs is missing."""


@dataclass(frozen=True)
class CephInstall:
    """The installed Ceph."""

    version: str              # as `ceph --version` prints it, e.g. "16.2.15"
    class_directory: Path     # of the OSD's object classes (cls_rbd, cls_lock, ...)

    @property
    def release(self) -> int:
        """Major number: 16 is Pacific, 18 Reef, 20 Tentacle."""
        return int(self.version.split('.')[0])

    @classmethod
    def find(cls) -> CephInstall:
        """Raises CephNotInstalled, naming what is missing."""
        missing = [name for name in PROGRAMS
                   if shutil.which(name, path=CLEAN_ENVIRONMENT['PATH']) is None]
        if not (MGR_MODULES / 'mgr_module.py').exists():
            missing.append(str(MGR_MODULES / 'mgr_module.py'))
        class_directory = _first_existing(CLASS_DIRECTORIES)
        if class_directory is None:
            missing.append('rados-classes')
        if missing or class_directory is None:
            raise CephNotInstalled(f'not installed: {", ".join(missing)}; run vstart-scripts/setup.sh')
        printed = subprocess.run(['ceph', '--version'], env=CLEAN_ENVIRONMENT, check=True,
                                 stdout=subprocess.PIPE, text=True).stdout
        found = re.search(r'\b(\d+\.\d+\.\d+)', printed)
        if found is None:
            raise CephNotInstalled(f'`ceph --version` printed {printed!r}, expected a number like 16.2.15; '
                                   'install a packaged release')
        return cls(found.group(1), class_directory)

    def mgr_environment(self, stub_directory: Path) -> Dict[str, str]:
        """Variables that ceph-mgr needs to load its modules; may write a stub into `stub_directory`.

        Debian's 18.2.7 imports bcrypt in `mgr_util`, thus in every module, and that fails in the
        sub-interpreters in which it runs them. 16 does not need the stub and 20 does not use it.
        """
        if self.release != 18:
            return {}
        stub_directory.mkdir(parents=True, exist_ok=True)
        (stub_directory / 'bcrypt.py').write_text(BCRYPT_STUB)
        return {'PYTHONPATH': str(stub_directory)}


def make_mgr_module_farm(farm: Path, own_modules: Path) -> List[str]:
    """Fill `farm` with links to Ceph's mgr modules and to every module under `own_modules`.

    `mgr_module_path` takes one directory only and replaces the packaged one, so it must hold both.
    Returns the names of the own modules; a directory is one when it has a `module.py`.
    """
    farm.mkdir(parents=True)
    for entry in MGR_MODULES.iterdir():
        if entry.name not in SKIPPED_MODULES:
            (farm / entry.name).symlink_to(entry)
    own = sorted(path.parent for path in own_modules.glob('*/module.py'))
    for directory in own:
        link = farm / directory.name
        if link.is_symlink():
            link.unlink()   # an installed copy of the same module: the checkout's is meant
        link.symlink_to(directory.resolve())
    return [directory.name for directory in own]


def _first_existing(patterns: tuple) -> Optional[Path]:
    for pattern in patterns:
        for path in sorted(Path('/').glob(pattern.lstrip('/'))):
            return path
    return None
