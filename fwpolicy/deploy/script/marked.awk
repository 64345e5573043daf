# Edits of a time daemon's configuration that undo themselves: what markedtext.py does to a text, and what
# backends/{ntpd,chrony,openntpd}.py say of its lines.
#   mode=strip                the text as it was before our edits
#   mode=facts                of the text as it was: what the block depends on, a fact a line
#   mode=includes             the same, with the files that it makes the daemon read
#   mode=rewrite              lines that must go commented out; with main=1 the lines of `block` added at the end
# kind=ntpd|ntpsec|chrony|openntpd role=client-only|server nts=0|1, ended=0 where the last line has no end.

function is_begin(line) {
    sub(/\r+$/, "", line)
    return line == BEGIN_MARK || index(line, BEGIN_MARK ":") == 1 || index(line, BEGIN_MARK " ") == 1
}

function ends_in(text, what) {
    return length(text) >= length(what) && substr(text, length(text) - length(what) + 1) == what
}

function after_block(at,   i, body) {
    for (i = at + 1; i <= n; i++) {
        body = L[i]
        sub(/\r+$/, "", body)
        if (body == END_MARK) return i + 1
        if (is_begin(L[i])) break
    }
    return at + 1
}

function without_blocks(   at, after, k, last, now, body) {
    at = 1
    k = last = 0
    now = -1
    while (at <= n) {
        if (!is_begin(L[at])) {
            K[++k] = L[at]
            last = at++
            continue
        }
        after = after_block(at)
        body = L[at]
        sub(/\r+$/, "", body)
        if (after == n + 1 && k && ends_in(body, UNENDED)) {
            if (L[at] !~ /\r$/ || (at == n && !ended)) now = 0
            else if (K[k] ~ /\r$/) {
                sub(/\r$/, "", K[k])
                now = 0
            }
        }
        at = after
    }
    if (k != n) changed = 1
    if (now < 0) now = (last == n) ? ended : 1
    for (at = 1; at <= k; at++) L[at] = K[at]
    n = k
    ended = now
}

function strip(   i) {
    do {
        changed = 0
        without_blocks()
        for (i = 1; i <= n; i++)
            if (index(L[i], PREFIX) == 1) {
                L[i] = substr(L[i], length(PREFIX) + 1)
                changed = 1
            }
    } while (changed)
}

function write(   i) {
    for (i = 1; i < n; i++) print L[i]
    if (n) printf "%s%s", L[n], (ended ? "\n" : "")
}

