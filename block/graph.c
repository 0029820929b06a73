/* SPDX-License-Identifier: GPL-2.0-or-later
 * Names and options to nodes: drivers, filenames, probing, children, backing chains.
 *
 * Probing trusts nobody: a raw image that nobody called raw refuses writes that would make it look like another
 * format (block/raw.c), and an image whose format had to be guessed on the way down a chain may not name further
 * files, since a guest that could write its head would then choose files of the host. */
#include "block/bitmap.h"
#include "block/driver.h"
#include "block/nbd/tls.h"
#include "block/object.h"
#include "block/throttle.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/bits.h"
#include "util/error.h"
#include "util/options.h"

enum { MAX_DEPTH = 200 };       /* of backing chains */

struct BlockGraph { Aio *aio; GPtrArray *nodes, *objects, *jobs; unsigned counter, draining; };

static const BlockDriver *const drivers[] = {
    &block_raw_driver, &block_qcow2_driver, &block_file_driver, &block_host_device_driver,
    &block_null_co_driver, &block_null_aio_driver, &block_fault_driver, &block_qcow_driver, &block_qed_driver,
    &block_vdi_driver, &block_vpc_driver, &block_parallels_driver, &block_bochs_driver, &block_cloop_driver,
    &block_vmdk_driver, &block_vhdx_driver, &block_nbd_driver, &block_http_driver, &block_https_driver, &block_ftp_driver,
    &block_ftps_driver, &block_throttle_driver, &block_copy_on_read_driver, &block_copy_before_write_driver, &block_dmg_driver, &block_vvfat_driver,
    &block_luks_driver, &block_host_cdrom_driver,
};

void block_draining_begin(BlockGraph *g) { g->draining++; }
void block_draining_end(BlockGraph *g) { g->draining--; }
bool block_draining(const BlockGraph *g) { return g->draining; }

const BlockDriver *block_driver(const char *name)
{
    for (unsigned i = 0; i < ARRAY_LEN(drivers); i++)
        if (!strcmp(drivers[i]->name, name))
            return drivers[i];
    return NULL;
}
const BlockDriver *block_driver_at(unsigned i) { return i < ARRAY_LEN(drivers) ? drivers[i] : NULL; }
const char *block_driver_name(const BlockDriver *d) { return d->name; }
bool block_driver_is_format(const BlockDriver *d) { return d->kind == BLOCK_KIND_FORMAT; }
const BlockOption *block_driver_options(const BlockDriver *d)
{
    return d->maker && d->maker->co_create ? d->maker->options : NULL;
}

const BlockOption *block_driver_amend_options(const BlockDriver *d) { return d->maker ? d->maker->amend_options : NULL; }

bool block_create(BlockGraph *g, const BlockDriver *d, const char *filename, Json *options, GError **err)
{
    if (!d->maker || !d->maker->co_create)
        return fail(err, "format '%s' cannot be created", d->name);
    return d->maker->co_create(g, filename, options, err) && block_opt_done(options, d->name, err);
}

bool block_measure(const BlockDriver *d, Json *options, uint64_t size, uint64_t data, uint64_t *required,
                   uint64_t *full, GError **err)
{
    if (!d->maker || !d->maker->measure)
        return fail(err, "format '%s' cannot be measured", d->name);
    return d->maker->measure(options, size, data, required, full, err) && block_opt_done(options, d->name, err);
}

BlockGraph *block_graph_new(Aio *aio)
{
    BlockGraph *g = g_new0(BlockGraph, 1);
    g->aio = aio;
    g->nodes = g_ptr_array_new();
    g->objects = g_ptr_array_new();
    g->jobs = g_ptr_array_new();
    return g;
}

void block_graph_free(BlockGraph *g)
{
    assert(!g->nodes->len && !g->jobs->len);
    g_ptr_array_free(g->jobs, TRUE);
    g_ptr_array_free(g->nodes, TRUE);
    block_objects_free(g->objects);
    g_free(g);
}

GPtrArray *block_objects(BlockGraph *g) { return g->objects; }

ThrottleGroup *block_throttle_group(BlockGraph *g, const char *id, GError **err)
{
    ThrottleGroup *t = block_object(g, OBJECT_THROTTLE_GROUP, id);
    if (!t)
        fail(err, "there is no throttle group '%s' (--object throttle-group,id=%s,limits.bps-total=...)", id, id);
    return t;
}

