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
