#!/bin/sh
# Resolve the dependencies anew and export them with hashes and without index addresses.
# uv.lock names registry hosts, so git ignores it; the exported locks are what is committed.
set -eu
uv lock ${UPGRADE:+--upgrade}
export_lock() { uv export --frozen --no-emit-workspace --no-header --quiet "$@"; }
export_lock --all-groups -o requirements/dev.lock >/dev/null
export_lock --no-dev --package crag-owner -o requirements/owner.lock >/dev/null
export_lock --no-dev --package crag-provider --extra llamacpp -o requirements/provider.lock >/dev/null
export_lock --no-dev --package crag-user -o requirements/user.lock >/dev/null
