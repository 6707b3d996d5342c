# What stands in the way of a setting, one line each: `refuse` what forbids --apply or makes it pointless, `warn` of the
# rest.
refused=
warnings=

refuse() {
    say "$*; nothing was changed"
    refused=yes
}

warn() {
    warnings="${warnings}warning: $*$newline"
}

# One call at a time changes anything. The lock is on the folder of the notes; the kernel drops it with the last process
# that has the folder open, however that ends.
lock() {
    { mkdir -p "${kept%/*}" && mkdir -m 700 "$kept"; } 2>/dev/null || : # unless it is there
    if [ ! -r "$kept" ] || [ ! -w "$kept" ]; then
        refuse "cannot write $kept$write_hint"
    elif ! command -v flock >/dev/null; then
        refuse 'flock is missing, install util-linux'
    else
        exec 9<"$kept"
        # that of busybox cannot wait
        flock -w 10 9 2>/dev/null || flock -n 9 || fail "another call has locked $kept; nothing was changed"
        rm -f "$kept/new" # of a call that was killed
    fi
}

# check_number_file FILE: false, and a refusal, unless it holds a number that can be read and replaced.
check_number_file() {
    if [ ! -e "$1" ]; then
        refuse "$1 is missing: @IF_MISSING@"
    elif ! read_file "$1"; then
        refuse "cannot read $1$hint"
    elif ! is_number "$value"; then
        refuse "$1 holds '$value', not a number"
    elif [ ! -w "$1" ]; then
        refuse "cannot write $1$write_hint"
    else
        return 0
    fi
    return 1
}

process_runs() {
    grep -sqx "$1" "$root"/proc/[0-9]*/comm
}

# Promotion goes from a lower memory tier to a higher one.
check_tiers() {
    tiers=$root/sys/devices/virtual/memory_tiering
    if [ ! -d "$tiers" ]; then
        warn "$tiers is missing: this kernel does not tell whether it has two memory tiers, without which nothing is promoted"
        return
    fi
    found=
    num_tiers=0
    for nodelist in "$tiers"/memory_tier*/nodelist; do
        if read_file "$nodelist" && [ -n "$value" ]; then
            found="$nodelist is '$value'"
            num_tiers=$((num_tiers + 1))
        fi
    done
    [ $num_tiers -ge 2 ] || refuse "${found:-no nodelist under $tiers names a node}: all memory is in one tier, so nothing" \
        "would be promoted; slow memory gets a tier of its own by the firmware's HMAT (Linux 6.1 does not use it) or as CXL" \
        "memory that the kmem driver has brought online"
}

demotion=/sys/kernel/mm/numa/demotion_enabled
with_demotion=@WITH_DEMOTION@ # whether the script was exported to switch it on, too

check_demotion() {
    if read_file "$root$demotion"; then
        case $value in
        true | false) ;;
        *) refuse "$root$demotion holds '$value', neither true nor false" && return ;;
        esac
    fi
    if [ -n "$with_demotion" ]; then
        if ! read_file "$root$demotion"; then
            refuse "cannot read $root$demotion: this kernel cannot demote; export without --with-demotion"
        elif [ ! -w "$root$demotion" ]; then
            refuse "cannot write $root$demotion$write_hint"
        fi
    elif read_file "$root$demotion" && [ "$value" = false ]; then
        warn "$root$demotion is false: promotion stops once the fast node is full; export with --with-demotion sets it, too"
    fi
}

