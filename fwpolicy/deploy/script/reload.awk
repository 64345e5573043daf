# From what iptables-save prints to what iptables-restore --noflush is given (backends/iptables/reload.py).
#   iptables-save | awk -v text=fwpolicy.rules.v4 -f fwpolicy.awk | iptables-restore --noflush
#   mode=restore text=FILE saved=FILE   ours anew, others' as it is; with text="" nothing of ours is left
#   mode=ours saved=FILE                the part that is ours, as a text that `restore` takes
#   mode=ahead saved=FILE               others' rules that stand before a jump of ours
#   mode=count saved=FILE               how many rules are in each chain of ours, and how many jumps lead there
# Without a mode it restores, without `saved` it reads that from its standard input. Both may come from one
# file: what is saved after a line "#-- there --".

function chain_of(rule,   w) {
    split(rule, w, " ")
    return (w[1] == "-A" || w[1] == "-I") ? w[2] : ""
}

function leads_to_us(rule) {
    gsub(/"([^"\\]|\\.)*"/, "\"\"", rule)
    return match(rule, / -[jg] [^ ]+/) && substr(rule, RSTART + 4, 9) == "FWPOLICY-"
}

# Without its "-A CHAIN" or "-I CHAIN N".
function tail_of(rule,   w) {
    split(rule, w, " ")
    rule = substr(rule, length(w[1] " " w[2]) + 1)
    if (rule ~ /^ [0-9]+( |$)/) sub(/^ [0-9]+/, "", rule)
    return rule
}

function inserted(before, rule) {
    return "-I " chain_of(rule) " " (before + 1) tail_of(rule)
}

function empty(side, name,   key) {
    if (!((side, name) in known)) order[side, ++tables[side]] = name
    known[side, name] = 1
    chains[side, name] = rules[side, name] = jumps[side, name] = others[side, name] = 0
    for (key in passed) if (index(key, side SUBSEP name SUBSEP) == 1) delete passed[key]
}

function add(side, name, line,   c, n) {
    if (index(line, ":FWPOLICY-") == 1) {
        split(substr(line, 2), word, " ")
        chain[side, name, ++chains[side, name]] = word[1]
        declared[side, name, word[1]] = 1
        return
    }
    c = chain_of(line)
    if (c == "") return
    if (index(c, "FWPOLICY-") == 1) {
        rule[side, name, ++rules[side, name]] = line
    } else if (leads_to_us(line)) {
        n = ++jumps[side, name]
        jump[side, name, n] = line
        split(line, word, " ")
        before[side, name, n] = (line ~ /^-A/) ? passed[side, name, c] + 0 : (word[3] ~ /^[0-9]+$/) ? word[3] - 1 : 0
    } else {
        passed[side, name, c]++
        other[side, name, ++others[side, name]] = line
    }
}

function load(side, file,   line, name, got) {
    while ((got = (getline line < file)) > 0) {
        if (line == "#-- there --") break
        gsub(/^[ \t\r]+|[ \t\r]+$/, "", line)
        sub(/^\[[0-9]+:[0-9]+\] /, "", line)
        if (line ~ /^\*/) {
            name = substr(line, 2)
            empty(side, name)
        } else if (name != "" && line ~ /^[:-]/) {
            add(side, name, line)
        }
    }
    if (got < 0) {
        print "cannot read " file > "/dev/stderr"
        exit 2
    }
    if (text != saved) close(file)
}

# A chain that is declared again is emptied; one that is not wanted must be empty before it goes.
function changed(name,   i, flag, place, there) {
    print "*" name
    for (i = 1; i <= jumps["old", name]; i++) print "-D" substr(jump["old", name, i], 3)
    for (i = 1; i <= chains["new", name]; i++) print ":" chain["new", name, i] " - [0:0]"
    for (flag = 1; flag <= 2; flag++)
        for (i = 1; i <= chains["old", name]; i++)
            if (!(("new", name, chain["old", name, i]) in declared))
                print (flag == 1 ? "-F " : "-X ") chain["old", name, i]
    for (i = 1; i <= rules["new", name]; i++) print rule["new", name, i]
    for (i = 1; i <= jumps["new", name]; i++) {
        place = before["new", name, i]
        there = passed["old", name, chain_of(jump["new", name, i])] + 0
        print inserted(place < there ? place : there, jump["new", name, i])
    }
    print "COMMIT"
}

function ours(name,   i) {
    print "*" name
    for (i = 1; i <= chains["old", name]; i++) print ":" chain["old", name, i] " - [0:0]"
    for (i = 1; i <= rules["old", name]; i++) print rule["old", name, i]
    for (i = 1; i <= jumps["old", name]; i++) print inserted(before["old", name, i], jump["old", name, i])
    print "COMMIT"
}

function ahead(name,   i, j, left, c) {
    for (i = 1; i <= jumps["old", name]; i++) {
        c = chain_of(jump["old", name, i])
        left = before["old", name, i]
        for (j = 1; j <= others["old", name] && left > 0; j++)
            if (chain_of(other["old", name, j]) == c) {
                print name ": " other["old", name, j]
                left--
            }
    }
}

function count(name,   i, n, c) {
    for (i = 1; i <= rules["old", name]; i++) n[chain_of(rule["old", name, i])]++
    for (i = 1; i <= chains["old", name]; i++) {
        c = chain["old", name, i]
        print name, c, n[c] + 0 | "sort"
    }
    for (i = 1; i <= jumps["old", name]; i++) print name, chain_of(jump["old", name, i]), "jump" | "sort"
}

BEGIN {
    if (mode == "") mode = "restore"
    # mawk 1.3.4 dies when it closes /dev/stdin.
    if (saved == "") saved = "/dev/fd/0"
    if (text != "") load("new", text)
    load("old", saved)
    # In this order: what is dropped early or translated is so before the filter relies on it.
    n = split("raw mangle nat filter", all, " ")
    if (mode == "restore") {
        for (t = 1; t <= n; t++)
            if ((("new", all[t]) in known) || chains["old", all[t]] || jumps["old", all[t]]) changed(all[t])
    } else if (mode == "ours") {
        for (t = 1; t <= n; t++) if (chains["old", all[t]]) ours(all[t])
    } else {
        for (t = 1; t <= tables["old"]; t++) {
            name = order["old", t]
            if (mode == "ahead") ahead(name)
            if (mode == "count") count(name)
        }
    }
}
