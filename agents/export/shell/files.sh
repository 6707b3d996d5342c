# Calls "$1 KNOB VALUE" for every setting, in order.
each() {
@EACH@
}

# The first of these knobs that exists or has a note, or else the first.
one_of() {
    for candidate in "$@"; do
        if [ -e "$root$candidate" ] || [ -e "$kept/applied$candidate" ]; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    printf '%s\n' "$1"
}

# Calls "$1 KNOB VALUE" for a knob that the setting can do without, if there is one.
if_there() {
    if [ -e "$root$2" ] || [ -e "$kept/applied$2" ]; then
        "$@"
    elif [ "$1" = check_knob ] && [ -z "$knobs_refused" ]; then
        warn "$root$2 is missing: left out"
    fi
}

knobs_refused= # whether the knobs need not be asked, one by one, what stands in the way

refuse_knobs() {
    refuse "$@"
    knobs_refused=yes
}

check_knob() {
    [ -n "$knobs_refused" ] || check_number_file "$root$1" || knobs_refused=yes
}

preflight() {
    check_machine
    check_demotion
    each check_knob
}

show_all() {
    show_demotion
    each show_knob
}

apply_all() {
    apply_demotion
    each apply_knob
    settle
    take_over
}

restore_all() {
    each restore_knob
    restore_demotion
}

