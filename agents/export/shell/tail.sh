usage() {
    printf 'usage: %s [--check | --apply | --restore]\n' "${0##*/}" >&2
    exit 2
}

case "$*" in
'')
    preflight
    show_all
    ;;
--check)
    preflight
    if [ -z "$refused" ]; then printf 'nothing forbids --apply\n'; fi
    ;;
--apply)
    lock
    preflight
    if [ -n "$refused" ]; then exit 1; fi
    apply_all
    ;;
--restore)
    lock
    if [ -n "$refused" ]; then exit 1; fi
    restore_all
    if [ -n "$incomplete" ]; then exit 1; fi
    ;;
*) usage ;;
esac
printf '%s' "$warnings"
[ -z "$refused" ]
