# The argument of the option that names a daemon's main file. Input: the process's arguments, a line each.
#   letter=c with=LETTERS   those that take an argument; long=configfile or ""
{ A[++n] = $0 }

END {
    for (i = 2; i <= n; i++) {
        arg = A[i]
        if (arg == "--") exit
        if (arg ~ /^--/) {
            if (long == "") continue
            if (arg == "--" long) found = A[i + 1]
            else if (index(arg, "--" long "=") == 1) found = substr(arg, length(long) + 4)
            continue
        }
        if (arg !~ /^-./) continue
        for (k = 2; k <= length(arg); k++) {
            one = substr(arg, k, 1)
            if (!index(with, one)) continue
            rest = substr(arg, k + 1)
            if (rest == "") rest = A[++i]
            if (one == letter) found = rest
            break
        }
    }
    if (found != "") print found
}
