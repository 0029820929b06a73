/* SPDX-License-Identifier: GPL-2.0-or-later
 * VirtualBox disk images, version 1.1: a header, a map of 32-bit block numbers, blocks. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "block/parent.h"
#include "block/sparse.h"
#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"

enum {
    VDI_SIGNATURE = 0x40, VDI_VERSION = 0x44, VDI_HEADER_SIZE = 0x48, VDI_TYPE = 0x4c, VDI_MAP_AT = 0x154, VDI_DATA_AT = 0x158,
    VDI_SECTOR = 0x168, VDI_SIZE = 0x170, VDI_BLOCK = 0x178, VDI_EXTRA = 0x17c, VDI_BLOCKS = 0x180, VDI_ALLOCATED = 0x184,
    VDI_UUID = 0x188, VDI_UUID_SNAPSHOT = 0x198, VDI_UUID_LINK = 0x1a8, VDI_UUID_PARENT = 0x1b8, VDI_HEADER = 512,
    VDI_DYNAMIC = 1, VDI_STATIC = 2, VDI_DIFFERENCING = 4,
    BLOCK_BYTES = 1 << 20, MAX_BLOCKS = 1 << 29,
};
#define VDI_MAGIC   0xbeda107fu
#define VDI_NONE    0xffffffffu
#define VDI_ZERO    0xfffffffeu
static const char vdi_text[] = "<<< Oracle VM VirtualBox Disk Image >>>\n";

typedef struct Vdi {
    Sparse   s;
    uint64_t map_at;
    uint32_t allocated, written;
    uint8_t  uuid[16], modified[16], parent[16], parent_modified[16];
} Vdi;

static int vdi_probe(const uint8_t *h, size_t n)
{
    return n >= VDI_HEADER && load_le32(h + VDI_SIGNATURE) == VDI_MAGIC ? 100 : 0;
}

static int vdi_find(Block *b, uint64_t n, Place *out)
{
    Vdi *v = b->state;
    uint8_t word[4];
    int r = meta_read(&v->s.meta, v->map_at + n * 4, word, 4);
    uint32_t e = load_le32(word);
    *out = e == VDI_NONE ? (Place){ PLACE_NONE } : e == VDI_ZERO ? (Place){ PLACE_ZERO }
                         : (Place){ PLACE_DATA, v->s.data_at + (uint64_t)e * v->s.step };
    return r;
}

static int vdi_set(Block *b, uint64_t n, const Place *p)
{
    Vdi *v = b->state;
    Place old;
    uint8_t word[4];
    int r = vdi_find(b, n, &old);
    v->allocated += (p->kind == PLACE_DATA) - (old.kind == PLACE_DATA);
    store_le32(word, p->kind == PLACE_DATA ? (uint32_t)((p->at - v->s.data_at) / v->s.step) : p->kind == PLACE_ZERO ? VDI_ZERO : VDI_NONE);
    return r ? r : meta_write(&v->s.meta, v->map_at + n * 4, word, 4, 1);
}

static int vdi_before_commit(Block *b)
{
    Vdi *v = b->state;
    uint8_t word[4];
    if (v->allocated == v->written)
        return 0;
    store_le32(word, v->allocated);
    v->written = v->allocated;
    return meta_write(&v->s.meta, VDI_ALLOCATED, word, 4, 0);
}

/* Children know the disk's state by its modification id: a change makes it another one. */
static int vdi_touch(Block *b)
{
    Vdi *v = b->state;
    block_make_uuid(v->modified);
    return meta_write(&v->s.meta, VDI_UUID_SNAPSHOT, v->modified, sizeof v->modified, 0);
}

static const SparseOps vdi_ops = { .co_find = vdi_find, .co_set = vdi_set, .co_before_commit = vdi_before_commit,
                                   .co_touch = vdi_touch, .marks_zero = true, .counts_leaks = true };

