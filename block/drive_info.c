/* SPDX-License-Identifier: GPL-2.0-or-later
 * Drives in words: info block, info blockstats (as QEMU prints them), and a graph as JSON. */
#include "block/drive_int.h"

#include <string.h>

#include "util/error.h"

/* --- info block */

static const char *node_name(const Block *b) { return b->node_name; }

/* Names of images are those of their files; the file of a -snapshot overlay has none any more. */
static void print_medium(const Block *b, GString *out)
{
    g_string_append_printf(out, ": %s (%s%s)\n", b->filename, b->drv->name, b->flags & BLOCK_RDWR ? "" : ", read-only");
}

static void print_node_facts(const Drive *v, Block *b, GString *out)
{
    const Block *root = v ? v->root : b;
    g_string_append_printf(out, "    Cache mode:       %s%s%s\n", b->flags & BLOCK_WRITETHROUGH ? "writethrough" : "writeback",
                           b->flags & BLOCK_DIRECT ? ", direct" : "", b->flags & BLOCK_NO_FLUSH ? ", ignore flushes" : "");
    unsigned depth = 0;
    for (const Block *n = b->backing; n; n = n->backing)
        depth++;
    if (depth)
        g_string_append_printf(out, "    Backing file:     %s (chain depth: %u)\n",
                               b->backing_name ? b->backing_name : b->backing->filename, depth);
    if (b->detect_zeroes)
        g_string_append_printf(out, "    Detect zeroes:    %s\n", b->flags & BLOCK_UNMAP ? "unmap" : "on");
    if (root->drv == &block_throttle_driver) {
        g_string_append(out, "    I/O throttling:   ");
        throttle_group_print(throttle_node_group(root), out);
        g_string_append_c(out, '\n');
    }
}

static int print_image(Block *b, GString *out)
{
    BlockInfo i;
    GPtrArray *snapshots = NULL;
    int r = block_info(b, &i);
    if (!r) {
        block_snapshot_list(b, &snapshots, NULL);
        block_info_text(b, &i, snapshots, out);
        if (snapshots)
            g_ptr_array_free(snapshots, TRUE);
    }
    json_free(i.specific);
    return r;
}

typedef struct Printing { Block *b; GString *out; int result; } Printing;

static void print_images(void *self)
{
    Printing *p = self;
    g_string_append(p->out, "\nImages:\n");
    for (Block *n = p->b; n && !p->result; n = n->backing)
        p->result = print_image(n, p->out);
}

static bool print_verbose(Drives *d, Block *b, GString *out, GError **err)
{
    Printing p = { .b = b, .out = out };
    aio_run(d->aio, print_images, &p);
    return !p.result || fail_errno(err, -p.result, "%s", b->filename);
}

static bool print_drive(Drives *d, const Drive *v, bool verbose, GString *out, GError **err)
{
    g_string_append_printf(out, "%s", v->id);
    if (!v->root) {
        g_string_append(out, ": [not inserted]\n    Removable device: not locked, tray closed\n");
        return true;
    }
    if (strcmp(v->id, node_name(v->node)))
        g_string_append_printf(out, " (%s)", node_name(v->node));
    print_medium(v->node, out);
    if (!v->user || v->media == DRIVE_CDROM)
        g_string_append(out, "    Removable device: not locked, tray closed\n");
    print_node_facts(v, v->node, out);
    return !verbose || print_verbose(d, v->node, out, err);
}

static bool print_node(Drives *d, Block *b, bool verbose, GString *out, GError **err)
{
    g_string_append(out, node_name(b));
    print_medium(b, out);
    print_node_facts(NULL, b, out);
    return !verbose || print_verbose(d, b, out, err);
}

