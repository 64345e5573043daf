# Rules across reboots: before the network is up, by whatever starts things here.

# PATH, a tab, TEMPLATE, a tab, MODE: the files that load the rules at boot.
boot_files() {
    case $init in
    systemd)
        printf '%s\t%s\t644\n' "$root/etc/systemd/system/fwpolicy-script.service" unit.service
        if [ "$backend" = nft ]; then
            printf '%s\t%s\t644\n' "$root/etc/systemd/system/nftables.service.d/fwpolicy-script.conf" drop-in.conf
        fi
        ;;
    openrc) printf '%s\t%s\t755\n' "$root/etc/init.d/fwpolicy-script" init.openrc ;;
    sysv)
        # chkconfig would take an LSB header's word, and know no runlevel S.
        if has chkconfig && ! has update-rc.d; then
            printf '%s\t%s\t755\n' "$root/etc/init.d/fwpolicy-script" init.chkconfig
        else
            printf '%s\t%s\t755\n' "$root/etc/init.d/fwpolicy-script" init.lsb
        fi
        ;;
    rclocal) printf '%s\t%s\t755\n' "$(rc_local)" rc.local ;;
    esac
}

rc_local() {
    if [ -f "$root/etc/rc.d/rc.local" ]; then echo "$root/etc/rc.d/rc.local"; else echo "$root/etc/rc.local"; fi
}

# FOLDER: rc.local with our line, before anything in it could exit.
make_rc_local() {
    awk '
        /\/var\/lib\/fwpolicy-script\/tool\/tool\.sh boot/ { next }
        NR == 1 && /^#!/ { print; print line; done = 1; next }
        NR == 1 { print line; done = 1 }
        { print }
        END { if (!done) print line }
    ' line="sh /var/lib/fwpolicy-script/tool/tool.sh boot" "$(rc_local)" > "$1/rc.local"
}

boot_on() {
    case $init in
    systemd) quietly managed systemctl daemon-reload && quietly managed systemctl enable fwpolicy-script.service ;;
    openrc) quietly managed rc-update add fwpolicy-script "$(openrc_level)" ;;
    sysv)
        if has update-rc.d; then
            quietly managed update-rc.d fwpolicy-script defaults
        elif has chkconfig; then
            quietly managed chkconfig --add fwpolicy-script && quietly managed chkconfig fwpolicy-script on
        elif has insserv; then
            quietly managed insserv fwpolicy-script
        else
            boot_link
        fi
        ;;
    esac
}

# Where no tool numbers them: in rcS.d, or in each runlevel with a network, before all others.
boot_link() {
    for rc_folder in $(rc_folders); do
        case "$rc_folder" in
        */rcS.d) ln -sf ../init.d/fwpolicy-script "$rc_folder/S02fwpolicy-script" ;;
        */rc[2-5].d) if [ ! -d "${rc_folder%/*}/rcS.d" ]; then
            ln -sf ../init.d/fwpolicy-script "$rc_folder/S02fwpolicy-script"
        fi ;;
        esac
    done
}

# Before its files go.
boot_off() {
    case $init in
    systemd) quietly managed systemctl disable fwpolicy-script.service ;;
    openrc) quietly managed rc-update del fwpolicy-script "$(openrc_level)" ;;
    sysv)
        if has update-rc.d; then
            quietly managed update-rc.d -f fwpolicy-script remove
        elif has chkconfig; then
            quietly managed chkconfig --del fwpolicy-script
        elif has insserv; then
            quietly managed insserv -r fwpolicy-script
        fi
        unit_links fwpolicy-script | while read -r link target; do rm -f "$link"; done
        ;;
    esac
    return 0
}

# After its files are gone. insserv keeps the numbers that a script made necessary until it is gone, too.
boot_reload() {
    if [ $init = systemd ]; then quietly managed systemctl daemon-reload; fi
    if [ $init = sysv ]; then
        for program in "$root/sbin/insserv" "$root/usr/lib/insserv/insserv"; do
            if [ -x "$program" ]; then quietly "$program"; fi
        done
    fi
    return 0
}

# The runlevel that the network is in: none may be up before us.
openrc_level() {
    for level in "$root"/etc/runlevels/*/networking "$root"/etc/runlevels/*/net.*; do
        if [ -h "$level" ]; then
            level="${level%/*}"
            echo "${level##*/}"
            return
        fi
    done
    echo boot
}
