/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the commands of rhea-img share.  Each runs in a coroutine; its result is the exit status. */
#ifndef TOOLS_IMG_IMG_H
#define TOOLS_IMG_IMG_H

#include <getopt.h>
#include <signal.h>
#include <stdio.h>

#include "block/block.h"
#include "util/error.h"

typedef struct Img {
    Aio        *aio;
    BlockGraph *graph;
    int         argc;           /* of the command: argv[0] is its name */
    char      **argv;
    bool        quiet, progress, json, image_opts, share;
    const char *cache, *format;
    volatile sig_atomic_t *interrupted, *asked;     /* asked: for the progress, by SIGUSR1 */
    uint64_t    shown_ns;
    Json       *keys;           /* img_keys(): for the next img_open() */
} Img;

typedef struct ImgCommand {
    const char *name;
    int (*fn)(Img *m);
    const char *usage;
    bool winds_up;              /* looks at `interrupted` */
} ImgCommand;

/* Says it on stderr and is 1. */
int img_error(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
int img_fail(GError *err);          /* the same with an error's text; frees it */
/* getopt_long with the options that several commands have (-q -p -U -f -t, --image-opts, --output, --help) done by
 * itself; -1: no more, '?': wrong (it has been said). */
int img_option(Img *m, const char *letters, const struct option *more);
/* filename, or the options it is with --image-opts.  cache: NULL is writeback. */
Block *img_open(Img *m, const char *filename, const char *format, const char *cache, unsigned flags, GError **err);
/* Closes; if result is 0 and closing fails, says so and is 1. */
int img_close(Block *b, int result);
/* "size=1G,cluster_size=4k" added to o. */
bool img_add_options(Json *o, const char *text, GError **err);
bool img_wants_help(const char *text);          /* -o help */
int img_list_options(const char *format);       /* of new images */
/* A snapshot as -l names it: "snapshot.id=ID,snapshot.name=NAME" or ID_OR_NAME; the read-only node shows it. */
bool img_show_snapshot(Block *b, const char *spec, GError **err);
/* Options with which the image that was made with options o is opened: its passwords. */
void img_keys(Img *m, Json *o);
/* The file at name was made by us and is no use: it goes, unless it is a device. */
void img_remove_output(const char *name);
void img_progress(Img *m, uint64_t done, uint64_t total);
void img_print_json(const Json *v);
bool img_parse_size(const char *text, uint64_t *out, GError **err);

int img_create(Img *m), img_info(Img *m), img_check(Img *m), img_resize(Img *m), img_snapshot(Img *m), img_amend(Img *m);
int img_convert(Img *m), img_compare(Img *m), img_map(Img *m), img_measure(Img *m), img_dd(Img *m), img_bench(Img *m);
int img_commit(Img *m), img_rebase(Img *m);
int img_bitmap(Img *m);
/* Whether the image's bitmaps can be copied; copies them; bytes that they take up in a new image, false: it has none. */
bool img_check_bitmaps(Block *from, bool skip_broken, GError **err);
bool img_copy_bitmaps(Block *from, Block *to, GError **err);
bool img_measure_bitmaps(Block *b, uint64_t cluster_size, uint64_t *out);

#endif
