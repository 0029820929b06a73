# SPDX-License-Identifier: GPL-2.0-or-later
# awk -v where=ORACLE -v prefix=PREFIX -f compare.awk deviations expected RECORDS: exit status 1 and a line for each row that
# is not as expected.
#
# expected: NAME FIELD ..., or NAME@VENDOR FIELD ... for processors of one maker (amd, intel).
# deviations: ORACLE NAME-PATTERN FIELD ... : REASON    ORACLE shows these fields instead (- NAME= leaves one out, * means
# the whole record may be anything; dies, triple, hangs: that is all there is); the reason cites the manual.  NAME-PATTERN is a regular expression for the whole name.
FILENAME != file { file = FILENAME; nth++ }
nth == 1 {
    if (/^#/ || !NF)
        next
    if ($1 !~ "^(" where ")$" && where !~ "^(" $1 ")$")
        next
    n_dev++
    pattern[n_dev] = "^(" $2 ")$"
    change[n_dev] = ""
    for (i = 3; i <= NF && $i != ":"; i++)
        change[n_dev] = change[n_dev] " " $i
    if (i > NF) {
        print "deviations: no reason: " $0
        bad = 1
    }
    next
}
nth == 2 {
    name = $1
    sub(/^[^ ]+ ?/, "")
    want[name] = $0
    next
}
/^# vendor/ { vendor = $3 == "GenuineIntel" ? "intel" : "amd"; next }
/^#/ { next }
{
    name = $1
    seen[name] = 1
    if ($2 == "skip") {
        skipped++
        next
    }
    compared++
    sub(/^[^ ]+ ?/, "")
    key = name "@" vendor in want ? name "@" vendor : name
    if (!(key in want)) {
        print name ": not in tests/sys/expected: " $0
        bad = 1
        next
    }
    expected = want[key]
    if ($0 == expected)
        next
    for (d = 1; d <= n_dev; d++)
        if (name ~ pattern[d] && excused(expected, $0, change[d])) {
            excuses++
            next
        }
    print name ":\n    seen     " $0 "\n    expected " expected
    bad = 1
}

# Whether the fields in which the two differ are those of the deviation.
function excused(expected, found, fields,    n, i, j, e, f, c, ne, nf, nc, key, ok, in_found, in_expected) {
    nc = split(fields, c, " ")
    if (nc == 1 && (c[1] == "*" || c[1] == found))
        return 1
    ne = split(expected, e, " ")
    nf = split(found, f, " ")
    for (i = 1; i <= nf; i++)
        in_found[f[i]] = 1
    for (i = 1; i <= ne; i++)
        in_expected[e[i]] = 1
    for (i = 1; i <= nf; i++) {
        if (f[i] in in_expected)
            continue
        ok = 0
        for (j = 1; j <= nc; j++)
            if (f[i] == c[j] || (c[j] ~ /=\*$/ && index(f[i], substr(c[j], 1, length(c[j]) - 1)) == 1))
                ok = 1
        if (!ok)
            return 0
    }
    for (i = 1; i <= ne; i++) {
        if (e[i] in in_found)
            continue
        key = e[i]
        sub(/[=:].*/, "", key)
        ok = 0
        for (j = 1; j <= nc; j++)
            if (index(c[j], key "=") == 1 || index(c[j], key ":") == 1 || c[j] == "-" e[i] || (key ~ /^#/ && c[j] ~ /^#/))
                ok = 1
        if (!ok)
            return 0
    }
    return 1
}

END {
    for (name in want) {
        base = name
        sub(/@.*/, "", base)
        if ((prefix == "-" || index(base, prefix) == 1) && !(base in seen)) {
            print base ": in tests/sys/expected and not run"
            bad = 1
        }
    }
    printf "# %s: %d rows compared, %d known deviations, %d not to be had there\n", where, compared, excuses, skipped
    exit bad
}
