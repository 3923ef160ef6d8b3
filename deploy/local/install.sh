#!/usr/bin/env bash
# Make .venv and install what requirements/$1.txt pins into it ("run" or "dev"); nothing outside the project's folder is written.
# "bench" goes into .venv/rivals: what the benchmarks set beside Rollcall wants other versions of the same packages.
set -euo pipefail
cd "$(dirname "$0")/../.."
wanted=$1
stamp=.venv/.installed-$wanted
checksum=$(cat requirements/"$wanted".txt | cksum)

if [ "$wanted" = bench ]; then
    stamp=.venv/rivals/.installed
    if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$checksum" ]; then
        echo "Installing what requirements/bench.txt pins…"
        rm -rf .venv/rivals
        .venv/bin/python -m venv .venv/rivals
        # A rival that cannot be installed here is said in the table, and does not keep the others from being measured.
        TMPDIR=$PWD/.rollcall/tmp .venv/rivals/bin/python -m pip --disable-pip-version-check --no-input install --quiet --no-cache-dir \
            --require-hashes -r requirements/bench.txt && echo "$checksum" > "$stamp" ||
            echo "rollcall: pip cannot install requirements/bench.txt; the reason is above, and the rivals are left out" >&2
    fi
    exit 0
fi

# The compiled engine is made anew when its sources have changed; without a compiler they run as they are.
compile() {
    .venv/bin/python -m deploy.native.build
    exit 0
}

if [ -x .venv/bin/python ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$checksum" ]; then
    compile
fi

fail() {
    echo "rollcall: $1" >&2
    exit 1
}

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c '' 2>/dev/null; then
    python=
    for candidate in ${PYTHON:-python3.11 python3}; do
        # Asked rather than looked up: a name on the path may be a shim for a version that is not installed.
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    [ -n "$python" ] || fail "no Python 3.11 or later was found as ${PYTHON:-python3.11 or python3}; install one, or name it: PYTHON=… make run"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || fail "$python has no venv; install it (on Debian and Ubuntu: apt install python3-venv)"
    rm -rf .venv
    "$python" -m venv .venv || fail "$python cannot make .venv; the reason is above"
fi

mkdir -p .rollcall/tmp
chmod 700 .rollcall
export TMPDIR=$PWD/.rollcall/tmp PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
echo "Installing what requirements/$wanted.txt pins…"
.venv/bin/python -m pip install --quiet --no-cache-dir --require-hashes -r requirements/"$wanted".txt ||
    fail "pip cannot install requirements/$wanted.txt; the reason is above"
echo "$checksum" > "$stamp"
compile
