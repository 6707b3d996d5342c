usage() {
    printf 'usage: %s [--check | --apply [--with-demotion] | --restore]\n' "${0##*/}" >&2
    exit 2
}

case "$*" in
'')
    preflight
    show_all
    ;;
--check)
    preflight
    show_all >/dev/null
    if [ -z "$refused" ]; then printf 'nothing forbids --apply\n'; fi
    ;;
--apply | '--apply --with-demotion')
    if [ $# = 2 ]; then with_demotion=yes; fi
    preflight
    if [ -n "$refused" ]; then exit 1; fi
    lock
    apply_all
    ;;
--restore)
    lock
    restore_all
    [ -z "$incomplete" ] || exit 1
    ;;
*) usage ;;
esac
printf '%s' "$warnings"
[ -z "$refused" ]
