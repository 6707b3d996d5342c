kdamonds=$root/sys/kernel/mm/damon/admin/kdamonds
nodes=$root/sys/devices/system/node
block_size=$root/sys/devices/system/memory/block_size_bytes

# What was applied, lines "VALUE FILE" without whether it runs. Written before the files; until all of them are, its
# first line is "applying" and it has each value that they may hold.
damon_note=$kept/damon

preflight() {
    check_demotion
    check_damon
    check_nodes
    if [ -n "$refused" ]; then return; fi
    find_state
    if [ "$state" = theirs ]; then
        refuse "$kdamonds/nr_kdamonds is not 0: DAMON is in use by somebody else; it is left as it is"
    fi
}

check_damon() {
    check_number_file "$kdamonds/nr_kdamonds" || :
    # these start DAMON for themselves alone
    for module in damon_stat damon_reclaim damon_lru_sort; do
        switch=$root/sys/module/$module/parameters/enabled
        if read_file "$switch" && [ "$value" = Y ]; then
            refuse "$switch is Y: DAMON is held by $(printf '%s\n' "$module" | tr '[:lower:]' '[:upper:]'); echo N > $switch"
        fi
    done
}

# Sets `fast` and `slow`, the nodes, and the addresses of the slow one: `ranges`, `num_ranges`.
check_nodes() {
    if ! read_file "$block_size"; then
        refuse "$block_size is missing: the addresses of the slow node are those of its memory blocks, which this kernel" \
            "does not show; CONFIG_MEMORY_HOTPLUG=y has them"
        return
    fi
    case $value in
    '' | *[!0-9a-f]*)
        refuse "$block_size holds '$value', not a hexadecimal number"
        return
        ;;
    esac
    block_bytes=$((0x$value))
    if [ ${#value} -gt 12 ] || [ "$block_bytes" -eq 0 ]; then
        refuse "$block_size holds '$value', no size of a memory block"
        return
    fi
    find_nodes
    check_node "$fast" fast TIERENV_FAST_NODE "with CPUs:${with_cpus:- none}" || return 0
    check_node "$slow" slow TIERENV_SLOW_NODE "without CPUs:${without_cpus:- none}" || return 0
    if [ "$fast" -eq "$slow" ]; then
        refuse "node $fast is to be the fast node and the slow one (TIERENV_FAST_NODE, TIERENV_SLOW_NODE): name two"
        return
    elif ! has_cpus "$fast" && has_cpus "$slow"; then
        refuse "$nodes/node$fast/cpulist is empty: the fast node $fast has no CPUs and the slow one $slow has, they look" \
            "reversed; set TIERENV_FAST_NODE=$slow TIERENV_SLOW_NODE=$fast"
        return
    fi
    ranges=$(ranges_of "$slow")
    num_ranges=$(($(printf '%s\n' "$ranges" | wc -l)))
}

find_nodes() {
    with_cpus=
    without_cpus=
    for node in "$nodes"/node[0-9]*; do
        number=${node##*/node}
        if ! has_memory "$number"; then
            continue
        elif has_cpus "$number"; then
            with_cpus="$with_cpus $number"
        else
            without_cpus="$without_cpus $number"
        fi
    done
    fast=${TIERENV_FAST_NODE:-${with_cpus# }}
    slow=${TIERENV_SLOW_NODE:-${without_cpus# }}
}

# The numbers of a node's memory blocks.
blocks_of() {
    for block in "$nodes/node$1"/memory[0-9]*; do
        number=${block##*/memory}
        case $number in
        0?*) ;; # the kernel writes none with leading zeros
        *) if is_index "$number"; then printf '%s\n' "$number"; fi ;;
        esac
    done
}

# Whether this is a number that sh can reckon with.
is_index() {
    is_number "$1" && [ ${#1} -le 9 ]
}

has_memory() {
    [ -n "$(blocks_of "$1")" ]
}

has_cpus() {
    read_file "$nodes/node$1/cpulist" && [ -n "$value" ]
}

# check_node NUMBER ROLE VARIABLE CANDIDATES
check_node() {
    if ! is_index "$1"; then
        refuse "which node is the $2 one? set $3 ($4)"
    elif [ ! -d "$nodes/node$1" ]; then
        refuse "$nodes/node$1 is missing: there is no node $1 to be the $2 one; set $3 ($4)"
    elif ! has_memory "$1"; then
        refuse "$nodes/node$1 has no memory blocks, so node $1 cannot be the $2 one; set $3 ($4)"
    else
        return 0
    fi
    return 1
}

# Physical addresses of a node, lines "START END", from the numbers of its memory blocks.
ranges_of() {
    blocks_of "$1" | sort -n | {
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
    "$1" 0/contexts/0/monitoring_attrs/intervals/update_us @AGGREGATION_US@
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
    "$1" 0/contexts/0/schemes/0/access_pattern/nr_accesses/min @HOT_LOOKS@
    "$1" 0/contexts/0/schemes/0/access_pattern/nr_accesses/max 4294967295
    "$1" 0/contexts/0/schemes/0/access_pattern/age/min 0
    "$1" 0/contexts/0/schemes/0/access_pattern/age/max 4294967295
    "$1" 0/contexts/0/schemes/0/quotas/ms 0
    "$1" 0/contexts/0/schemes/0/quotas/bytes @QUOTA_BYTES@
    # The kernel puts a quota in force when a window of it begins, and its first window begins when the scheme is first
    # applied. Since "set quota->charged_from to jiffies at first charge window" (Linux 6.17, and 6.12 in its updates) it
    # passes over that first one, in which nothing is limited, until a later patch: with 16 MiB in 1000 ms, a guest's
    # 6.12.117 moved 52 MiB at the first application. A window of 0 ms is over at once, so a new one begins whenever the
    # scheme is applied, the first time too: that is once an aggregation, which is what the quota is reckoned for.
    # (damos_adjust_quota of mm/damon/core.c)
    "$1" 0/contexts/0/schemes/0/quotas/reset_interval_ms 0
    "$1" 0/contexts/0/schemes/0/quotas/weights/sz_permil 0
    "$1" 0/contexts/0/schemes/0/quotas/weights/nr_accesses_permil 100
    "$1" 0/contexts/0/schemes/0/quotas/weights/age_permil 100
    "$1" 0/contexts/0/schemes/0/filters/nr_filters 1
    "$1" 0/contexts/0/schemes/0/filters/0/type young
    "$1" 0/contexts/0/schemes/0/filters/0/matching N
}

describe() {
    printf '%s %s\n' "$2" "$1"
}

# What a file holds now, if it is there: an apply that is killed may not get to it.
describe_found() {
    if read_file "$kdamonds/$1" && [ -n "$value" ]; then describe "$1" "$value"; fi
}

is_on() {
    read_file "$kdamonds/0/state" && [ "$value" = on ]
}

# What DAMON's files hold when the kernel has just made them.
is_fresh() {
    case $1 in
    '' | 0 | -1 | N | 10 | 1000 | 5000 | 100000 | 60000000 | vaddr | stat | anon) ;;
    *) return 1 ;;
    esac
}

# Whether each file in the note holds a value that the note has for it. Where an apply was killed before it started
# DAMON, a file may also be fresh or missing.
is_noted() {
    read_file "$damon_note" || return 1
    lines=$newline$value$newline
    is_partial=
    case $lines in "${newline}applying$newline"*) is_on || is_partial=yes ;; esac
    while read -r _ file; do
        if [ -z "$file" ]; then continue; fi # "applying"
        if read_file "$kdamonds/$file"; then
            case $lines in *"$newline$value $file$newline"*) continue ;; esac
            if [ -n "$is_partial" ] && is_fresh "$value"; then continue; fi
        elif [ -n "$is_partial" ]; then
            continue
        fi
        return 1
    done <<END
$lines
END
}

# Sets `state` of DAMON: free, ours or theirs, who are somebody else.
find_state() {
    read_file "$kdamonds/nr_kdamonds" || fail "cannot read $kdamonds/nr_kdamonds$hint"
    state=theirs
    if [ "$value" = 0 ]; then
        state=free
    elif is_noted; then
        state=ours
    fi
}

# Whether DAMON runs with this very setting.
is_applied() {
    is_on && read_file "$damon_note" && [ "$value" = "$(each describe)" ]
}

show_file() {
    printf '%s/%s: %s with --apply\n' "$kdamonds" "$1" "$2"
}

show_all() {
    if [ -n "$refused" ]; then return; fi
    show_demotion
    if [ "$state" = ours ] && is_applied; then
        printf 'DAMON migrates hot memory of node %s to node %s already\n' "$slow" "$fast"
    else
        each show_file
        show_file 0/state on
    fi
}

stop() {
    if is_on; then write_file "$kdamonds/0/state" off || return 1; fi
    if read_file "$kdamonds/nr_kdamonds" && [ "$value" = 0 ]; then return; fi
    write_file "$kdamonds/nr_kdamonds" 0
}

apply_file() {
    begun=yes
    if set_file "$kdamonds/$1" "$2"; then return; fi
    refusal="the kernel does not take $2 for $kdamonds/$1: $reason"
    stop || fail "$refusal; DAMON cannot be stopped: $reason; call --restore"
    rm -f "$damon_note"
    give_up "$refusal"
}

apply_all() {
    apply_demotion
    if [ "$state" = ours ] && is_applied; then
        settle
        printf 'DAMON migrates hot memory of node %s to node %s already\n' "$slow" "$fast"
        return
    elif [ "$state" = ours ]; then
        stop || give_up "cannot stop the setting before: $reason"
    fi
    keep "$damon_note" "applying$newline$(each describe)$newline$(each describe_found)" || give_up "cannot write $kept"
    each apply_file
    apply_file 0/state on
    keep "$damon_note" "$(each describe)" || : # the unfinished note will do for --restore
    settle
    printf 'DAMON migrates hot memory of node %s to node %s\n' "$slow" "$fast"
}

restore_all() {
    if [ ! -e "$kdamonds/nr_kdamonds" ] && [ -e "$damon_note" ]; then
        leave "$kdamonds/nr_kdamonds" "is missing, so DAMON cannot be stopped"
    elif [ ! -e "$kdamonds/nr_kdamonds" ]; then
        printf 'nothing to restore: this kernel has no DAMON\n'
    else
        restore_damon
    fi
    restore_demotion
}

restore_damon() {
    find_state
    case $state in
    free) printf 'nothing to restore: DAMON is off\n' ;;
    theirs) printf "nothing to restore: DAMON is somebody else's\n" ;;
    ours)
        if ! stop; then
            leave "$kdamonds" "cannot be written: $reason"
            return
        fi
        printf 'stopped migrating hot memory\n'
        ;;
    esac
    rm -f "$damon_note"
}

