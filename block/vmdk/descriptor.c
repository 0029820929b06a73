/* SPDX-License-Identifier: GPL-2.0-or-later
 * VMware disks: the text descriptor, and making disks. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/vmdk/vmdk_int.h"
#include "util/bits.h"
#include "util/error.h"

enum { MAX_EXTENTS = 4096 };
#define SPLIT_SECTORS (UINT64_C(0x80000000) / 512)

/* The value of `key` in the descriptor, without quotes; NULL: no such line.  *at: where it stands. */
static char *value_of(const char *text, const char *key, size_t *at)
{
    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        while (*line == ' ' || *line == '\t')
            line++;
        size_t n = strlen(key);
        if (strncmp(line, key, n))
            continue;
        const char *p = line + n + strspn(line + n, " \t");
        if (*p++ != '=')
            continue;
        p += strspn(p, " \t");
        bool quoted = *p == '"';
        p += quoted;
        if (at)
            *at = (size_t)(p - text);
        return g_strndup(p, strcspn(p, quoted ? "\"\r\n" : " \t\r\n"));
    }
    return NULL;
}

static bool parse_cid(Block *b, const char *key, uint32_t missing, uint32_t *out, GError **err)
{
    Vmdk *d = b->state;
    g_autofree char *text = value_of(d->descriptor, key, NULL);
    char *end;
    *out = missing;
    if (!text)
        return true;
    unsigned long v = strtoul(text, &end, 16);
    *out = (uint32_t)v;
    return (*text && !*end && v <= UINT32_MAX) || fail(err, "%s: %s is '%s'", b->filename, key, text);
}

bool vmdk_descriptor_parse(Block *b, GError **err)
{
    Vmdk *d = b->state;
    d->create_type = value_of(d->descriptor, "createType", NULL);
    if (!d->create_type)
        return fail(err, "%s: the descriptor has no createType", b->filename);
    if (!parse_cid(b, "CID", 0, &d->cid, err) || !parse_cid(b, "parentCID", NO_PARENT, &d->parent_cid, err))
        return false;
    if (d->parent_cid != NO_PARENT) {
        b->backing_name = value_of(d->descriptor, "parentFileNameHint", NULL);
        b->backing_format = g_strdup("vmdk");
        if (!b->backing_name || !*b->backing_name)
            return fail(err, "%s: the descriptor does not name the parent", b->filename);
    }
    return true;
}

/* A changed disk gets a new content ID: children that were made of the old content notice. */
int vmdk_new_cid(Block *b)
{
    Vmdk *d = b->state;
    size_t at;
    if (d->cid_new || !d->descriptor)
        return 0;
    g_autofree char *old = value_of(d->descriptor, "CID", &at);
    uint8_t random[16];
    char text[9];
    if (!old || strlen(old) != 8)
        return 0;
    block_make_uuid(random);
    memcpy(&d->cid, random, 4);
    d->cid &= 0x7fffffff;
    snprintf(text, sizeof text, "%08x", d->cid);
    memcpy(d->descriptor + at, text, 8);
    d->cid_new = true;
    return d->is_extent ? meta_write(&d->s.meta, d->descriptor_at + at, text, 8, 0)
                        : block_write(b->file, at, text, 8, 0);
}

/* --- extents */

static Block *open_extent(Block *b, const char *kind, const char *name, uint64_t at, uint64_t bytes, GError **err)
{
    g_autofree char *path = block_path_beside(b->filename, name);
    bool flat = !strcmp(kind, "FLAT") || !strcmp(kind, "VMFS");
    if (!flat && strcmp(kind, "SPARSE") && strcmp(kind, "VMFSSPARSE")) {
        fail(err, "extents of type %s are not supported", kind);
        return NULL;
    }
    Json *o = json_object(), *file = json_object();
    json_set(file, "driver", json_string("file"));
    json_set(file, "filename", json_string(path));
    json_set(o, "driver", json_string(flat ? "raw" : "vmdk"));
    json_set(o, "file", file);
    if (flat) {
        json_set(o, "offset", json_u64(at));
        json_set(o, "size", json_u64(bytes));
    }
    Block *node = block_open(b->graph, NULL, o, b->flags & (BLOCK_RDWR | BLOCK_UNMAP | BLOCK_INHERIT), err);
    if (node && node->length < bytes) {
        fail(err, "extent %s has %" PRIu64 " bytes, the descriptor says %" PRIu64, path, node->length, bytes);
        block_close(node);
        return NULL;
    }
    return node;
}

