#!/bin/bash
# The whole chain on this machine, and everything that can go wrong with it; see --help.
set -euo pipefail

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
unset PYTHONHOME
export PYTHONPATH=$scripts:$scripts/../qa:$scripts/../mgr_module   # qa/ has the Linux host and the replay of traces
if [ -x /usr/bin/python3 ]; then
    # Ends here for --help and for a mistake, before anything is installed.
    case " $* " in *" -h "* | *" --help "*) exec /usr/bin/python3 -m testbed.demo_options "$@" ;; esac
    /usr/bin/python3 -m testbed.demo_options "$@"
fi
"$scripts/setup.sh"
exec "$scripts/../.venv/bin/python" -m testbed.demo "$@"