# The words of a line into W; how many they are.
function words(line,   i, m) {
    gsub(SPACE, " ", line)
    sub(/^ /, "", line)
    sub(/ $/, "", line)
    if (kind == "openntpd") {
        sub(/#.*/, "", line)
        sub(/ $/, "", line)
    }
    m = split(line, W, " ")
    if (m == 1 && W[1] == "") m = 0
    if (kind == "chrony" && m && W[1] ~ /^[!;#%]/) return 0
    if (kind == "ntpd" || kind == "ntpsec")
        for (i = 1; i <= m; i++)
            if (W[i] ~ /^#/) {
                m = i - 1
                break
            }
    if (kind == "openntpd")
        for (i = 1; i <= m; i++) gsub(/^"+|"+$/, "", W[i])
    else if (m) W[1] = tolower(W[1])
    return m
}

# Is it one plain address? 4, 6 or 0.
function family(text,   p, m, i, gaps) {
    if (text ~ /^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$/) {
        split(text, p, ".")
        for (i = 1; i <= 4; i++) if (length(p[i]) > 3 || p[i] > 255 || p[i] ~ /^0./) return 0
        return 4
    }
    if (text !~ /^[0-9a-fA-F:]+$/ || text !~ /:/ || text ~ /:::/) return 0
    gaps = gsub(/::/, ":x:", text)
    if (gaps > 1) return 0
    if (text ~ /^:x:/) text = substr(text, 2)
    if (text ~ /:x:$/) text = substr(text, 1, length(text) - 1)
    m = split(text, p, ":")
    for (i = 1; i <= m; i++) if (p[i] != "x" && (p[i] == "" || length(p[i]) > 4)) return 0
    return (gaps ? m <= 8 : m == 8) ? 6 : 0
}

function is_ban(m,   i, k, w, closes, f) {
    k = closes = 0
    for (i = 2; i <= m; i++) {
        if (W[i] == "-4" || W[i] == "-6") continue
        w[++k] = W[i]
        if (W[i] == "ignore") closes = 1
    }
    if (!closes) return 0
    f = family(w[1])
    if (f == 4) return w[1] != "0.0.0.0" && w[1] !~ /^127\./
    # Neither :: nor ::1, however they are written.
    return f == 6 && w[1] !~ /^[0:]*[01]?$/
}

function any_of(m, set,   i) {
    for (i = 2; i <= m; i++) if (index(" " set " ", " " W[i] " ")) return 1
    return 0
}

function ntp_goes(m) {
    if (W[1] == "restrict") return !is_ban(m)
    if (W[1] == "unrestrict") return 1
    if (W[1] == "peer") return kind != "ntpsec"
    if (W[1] == "crypto") return role == "client-only"
    if (W[1] == "enable") return any_of(m, ENABLES)
    if (W[1] == "nts") return !(nts && role == "server") && any_of(m, "enable cert key")
    return index(" broadcastclient multicastclient manycastclient broadcast manycastserver ", " " W[1] " ")
}

function chrony_goes(m) {
    if (index(" allow port broadcast cmdallow cmdport ", " " W[1] " ")) return 1
    if (W[1] == "bindcmdaddress") return m < 2 || W[2] !~ /^\//
    if (W[1] == "local") return role == "client-only"
    if (W[1] == "acquisitionport") return role == "client-only" && m > 1 && W[2] == "123"
    if (W[1] == "ntsservercert" || W[1] == "ntsserverkey") return !(nts && role == "server")
    return 0
}

function listens_outside(m) {
    if (W[1] != "listen" || m < 2 || W[2] != "on") return 0
    return !(m > 2 && (W[3] == "::1" || W[3] == "localhost" || W[3] ~ /^127\./))
}

function goes(line,   m) {
    m = words(line)
    if (!m) return 0
    if (kind == "chrony") return chrony_goes(m)
    if (kind == "openntpd") return W[1] == "listen" && (role == "client-only" || !listens_outside(m))
    return ntp_goes(m)
}

function comment_out(   i, inside, going, body) {
    inside = going = 0
    for (i = 1; i <= n; i++) {
        body = L[i]
        sub(/\r+$/, "", body)
        if (!inside) going = goes(body)
        if (going) L[i] = PREFIX L[i]
        inside = kind == "openntpd" && body ~ /\\$/
    }
}

function with_block(   line, end, title) {
    end = ""
    if (ended ? (n && L[n] ~ /\r$/) : (n > 1 && L[n - 1] ~ /\r$/)) end = "\r"
    title = BEGIN_MARK ": roles.ntp " role
    if (n && !ended) {
        L[n] = L[n] end
        title = title UNENDED
    }
    while ((getline line < block) > 0) {
        if (title != "") L[++n] = title end
        title = ""
        L[++n] = line end
    }
    if (title == "") {
        L[++n] = END_MARK end
        ended = 1
    } else if (!ended && end != "") sub(/\r$/, "", L[n])
}

function host_of(m,   i, host, colons) {
    for (i = 2; i <= m; i++) {
        if (W[i] == "-4" || W[i] == "-6") continue
        host = W[i]
        gsub(/^"+|"+$/, "", host)
        colons = host
        if (gsub(/:/, ":", colons) == 1) sub(/:.*/, "", host)
        return host
    }
    return ""
}

# What else stood on a line that goes, and is kept in one of its own.
function remainder(m,   i, rest, taken, k) {
    rest = ""
    for (i = 2; i <= m; i += taken) {
        taken = 1
        if (W[1] == "enable") {
            if (!index(" " ENABLES " ", " " W[i] " ")) rest = rest " " W[i]
            continue
        }
        taken = (W[i] == "enable" || W[i] == "disable") ? 1 : 2
        if (W[i] == "enable" || W[i] == "cert" || W[i] == "key") continue
        for (k = i; k < i + taken && k <= m; k++) rest = rest " " W[k]
    }
    return rest
}

function fact(line,   m, host, rest) {
    m = words(line)
    if (!m) return
    if (kind == "openntpd") {
        if (listens_outside(m)) print "listens"
        return
    }
    if (kind == "chrony") return
    if (W[1] == "server" || W[1] == "pool" || W[1] == "peer") {
        host = host_of(m)
        if (W[1] == "peer") print "peer", host
        if (host != "" && host !~ /^127\.127\./)
            print (W[1] == "pool") ? "pool" : (family(host) ? "address" : "name"), host
    }
    if ((W[1] == "enable" || W[1] == "nts") && ntp_goes(m)) {
        rest = remainder(m)
        if (rest != "") print "rest", W[1] rest
    }
}

# Patterns in a group are tab-separated: a file name counts where it is found first.
function includes(line,   m, i, name, group, suffix) {
    m = words(line)
    if (kind == "chrony" && W[1] == "include" && m > 1) print W[2]
    if (kind == "chrony" && (W[1] == "confdir" || W[1] == "sourcedir")) {
        suffix = (W[1] == "confdir") ? "/*.conf" : "/*.sources"
        group = ""
        for (i = 2; i <= m; i++) {
            name = W[i]
            sub(/\/+$/, "", name)
            group = group (group == "" ? "" : "\t") name suffix
        }
        if (group != "") print group
    }
    if (index(kind, "ntp") != 1 || W[1] != "includefile" || m < 2) return
    name = W[2]
    gsub(/^"+|"+$/, "", name)
    if (kind == "ntpd") print (name ~ /^\//) ? name : "/" name
    else {
        if (name !~ /^\//) name = folder "/" name
        sub(/\/+$/, "", name)
        print name
        print name "/*.conf"
    }
}

function each_statement(   i, line, body, more) {
    line = ""
    for (i = 1; i <= n; i++) {
        body = L[i]
        sub(/\r+$/, "", body)
        more = kind == "openntpd" && body ~ /\\$/
        if (more) sub(/\\$/, "", body)
        line = line body
        if (more && i < n) continue
        if (mode == "facts") fact(line)
        else includes(line)
        line = ""
    }
}

BEGIN {
    PREFIX = "#fwpolicy# "
    BEGIN_MARK = "# BEGIN fwpolicy"
    END_MARK = "# END fwpolicy"
    UNENDED = " (the line above had no line end)"
    ENABLES = "mode7 bclient monitor"
    SPACE = "[ \t\r\013\014]+"
    n = 0
}

{ L[++n] = $0 }

END {
    if (!n) ended = 1
    strip()
    if (mode == "facts" || mode == "includes") {
        each_statement()
    } else {
        if (mode == "rewrite") {
            comment_out()
            if (main) with_block()
        }
        write()
    }
}