bool vmdk_descriptor_extents(Block *b, GError **err)
{
    Vmdk *d = b->state;
    d->extent = g_new0(VmdkExtent, MAX_EXTENTS);
    for (const char *line = d->descriptor; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        char access[11], kind[12], name[512];
        uint64_t sectors, at = 0;
        name[0] = 0;
        int n = sscanf(line, "%10[A-Z] %" SCNu64 " %11[A-Z0-9] \"%511[^\n\r\"]\" %" SCNu64, access, &sectors, kind, name, &at);
        if (n < 3 || (strcmp(access, "RW") && strcmp(access, "RDONLY") && strcmp(access, "NOACCESS")))
            continue;
        if (d->n_extents == MAX_EXTENTS || !sectors || sectors > (INT64_MAX - b->length) / 512 || at > INT64_MAX / 512)
            return fail(err, "%s: more than %d extents, or one of %" PRIu64 " sectors", b->filename, MAX_EXTENTS, sectors);
        VmdkExtent *e = &d->extent[d->n_extents];
        *e = (VmdkExtent){ .from = b->length, .len = sectors * 512 };
        if (strcmp(access, "RW") && (b->flags & BLOCK_RDWR))
            return fail(err, "%s: extent %u is %s: the disk can only be read", b->filename, d->n_extents, access);
        if (strcmp(kind, "ZERO")) {
            if (!b->trusted_format)
                return fail(err, "%s names further files, but its own format was only guessed", b->filename);
            e->node = open_extent(b, kind, name, at * 512, e->len, err);
            if (!e->node)
                return fail_prefix(err, "%s: ", b->filename);
        }
        d->n_extents++;
        b->length += e->len;
    }
    return d->n_extents || fail(err, "%s: the descriptor lists no extents", b->filename);
}

/* --- making */

typedef struct Make {
    uint64_t    size;
    const char *subformat, *adapter, *backing, *hw_version, *tools_version;
    bool        split, flat;
    VmdkShape   shape;
    uint32_t    parent_cid;
} Make;

static bool parent_cid(BlockGraph *g, const char *filename, Make *m, GError **err)
{
    g_autofree char *path = block_path_beside(filename, m->backing);
    Json *o = json_object();
    json_set(o, "driver", json_string("vmdk"));
    Block *parent = block_open(g, path, o, BLOCK_NO_BACKING | BLOCK_NO_IO, err);
    if (!parent)
        return fail_prefix(err, "backing file: ");
    m->parent_cid = ((Vmdk *)parent->state)->cid;
    block_close(parent);
    return true;
}

