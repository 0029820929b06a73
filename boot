#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# ./boot [OPTION ...]: from a bare Debian 12 to a shell in an emulated machine.  Installs what the build needs, builds,
# fetches Debian's kernel and busybox, and boots them on this terminal.  The options go to rhea-system-x86_64 behind
# ours, so they have the last word: ./boot -m 1024 -d stats.  Remove build/cache to fetch a newer kernel.
set -eu
here=$PWD
cd "$(dirname "$0")"
root=$PWD
. tools/setup.sh

need_packages $build_packages
build "Building Rhea" build -- all || die "the build failed"
make_guest

kernel=$(sed -n 's/^linux-image-//p' $guest/versions)
say "Booting Debian's kernel $kernel. 'poweroff -f' ends it; so does Ctrl-A X."
cd "$here"
exec "$root/build/rhea-system-x86_64" -accel tcg -m 512 -nographic -kernel "$root/$guest/vmlinuz" \
    -initrd "$root/$guest/initrd" -append console=ttyS0 "$@"