const NbdCreds *block_creds(BlockGraph *g, const char *id, GError **err)
{
    const NbdCreds *c = block_object(g, OBJECT_TLS_CREDS, id);
    if (!c)
        fail(err, "there is no TLS credentials object '%s' (--object tls-creds-x509,id=%s,...)", id, id);
    return c;
}

Aio *block_graph_aio(BlockGraph *g) { return g->aio; }
GPtrArray *block_nodes(BlockGraph *g) { return g->nodes; }
GPtrArray *block_jobs(BlockGraph *g) { return g->jobs; }

Block *block_node_at(BlockGraph *g, unsigned i) { return i < g->nodes->len ? g->nodes->pdata[i] : NULL; }

Block *block_node(BlockGraph *g, const char *node_name)
{
    for (unsigned i = 0; i < g->nodes->len; i++) {
        Block *b = g->nodes->pdata[i];
        if (b->node_name && !strcmp(b->node_name, node_name))
            return b;
    }
    return NULL;
}

bool block_parse_cache(const char *mode, unsigned *flags, GError **err)
{
    static const struct { const char *name; unsigned flags; } modes[] = {
        { "writeback", 0 }, { "none", BLOCK_DIRECT }, { "off", BLOCK_DIRECT }, { "writethrough", BLOCK_WRITETHROUGH },
        { "directsync", BLOCK_DIRECT | BLOCK_WRITETHROUGH }, { "unsafe", BLOCK_NO_FLUSH },
    };
    for (unsigned i = 0; i < ARRAY_LEN(modes); i++)
        if (!strcmp(modes[i].name, mode)) {
            *flags = (*flags & ~(unsigned)(BLOCK_DIRECT | BLOCK_WRITETHROUGH | BLOCK_NO_FLUSH)) | modes[i].flags;
            return true;
        }
    return fail(err, "cache mode '%s' is none of none, writeback, writethrough, directsync, unsafe", mode);
}

bool block_parse_aio(const char *engine, unsigned *flags, GError **err)
{
    static const struct { const char *name; unsigned flag; } engines[] = {
        { "threads", BLOCK_AIO_THREADS }, { "native", BLOCK_AIO_NATIVE }, { "io_uring", BLOCK_AIO_URING },
    };
    for (unsigned i = 0; i < ARRAY_LEN(engines); i++)
        if (!strcmp(engines[i].name, engine)) {
            *flags = (*flags & ~(unsigned)BLOCK_AIO) | engines[i].flag;
            return true;
        }
    return fail(err, "aio '%s' is none of threads, native, io_uring", engine);
}

bool block_parse_prealloc(const char *text, BlockPrealloc *out, GError **err)
{
    static const char *const names[] = { "off", "metadata", "falloc", "full" };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(names[i], text)) {
            *out = (BlockPrealloc)i;
            return true;
        }
    return fail(err, "preallocation '%s' is none of off, metadata, falloc, full", text);
}

/* --- options */

bool block_opt_string(Json *o, const char *key, const char **out, GError **err)
{
    Json *v = json_get(o, key);
    if (!v)
        return true;
    v->seen = true;
    if (v->type != JSON_STRING)
        return fail(err, "option '%s' must be a string", key);
    *out = v->string;
    return true;
}

bool block_opt_bool(Json *o, const char *key, bool *out, GError **err)
{
    Json *v = json_get(o, key);
    if (!v)
        return true;
    v->seen = true;
    if (v->type == JSON_STRING)
        return parse_bool(key, v->string, out, err);
    if (v->type != JSON_BOOL)
        return fail(err, "option '%s' must be on or off", key);
    *out = v->boolean;
    return true;
}

static bool opt_number(Json *o, const char *key, uint64_t max, bool size, uint64_t *out, GError **err)
{
    Json *v = json_get(o, key);
    if (!v)
        return true;
    v->seen = true;
    if (v->type == JSON_STRING)
        return size ? parse_size(key, v->string, 1, out, err) : parse_u64(key, v->string, 0, max, out, err);
    if (v->type != JSON_INT || (v->integer < 0 && !v->is_unsigned) || (uint64_t)v->integer > max)
        return fail(err, "option '%s' must be a number up to %" PRIu64, key, max);
    *out = (uint64_t)v->integer;
    return true;
}

bool block_opt_u64(Json *o, const char *key, uint64_t max, uint64_t *out, GError **err)
{
    return opt_number(o, key, max, false, out, err);
}
bool block_opt_size(Json *o, const char *key, uint64_t *out, GError **err)
{
    return opt_number(o, key, INT64_MAX, true, out, err);
}