static bool parse_make(BlockGraph *g, const char *filename, Json *o, Make *m, GError **err)
{
    static const char *const subformats[] = { "monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat",
                                              "streamOptimized" };
    static const char *const adapters[] = { "ide", "buslogic", "lsilogic", "legacyESX" };
    const char *format = NULL;
    *m = (Make){ .subformat = subformats[0], .adapter = adapters[0], .hw_version = NULL, .tools_version = "2147483647", .parent_cid = NO_PARENT };
    if (!block_opt_string(o, "subformat", &m->subformat, err) || !block_opt_string(o, "adapter_type", &m->adapter, err) ||
        !block_opt_string(o, "backing_file", &m->backing, err) || !block_opt_string(o, "backing_fmt", &format, err) ||
        !block_opt_string(o, "hwversion", &m->hw_version, err) || !block_opt_string(o, "toolsversion", &m->tools_version, err) ||
        !block_opt_bool(o, "compat6", &m->shape.compat6, err) || !block_opt_bool(o, "zeroed_grain", &m->shape.zero_grain, err) ||
        !sparse_make_size(o, UINT64_C(1) << 41, &m->size, err))
        return false;
    unsigned i = 0, k = 0;
    while (i < ARRAY_LEN(subformats) && strcmp(subformats[i], m->subformat))
        i++;
    while (k < ARRAY_LEN(adapters) && strcmp(adapters[k], m->adapter))
        k++;
    if (i == ARRAY_LEN(subformats))
        return fail(err, "subformat '%s' is none of monolithicSparse, monolithicFlat, twoGbMaxExtentSparse, twoGbMaxExtentFlat, "
                    "streamOptimized", m->subformat);
    if (k == ARRAY_LEN(adapters))
        return fail(err, "adapter_type '%s' is none of ide, buslogic, lsilogic, legacyESX", m->adapter);
    if (format && strcmp(format, "vmdk"))
        return fail(err, "the backing file of a VMDK image must be a VMDK image, not %s", format);
    if (m->hw_version && m->shape.compat6)
        return fail(err, "compat6 and hwversion exclude each other");
    if (!m->hw_version)
        m->hw_version = m->shape.compat6 ? "6" : "4";
    m->split = i == 2 || i == 3;
    m->flat = i == 1 || i == 3;
    m->shape.compressed = i == 4;
    if (m->flat && m->backing)
        return fail(err, "flat disks have no backing file");
    if (m->flat && m->shape.zero_grain)
        return fail(err, "flat disks have no grains");
    m->size = align_up(m->size, 512);
    return !m->backing || parent_cid(g, filename, m, err);
}

static char *descriptor_text(const Make *m, const char *extents)
{
    uint8_t random[16];
    uint32_t cid;
    block_make_uuid(random);
    memcpy(&cid, random, 4);
    g_autofree char *parent = m->backing ? g_strdup_printf("parentFileNameHint=\"%s\"\n", m->backing) : g_strdup("");
    unsigned heads = !strcmp(m->adapter, "ide") ? 16 : 255;
    return g_strdup_printf("# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=%08x\ncreateType=\"%s\"\n%s\n"
                           "# Extent description\n%s\n"
                           "# The Disk Data Base\n#DDB\n\n"
                           "ddb.virtualHWVersion = \"%s\"\nddb.geometry.cylinders = \"%" PRIu64 "\"\n"
                           "ddb.geometry.heads = \"%u\"\nddb.geometry.sectors = \"63\"\nddb.adapterType = \"%s\"\n"
                           "ddb.toolsVersion = \"%s\"\n",
                           cid & 0x7fffffff, m->parent_cid, m->subformat, parent, extents, m->hw_version,
                           MAX(m->size / 512 / 63 / heads, 1), heads, m->adapter, m->tools_version);
}

static bool vmdk_create(BlockGraph *g, const char *filename, Json *options, GError **err)
{
    Make m;
    if (!parse_make(g, filename, options, &m, err))
        return false;
    g_autofree char *base = g_path_get_basename(filename);
    g_autofree char *folder = g_path_get_dirname(filename);
    if (strpbrk(base, "\"\n") || (m.backing && strpbrk(m.backing, "\"\n")))
        return fail(err, "a VMDK descriptor cannot hold names with quotes or line ends");
    g_autoptr(GString) extents = g_string_new(NULL);
    if (!m.split && !m.flat) {
        m.shape.sectors = m.size / 512;
        g_string_printf(extents, "RW %" PRIu64 " SPARSE \"%s\"\n", m.size / 512, base);
        g_autofree char *text = descriptor_text(&m, extents->str);
        return vmdk_extent_make(g, filename, &m.shape, text, err);
    }
    size_t stem = g_str_has_suffix(base, ".vmdk") ? strlen(base) - 5 : strlen(base);
    uint64_t left = m.size / 512;
    for (unsigned i = 1; left || i == 1; i++) {
        uint64_t n = m.split ? MIN(left, SPLIT_SECTORS) : left;
        g_autofree char *name = m.split ? g_strdup_printf("%.*s-%c%03u.vmdk", (int)stem, base, m.flat ? 'f' : 's', i)
                                        : g_strdup_printf("%.*s-flat.vmdk", (int)stem, base);
        g_autofree char *path = g_build_filename(folder, name, NULL);
        m.shape.sectors = n;
        if (!(m.flat ? sparse_make(g, path, NULL, 0, n * 512, err) : vmdk_extent_make(g, path, &m.shape, NULL, err)))
            return false;
        g_string_append_printf(extents, m.flat ? "RW %" PRIu64 " FLAT \"%s\" 0\n" : "RW %" PRIu64 " SPARSE \"%s\"\n", n, name);
        left -= n;
    }
    g_autofree char *text = descriptor_text(&m, extents->str);
    return sparse_make(g, filename, &(SparsePart){ 0, text, strlen(text) }, 1, strlen(text), err);
}

