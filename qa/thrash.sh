#!/bin/bash
# Breaks a real cluster with gateways in rounds that a seed determines, and looks for what must not be; see --help.
set -euo pipefail

qa=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scripts=$qa/../vstart-scripts
unset PYTHONHOME
export PYTHONPATH=$scripts:$qa:$qa/../mgr_module
if [ -x /usr/bin/python3 ]; then
    # Ends here for --help and for a mistake, before anything is installed.
    case " $* " in *" -h "* | *" --help "*) exec /usr/bin/python3 -m thrash.options "$@" ;; esac
    /usr/bin/python3 -m thrash.options "$@"
fi
"$scripts/setup.sh"
exec "$qa/../.venv/bin/python" -m thrash "$@"
