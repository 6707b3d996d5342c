"""Format `sysfs`: a POSIX shell script that sets what the kmmscand series lets an administrator set.

That is the scan period, and only as the first one of processes that start afterwards: the series exposes neither the
scan size nor a throttle. The script says so, and this exporter refuses settings it could only pretend to apply.
"""

from tierenv.agents.export import ExportRequest
from tierenv.agents.export.modelled import ModelledSetting, modelled_setting
from tierenv.agents.export.header import CAVEAT
from tierenv.errors import ConfigError
from tierenv.files import atomic_write_text
from tierenv.scenario import DaemonVariant, load_record
from tierenv.tunables import TUNABLES
from tierenv.units import format_bytes, format_bytes_per_s

KERNEL = "kmmscand-v1"
"""Variant whose interface the script writes."""


def write(request: ExportRequest) -> None:
    """Write the script. Raises `ConfigError` for a setting whose scan period no kernel of the series takes."""
    modelled = modelled_setting(request)
    atomic_write_text(request.output, script(modelled), executable=True)


def script(modelled: ModelledSetting) -> str:
    """The text of the script."""
    setting = modelled.setting
    bounds = load_record("daemons", DaemonVariant, KERNEL).ranges.by_name[TUNABLES[0].name]
    period_ms = round(setting.scan_period_ms)
    if not bounds.min <= period_ms <= bounds.max:
        raise ConfigError(
            f"scan_period_ms={period_ms}: the kernel clamps it to {bounds.min:g} to {bounds.max:g} ({KERNEL}); "
            "use --format parameters"
        )
    if setting.throttle_bytes_per_s == 0:
        raise ConfigError(
            "throttle_bytes_per_s=0: promotes nothing, which a scan period cannot do; "
            "switch the daemon off instead: echo 0 > /sys/kernel/mm/kmmscand/scan_enabled"
        )
    header = {
        "@POLICY@": modelled.origin.policy,
        "@SCENARIO@": str(modelled.scenario),
        "@PROVENANCE@": "; ".join(f"{key} {value}" for key, value in modelled.provenance.items()),
        "@CAVEAT@": CAVEAT,
        "@DAEMON@": modelled.scenario.daemon.name,
        "@PERIOD_MS@": str(period_ms),
        "@SIZE@": format_bytes(setting.scan_size_bytes),
        "@THROTTLE@": format_bytes_per_s(setting.throttle_bytes_per_s),
    }
    text = _TEMPLATE
    for mark, value in header.items():
        text = text.replace(mark, " ".join(value.split()))  # one line: the values stand in comments
    return text


_TEMPLATE = r"""#!/bin/sh
# Sets the scan period of kmmscand, the slow-tier page-promotion daemon (kscand in V2 and V3 of the series).
#
#   policy      @POLICY@
#   scenario    @SCENARIO@
#   provenance  @PROVENANCE@
#
# The setting is @CAVEAT@. It was modelled on the daemon @DAEMON@. No released kernel
# of the series lets user space set all of it, and this script applies the scan period alone:
#
#   scan period  @PERIOD_MS@ ms: the first period of processes that start afterwards, which the kernel then adapts;
#                running processes keep theirs
#   scan size    @SIZE@: NOT applied, not exposed
#   throttle     @THROTTLE@: NOT applied, does not exist
#
# Usage: sh FILE              say what would change (dry run)
#        sh FILE --apply      change it; the value found is kept under /run/tierenv
#        sh FILE --restore    put that value back
set -eu

period_ms=@PERIOD_MS@
root=${TIERENV_ROOT:-} # a copy of the tree to work on, for tests
kept=$root/run/tierenv

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

find_file() {
    for daemon in kmmscand kscand; do
        file=$root/sys/kernel/mm/$daemon/mm_scan_period_ms
        if [ -e "$file" ]; then return; fi
    done
    fail "this kernel has no kmmscand ($root/sys/kernel/mm/kmmscand/mm_scan_period_ms is missing); nothing was changed"
}

# Sets `value` to the number a file holds.
read_number() {
    { value=$(cat "$1"); } 2>/dev/null || fail "cannot read $1"
    case $value in
    '' | *[!0-9]*) fail "$1 holds '$value', not a number; nothing was changed" ;;
    esac
}

write_number() {
    { printf '%s\n' "$1" >"$file"; } 2>/dev/null
}

# Whole or not at all: a temporary file, then a rename.
keep_number() {
    mkdir -p "$kept" && printf '%s\n' "$1" >"$kept/$2.$$" && mv "$kept/$2.$$" "$kept/$2"
}

apply() {
    read_number "$file"
    if [ "$value" -eq "$period_ms" ]; then
        printf '%s is %s already\n' "$file" "$value"
        return
    fi
    found=$value
    is_first=false
    if [ ! -e "$kept/original" ]; then
        is_first=true
        keep_number "$found" original || fail "cannot write $kept; nothing was changed"
    fi
    if ! write_number "$period_ms"; then
        if $is_first; then rm -f "$kept/original"; fi
        fail "cannot write $file (are you root?); nothing was changed"
    fi
    read_number "$file"
    if [ "$value" -ne "$period_ms" ]; then
        write_number "$found" || fail "the kernel took $value instead of $period_ms, and $found cannot be put back"
        if $is_first; then rm -f "$kept/original"; fi
        fail "the kernel took $value instead of $period_ms; put back $found"
    fi
    keep_number "$period_ms" applied || fail "cannot write $kept"
    printf '%s: %s -> %s\n' "$file" "$found" "$period_ms"
}

restore() {
    if [ ! -e "$kept/original" ]; then
        printf 'nothing to restore\n'
        return
    fi
    read_number "$kept/original"
    original=$value
    applied=
    if [ -e "$kept/applied" ]; then
        read_number "$kept/applied"
        applied=$value
    fi
    read_number "$file"
    if [ "$value" -eq "$original" ]; then
        printf '%s is %s already\n' "$file" "$value"
    elif [ -n "$applied" ] && [ "$value" -ne "$applied" ]; then
        printf '%s was changed to %s by somebody else; left as it is\n' "$file" "$value"
    else
        found=$value
        write_number "$original" || fail "cannot write $file (are you root?); nothing was changed"
        printf '%s: %s -> %s\n' "$file" "$found" "$original"
    fi
    rm -f "$kept/original" "$kept/applied"
}

show() {
    read_number "$file"
    if [ "$value" -eq "$period_ms" ]; then
        printf '%s is %s already\n' "$file" "$value"
    else
        printf '%s: %s -> %s with --apply\n' "$file" "$value" "$period_ms"
    fi
}

if [ $# -gt 1 ]; then set -- --help-wanted; fi
case ${1:-} in
'' | --apply | --restore) ;;
*)
    printf 'usage: %s [--apply | --restore]\n' "${0##*/}" >&2
    exit 2
    ;;
esac
find_file
case ${1:-} in
--apply) apply ;;
--restore) restore ;;
*) show ;;
esac
"""
