#!/bin/bash
# Start a cluster and gateways for work by hand; see --help.
set -euo pipefail

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=/usr/bin/python3
case " $* " in
    *" -h "* | *" --help "* | *" --status "*) ;;   # these need nothing installed
    *) "$scripts/setup.sh"; python=$scripts/../.venv/bin/python ;;
esac
unset PYTHONHOME
PYTHONPATH=$scripts exec "$python" -m testbed.vstart "$@"
