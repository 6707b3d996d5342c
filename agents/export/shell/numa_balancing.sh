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

# Other programs load these files again: sysctl --system, packages that are installed, TuneD.
check_sysctl_files() {
    case $1 in /proc/sys/*) ;; *) return ;; esac
    name=$(printf '%s\n' "${1#/proc/sys/}" | sed 's,/,[./],g')
    for conf in "$root"/etc/sysctl.conf "$root"/etc/sysctl.d/*.conf "$root"/run/sysctl.d/*.conf \
        "$root"/usr/local/lib/sysctl.d/*.conf "$root"/usr/lib/sysctl.d/*.conf; do
        value=$(sed -n "s,^[[:space:]]*-\{0\,1\}${name}[[:space:]]*=[[:space:]]*\([^[:space:]]*\).*,\1,p" "$conf" 2>/dev/null |
            tail -n 1)
        if [ -n "$value" ] && [ "$value" != "$2" ]; then
            warn "$conf has $value for $1, not $2: whatever loads it (sysctl --system, TuneD's reapply_sysctl) undoes this" \
                "setting; change that line"
        fi
    done
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

