#!/usr/bin/env bash
# A broker used from Python. The set-up commands of examples/python/README.md are run as they stand
# there, on a copy, with the versions pinned here; the tests use what they made.
source ./lib.sh

requirements=$PWD/python/requirements.txt
work=$INTEROP_TARGET/python
example=$work/examples/python
mkdir -p "$example"
find "$example" -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -r {} +
cp "$INTEROP_ROOT"/examples/python/{*.py,README.md} "$example"
ln -sfn "$INTEROP_ROOT/proto" "$work/proto"

export PIP_CONSTRAINT=$requirements PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1
(
    cd "$example"
    sed -n '/^## Set up/,/^## Run/s/^\$ //p' README.md | bash -euo pipefail
    .venv/bin/pip install -r "$requirements"
)

export PYTHONPATH=$example PYTHONDONTWRITEBYTECODE=1
"$example/.venv/bin/python" -m pytest --quiet --tb=short --basetemp="$work/tmp" python