static int vmdk_check(Block *b, unsigned fix, BlockCheck *out, GError **err)
{
    Vmdk *d = b->state;
    if (!d->is_extent) {
        int r = 0;
        for (unsigned i = 0; i < d->n_extents && !r; i++) {
            BlockCheck one;
            Block *node = d->extent[i].node;
            if (!node)
                continue;
            r = block_check(node, fix, &one, err);
            r = r == -ENOTSUP ? 0 : r;
            out->corruptions += one.corruptions;
            out->check_errors += one.check_errors;
            out->corruptions_fixed += one.corruptions_fixed;
            out->total_clusters += one.total_clusters;
            out->allocated_clusters += one.allocated_clusters;
            for (unsigned k = 0; k < one.messages->len && out->messages->len < CHECK_MESSAGES; k++)
                g_ptr_array_add(out->messages, g_strdup(one.messages->pdata[k]));
            block_check_clear(&one);
        }
        return r;
    }
    uint64_t grains = (b->length + d->s.cluster - 1) / d->s.cluster;
    int r = 0;
    out->total_clusters = grains;
    out->image_end = b->file->length;
    co_mutex_lock(&d->s.lock);
    for (uint64_t n = 0, run; n < grains && !r; n += run) {
        Place p;
        int found = d->s.ops->co_find(b, n, &p);
        if (found) {
            sparse_check_note(out, &out->corruptions, "grain %" PRIu64 ": its table does not lie in the file", n);
            run = d->gtes - n % d->gtes;        /* nothing is known of the others in that table */
            continue;
        }
        run = MAX(p.run, 1);
        if (p.kind != PLACE_DATA && p.kind != PLACE_PACKED)
            continue;
        out->allocated_clusters++;
        out->compressed_clusters += p.kind == PLACE_PACKED;
        if (p.at < b->file->length)
            continue;
        sparse_check_note(out, &out->corruptions, "grain %" PRIu64 " lies beyond the file, at %#" PRIx64, n, p.at);
        if (fix & CHECK_FIX_ERRORS) {
            r = d->s.ops->co_set(b, n, &(Place){ PLACE_NONE });
            out->corruptions_fixed += !r;
        }
    }
    if (!r && out->corruptions_fixed)
        r = meta_commit(&d->s.meta);
    co_mutex_unlock(&d->s.lock);
    return r;
}

static const BlockOption vmdk_options[] = {
    { "adapter_type", "str", "ide (default), lsilogic, buslogic or legacyESX" },
    { "backing_file", "str", "VMDK image that is read where this one has nothing" },
    { "backing_fmt", "str", "must be vmdk" },
    { "compat6", "bool", "hardware version 6" },
    { "hwversion", "str", "hardware version of the descriptor, default 4" },
    { "subformat", "str", "monolithicSparse (default), monolithicFlat, twoGbMaxExtentSparse, twoGbMaxExtentFlat, streamOptimized" },
    { "toolsversion", "str", "tools version of the descriptor" },
    { "zeroed_grain", "bool", "grains can be marked as zeros" },
    { NULL }
};
const BlockMaker vmdk_maker = { .options = vmdk_options, .co_create = vmdk_create, .co_check = vmdk_check };