bool block_opt_done(Json *o, const char *what, GError **err)
{
    for (unsigned i = 0; i < json_count(o); i++)
        if (!json_item(o, i)->seen)
            return fail(err, "%s: unknown option '%s'", what, (char *)o->keys->pdata[i]);
    return true;
}

/* --- filenames */

char *block_path_beside(const char *over, const char *name)
{
    const char *colon = strchr(name, ':'), *slash = strchr(name, '/');
    if (*name == '/' || (colon && (!slash || colon < slash)))
        return g_strdup(name);      /* absolute, or PROTOCOL: */
    if (g_str_has_prefix(over, "file:"))
        over += 5;
    const char *last = strrchr(over, '/');
    return last ? g_strdup_printf("%.*s%s", (int)(last - over + 1), over, name) : g_strdup(name);
}

/* "file:a" and the like, as members of o. */
static bool parse_filename(const char *filename, Json *o, GError **err)
{
    for (unsigned i = 0; i < ARRAY_LEN(drivers); i++) {
        const BlockDriver *d = drivers[i];
        for (unsigned k = 0; k < ARRAY_LEN(d->prefixes) && d->prefixes[k]; k++) {
            if (!g_str_has_prefix(filename, d->prefixes[k]))
                continue;
            if (!json_get(o, "driver"))
                json_set(o, "driver", json_string(d->name));
            return d->parse_filename(d->prefixes[k], filename + strlen(d->prefixes[k]), o, err);
        }
    }
    /* "c:\..." is nothing here; a colon before any slash names a protocol that we do not have. */
    const char *colon = strchr(filename, ':'), *slash = strchr(filename, '/');
    if (colon && (!slash || colon < slash))
        return fail(err, "unknown protocol '%.*s' (a file of this name: \"./%s\")", (int)(colon - filename), filename,
                    filename);
    json_set(o, "filename", json_string(filename));
    return true;
}

/* Members of more that o does not have. */
static void merge(Json *o, Json *more)
{
    for (unsigned i = 0; i < json_count(more); i++)
        if (!json_get(o, more->keys->pdata[i]))
            json_set(o, more->keys->pdata[i], json_copy(json_item(more, i)));
}

/* --- nodes */

void block_ref(Block *b) { b->refs++; }

static void node_free(Block *b)
{
    while (b->bitmaps)
        block_bitmap_free(b->bitmaps);
    g_ptr_array_remove(b->graph->nodes, b);
    for (unsigned i = 0; i < b->graph->nodes->len; i++) {
        Block *n = b->graph->nodes->pdata[i];
        if (n->writer == b)
            n->writer = NULL;
    }
    json_free(b->options);
    g_free(b->state);
    g_free(b->node_name);
    g_free(b->filename);
    g_free(b->backing_name);
    g_free(b->backing_format);
    g_free(b);
}

int block_close(Block *b)
{
    assert(b->refs);
    if (--b->refs)
        return 0;
    b->refs = 1;            /* while requests that are under way end */
    block_draining_begin(b->graph);
    while (b->in_flight)
        co_queue_wait(&b->idle);
    int r = b->opened ? block_flush(b) : 0;
    if (b->drv->co_close && b->begun) {
        int close_result = b->drv->co_close(b);
        if (!r)
            r = close_result;
    }
    Block *below[] = { b->backing, b->data, b->file };
    for (unsigned i = 0; i < ARRAY_LEN(below); i++) {
        int below_result = below[i] ? block_close(below[i]) : 0;
        if (!r)
            r = below_result;
    }
    block_draining_end(b->graph);
    node_free(b);
    return r;
}

