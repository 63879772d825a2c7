#!/bin/sh
# Installs the engines that run.py compares. Usage: benches/peers/setup.sh
#
# Everything goes into $PEERS_DIR (default: target/peers of this repository), about 14 GB, most of it PyTorch twice.
# Needs cargo, Python 3.11 or newer ($PYTHON, default python3) and, for torch-inductor, g++. Whatever fails to install
# is named and left out: run.py goes on without it.
set -u
here=$(cd "$(dirname "$0")" && pwd)
work=${PEERS_DIR:-$here/../../target/peers}
mkdir -p "$work" && work=$(cd "$work" && pwd) || exit 1
missing=

attempt() { # attempt NAME COMMAND…
    name=$1
    shift
    echo "== $name"
    "$@" || { echo "setup.sh: FAILED: $name" >&2; missing="$missing $name"; }
}

venv() { # venv DIRECTORY REQUIREMENTS
    # pip itself first: old ones search for hours for versions that fit together.
    "${PYTHON:-python3}" -m venv "$1" && "$1/bin/pip" install --quiet --upgrade pip &&
        { "$1/bin/pip" install --quiet --requirement "$2" || one_by_one "$1" "$2"; }
}

one_by_one() { # One package that cannot be had must not cost all the others.
    failed=
    for package in $(grep -v '^#' "$2"); do
        "$1/bin/pip" install --quiet "$package" || failed="$failed $package"
    done
    [ -z "$failed" ] || { echo "setup.sh: not installed:$failed" >&2; return 1; }
}

build() { # build PACKAGE PROFILE
    cargo build --quiet --profile "$2" --manifest-path "$here/rust/Cargo.toml" --package "$1" --target-dir "$work/rust"
}

attempt python venv "$work/venv" "$here/requirements.txt"
attempt litert-converter venv "$work/venv-litert" "$here/requirements-litert.txt"
attempt mnx build peer-mnx release
# The peers get every instruction of this CPU from the compiler too; mnx is built as its users build it.
export RUSTFLAGS='-C target-cpu=native'
attempt tract build peer-tract peer
attempt rten build peer-rten peer

[ -z "$missing" ] || { echo "setup.sh: not complete, without:$missing" >&2; exit 1; }
echo "ready: $here/run.py"
