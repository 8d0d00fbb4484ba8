#!/bin/bash
# Runs benchmarks on real clusters and prints their figures; see --help.
set -euo pipefail

qa=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scripts=$qa/../vstart-scripts
"$scripts/setup.sh"
unset PYTHONHOME
export PYTHONPATH=$scripts:$qa:$qa/../mgr_module   # for the replay of traces
exec "$qa/../.venv/bin/python" -m bench "$@"
