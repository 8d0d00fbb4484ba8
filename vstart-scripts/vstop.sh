#!/bin/bash
# End what vstart.sh has started; see --help.
set -euo pipefail

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Needs nothing that setup.sh installs, so that it works whatever has become of .venv.
unset PYTHONHOME
PYTHONPATH=$scripts exec /usr/bin/python3 -m testbed.vstop "$@"
