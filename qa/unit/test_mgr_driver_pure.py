"""A group's driver can run in virtual time: it has no clock, thread or librados of its own."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nvmeof_ha

MODULE = Path(nvmeof_ha.__file__).parent
FILES = ["driver.py", "takeover.py", "seats.py", "fencer.py", "channel.py", "kv_records.py", "bounded.py",
         "objects.py", "osd_dumps.py"]


@pytest.mark.parametrize("name", FILES)
def test_time_is_only_what_the_given_clock_says(name):
    called = [ast.unparse(node.func) for node in ast.walk(ast.parse((MODULE / name).read_text()))
              if isinstance(node, ast.Call)]
    assert called and not [function for function in called if function.startswith("time.")]


def test_the_driver_is_imported_where_librados_is_not_installed():
    without = "import sys; sys.modules['rados'] = None; import nvmeof_ha.driver"
    subprocess.run([sys.executable, "-c", without], cwd=MODULE.parent, check=True, timeout=60)
    broken = without.replace("driver", "running_driver")
    assert subprocess.run([sys.executable, "-c", broken], cwd=MODULE.parent, stderr=subprocess.DEVNULL,
                          timeout=60).returncode, "the check would notice"
