#!/bin/bash
# Run the tests: all layers or the named ones, after setting up what they need.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# A layer is a directory of qa/ that holds tests.
layers() {
    find "$repository/qa" -mindepth 2 -name 'test_*.py' -printf '%P\n' | cut -d/ -f1 | sort -u
}

usage() {
    cat <<END
Usage: qa/test.sh [--json FILE] [LAYER ...] [-- PYTEST-ARGUMENT ...]

Runs all tests, or those of the named layers:
$(layers | sed 's/^/  /')

--json FILE writes what each layer counted: states, seeds, scenarios, mutants, violations, seconds.
What follows -- goes to pytest, e.g. qa/test.sh unit -- -k lease -x

Environment:
  NVMF_TGT   the target program to test with (default: qa/target_sim/nvmf_tgt, the stand-in)
END
}

selected=()
options=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --) shift; break ;;
        --json)
            if [ -z "${2:-}" ]; then
                printf 'test.sh: --json needs the name of a file\n' >&2
                exit 2
            fi
            options+=("--json=$(realpath -m "$2")")
            shift
            ;;
        -*) printf 'test.sh: unknown option %s; options for pytest go after --\n' "$1" >&2; exit 2 ;;
        *)
            if ! layers | grep -qxF -e "$1"; then
                printf 'test.sh: no layer %s; there are: %s\n' "$1" "$(layers | paste -sd ' ')" >&2
                exit 2
            fi
            selected+=("$repository/qa/$1")
            ;;
    esac
    shift
done

"$repository/vstart-scripts/setup.sh"
cd "$repository"
unset PYTHONPATH PYTHONHOME
exec .venv/bin/python -m pytest "${selected[@]}" "${options[@]}" "$@"
