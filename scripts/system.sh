#!/bin/sh
# Install the system packages that crag needs ($@, or gocryptfs, fuse3, libgomp1) where they are missing.
# Never fails for the default packages: without them the demo says so and goes on without a mount.
set -u
say() { printf '%s\n' "$*" >&2; }

if [ $# -gt 0 ]; then
    wanted=$*
else
    wanted=
    PATH=$PATH:/usr/sbin:/sbin
    command -v gocryptfs >/dev/null 2>&1 || wanted="$wanted gocryptfs"
    command -v fusermount3 >/dev/null 2>&1 || wanted="$wanted fuse3"
    # llama.cpp needs the OpenMP runtime, which gcc would bring
    ldconfig -p 2>/dev/null | grep -q 'libgomp\.so\.1' || wanted="$wanted libgomp1"
fi
[ -n "$wanted" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1; then
        as_root=sudo
    else
        say "system: not root and no sudo: install by hand:$wanted"
        [ $# -gt 0 ] && exit 20
        exit 0
    fi
fi
if ! command -v apt-get >/dev/null 2>&1; then
    say "system: no apt-get on this machine: install by hand:$wanted"
    [ $# -gt 0 ] && exit 20
    exit 0
fi

say "system: installing$( [ $# -gt 0 ] && printf ' ' )$wanted"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
    # shellcheck disable=SC2086 # the names are words
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -q --no-install-recommends $wanted >"$log" 2>&1
}
install || { $as_root apt-get update -q >/dev/null 2>&1 && install; } || {
    tail -n 5 "$log" >&2
    say "system: could not install$wanted; going on without."
    [ $# -gt 0 ] && exit 20
}
exit 0
