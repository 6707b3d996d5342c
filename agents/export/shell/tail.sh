
if [ $# -gt 1 ]; then set -- --help-wanted; fi
case ${1:-} in
'') run show ;;
--apply) run apply ;;
--restore) run restore ;;
*)
    printf 'usage: %s [--apply | --restore]\n' "${0##*/}" >&2
    exit 2
    ;;
esac