bool drives_info(Drives *d, const char *name, bool nodes, bool verbose, GString *out, GError **err)
{
    size_t before = out->len;
    for (unsigned i = 0; !nodes && i < d->drives->len; i++) {
        const Drive *v = d->drives->pdata[i];
        if (name && strcmp(name, v->id))
            continue;
        if (out->len != before)
            g_string_append_c(out, '\n');
        if (!print_drive(d, v, verbose, out, err))
            return false;
    }
    Block *b = name && d->graph && out->len == before ? block_node(d->graph, name) : NULL;
    if (b)
        return print_node(d, b, verbose, out, err);
    if (name)
        return out->len != before || fail(err, "there is no drive and no node '%s'", name);
    /* The newest first: each image stands before what it is made of. */
    unsigned n = 0;
    while (nodes && d->graph && block_node_at(d->graph, n))
        n++;
    while (n--) {
        if (out->len != before)
            g_string_append_c(out, '\n');
        if (!print_node(d, block_node_at(d->graph, n), verbose, out, err))
            return false;
    }
    return true;
}

void drives_stats(Drives *d, GString *out)
{
    for (unsigned i = 0; i < d->drives->len; i++) {
        const Drive *v = d->drives->pdata[i];
        BlockStats s = v->root ? block_stats(v->root) : (BlockStats){ 0 };
        g_string_append_printf(out, "%s: rd_bytes=%" PRIu64 " wr_bytes=%" PRIu64 " rd_operations=%" PRIu64 " wr_operations=%" PRIu64
                               " flush_operations=%" PRIu64 " wr_total_time_ns=%" PRIu64 " rd_total_time_ns=%" PRIu64
                               " flush_total_time_ns=%" PRIu64 " rd_merged=0 wr_merged=0 idle_time_ns=%" PRIu64 "\n",
                               v->id, s.read_bytes, s.written_bytes, s.reads, s.writes, s.flushes, s.write_ns, s.read_ns,
                               s.flush_ns, s.last_ns ? block_now_ns() - s.last_ns : 0);
    }
}

/* --- as JSON */

static Json *describe_node(const Block *b)
{
    Json *o = json_object();
    json_set(o, "driver", json_string(b->drv->name));
    if (*b->node_name != '#')
        json_set(o, "node-name", json_string(b->node_name));
    if (b->drv->kind == BLOCK_KIND_PROTOCOL) {
        const char *slash = g_path_is_absolute(b->filename) ? strrchr(b->filename, '/') : NULL;
        json_set(o, "filename", json_string(slash ? slash + 1 : b->filename));
    }
    static const struct { unsigned flag; const char *name; } flags[] = {
        { BLOCK_DIRECT, "direct" }, { BLOCK_NO_FLUSH, "no-flush" }, { BLOCK_WRITETHROUGH, "writethrough" }, { BLOCK_UNMAP, "unmap" },
        { BLOCK_SHARE, "share" },
    };
    if (!(b->flags & BLOCK_RDWR))
        json_set(o, "read-only", json_bool(true));
    for (unsigned i = 0; i < G_N_ELEMENTS(flags); i++)
        if (b->flags & flags[i].flag)
            json_set(o, flags[i].name, json_bool(true));
    if (b->detect_zeroes)
        json_set(o, "detect-zeroes", json_bool(true));
    if (b->drv == &block_throttle_driver) {
        g_autoptr(GString) s = g_string_new(NULL);
        throttle_group_print(throttle_node_group(b), s);
        json_set(o, "limits", json_string(s->str));
    }
    if (b->file)
        json_set(o, "file", describe_node(b->file));
    if (b->backing)
        json_set(o, "backing", describe_node(b->backing));
    return o;
}

Json *drive_describe(const Drive *v)
{
    Json *o = json_object();
    json_set(o, "id", json_string(v->id));
    json_set(o, "if", json_string(drive_if_name(v->interface)));
    json_set(o, "bus", json_u64(v->bus));
    json_set(o, "unit", json_u64(v->unit));
    if (v->media == DRIVE_CDROM)
        json_set(o, "media", json_string("cdrom"));
    json_set(o, "rerror", json_string(drive_on_error_name(v->rerror)));
    json_set(o, "werror", json_string(drive_on_error_name(v->werror)));
    if (v->serial)
        json_set(o, "serial", json_string(v->serial));
    json_set(o, "root", v->root ? describe_node(v->root) : json_null());
    return o;
}
