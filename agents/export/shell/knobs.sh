# Knobs are files that hold one value. The note of one is two files: original/KNOB is what was found before our first
# write, applied/KNOB every value of ours that the knob may hold, one a line, the last one last. It is written before the
# knob, so that it is right whenever a call is killed. There is a note as long as there is an original.

begun=   # whether this call has changed anything
changed= # knobs changed by this call, the last one first: lines "FOUND KNOB"

# Sets `original` and `ours`; false if there is no note.
read_note() {
    read_file "$kept/original$1" || return 1
    original=$value
    ours=
    if read_file "$kept/applied$1"; then ours=$value; fi
}

# Whether a knob may hold this.
is_setting() {
    case $1 in true | false) ;; *) is_number "$1" ;; esac
}

is_ours() {
    case $newline$ours$newline in
    *"$newline$1$newline"*) ;;
    *) return 1 ;;
    esac
}

# note_knob KNOB FOUND VALUE, before VALUE is written
note_knob() {
    if read_note "$1"; then
        keep "$kept/applied$1" "$ours$newline$3"
    else
        keep "$kept/applied$1" "$3" && keep "$kept/original$1" "$2"
    fi
}

forget() {
    rm -f "$kept/original$1"
    rm -f "$kept/applied$1"
}

# put_back KNOB FOUND; where that fails the note stays, for --restore
put_back() {
    if ! { read_file "$root$1" && [ "$value" = "$2" ]; } && ! set_file "$root$1" "$2"; then
        outcome="$root$1 cannot be put back to $2: $reason; call --restore"
        return
    fi
    read_note "$1"
    if [ "$2" = "$original" ]; then
        forget "$1"
    else
        keep "$kept/applied$1" "${ours%"$newline"*}" || outcome="cannot write $kept"
    fi
}

# Undoes what this call has changed, then fails.
give_up() {
    outcome='nothing was changed'
    if [ -n "$begun" ]; then outcome='everything was put back'; fi
    while read -r found knob; do
        if [ -n "$knob" ]; then put_back "$knob" "$found"; fi
    done <<END
$changed
END
    fail "$*; $outcome"
}

show_knob() {
    if ! read_file "$root$1"; then
        return # which is a finding of the preflight
    elif [ "$value" = "$2" ]; then
        printf '%s is %s already\n' "$root$1" "$value"
    else
        printf '%s: %s -> %s with --apply\n' "$root$1" "$value" "$2"
    fi
}

apply_knob() {
    read_file "$root$1" || give_up "cannot read $root$1"
    found=$value
    if [ "$found" = "$2" ]; then
        if read_note "$1"; then keep "$kept/applied$1" "$2" || give_up "cannot write $kept"; fi
        printf '%s is %s already\n' "$root$1" "$2"
        return
    fi
    note_knob "$1" "$found" "$2" || give_up "cannot write $kept"
    begun=yes
    changed="$found $1$newline$changed"
    set_file "$root$1" "$2" || give_up "cannot set $root$1 to $2: $reason"
    printf '%s: %s -> %s\n' "$root$1" "$found" "$2"
}

# Once all of a setting is in force, the values before it are no longer ours. Where that cannot be written, --restore
# works nevertheless.
settle() {
    while read -r _ knob; do
        if [ -n "$knob" ] && read_note "$knob"; then keep "$kept/applied$knob" "${ours##*"$newline"}" || :; fi
    done <<END
$changed
END
}

incomplete= # whether --restore has left something

# leave FILE WHY: its note stays.
leave() {
    say "$1 $2; its note stays, call --restore again"
    incomplete=yes
}

restore_knob() {
    if ! read_note "$1"; then
        forget "$1" # the rest of a note, of a call that was killed before its first write or after its last
        printf '%s: nothing to restore\n' "$root$1"
        return
    elif ! is_setting "$original"; then
        leave "$root$1" "cannot be put back, $kept/original$1 holds '$original'"
        return
    elif ! read_file "$root$1"; then
        leave "$root$1" "cannot be read and put back to $original (is its file system mounted?)"
        return
    elif [ "$value" = "$original" ]; then
        printf '%s is %s already\n' "$root$1" "$value"
    elif is_ours "$value"; then
        found=$value
        if ! set_file "$root$1" "$original"; then
            leave "$root$1" "cannot be put back to $original: $reason"
            return
        fi
        printf '%s: %s -> %s\n' "$root$1" "$found" "$original"
    else
        printf '%s was changed to %s by somebody else; left as it is, it held %s before\n' "$root$1" "$value" "$original"
    fi
    forget "$1"
}

show_demotion() {
    if [ -n "$with_demotion" ]; then show_knob "$demotion" true; fi
}

apply_demotion() {
    if [ -n "$with_demotion" ]; then apply_knob "$demotion" true; fi
}

restore_demotion() {
    if [ -e "$kept/applied$demotion" ]; then restore_knob "$demotion"; fi
}

