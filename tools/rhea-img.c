/* SPDX-License-Identifier: GPL-2.0-or-later
 * rhea-img: makes, converts and looks after disk images.  Commands, options and output are qemu-img's. */
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "tools/img/img.h"
#include "util/log.h"

static const ImgCommand commands[] = {
    { "amend", img_amend, "[-f FMT] [-t CACHE] [--force] -o OPTIONS FILE" },
    { "bench", img_bench, "[-c COUNT] [-d DEPTH] [-f FMT] [-i AIO] [-n] [-o OFFSET] [-s SIZE] [-S STEP] [-t CACHE] [-w] [--flush-interval=N] [--no-drain] [--pattern=N] FILE" },
    { "bitmap", img_bitmap, "(--merge SOURCE | --add | --remove | --clear | --enable | --disable)... [-b SOURCE_FILE [-F FMT]] [-g GRANULARITY] [-f FMT] FILE BITMAP" },
    { "check", img_check, "[-f FMT] [--output=human|json] [-r leaks|all] FILE" },
    { "commit", img_commit, "[-f FMT] [-t CACHE] [-b BASE] [-d] [-r RATE] [-p] FILE", .winds_up = true },
    { "compare", img_compare, "[-f FMT] [-F FMT] [-T CACHE] [-s] FILE1 FILE2" },
    { "convert", img_convert, "[-f FMT] [-O FMT] [-o OPTIONS] [-B BACKING [-F FMT]] [-c] [-l SNAPSHOT] [-m N] [-n] [-S SPARSE] [-t CACHE] [-T CACHE] [-r RATE] [--bitmaps [--skip-broken-bitmaps]] FILE [FILE2 ...] OUTPUT", .winds_up = true },
    { "create", img_create, "[-f FMT] [-o OPTIONS] [-b BACKING -F FMT] [-u] FILE [SIZE]" },
    { "dd", img_dd, "[-f FMT] [-O FMT] [bs=N] [count=N] [skip=N] if=FILE of=FILE", .winds_up = true },
    { "info", img_info, "[-f FMT] [--output=human|json] [--backing-chain] FILE" },
    { "map", img_map, "[-f FMT] [--output=human|json] [-s OFFSET] [-l LENGTH] FILE" },
    { "measure", img_measure, "[-O FMT] [-o OPTIONS] [--output=human|json] --size N | [-f FMT] FILE" },
    { "rebase", img_rebase, "[-f FMT] [-t CACHE] [-u] -b BACKING [-F FMT] FILE", .winds_up = true },
    { "resize", img_resize, "[-f FMT] [--preallocation=HOW] [--shrink] FILE [+|-]SIZE" },
    { "snapshot", img_snapshot, "[-l | -a NAME | -c NAME | -d NAME] FILE" },
};

static volatile sig_atomic_t interrupted, asked;        /* a signal handler has nothing else to hang them off */

static void on_signal(int signal)
{
    if (signal == SIGUSR1)
        asked = 1;
    else
        interrupted = 1;
}

/* A command that winds up when it is interrupted has one signal's grace; others end at once, which no image minds. */
static void handle_signals(const ImgCommand *c)
{
    static const int ends[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction once = { .sa_handler = on_signal, .sa_flags = SA_RESETHAND }, always = { .sa_handler = on_signal };
    for (unsigned i = 0; i < G_N_ELEMENTS(ends) && c->winds_up; i++) {
        struct sigaction now;
        if (ends[i] != SIGHUP || (!sigaction(SIGHUP, NULL, &now) && now.sa_handler != SIG_IGN))        /* nohup */
            sigaction(ends[i], &once, NULL);
    }
    sigaction(SIGUSR1, &always, NULL);
}

static int help(void)
{
    printf("rhea-img version " RHEA_VERSION "\nusage: rhea-img COMMAND [-q] [-p] [-U] [--image-opts] [--object OBJECT] [OPTIONS]\n\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
        printf("  %-9s%s\n", commands[i].name, commands[i].usage);
    printf("\nSupported formats:");
    for (unsigned i = 0; block_driver_at(i); i++)
        printf(" %s", block_driver_name(block_driver_at(i)));
    printf("\nCache modes: none writeback writethrough directsync unsafe.  Sizes: bytes or with k M G T P E.\n");
    return 0;
}

typedef struct Run { const ImgCommand *command; Img img; int result; } Run;

static void run(void *self)
{
    Run *r = self;
    r->result = r->command->fn(&r->img);
}

int main(int argc, char **argv)
{
    log_set_program("rhea-img");
    if (argc < 2)
        return img_error("which command?  (rhea-img --help)");
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
        return help();
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))
        return printf("rhea-img version " RHEA_VERSION "\n") < 0;
    Run r = { .img = { .argc = argc - 1, .argv = argv + 1, .interrupted = &interrupted, .asked = &asked, .progress = isatty(1) } };
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
        if (!strcmp(commands[i].name, argv[1]))
            r.command = &commands[i];
    if (!r.command)
        return img_error("unknown command '%s' (rhea-img --help)", argv[1]);
    if (argc > 2 && (!strcmp(argv[2], "--help") || !strcmp(argv[2], "-h")))
        return printf("usage: rhea-img %s %s\n", argv[1], r.command->usage) < 0;
    handle_signals(r.command);
    GError *err = NULL;
    r.img.aio = aio_new(AIO_AUTO, &err);
    if (!r.img.aio)
        return img_fail(err);
    aio_set_patient(r.img.aio);
    r.img.graph = block_graph_new(r.img.aio);
    aio_run(r.img.aio, run, &r);
    /* An error may leave nodes open; the process ends here, and nothing of theirs is written. */
    fflush(stdout);
    return r.result;
}
