# SPDX-License-Identifier: GPL-2.0-or-later
# Test results as TAP (testanything.org), for tests written in sh.  Sourced from the tree's root.
tap_n=0

plan() {
    echo "1..$1"
}

skip_all() {
    echo "1..0 # SKIP $*"
    exit 0
}

ok() {
    tap_n=$((tap_n + 1))
    echo "ok $tap_n - $1"
}

# not_ok NAME WHY: every line of WHY is shown.
not_ok() {
    tap_n=$((tap_n + 1))
    echo "not ok $tap_n - $1"
    [ -z "${2:-}" ] || printf '%s\n' "$2" | sed 's/^/# /'
}

skip() {
    tap_n=$((tap_n + 1))
    echo "ok $tap_n - $1 # SKIP $2"
}

# await COMMAND...: tries it ten times a second until it succeeds; false after two minutes, which no busy machine takes.
await() {
    tap_tries=0
    until "$@"; do
        tap_tries=$((tap_tries + 1))
        [ $tap_tries -lt 1200 ] || return 1
        sleep 0.1
    done
}

# listens SOCKET: somebody accepts connections there, who at a file's first sight may have bound it and no more.
listens() {
    if [ -r /proc/net/unix ]; then
        awk -v path="$1" '$4 == "00010000" && $8 == path { found = 1 } END { exit !found }' /proc/net/unix
    else
        [ -S "$1" ]
    fi
}

# room MIB: a new folder in memory, or with the other temporary files where a container leaves less than that there.
room() {
    tap_free=$(df -Pk /dev/shm 2> /dev/null | awk 'NR == 2 { print int($4 / 1024) }')
    [ "${tap_free:-0}" -ge "$1" ] && mktemp -d /dev/shm/rhea-block-XXXXXX 2> /dev/null || mktemp -d
}

# gone PID: a child that has ended (a zombie until somebody waits for it).
gone() {
    case $(sed -n 's/^State:[[:space:]]*//p' "/proc/$1/status" 2> /dev/null) in '' | Z*) ;; *) return 1 ;; esac
}

# end_child PID: tells it to end, kills it if it does not; its status.
end_child() {
    kill "$1" 2> /dev/null
    await gone "$1" || kill -9 "$1" 2> /dev/null
    wait "$1"
}
