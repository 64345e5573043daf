# The lines that a time daemon's configuration gets. Input: VARIANT, a tab, a line (clockblocks.py).
#   facts=FILE   what marked.awk found in the configuration
#   kind=ntpd|ntpsec|chrony|openntpd, version="4 2 6 5" or "" where it is unknown

function at_least(wanted,   w, v, i, m) {
    if (version == "") return 1
    m = split(version, v, " ")
    split(wanted, w, " ")
    for (i = 1; i <= 4; i++) {
        if (i > m) return 0
        if (v[i] + 0 != w[i] + 0) return v[i] + 0 > w[i] + 0
    }
    return 1
}

function variant(   i) {
    if (kind == "openntpd" && listens) return "none"
    if (kind != "ntpd") return kind
    # The first with `restrict source`; 4.2.6 needs a line for each server, and so servers given by address.
    if (at_least("4 2 7 22")) return pools ? "ntpd.pool" : "ntpd"
    for (i = 1; i <= sources; i++) if (!(host[i] in peers) && sort[i] != "address") return "ntpd.names"
    for (i = 1; i <= sources; i++) if (!(host[i] in peers)) return "ntpd.addresses"
    return "ntpd.names"
}

BEGIN {
    FS = "\t"
    while ((getline line < facts) > 0) {
        split(line, w, " ")
        if (w[1] == "listens") listens = 1
        else if (w[1] == "peer") peers[w[2]] = 1
        else if (w[1] == "rest") rest[++rests] = substr(line, 6)
        else {
            if (w[1] == "pool") pools = 1
            if ((w[2], w[1] == "pool") in seen) continue
            seen[w[2], w[1] == "pool"] = 1
            host[++sources] = w[2]
            sort[sources] = w[1]
        }
    }
    chosen = variant()
    if (show) print chosen
}

!show && $1 == chosen {
    if (index($2, "restrict HOST ") == 1) {
        for (i = 1; i <= sources; i++)
            if (!(host[i] in peers)) print "restrict " host[i] substr($2, 14)
    } else print $2
}

END { if (!show) for (i = 1; i <= rests; i++) print rest[i] }
