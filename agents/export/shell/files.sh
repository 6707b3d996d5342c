
# Calls "$1 FILE VALUE" for every setting, in order.
each() {
@EACH@
}

# The first of these files that exists, or else the first.
one_of() {
    for candidate in "$@"; do
        if [ -e "$root$candidate" ]; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    printf '%s\n' "$1"
}

check() {
    [ -e "$root$1" ] || fail "$root$1 is missing: @IF_MISSING@; nothing was changed"
    read_number "$root$1"
}

show() {
    read_number "$root$1"
    if [ "$value" -eq "$2" ]; then
        printf '%s is %s already\n' "$root$1" "$value"
    else
        printf '%s: %s -> %s with --apply\n' "$root$1" "$value" "$2"
    fi
}

newline='
'
changed= # by this call: lines "VALUE APPLIED FILE", what the files and the notes kept of them held before

# put_back FILE VALUE APPLIED, where APPLIED is "first" if this call was the first to change the file
put_back() {
    write_file "$root$1" "$2" || outcome="$root$1 cannot be put back to $2"
    case $3 in
    first) rm -f "$kept/original$1" "$kept/applied$1" ;;
    *) keep "$kept/applied$1" "$3" || outcome="cannot write $kept" ;;
    esac
}

# Undoes what this call has changed, then fails.
give_up() {
    outcome='nothing was changed'
    if [ -n "$changed" ]; then outcome='everything was put back'; fi
    while read -r old applied file; do
        if [ -n "$file" ]; then put_back "$file" "$old" "$applied"; fi
    done <<END
$changed
END
    fail "$*; $outcome"
}

apply() {
    read_file "$root$1" || give_up "cannot read $root$1"
    if [ "$value" -eq "$2" ]; then
        printf '%s is %s already\n' "$root$1" "$value"
        return
    fi
    found=$value
    applied=first
    if [ -e "$kept/original$1" ]; then
        applied=$found
        if read_file "$kept/applied$1"; then applied=$value; fi
    elif ! keep "$kept/original$1" "$found"; then
        give_up "cannot write $kept (are you root?)"
    fi
    if ! write_file "$root$1" "$2"; then
        if [ "$applied" = first ]; then rm -f "$kept/original$1"; fi
        give_up "cannot write $root$1 (are you root?)"
    fi
    changed="$found $applied $1$newline$changed"
    read_file "$root$1" || give_up "cannot read $root$1"
    [ "$value" -eq "$2" ] || give_up "the kernel took $value instead of $2 for $root$1"
    keep "$kept/applied$1" "$2" || give_up "cannot write $kept"
    printf '%s: %s -> %s\n' "$root$1" "$found" "$2"
}

restore() {
    if [ ! -e "$kept/original$1" ]; then
        printf '%s: nothing to restore\n' "$root$1"
        return
    fi
    read_number "$kept/original$1"
    original=$value
    applied=
    if read_file "$kept/applied$1"; then applied=$value; fi
    read_number "$root$1"
    if [ "$value" -eq "$original" ]; then
        printf '%s is %s already\n' "$root$1" "$value"
    elif [ -n "$applied" ] && [ "$value" != "$applied" ]; then
        printf '%s was changed to %s by somebody else; left as it is\n' "$root$1" "$value"
    else
        found=$value
        write_file "$root$1" "$original" || fail "cannot write $root$1 (are you root?)"
        printf '%s: %s -> %s\n' "$root$1" "$found" "$original"
    fi
    rm -f "$kept/original$1" "$kept/applied$1"
}

run() {
    each check
    each "$1"
}