static bool common_options(Block *b, GError **err)
{
    Json *o = b->options;
    bool read_only = !(b->flags & BLOCK_RDWR), direct = b->flags & BLOCK_DIRECT, share = b->flags & BLOCK_SHARE;
    bool no_flush = b->flags & BLOCK_NO_FLUSH, auto_ro = false;
    const char *name = NULL, *discard = NULL, *zeroes = "off", *driver;
    Json *cache = json_get(o, "cache");
    bool unsaid = !json_get(o, "read-only");
    if (!block_opt_string(o, "node-name", &name, err) || !block_opt_string(o, "driver", &driver, err) ||
        !block_opt_bool(o, "read-only", &read_only, err) || !block_opt_bool(o, "auto-read-only", &auto_ro, err) ||
        !block_opt_bool(o, "force-share", &share, err) || !block_opt_string(o, "discard", &discard, err) ||
        !block_opt_string(o, "detect-zeroes", &zeroes, err))
        return false;
    b->auto_read_only = auto_ro && unsaid && (b->flags & BLOCK_UNUSED);
    read_only |= b->auto_read_only;
    if (cache) {
        cache->seen = true;
        if (cache->type != JSON_OBJECT)
            return fail(err, "option 'cache' must be an object");
        if (!block_opt_bool(cache, "direct", &direct, err) || !block_opt_bool(cache, "no-flush", &no_flush, err) ||
            !block_opt_done(cache, "cache", err))
            return false;
    }
    if (discard && strcmp(discard, "unmap") && strcmp(discard, "on") && strcmp(discard, "ignore") &&
        strcmp(discard, "off"))
        return fail(err, "discard '%s' is neither unmap nor ignore", discard);
    if (strcmp(zeroes, "off") && strcmp(zeroes, "on") && strcmp(zeroes, "unmap"))
        return fail(err, "detect-zeroes '%s' is none of off, on, unmap", zeroes);
    if (!strcmp(zeroes, "unmap") && !(discard && (!strcmp(discard, "unmap") || !strcmp(discard, "on"))))
        return fail(err, "detect-zeroes=unmap needs discard=unmap");
    if (!strcmp(zeroes, "unmap") || (discard && (!strcmp(discard, "unmap") || !strcmp(discard, "on"))))
        b->flags |= BLOCK_UNMAP;
    else if (discard)
        b->flags &= ~(unsigned)BLOCK_UNMAP;
    b->detect_zeroes = strcmp(zeroes, "off") != 0;
    const struct { bool on; unsigned flag; } set[] = {
        { !read_only, BLOCK_RDWR }, { direct, BLOCK_DIRECT }, { no_flush, BLOCK_NO_FLUSH }, { share, BLOCK_SHARE },
    };
    for (unsigned i = 0; i < ARRAY_LEN(set); i++)
        b->flags = set[i].on ? b->flags | set[i].flag : b->flags & ~set[i].flag;
    if (share && !read_only)
        return fail(err, "force-share goes with read-only");
    if (name) {
        if (!*name || strlen(name) > 31 || !g_ascii_isalpha(*name))
            return fail(err, "node name '%s' does not start with a letter or is longer than 31 characters", name);
        if (block_node(b->graph, name))
            return fail(err, "there is a node '%s' already", name);
        b->node_name = g_strdup(name);
    } else {
        b->node_name = g_strdup_printf("#block%u", b->graph->counter++);
    }
    return true;
}

static Block *open_below(BlockGraph *g, const char *filename, Json *options, unsigned flags, unsigned depth,
                         bool chained, GError **err);

Block *block_open_child(Block *b, const char *key, unsigned flags, bool needed, GError **err)
{
    Json *v = json_get(b->options, key);
    if (!v) {
        if (needed)
            fail(err, "%s: option '%s' is missing", b->drv->name, key);
        return NULL;
    }
    v->seen = true;
    if (v->type == JSON_STRING) {
        Block *child = block_node(b->graph, v->string);
        if (!child) {
            fail(err, "there is no node '%s'", v->string);
            return NULL;
        }
        if (flags & BLOCK_RDWR) {
            if (child->auto_read_only && !block_set_writable(child, true, err))
                return NULL;
            if (!(child->flags & BLOCK_RDWR)) {
                fail(err, "node '%s' is read-only", v->string);
                return NULL;
            }
            if (child->writer) {
                fail(err, "node '%s' is changed by node '%s' already", v->string, child->writer->node_name);
                return NULL;
            }
            if (b->drv->kind == BLOCK_KIND_FORMAT && b->drv != &block_raw_driver)
                child->writer = b;
        }
        block_ref(child);
        return child;
    }
    if (v->type != JSON_OBJECT) {
        fail(err, "option '%s' must be an object or the name of a node", key);
        return NULL;
    }
    return open_below(b->graph, NULL, json_copy(v), flags | (b->flags & (BLOCK_INHERIT | BLOCK_UNMAP)), b->depth + 1,
                      false, err);
}

