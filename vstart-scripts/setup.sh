#!/bin/bash
# Set up this checkout: Debian packages, and .venv with the project installed for editing.
#
# Used by demo.sh, vstart.sh and qa/test.sh before anything else; does only what is missing, and nothing
# (in well under a second) when all is there. Starts no service and needs no systemd. Needs root only for
# missing packages.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$repository/.venv
stamp=$venv/.setup-done
# The distribution's interpreter: its rados and rbd modules are built for no other.
python=/usr/bin/python3
log=

packages=(
    ceph-mon ceph-mgr ceph-mgr-modules-core ceph-osd ceph-common   # the cluster
    python3 python3-rados python3-rbd python3-venv
    python3-cherrypy3                                               # the mgr module's status page
    chromium-headless-shell fonts-dejavu-core                       # a browser that looks at the page
    qemu-system-x86 gcc libc6-dev binutils                          # the Linux guest and its programs
    systemd logrotate                                               # check the service's files; neither runs
    iproute2 nftables procps                                        # hosts of a test's own, and cut links between them
)

usage() {
    cat <<END
Usage: setup.sh [--help]

Installs the Debian packages that the cluster, the gateways and the tests need (if some are missing) and
makes $venv (if it is missing or older than this checkout's settings).
END
}

# step TEXT COMMAND...: says what it does, keeps the output in the log, and shows its end if the command fails.
step() {
    local text=$1 started=$SECONDS
    shift
    printf 'setup: %s ...\n' "$text"
    if ! "$@" </dev/null >>"$log" 2>&1; then
        {
            printf 'setup: failed: %s\n  the command was: %s\n  the end of %s:\n' "$text" "$*" "$log"
            tail -n 40 "$log" | sed 's/^/    /'
            printf '  Correct what it names and start again; what is done already is not repeated.\n'
        } >&2
        exit 1
    fi
    printf 'setup: %s: done in %d s\n' "$text" $((SECONDS - started))
}

missing_packages() {
    local installed
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null |
        sed -n 's/^installed //p') || true
    comm -23 <(printf '%s\n' "${packages[@]}" | sort) <(printf '%s\n' "$installed" | sort)
}

install_packages() {
    if ! command -v apt-get >/dev/null; then
        printf 'setup: these Debian packages are missing and there is no apt-get here: %s\n' "$*" >&2
        printf '  Use Debian 12 or newer, or install what corresponds to them and dpkg.\n' >&2
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        printf 'setup: these packages are missing and only root can install them:\n' >&2
        printf '  apt-get update && apt-get install --no-install-recommends %s\n' "$*" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    step 'reading the package lists' apt-get -q -o Acquire::Retries=3 update
    # Whether a package starts its service is left to the machine's policy; the testbed uses none of them.
    step "installing $# packages: $*" apt-get -q -y -o Acquire::Retries=3 install --no-install-recommends "$@"
}

# What the virtual environment depends on; a change of any of it means a new installation.
fingerprint() {
    {
        "$python" -V
        cd "$repository"
        cat setup.cfg pyproject.toml vstart-scripts/setup.sh proto/generate.py proto/*.proto
    } | sha256sum
}

make_venv() {
    if [ -x "$venv/bin/python" ] && ! "$venv/bin/python" -c 'import pip, rados, rbd' 2>/dev/null; then
        step "removing $venv, which another interpreter made or which is damaged" rm -rf "$venv"
    fi
    if [ ! -x "$venv/bin/python" ]; then
        step "making $venv" "$python" -m venv --system-site-packages "$venv"
    fi
    step 'installing the project and what its tests need into .venv' \
        "$venv/bin/python" -m pip install --disable-pip-version-check --editable "$repository[test]"
}

main() {
    if [ $# -gt 0 ]; then
        case $1 in
            -h | --help) usage; exit 0 ;;
            *) printf 'setup.sh: unknown argument %s; it takes none but --help\n' "$1" >&2; exit 2 ;;
        esac
    fi
    # Another interpreter's settings must not reach ours.
    unset PYTHONHOME PYTHONPATH VIRTUAL_ENV

    local missing
    mapfile -t missing < <(missing_packages)
    if [ ${#missing[@]} -eq 0 ] && [ -e "$stamp" ] && [ "$(fingerprint)" = "$(cat "$stamp")" ]; then
        exit 0
    fi
    log=$(mktemp -t nvmeof-ha-setup.XXXXXX)
    # One at a time: two shells that start at once would break each other's .venv.
    exec 9<"$repository/setup.cfg"
    flock 9
    mapfile -t missing < <(missing_packages)
    if [ ${#missing[@]} -gt 0 ]; then
        install_packages "${missing[@]}"
    fi
    if [ ! -e "$stamp" ] || [ "$(fingerprint)" != "$(cat "$stamp")" ]; then
        make_venv
        fingerprint >"$stamp"
    fi
    rm -f "$log"
}

main "$@"
