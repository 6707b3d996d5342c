
kdamonds=$root/sys/kernel/mm/damon/admin/kdamonds
nodes=$root/sys/devices/system/node
note=$kept/damon # lines "VALUE FILE" of what was applied, but whether it runs

# Sets `fast` and `slow`: the nodes with memory that have and have not CPUs.
find_nodes() {
    with_cpus=
    without_cpus=
    for node in "$nodes"/node[0-9]*; do
        set -- "$node"/memory[0-9]*
        if [ ! -e "$1" ]; then continue; fi
        number=${node##*/node}
        if read_file "$node/cpulist" && [ -n "$value" ]; then
            with_cpus="$with_cpus $number"
        else
            without_cpus="$without_cpus $number"
        fi
    done
    fast=${TIERENV_FAST_NODE:-${with_cpus# }}
    slow=${TIERENV_SLOW_NODE:-${without_cpus# }}
    is_node "$fast" || fail "which node is the fast one? set TIERENV_FAST_NODE (with CPUs:${with_cpus:- none}); nothing was changed"
    is_node "$slow" || fail "which node is the slow one? set TIERENV_SLOW_NODE (without CPUs:${without_cpus:- none}); nothing was changed"
}

is_node() {
    case $1 in '' | *[!0-9]*) return 1 ;; esac
    [ -d "$nodes/node$1" ]
}

# Physical addresses of a node, lines "START END", from the numbers of its memory blocks.
ranges_of() {
    for block in "$nodes/node$1"/memory[0-9]*; do
        printf '%s\n' "${block##*/memory}"
    done | sort -n | {
        start=
        while read -r number; do
            if [ -n "$start" ] && [ "$number" -ne "$end" ]; then
                printf '%s %s\n' $((start * block_bytes)) $((end * block_bytes))
                start=
            fi
            start=${start:-$number}
            end=$((number + 1))
        done
        printf '%s %s\n' $((start * block_bytes)) $((end * block_bytes))
    }
}

# Calls "$1 FILE VALUE" for every setting, in order: most files exist only once a number before them is written.
each() {
    "$1" nr_kdamonds 1
    "$1" 0/contexts/nr_contexts 1
    "$1" 0/contexts/0/operations paddr
    "$1" 0/contexts/0/monitoring_attrs/intervals/sample_us @SAMPLE_US@
    "$1" 0/contexts/0/monitoring_attrs/intervals/aggr_us @AGGREGATION_US@
    "$1" 0/contexts/0/monitoring_attrs/nr_regions/min 10
    "$1" 0/contexts/0/monitoring_attrs/nr_regions/max 1000
    "$1" 0/contexts/0/targets/nr_targets 1
    "$1" 0/contexts/0/targets/0/regions/nr_regions "$num_ranges"
    index=0
    while read -r start end; do
        "$1" "0/contexts/0/targets/0/regions/$index/start" "$start"
        "$1" "0/contexts/0/targets/0/regions/$index/end" "$end"
        index=$((index + 1))
    done <<END
$ranges
END
    "$1" 0/contexts/0/schemes/nr_schemes 1
    "$1" 0/contexts/0/schemes/0/action migrate_hot
    "$1" 0/contexts/0/schemes/0/target_nid "$fast"
    "$1" 0/contexts/0/schemes/0/apply_interval_us 0
    "$1" 0/contexts/0/schemes/0/access_pattern/sz/min 4096
    "$1" 0/contexts/0/schemes/0/access_pattern/sz/max 18446744073709551615
    "$1" 0/contexts/0/schemes/0/access_pattern/nr_accesses/min @LOOKS@
    "$1" 0/contexts/0/schemes/0/access_pattern/nr_accesses/max @LOOKS@
    "$1" 0/contexts/0/schemes/0/access_pattern/age/min 0
    "$1" 0/contexts/0/schemes/0/access_pattern/age/max 4294967295
    "$1" 0/contexts/0/schemes/0/quotas/ms 0
    "$1" 0/contexts/0/schemes/0/quotas/bytes @QUOTA_BYTES@
    "$1" 0/contexts/0/schemes/0/quotas/reset_interval_ms @RESET_MS@
    "$1" 0/contexts/0/schemes/0/quotas/weights/sz_permil 0
    "$1" 0/contexts/0/schemes/0/quotas/weights/nr_accesses_permil 100
    "$1" 0/contexts/0/schemes/0/quotas/weights/age_permil 100
    "$1" 0/contexts/0/schemes/0/filters/nr_filters 1
    "$1" 0/contexts/0/schemes/0/filters/0/type young
    "$1" 0/contexts/0/schemes/0/filters/0/matching N
    "$1" 0/state on
}

describe() {
    printf '%s %s\n' "$2" "$1"
}

# Whether DAMON holds what the lines "VALUE FILE" say.
holds() {
    while read -r wanted file; do
        read_file "$kdamonds/$file" && [ "$value" = "$wanted" ] || return 1
    done <<END
$1
END
}

# Sets `state`: free, this (setting is applied), ours (another of our scripts' is) or theirs.
find_state() {
    state=theirs
    read_number "$kdamonds/nr_kdamonds"
    if [ "$value" -eq 0 ]; then
        state=free
    elif read_file "$note" && holds "$value"; then
        state=ours
        if holds "$(each describe)"; then state=this; fi
    fi
}

show() {
    printf '%s/%s: %s with --apply\n' "$kdamonds" "$1" "$2"
}

stop() {
    if read_file "$kdamonds/0/state" && [ "$value" = on ]; then
        write_file "$kdamonds/0/state" off || return 1
    fi
    write_file "$kdamonds/nr_kdamonds" 0
}

apply() {
    write_file "$kdamonds/$1" "$2" && read_file "$kdamonds/$1" && [ "$value" = "$2" ] && return
    rm -f "$note"
    outcome='nothing was changed'
    if [ "$1" != nr_kdamonds ]; then
        outcome='everything was put back'
        stop || outcome="DAMON cannot be stopped: echo 0 > $kdamonds/nr_kdamonds"
    fi
    fail "the kernel does not take $2 for $kdamonds/$1 (are you root?); $outcome"
}

run() {
    [ -e "$kdamonds/nr_kdamonds" ] || fail "$kdamonds/nr_kdamonds is missing: @IF_MISSING@; nothing was changed"
    find_nodes
    read_file "$root/sys/devices/system/memory/block_size_bytes" || fail "cannot read the size of memory blocks"
    block_bytes=$((0x$value))
    ranges=$(ranges_of "$slow")
    num_ranges=$(($(printf '%s\n' "$ranges" | wc -l)))
    find_state
    case $1-$state in
    restore-free | restore-theirs)
        rm -f "$note"
        printf 'nothing to restore: DAMON is %s\n' "$(if [ $state = free ]; then echo off; else echo "somebody else's"; fi)"
        ;;
    *-theirs) fail "DAMON is in use by somebody else ($kdamonds/nr_kdamonds is not 0); left as it is" ;;
    restore-*)
        stop || fail "cannot write $kdamonds (are you root?)"
        rm -f "$note"
        printf 'stopped migrating node %s to node %s\n' "$slow" "$fast"
        ;;
    *-this) printf 'DAMON migrates hot memory of node %s to node %s already\n' "$slow" "$fast" ;;
    show-*) each show ;;
    *)
        if [ $state = ours ]; then stop || fail "cannot stop the setting before (are you root?)"; fi
        keep "$note" "$(each describe | grep -v ' 0/state$')" || fail "cannot write $kept (are you root?)"
        each apply
        printf 'DAMON migrates hot memory of node %s to node %s\n' "$slow" "$fast"
        ;;
    esac
}
