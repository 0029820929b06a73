/* SPDX-License-Identifier: GPL-2.0-or-later
 * What tests/bench/img needs beside the shell: data, cold files, and what a program used.
 *
 *   mix FILE BYTES       regions of 4 KiB to 4 MiB: text-like, random, written zeros, holes
 *   full FILE BYTES      the same without zeros and holes
 *   settle FILE...       written to the disk and out of the page cache (where the filesystem lets go of them)
 *   run COMMAND...       its standard output goes nowhere; prints microseconds of wall time and of CPU, peak KiB */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { REGION = 4 << 20, WORDS = 4096, WORD = 12 };

typedef struct Source { uint64_t seed; char word[WORDS][WORD]; } Source;

static uint64_t next(Source *s)     /* xorshift64* */
{
    s->seed ^= s->seed >> 12;
    s->seed ^= s->seed << 25;
    s->seed ^= s->seed >> 27;
    return s->seed * UINT64_C(0x2545f4914f6cdd1d);
}

static void text(Source *s, char *out, size_t len)
{
    for (size_t n = 0; n < len;) {
        /* Few words make up most of a text. */
        uint64_t r = next(s);
        const char *w = s->word[(r & 0xfff) * (r >> 12 & 0xfff) * (r >> 24 & 0xfff) >> 24];
        while (*w && n < len)
            out[n++] = *w++;
        if (n < len)
            out[n++] = r >> 60 ? ' ' : '\n';
    }
}

static int make(const char *name, uint64_t bytes, int holes)
{
    static Source s = { .seed = UINT64_C(0x9e3779b97f4a7c15) };
    static char buf[REGION];
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || ftruncate(fd, (off_t)bytes))
        return perror(name), 1;
    for (unsigned i = 0; i < WORDS; i++) {
        unsigned len = 2 + (unsigned)(next(&s) % (WORD - 3));
        for (unsigned k = 0; k < len; k++)
            s.word[i][k] = (char)('a' + next(&s) % 26);
    }
    for (uint64_t at = 0, len; at < bytes; at += len) {
        len = 4096 << next(&s) % 11;
        if (len > bytes - at)
            len = bytes - at;
        unsigned kind = (unsigned)(next(&s) % (holes ? 10 : 7));
        if (kind < 4)
            text(&s, buf, len);
        else if (kind < 7)
            for (uint64_t k = 0, v; k + 8 <= len; k += 8)
                memcpy(buf + k, (v = next(&s), &v), 8);
        else if (kind < 8)
            memset(buf, 0, len);
        else
            continue;
        if (pwrite(fd, buf, len, (off_t)at) != (ssize_t)len)
            return perror(name), 1;
    }
    return close(fd) ? (perror(name), 1) : 0;
}

static int settle(char **names)
{
    for (; *names; names++) {
        int fd = open(*names, O_RDONLY);
        if (fd < 0 || fdatasync(fd))
            return perror(*names), 1;
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    return 0;
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static int64_t us(struct timeval t) { return t.tv_sec * INT64_C(1000000) + t.tv_usec; }

static int run(char **command)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    int64_t began = now_us();
    pid_t pid;
    int status, r = posix_spawnp(&pid, command[0], &actions, NULL, command, environ);
    struct rusage u;
    if (r)
        return fprintf(stderr, "%s: %s\n", command[0], strerror(r)), 1;
    if (wait4(pid, &status, 0, &u) != pid)
        return perror("wait4"), 1;
    printf("%" PRId64 " %" PRId64 " %ld\n", now_us() - began, us(u.ru_utime) + us(u.ru_stime), u.ru_maxrss);
    return !WIFEXITED(status) || WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "mix"))
        return make(argv[2], strtoull(argv[3], NULL, 10), 1);
    if (argc == 4 && !strcmp(argv[1], "full"))
        return make(argv[2], strtoull(argv[3], NULL, 10), 0);
    if (argc > 2 && !strcmp(argv[1], "settle"))
        return settle(argv + 2);
    if (argc > 2 && !strcmp(argv[1], "run"))
        return run(argv + 2);
    return fprintf(stderr, "see the head of tests/bench/img.c\n"), 2;
}