/* A VDI names its parent by its id alone; VirtualBox knows the file.  It keeps snapshots in a folder below the disk's. */
static char *find_parent(Block *b)
{
    Vdi *v = b->state;
    g_autofree char *folder = g_path_get_dirname(b->filename);
    static const char *const places[] = { ".", ".." };
    for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
        g_autofree char *where = g_build_filename(folder, places[i], NULL);
        g_autoptr(GDir) d = g_dir_open(where, 0, NULL);
        for (const char *name; d && (name = g_dir_read_name(d));) {
            g_autofree char *path = g_build_filename(where, name, NULL);
            uint8_t h[VDI_HEADER];
            if (!g_str_has_suffix(name, ".vdi") || !g_file_test(path, G_FILE_TEST_IS_REGULAR))
                continue;
            FILE *f = fopen(path, "rbe");
            bool found = f && fread(h, 1, sizeof h, f) == sizeof h && load_le32(h + VDI_SIGNATURE) == VDI_MAGIC &&
                         !memcmp(h + VDI_UUID, v->parent, 16);
            if (f)
                fclose(f);
            if (found)
                return i ? g_strconcat("../", name, NULL) : g_strdup(name);
        }
    }
    return NULL;
}

static bool vdi_parent(Block *b, GError **err)
{
    Vdi *v = b->state;
    const Vdi *p = b->backing->state;
    static const uint8_t none[16];
    if (b->backing->drv != &block_vdi_driver)
        return fail(err, "%s: its parent %s is no VDI image", b->filename, b->backing->filename);
    if (memcmp(p->uuid, v->parent, 16))
        return fail(err, "%s: %s is not the image that it was made over: its id is another", b->filename, b->backing->filename);
    if (memcmp(v->parent_modified, none, 16) && memcmp(p->modified, v->parent_modified, 16))
        return fail(err, "%s: its parent %s was changed since", b->filename, b->backing->filename);
    return true;
}

static bool vdi_open(Block *b, GError **err)
{
    Vdi *v = b->state;
    uint8_t h[VDI_HEADER];
    meta_init(&v->s.meta, b->file);
    int r = meta_read(&v->s.meta, 0, h, sizeof h);
    if (r)
        return fail_errno(err, -r, "%s: cannot read the header", b->filename);
    uint32_t block = load_le32(h + VDI_BLOCK), blocks = load_le32(h + VDI_BLOCKS), type = load_le32(h + VDI_TYPE);
    uint64_t data_at = load_le32(h + VDI_DATA_AT);
    b->length = load_le64(h + VDI_SIZE);
    v->map_at = load_le32(h + VDI_MAP_AT);
    v->allocated = v->written = load_le32(h + VDI_ALLOCATED);
    static const uint8_t no_uuid[16];
    if (load_le32(h + VDI_SIGNATURE) != VDI_MAGIC)
        return fail(err, "%s: no VDI signature", b->filename);
    if (load_le32(h + VDI_VERSION) != 0x10001)
        return fail(err, "%s: VDI version %#x, only 0x10001 is known", b->filename, load_le32(h + VDI_VERSION));
    if (type != VDI_DYNAMIC && type != VDI_STATIC && type != VDI_DIFFERENCING)
        return fail(err, "%s: VDI image type %u; only dynamic, static and differencing ones are known", b->filename, type);
    memcpy(v->uuid, h + VDI_UUID, 16);
    memcpy(v->modified, h + VDI_UUID_SNAPSHOT, 16);
    memcpy(v->parent, h + VDI_UUID_LINK, 16);
    memcpy(v->parent_modified, h + VDI_UUID_PARENT, 16);
    if (type == VDI_DIFFERENCING || memcmp(h + VDI_UUID_LINK, no_uuid, 16)) {
        b->backing_name = find_parent(b);
        b->backing_format = g_strdup("vdi");
        if (!b->backing_name && !json_get(b->options, "backing") && !(b->flags & BLOCK_NO_BACKING))
            return fail(err, "%s: its parent is no .vdi file beside it or in the folder above (backing.file.filename= names it)", b->filename);
    }
    if (load_le32(h + VDI_SECTOR) != 512 || block != BLOCK_BYTES || load_le32(h + VDI_EXTRA))
        return fail(err, "%s: VDI sectors of %u and blocks of %u bytes (+%u); only 512 and 1 MiB are supported", b->filename,
                    load_le32(h + VDI_SECTOR), block, load_le32(h + VDI_EXTRA));
    if (blocks > MAX_BLOCKS || b->length > (uint64_t)blocks * block)
        return fail(err, "%s: %u blocks do not hold %" PRIu64 " bytes", b->filename, blocks, b->length);
    if (v->map_at < VDI_HEADER || v->map_at % 512 || data_at % 512 || data_at < v->map_at + (uint64_t)blocks * 4)
        return fail(err, "%s: the map at %#" PRIx64 " and data at %#" PRIx64 " overlap or are not aligned", b->filename, v->map_at, data_at);
    if (v->map_at + (uint64_t)blocks * 4 > b->file->length)
        return fail(err, "%s: a map of %u blocks at %#" PRIx64 " does not lie in the file", b->filename, blocks, v->map_at);
    sparse_init(b, &vdi_ops, block, data_at, 0);
    return true;
}

