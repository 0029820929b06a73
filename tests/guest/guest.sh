# SPDX-License-Identifier: GPL-2.0-or-later
# What the tests that run a guest share.  Sourced from the tree's root.  EMULATOR runs them on another emulator: QEMU
# takes these command lines as well, which is how a test is tried out; what only Rhea has is skipped there.
. tests/tap.sh
build=${BUILD:-build}
image=${GUEST:-build/cache/guest}
emulator=${EMULATOR:-$build/rhea-system-x86_64}
console=$build/tools/console
me=${0##*/}
logs=$build/test-logs
mkdir -p "$logs"

need_image() {
    [ -s "$image/vmlinuz" ] || skip_all "no guest image: ./check or tools/guest-image $image fetches it"
}

is_rhea() {
    case $("$emulator" -version | tail -n +1) in *Rhea* | *rhea*) return 0 ;; *) return 1 ;; esac
}

need_rhea() {
    is_rhea || skip_all "$emulator does not have these options"
}

# The host's KVM is one without VT, in software, which emulates much and has deviations of its own; also where /sys is not mounted.
is_pvm() {
    [ -d /sys/module/kvm_pvm ] || grep -qw pvm_vcpu_run /proc/kallsyms 2> /dev/null
}

# debian SCRIPT LOG [OPTION ...]: the Debian guest, its console played by SCRIPT.  The guest's watchdogs are off: guest time
# is the host's, and a host that stands still for a minute (a snapshot, a crowd) is no failure; a guest that hangs runs
# into the script's limits.  The TSC's frequency, Rhea's, is given: Linux measures it by loops of 10 ms, and whoever is interrupted in
# one has a clock that runs several times too fast, so that the guest's own limits and what it does while idle say nothing.
linux_options="nosoftlockup rcupdate.rcu_cpu_stall_suppress=1 tsc_early_khz=1000000"
debian() {
    script=$1 log=$logs/$2.console
    shift 2
    "$console" -l "$log" -s "${TEST_SCALE:-1}" "$script" "$emulator" -m 512 -nographic -kernel "$image/vmlinuz" \
        -initrd "$image/initrd" -append "console=ttyS0 $linux_options" "$@"
}

# tiny COMMAND-LINE LOG [OPTION ...]: tests/guest/tiny.c, its console played by the script on standard input.
tiny_image=$build/tests/guest/tiny
build_tiny() {
    mkdir -p "${tiny_image%/*}"
    new=$tiny_image.$$
    ${CC:-cc} -m32 -march=i386 -O1 -ffreestanding -fno-pic -fno-stack-protector -fno-asynchronous-unwind-tables \
        -mgeneral-regs-only -nostdlib -static -no-pie -Wl,-Ttext-segment=0x200000,--build-id=none,-e,entry -o "$new" tests/guest/tiny.c &&
        mv "$new" "$tiny_image"
}
tiny() {
    command_line=$1 log=$logs/$2.console
    shift 2
    case "$*" in *-accel*) accel= ;; *) accel="-accel tcg" ;; esac
    # shellcheck disable=SC2086
    "$console" -l "$log" -s "${TEST_SCALE:-1}" - "$emulator" $accel -m 64 -nographic -no-reboot \
        -device isa-debug-exit,iobase=0xf4,iosize=4 -kernel "$tiny_image" -append "$command_line" "$@"
}

# tests/guest/smp.c, for several processors.
smp_image=$build/tests/guest/smp
build_smp() {
    mkdir -p "${smp_image%/*}"
    ${CC:-cc} -O2 -ffreestanding -fno-pic -fno-stack-protector -fno-asynchronous-unwind-tables -mgeneral-regs-only -mno-red-zone \
        -nostdlib -static -no-pie -Wl,-Ttext-segment=0x200000,--build-id=none,-e,entry -o "$smp_image.$$" tests/guest/smp.c &&
        mv "$smp_image.$$" "$smp_image"
}