static bool open_backing(Block *b, GError **err)
{
    Json *v = json_get(b->options, "backing");
    if (v)
        v->seen = true;
    if (b->flags & BLOCK_NO_BACKING)
        return true;
    if (v && v->type == JSON_NULL)
        return true;
    /* Options for the backing file that the image names: a key, say. */
    Json *driver = v && v->type == JSON_OBJECT ? json_get(v, "driver") : NULL;
    const BlockDriver *d = driver && driver->type == JSON_STRING ? block_driver(driver->string) : NULL;
    if (v && v->type == JSON_OBJECT && b->backing_name && !json_get(v, "file") && !json_get(v, "filename") &&
        (!driver || (d && d->kind == BLOCK_KIND_FORMAT))) {
        Json *o = json_copy(v);
        if (b->backing_format && !json_get(o, "driver"))
            json_set(o, "driver", json_string(b->backing_format));
        g_autofree char *path = block_path_beside(b->filename, b->backing_name);
        b->backing = open_below(b->graph, path, o, b->flags & BLOCK_INHERIT, b->depth + 1, !json_get(o, "driver"), err);
        return b->backing ? true : fail_prefix(err, "backing file '%s' of %s: ", path, b->filename);
    }
    if (v && !(v->type == JSON_STRING && !*v->string)) {
        b->backing = block_open_child(b, "backing", 0, true, err);
        return b->backing;
    }
    if (v || !b->backing_name)
        return true;
    Json *o = json_object();
    if (b->backing_format)
        json_set(o, "driver", json_string(b->backing_format));
    g_autofree char *path = block_path_beside(b->filename, b->backing_name);
    b->backing = open_below(b->graph, path, o, b->flags & BLOCK_INHERIT, b->depth + 1, !b->backing_format, err);
    return b->backing ? true : fail_prefix(err, "backing file '%s' of %s: ", path, b->filename);
}

/* file: taken, NULL for protocols; it may be that the driver opens its own. */
static Block *node_open(BlockGraph *g, const BlockDriver *d, Json *options, Block *file, unsigned flags,
                        unsigned depth, bool untrusted, GError **err)
{
    Block *b = g_new0(Block, 1);
    b->drv = d;
    b->state = g_malloc0(MAX(d->size, 1));
    b->graph = g;
    b->aio = g->aio;
    b->options = options;
    b->file = file;
    b->flags = flags;
    b->refs = 1;
    b->depth = depth;
    b->trusted_format = !untrusted;
    g_ptr_array_add(g->nodes, b);
    b->filename = g_strdup(file ? file->filename : "");
    bool ok = common_options(b, err);
    b->flags &= ~(unsigned)BLOCK_UNUSED;
    if (ok && d->kind != BLOCK_KIND_PROTOCOL && !b->file) {
        b->file = block_open_child(b, "file", (b->flags & BLOCK_RDWR) |
                                   (d->kind == BLOCK_KIND_FORMAT ? BLOCK_PROTOCOL : 0), true, err);
        ok = b->file;
        if (ok) {
            g_free(b->filename);
            b->filename = g_strdup(b->file->filename);
        }
    }
    if (ok && b->file && (b->flags & BLOCK_RDWR) && !(b->file->flags & BLOCK_RDWR)) {
        if (b->flags & BLOCK_MAY_READ_ONLY)
            b->flags &= ~(unsigned)BLOCK_RDWR;
        else
            ok = fail(err, "%s is read-only", b->file->filename);
    }
    b->begun = ok;
    ok = ok && d->co_open(b, err);
    b->align = MAX(b->align, 1);
    b->mem_align = MAX(b->mem_align, 1);
    if (ok && untrusted && (b->backing_name || b->data))
        ok = fail(err, "%s names further files, but the image above does not record its format ('rebase -u -F %s' "
                  "records it)", b->filename, d->name);
    ok = ok && open_backing(b, err) && (!b->backing || !d->co_parent || d->co_parent(b, err)) && block_opt_done(b->options, d->name, err);
    if (!ok) {
        /* Closed without writing anything. */
        block_close(b);
        return NULL;
    }
    b->opened = true;
    return b;
}

int block_probe(const uint8_t *head, size_t n, const BlockDriver **out)
{
    int best = 0;
    *out = &block_raw_driver;
    for (unsigned i = 0; i < ARRAY_LEN(drivers); i++) {
        int score = drivers[i]->probe ? drivers[i]->probe(head, n) : 0;
        if (score > best) {
            best = score;
            *out = drivers[i];
        }
    }
    return best;
}

