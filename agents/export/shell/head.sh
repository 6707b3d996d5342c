#!/bin/sh
@HEADER@
set -eu

root=${TIERENV_ROOT:-} # a copy of the tree to work on, for tests
kept=$root/run/tierenv # notes of what was found and of what was written
newline='
'
export LC_ALL=C # the programs that are called give their reasons in English

# What to think of where a file cannot be read or not be written.
hint=
write_hint=' (mounted read-only?)'
if [ "$(id -u)" != 0 ]; then
    hint=' (are you root?)'
    write_hint=$hint
fi

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

fail() {
    say "$*"
    exit 1
}

# Sets `value` to what a file holds; false if it cannot be read.
read_file() {
    { value=$(cat "$1"); } 2>/dev/null
}

is_number() {
    case $1 in '' | *[!0-9]*) return 1 ;; esac
}

# write_file FILE VALUE, for a file that exists. Sets `reason`, the kernel's own, if it cannot be written.
write_file() {
    reason='No such file or directory'
    [ -e "$1" ] || return 1
    # by cat, which names the error, also that of busybox
    if reason=$({ printf '%s\n' "$2" | cat >"$1"; } 2>&1); then return; fi
    reason=${reason##*: }$hint
    return 1
}

# set_file FILE VALUE: writes and looks whether the kernel took it. Sets `reason` if not.
set_file() {
    write_file "$1" "$2" || return 1
    reason='it cannot be read any more'
    read_file "$1" || return 1
    reason="the kernel took $value instead of $2"
    [ "$value" = "$2" ]
}

# keep FILE VALUE: whole or not at all, a new file and then a rename. One name will do for the new file, see `lock`.
keep() {
    { mkdir -p "${1%/*}" && printf '%s\n' "$2" >"$kept/new" && mv "$kept/new" "$1"; } 2>/dev/null
}