static bool vdi_create(BlockGraph *g, const char *filename, Json *options, GError **err)
{
    uint64_t size;
    bool is_static = false;
    Block *parent;
    const char *parent_name;
    if (!parent_for_new(g, filename, options, "vdi", &parent, &parent_name, err))
        return false;
    Vdi over = { .allocated = 0 };
    if (parent) {
        over = *(Vdi *)parent->state;
        block_close(parent);
    }
    if (!sparse_make_size(options, (uint64_t)MAX_BLOCKS * BLOCK_BYTES, &size, err) ||
        !block_opt_bool(options, "static", &is_static, err))
        return false;
    if (parent && is_static)
        return fail(err, "a static VDI image has no parent");
    size = align_up(size, 512);
    uint32_t blocks = (uint32_t)((size + BLOCK_BYTES - 1) / BLOCK_BYTES);
    uint32_t map_bytes = align_up(blocks * 4, 512), data_at = VDI_HEADER + map_bytes;
    uint8_t h[VDI_HEADER] = { 0 };
    memcpy(h, vdi_text, sizeof vdi_text - 1);
    static const struct { uint16_t at; uint32_t v; } fields[] = {
        { VDI_SIGNATURE, VDI_MAGIC }, { VDI_VERSION, 0x10001 }, { VDI_HEADER_SIZE, 0x180 }, { VDI_MAP_AT, VDI_HEADER },
        { VDI_SECTOR, 512 }, { VDI_BLOCK, BLOCK_BYTES },
    };
    for (unsigned i = 0; i < ARRAY_LEN(fields); i++)
        store_le32(h + fields[i].at, fields[i].v);
    store_le32(h + VDI_TYPE, parent ? VDI_DIFFERENCING : is_static ? VDI_STATIC : VDI_DYNAMIC);
    store_le32(h + VDI_DATA_AT, data_at);
    store_le64(h + VDI_SIZE, size);
    store_le32(h + VDI_BLOCKS, blocks);
    store_le32(h + VDI_ALLOCATED, is_static ? blocks : 0);
    block_make_uuid(h + VDI_UUID);
    block_make_uuid(h + VDI_UUID_SNAPSHOT);
    if (parent) {
        memcpy(h + VDI_UUID_LINK, over.uuid, 16);
        memcpy(h + VDI_UUID_PARENT, over.modified, 16);
    }
    g_autofree uint8_t *map = g_malloc0(MAX(map_bytes, 1));
    for (uint32_t i = 0; i < map_bytes / 4; i++)
        store_le32(map + i * 4, i >= blocks ? 0 : is_static ? i : VDI_NONE);
    SparsePart parts[] = { { 0, h, sizeof h }, { VDI_HEADER, map, map_bytes } };
    return sparse_make(g, filename, parts, 2, data_at + (is_static ? (uint64_t)blocks * BLOCK_BYTES : 0), err);
}

static const BlockOption vdi_options[] = { { "backing_file", "str", "a VDI image that this one differs from" },
                                           { "backing_fmt", "str", "vdi" }, { "static", "bool", "VDI static (pre-allocated) image" }, { NULL } };
static const BlockMaker vdi_maker = { .options = vdi_options, .co_create = vdi_create, .co_check = sparse_check };

const BlockDriver block_vdi_driver = {
    .name = "vdi", .kind = BLOCK_KIND_FORMAT, .size = sizeof(Vdi), .probe = vdi_probe, .co_open = vdi_open, .co_parent = vdi_parent, .co_close = sparse_close,
    .co_read = sparse_read, .co_write = sparse_write, .co_flush = sparse_flush, .co_zero = sparse_zero, .co_discard = sparse_discard,
    .co_map = sparse_map, .co_info = sparse_info, .maker = &vdi_maker,
};
