#!/bin/sh
@HEADER@
set -eu

root=${TIERENV_ROOT:-} # a copy of the tree to work on, for tests
kept=$root/run/tierenv

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Sets `value` to what a file holds; false if it cannot be read.
read_file() {
    { value=$(cat "$1"); } 2>/dev/null
}

read_number() {
    read_file "$1" || fail "cannot read $1; nothing was changed"
    case $value in
    '' | *[!0-9]*) fail "$1 holds '$value', not a number; nothing was changed" ;;
    esac
}

# write_file FILE VALUE, for a file that exists
write_file() {
    [ -e "$1" ] && { printf '%s\n' "$2" >"$1"; } 2>/dev/null
}

# keep FILE VALUE: whole or not at all, a temporary file and then a rename.
keep() {
    { mkdir -p "${1%/*}" && printf '%s\n' "$2" >"$1.$$" && mv "$1.$$" "$1"; } 2>/dev/null
}
