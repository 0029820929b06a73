# SPDX-License-Identifier: GPL-2.0-or-later
# What ./boot and ./check share: Debian packages, the build, progress.  Sourced from the tree's root, POSIX sh only:
# nothing but Debian's essential packages can be taken for granted here.

logs=build/logs

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

say() {
    printf '%s\n' "$*" >&2
}

# Shows LABEL with the percentages that arrive on standard input; only the label where nobody watches.
meter() {
    if [ -t 2 ]; then
        printf '%s ' "$1" >&2
        shown=
        while read -r percent; do
            [ "$percent" = "$shown" ] || printf '\r%s %3d %%' "$1" "$percent" >&2
            shown=$percent
        done
        printf '\r%s      \n' "$1" >&2
    else
        say "$1"
        cat > /dev/null
    fi
}

# watch LABEL LOG COMMAND...: runs COMMAND, which writes percentages to descriptor 3; all else it says goes to LOG.
watch() {
    watch_label=$1 watch_log=$2
    shift 2
    mkdir -p "${watch_log%/*}"
    : > "$watch_log"
    {
        watch_status=0
        "$@" 3>&1 >> "$watch_log" 2>&1 < /dev/null || watch_status=$?
        echo "$watch_status" > "$watch_log.status"
    } | meter "$watch_label"
    read -r watch_status < "$watch_log.status"
    rm -f "$watch_log.status"
    [ "$watch_status" = 0 ] && return 0
    tail -n 30 "$watch_log" >&2
    say "the whole log: $watch_log"
    return 1
}

# apt's status lines (kind:which:percent:text) become bare percentages.
apt_as_root() {
    {
        # sudo closes descriptors past 2, hence the shell on its far side.
        $as_root sh -c 'exec env LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -q -y -o APT::Status-Fd=9 \
                        -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@" 9>&1 >&2' apt-get "$@" ||
            echo "status::$?:"
    } | {
        status=0
        while IFS=: read -r kind which percent text; do
            case $kind in
            dlstatus | pmstatus) echo "${percent%%.*}" >&3 ;;
            status) status=$percent ;;
            esac
        done
        return "$status"
    }
}

# Installs those of the Debian packages that are missing.
need_packages() {
    # shellcheck disable=SC2016     # dpkg-query's own variables
    missing=$(for p; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2> /dev/null)" = installed ] || echo "$p"
    done)
    [ -n "$missing" ] || return 0
    command -v apt-get > /dev/null || die "not a Debian system; install what Debian calls" $missing
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo > /dev/null; then
        as_root=sudo
        say "Missing packages:" $missing
        sudo -v || die "root must install them: apt-get install" $missing
    else
        die "needs root or sudo to install:" $missing
    fi
    watch "Reading Debian's package lists" $logs/apt-update.log apt_as_root update || die "apt-get update failed"
    # shellcheck disable=SC2086
    watch "Installing $(echo $missing)" $logs/apt-install.log apt_as_root install --no-install-recommends $missing ||
        die "apt-get install failed"
}

build_packages="gcc libc6-dev make pkg-config libglib2.0-dev libcapstone-dev zlib1g-dev liblzma-dev libzstd-dev libgnutls28-dev libcurl4-gnutls-dev libgcrypt20-dev"

make_percent() {
    total=$(make -n V=1 "$@" 2> /dev/null | grep -c -- ' -o ')
    [ "$total" -gt 0 ] || total=1
    {
        make -j"$(nproc)" V=1 "$@" 2>&1 || echo "make: status $?"
    } | {
        status=0 n=0
        while IFS= read -r line; do
            printf '%s\n' "$line"
            case $line in
            *' -o '*) n=$((n + 1)); echo $((n * 100 / total)) >&3 ;;
            'make: status '*) status=${line##* } ;;
            esac
        done
        return "$status"
    }
}

# build LABEL FOLDER CONFIGURE-OPTIONS -- MAKE-ARGUMENTS: configures where that was not done yet, and makes.
build() {
    build_label=$1 build_dir=$2
    shift 2
    options=
    while [ "$1" != -- ]; do
        options="$options $1"
        shift
    done
    shift
    if [ ! -e "$build_dir/configured-as" ] || [ configure -nt "$build_dir/configured-as" ] ||
        [ "$(cat "$build_dir/configured-as")" != "$options" ]; then
        mkdir -p "$build_dir" $logs
        # shellcheck disable=SC2086
        ./configure --build="$build_dir" $options > $logs/configure.log 2>&1 || {
            cat $logs/configure.log >&2
            die "configure failed"
        }
        printf '%s\n' "$options" > "$build_dir/configured-as"
    fi
    if make -q BUILD="$build_dir" "$@" > /dev/null 2>&1; then
        return 0
    fi
    watch "$build_label" "$logs/make-$(echo "$build_dir" | tr / -).log" make_percent BUILD="$build_dir" "$@"
}

# The Debian kernel and the initramfs that ./boot and the guest tests use.
guest=build/cache/guest
make_guest() {
    [ -e $guest/complete ] && [ ! tools/guest-image -nt $guest/complete ] && [ ! tools/guest-init -nt $guest/complete ] &&
        return 0
    watch "Fetching Debian's newest kernel and busybox" $logs/guest-image.log tools/guest-image $guest || exit 1
}
