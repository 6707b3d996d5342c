check_machine() {
    check_debugfs
    check_tiers
    each check_sysctl_files
    check_tuned
    if process_runs numad; then
        warn "numad runs (a process of that name): it places processes and memory on nodes by itself; stop it"
    fi
}

check_debugfs() {
    debugfs=$root/sys/kernel/debug
    lockdown=$root/sys/kernel/security/lockdown
    if read_file "$lockdown"; then
        case $value in
        *'[integrity]'* | *'[confidentiality]'*)
            refuse_knobs "$lockdown is '$value': under lockdown the kernel opens no file of $debugfs to write; boot without" \
                "(Secure Boot turns it on), or set what sysctl reaches: --format sysctl.d"
            ;;
        esac
    fi
    set -- "$debugfs"/*
    if [ ! -d "$debugfs" ]; then
        refuse_knobs "$debugfs is missing: this kernel has no debugfs (CONFIG_DEBUG_FS)"
    elif [ ! -r "$debugfs" ] || [ ! -x "$debugfs" ]; then
        refuse_knobs "$debugfs cannot be searched$hint"
    elif [ ! -e "$1" ]; then
        refuse_knobs "$debugfs is empty: debugfs is not mounted; mount -t debugfs none $debugfs"
    fi
}

# Other programs load these files again: sysctl --system, packages that are installed, TuneD. A key may be a pattern of
# names, which counts where no file names the knob, be it to set it or, with a dash and no value, to keep it out.
check_sysctl_files() {
    case $1 in /proc/sys/*) ;; *) return ;; esac
    is_named=
    by_pattern=
    for conf in "$root"/etc/sysctl.conf "$root"/etc/sysctl.d/*.conf "$root"/run/sysctl.d/*.conf \
        "$root"/usr/local/lib/sysctl.d/*.conf "$root"/usr/lib/sysctl.d/*.conf; do
        if [ ! -r "$conf" ]; then continue; fi
        read_sysctl_file "$conf" "${1#/proc/sys/}"
        if [ -n "$set_by_name" ] && [ "$set_by_name" != "$2" ]; then warn_of_sysctl "$conf" "$set_by_name" "$@"; fi
        if [ -n "$set_by_pattern" ]; then by_pattern="$by_pattern$set_by_pattern $conf$newline"; fi
    done
    if [ -n "$is_named" ]; then return; fi
    while read -r value conf; do
        if [ -n "$conf" ] && [ "$value" != "$2" ]; then warn_of_sysctl "$conf" "$value" "$@"; fi
    done <<END
$by_pattern
END
}

# warn_of_sysctl CONF VALUE KNOB OURS
warn_of_sysctl() {
    warn "$1 has $2 for $3, not $4: whatever loads it (sysctl --system, TuneD's reapply_sysctl) undoes this setting;" \
        "change that line"
}

# read_sysctl_file CONF KEY: sets `set_by_name` and `set_by_pattern`, what the file sets the key to, and `is_named` if it
# names it.
read_sysctl_file() {
    set_by_name=
    set_by_pattern=
    while read -r line || [ -n "$line" ]; do
        case $line in
        '#'* | ';'*) continue ;;
        *=*) value=${line#*=} ;;
        -*) value= ;;
        *) continue ;;
        esac
        name=${line%%=*}
        name=${name#-}
        name=${name%%[[:space:]]*}
        case ${name%%/*} in *.*) name=$(printf '%s\n' "$name" | tr ./ /.) ;; esac # the first separator says which it is
        value=${value#"${value%%[![:space:]]*}"}
        if [ "$name" = "$2" ]; then
            is_named=yes
            if [ -n "$value" ]; then set_by_name=$value; fi
        elif [ -n "$value" ] && is_pattern_of "$name" "$2"; then
            set_by_pattern=$value
        fi
    done <"$1"
}

# is_pattern_of PATTERN KEY, of as many folders: an asterisk stands for no slash
is_pattern_of() {
    case $1 in */*/*) return 1 ;; */*) ;; *) return 1 ;; esac
    # shellcheck disable=SC2254 # a pattern is meant
    case $2 in $1) ;; *) return 1 ;; esac
}

check_tuned() {
    read_file "$root/etc/tuned/active_profile" && [ -n "$value" ] || return 0
    profile=$value
    reapply=$(sed -n 's/^reapply_sysctl[[:space:]]*=[[:space:]]*//p' "$root/etc/tuned/tuned-main.conf" 2>/dev/null || :)
    if grep -qs '^# A setting of numa-balancing' "$root/etc/tuned/$profile/tuned.conf" \
        "$root/etc/tuned/profiles/$profile/tuned.conf"; then
        warn "$root/etc/tuned/active_profile is '$profile', which is a setting of ours too: use one of the two (tuned-adm off)"
    else
        warn "$root/etc/tuned/active_profile is '$profile': when TuneD starts it writes that profile, then sysctl.d again" \
            "(reapply_sysctl = ${reapply:-1}), over this setting; --format tuned makes a profile of it, or: tuned-adm off"
    fi
}


# Once all of a setting is in force, notes that a killed controller (tierenv live) has left are no longer its own to take back.
take_over() {
    rm -f "$kept/controller"
}
