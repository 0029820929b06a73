/* SPDX-License-Identifier: GPL-2.0-or-later
 * What kvm-exits has LD_PRELOAD put around a program's KVM_RUN: how long it is from one's end to the next one's beginning, which
 * is what an exit costs in user mode as long as there is no other system call, by the time stamp counter.  The ticks by which
 * kernels tell user time from system time are no measure of some hundred cycles: they come late, when the end of KVM_RUN lets
 * interrupts in again, and count for the program.  Prints the number of exits, the median of what they take in user mode, and
 * the lower decile and the median of all that they take, in cycles. */
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST = 1 << 20 };
static uint32_t *between, *whole;
static unsigned n;

__attribute__((constructor)) static void start(void)
{
    between = calloc(MOST, sizeof *between);
    whole = calloc(MOST, sizeof *whole);
}

static int smaller(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

__attribute__((destructor)) static void end(void)
{
    if (!n)
        return;
    qsort(between, n, sizeof *between, smaller);
    qsort(whole, n, sizeof *whole, smaller);
    fprintf(stderr, "exits %u %u %u %u\n", n, between[n / 2], whole[n / 10], whole[n / 2]);
    n = 0;
}

int ioctl(int fd, unsigned long request, ...)
{
    static uint64_t last;
    va_list args;
    va_start(args, request);
    void *arg = va_arg(args, void *);
    va_end(args);
    if (request != KVM_RUN)
        return (int)syscall(SYS_ioctl, fd, request, arg);
    uint64_t begin = __builtin_ia32_rdtsc();
    long r = syscall(SYS_ioctl, fd, request, arg);
    uint64_t ended = __builtin_ia32_rdtsc();
    if (last && n < MOST) {
        between[n] = (uint32_t)(begin - last);
        whole[n++] = (uint32_t)(ended - last);
    }
    last = ended;
    return (int)r;
}