/* chained: nobody said what format this is, and it is not what the user named. */
static Block *open_below(BlockGraph *g, const char *filename, Json *o, unsigned flags, unsigned depth, bool chained,
                         GError **err)
{
    const char *driver = NULL;
    if (depth > MAX_DEPTH) {
        json_free(o);
        fail(err, "more than %d images below each other (a loop?)", MAX_DEPTH);
        return NULL;
    }
    if (filename && g_str_has_prefix(filename, "json:")) {
        Json *more = json_parse(filename + 5, strlen(filename) - 5, err);
        if (more && more->type != JSON_OBJECT) {
            json_free(more);
            more = NULL;
            fail(err, "json: is followed by something other than an object");
        }
        if (!more) {
            json_free(o);
            return NULL;
        }
        merge(o, more);
        json_free(more);
        filename = NULL;
    }
    if (!block_opt_string(o, "driver", &driver, err)) {
        json_free(o);
        return NULL;
    }
    const BlockDriver *d = driver ? block_driver(driver) : NULL;
    if (driver && !d) {
        fail(err, "unknown driver '%s'", driver);
        json_free(o);
        return NULL;
    }
    Json *name = filename || (d && d->kind == BLOCK_KIND_PROTOCOL) ? NULL : json_take(o, "filename");
    if (name && name->type == JSON_STRING)
        filename = name->string;
    Block *b = NULL;
    if (d ? d->kind == BLOCK_KIND_PROTOCOL : (flags & BLOCK_PROTOCOL) != 0) {
        bool ok = true;
        if (filename) {
            g_autofree char *copy = g_strdup(filename);
            ok = parse_filename(copy, o, err);
        }
        if (ok && !d) {
            Json *prefixed = json_get(o, "driver");
            d = prefixed ? block_driver(prefixed->string) : &block_file_driver;
        }
        if (ok)
            b = node_open(g, d, o, NULL, flags, depth, false, err);
        else
            json_free(o);
        json_free(name);
        return b;
    }
    /* A format: the protocol node first, unless the options describe it. */
    Block *file = NULL;
    if (filename) {
        if (json_get(o, "file")) {
            fail(err, "both a filename and option 'file'");
            goto failed;
        }
        file = open_below(g, filename, json_object(),
                          (flags & (BLOCK_INHERIT | BLOCK_RDWR | BLOCK_UNMAP)) | BLOCK_PROTOCOL, depth, false, err);
        if (!file)
            goto failed;
    }
    if (!d) {
        if (!file) {
            /* "file" may be an object that says all, without the format: probe it. */
            Json *below = json_get(o, "file");
            if (!below) {
                fail(err, "neither a filename nor a driver");
                goto failed;
            }
            if (below->type == JSON_STRING) {
                file = block_node(g, below->string);
                if (file)
                    block_ref(file);
                else
                    fail(err, "there is no node '%s'", below->string);
            } else if (below->type == JSON_OBJECT) {
                file = open_below(g, NULL, json_copy(below),
                                  (flags & (BLOCK_INHERIT | BLOCK_RDWR | BLOCK_UNMAP)) | BLOCK_PROTOCOL, depth, false, err);
            } else {
                fail(err, "option 'file' must be an object or the name of a node");
            }
            if (!file)
                goto failed;
            json_drop(o, "file");
        }
        g_autofree uint8_t *head = g_malloc0(BLOCK_PROBE_SIZE);
        size_t n = MIN(BLOCK_PROBE_SIZE, file->length);
        int r = block_read(file, 0, head, n);
        if (r) {
            fail_errno(err, -r, "cannot read %s", file->filename);
            block_close(file);
            goto failed;
        }
        block_probe(head, n, &d);
        b = node_open(g, d, o, file, flags & ~(unsigned)BLOCK_PROTOCOL, depth, chained, err);
        if (b && d == &block_raw_driver)
            b->probed = true;
    } else {
        b = node_open(g, d, o, file, flags & ~(unsigned)BLOCK_PROTOCOL, depth, false, err);
    }
    json_free(name);
    return b;
failed:
    json_free(name);
    json_free(o);
    return NULL;
}

Block *block_open(BlockGraph *g, const char *filename, Json *options, unsigned flags, GError **err)
{
    return open_below(g, filename, options ? options : json_object(), flags, 0, false, err);
}

Block *block_open_driver(BlockGraph *g, const BlockDriver *d, Json *options, unsigned flags, GError **err)
{
    return node_open(g, d, options, NULL, flags, 0, false, err);
}
