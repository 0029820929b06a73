# SPDX-License-Identifier: GPL-2.0-or-later
# Rooms and floors: which folder may include which.  Reads every C file named on the command line and prints each
# #include "..." that climbs.  An include names its room ("memory/region.h"), so the text of the line is enough.
#
# First column: files whose path begins so (the longest such row counts).  Second: what they may include besides their
# own folder and those below it; a * stands for one path component, a trailing / for everything below.
BEGIN {
    rule("util/",          "")
    rule("memory/",        "util/")
    rule("tcg/",           "util/")
    rule("target/",        "util/ memory/ tcg/")
    rule("target/*/",      "util/ memory/ tcg/ target/*.h")
    rule("accel/",         "util/ memory/ tcg/ target/*.h target/*/cpu.h")
    rule("block/",         "util/")
    rule("net/",           "util/")
    rule("chardev/",       "util/")
    rule("hw/",            "util/ memory/ block/ net/ chardev/ hw/*/")
    # An interrupt controller beside the CPU talks to it through the port table that target declares.
    rule("hw/intc/",       "util/ memory/ block/ net/ chardev/ hw/*/ target/port.h")
    # Boards put a machine together: everything below them.
    rule("hw/x86/",        "util/ memory/ tcg/ target/ accel/ block/ net/ chardev/ hw/")
    rule("ui/",            "util/ hw/core/ hw/display/ hw/input/")
    rule("monitor/",       "util/ memory/ tcg/ target/ accel/ block/ net/ chardev/ hw/")
    rule("migration/",     "util/ memory/ block/ chardev/ hw/core/")
    # The top floor.
    rule("main.c",         "any")
    rule("user/",          "any")
    rule("tools/",         "any")
    rule("tests/",         "any")
    # Boards are floor 6: a device never includes one.
    boards = "^hw/x86/"
}

function rule(where, allowed) {
    rules[++n] = where
    may[n] = allowed
}

# A row's path as a regular expression.
function pattern(path) {
    gsub(/\./, "\\.", path)
    gsub(/\*/, "[^/]+", path)
    return "^" path (path ~ /\/$/ ? "" : "$")
}

function folder(path) {
    return path ~ /\// ? substr(path, 1, match(path, /[^\/]*$/) - 1) : ""
}

function row_of(file,    i, best, length_of_best) {
    for (i = 1; i <= n; i++)
        if (file ~ pattern(rules[i]) && length(rules[i]) > length_of_best) {
            best = i
            length_of_best = length(rules[i])
        }
    return best
}

function allowed(file, row, include,    parts, i, count) {
    if (may[row] == "any")
        return 1
    if (include ~ boards && file !~ boards && rules[row] ~ /^hw\//)
        return 0
    # Its own folder and below, as deep as the row says: a file of tcg/x86_64/ may use tcg/, one of target/x86/ not
    # target/arm/.
    match(file, pattern(rules[row]))
    if (index(include, substr(file, 1, RLENGTH)) == 1)
        return 1
    count = split(may[row], parts, " ")
    for (i = 1; i <= count; i++)
        if (include ~ pattern(parts[i]))
            return 1
    return 0
}

function climb(what) {
    printf "%s:%d: %s\n", FILENAME, FNR, what
    bad = 1
}

FNR == 1 {
    row = row_of(FILENAME)
    if (!row)
        climb("no room of this name: tools/rooms.awk lists them")
}

row && /^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, quoted, "\"")
    include = quoted[2]
    if (include == "config.h")
        next
    if (include !~ /\//)
        climb("\"" include "\" does not name its room")
    else if (include ~ /_int\.h$/ && may[row] != "any" && folder(include) != folder(FILENAME))
        climb("\"" include "\" stays inside its folder")
    else if (!allowed(FILENAME, row, include))
        climb(rules[row] " may not include \"" include "\"")
}

END { exit bad }
