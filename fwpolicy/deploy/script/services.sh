# Services under systemd, SysV init and OpenRC, by the names that they have here.

# Where the service manager's program is; those of this machine are not for another root.
manager() {
    if [ -z "$root" ]; then
        command -v "$1" 2>/dev/null
        return
    fi
    for manager_place in usr/sbin sbin usr/bin bin; do
        if [ -x "$root/$manager_place/$1" ]; then
            echo "$root/$manager_place/$1"
            return
        fi
    done
    return 1
}

has() {
    [ -n "$(manager "$1")" ]
}

managed() {
    manager_path=$(manager "$1") || return 1
    shift
    "$manager_path" "$@"
}

find_init() {
    if [ -d "$root/run/systemd/system" ]; then
        init=systemd
    elif [ -x "$root/sbin/openrc-run" ] || [ -x "$root/sbin/runscript" ]; then
        init=openrc
    elif [ -d "$root/etc/init.d" ] && [ -n "$(rc_folders)" ]; then
        init=sysv
    elif [ -f "$root/etc/rc.local" ] || [ -f "$root/etc/rc.d/rc.local" ]; then
        init=rclocal
    else
        init=none
    fi
}

rc_folders() {
    for rc_folder in "$root"/etc/rc[0-6S].d "$root"/etc/rc.d/rc[0-6S].d; do
        if [ -d "$rc_folder" ]; then echo "$rc_folder"; fi
    done
}

# The first of the names that is a service here, under its own name.
unit_of() {
    for unit in "$@"; do
        case $init in
        systemd)
            case "$(managed systemctl show -p LoadState "$unit.service" 2>/dev/null)" in
            LoadState=loaded | LoadState=masked)
                managed systemctl show -p Id "$unit.service" | sed 's/^Id=//; s/\.service$//'
                return
                ;;
            esac
            ;;
        openrc | sysv)
            if [ -x "$root/etc/init.d/$unit" ]; then
                echo "$unit"
                return
            fi
            ;;
        esac
    done
}

unit_enabled() {
    case $init in
    systemd) case "$(managed systemctl is-enabled "$1.service" 2>/dev/null)" in enabled* | alias) return 0 ;; esac ;;
    openrc) for level in "$root"/etc/runlevels/*/"$1"; do if [ -e "$level" ]; then return 0; fi; done ;;
    sysv) unit_links "$1" | grep -q '/rc[2-5S]\.d/S' && return 0 ;;
    esac
    return 1
}

unit_masked() {
    [ $init = systemd ] && [ "$(managed systemctl is-enabled "$1.service" 2>/dev/null)" = masked ]
}

# Where the boot starts or stops it: PATH TARGET.
unit_links() {
    case $init in
    openrc) for link in "$root"/etc/runlevels/*/"$1"; do unit_link "$link"; done ;;
    sysv)
        for rc_folder in $(rc_folders); do
            for link in "$rc_folder"/[SK][0-9][0-9]"$1"; do unit_link "$link"; done
        done
        ;;
    esac
}

unit_link() {
    if [ -h "$1" ]; then echo "$1 $(readlink "$1")"; fi
}

# FOLDER UNIT ACTIVE: keep how it is, once.
keep_unit() {
    if grep -q "^$2 " "$1/units" 2>/dev/null; then return 0; fi
    unit_links "$2" > "$1/links.$2"
    kept_enabled=0 kept_masked=0
    if unit_enabled "$2"; then kept_enabled=1; fi
    if unit_masked "$2"; then kept_masked=1; fi
    echo "$2 $3 $kept_enabled $kept_masked" >> "$1/units"
}

# VERB UNIT
unit_do() {
    case $init in
    systemd) quietly managed systemctl "$1" "$2.service" ;;
    openrc) quietly managed rc-service "$2" "$1" ;;
    sysv) if has service; then quietly managed service "$2" "$1"; else quietly "$root/etc/init.d/$2" "$1"; fi ;;
    *) return 1 ;;
    esac
}

# A script that does not wait for the end of its daemon when it restarts it (Debian's of chrony) starts none.
unit_restart() {
    unit_do restart "$1" || return 1
    case $init in
    sysv | openrc)
        sleep 1
        unit_do status "$1" || unit_do start "$1" || :
        ;;
    esac
}

# Stopped, out of the boot in every runlevel, and where there is such a thing, masked.
unit_off() {
    case $init in
    systemd)
        unit_do stop "$1" && quietly managed systemctl disable "$1.service" || return 1
        quietly managed systemctl mask "$1.service" || :
        ;;
    openrc)
        unit_do stop "$1" || :
        unit_links "$1" | while read -r link target; do
            link="${link%/*}"
            quietly managed rc-update del "$1" "${link##*/}"
        done
        ;;
    sysv)
        unit_do stop "$1" || :
        if has update-rc.d; then
            quietly managed update-rc.d "$1" disable
        elif has chkconfig; then
            quietly managed chkconfig "$1" off
        fi
        # What neither took away (chkconfig looks at 2 to 5 alone).
        unit_links "$1" | while read -r link target; do
            case "${link##*/}" in S*) rm -f "$link" && ln -s "$target" "${link%/*}/K99$1" ;; esac
        done
        ;;
    *) return 1 ;;
    esac
    ! unit_enabled "$1"
}

# FOLDER UNIT ACTIVE ENABLED MASKED: as it was.
unit_back() {
    case $init in
    systemd)
        quietly managed systemctl unmask "$2.service"
        if [ "$4" = 1 ]; then quietly managed systemctl enable "$2.service"; else quietly managed systemctl disable "$2.service"; fi
        ;;
    openrc)
        while read -r link target; do
            link="${link%/*}"
            quietly managed rc-update add "$2" "${link##*/}"
        done < "$1/links.$2"
        ;;
    sysv)
        if [ "$4" = 1 ] && has update-rc.d; then quietly managed update-rc.d "$2" enable; fi
        unit_links "$2" > "$work/links"
        while read -r link target; do
            grep -q "^$link " "$1/links.$2" || rm -f "$link"
        done < "$work/links"
        while read -r link target; do
            if [ ! -h "$link" ]; then ln -s "$target" "$link"; fi
        done < "$1/links.$2"
        ;;
    esac
    if [ "$3" = 1 ] && [ "$mode" = live ]; then unit_do start "$2"; fi
    if [ "$3" = 1 ] && [ "$mode" = boot ] && [ $init = systemd ]; then
        quietly managed systemctl --no-block start "$2.service"
    fi
    if [ "$5" = 1 ]; then quietly managed systemctl mask "$2.service"; fi
    return 0
}

units_back() {
    if [ ! -f "$1/units" ]; then return 0; fi
    while read -r unit active enabled masked; do
        unit_back "$1" "$unit" "$active" "$enabled" "$masked"
    done < "$1/units"
}
