/* SPDX-License-Identifier: GPL-2.0-or-later
 * Virtual PC and Hyper-V disks (VHD), after Microsoft's "Virtual Hard Disk Image Format Specification": fixed ones are
 * the data and a footer; dynamic ones have a copy of the footer in front, a table of blocks, and before each block a
 * bitmap of its sectors.  The footer behind the last block moves when a block is added; the copy holds meanwhile. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "block/parent.h"
#include "block/sparse.h"
#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"
#include "util/log.h"

enum {
    FOOT_FEATURES = 8, FOOT_VERSION = 12, FOOT_NEXT = 16, FOOT_TIME = 24, FOOT_APP = 28, FOOT_APP_VERSION = 32, FOOT_OS = 36,
    FOOT_ORIGINAL = 40, FOOT_SIZE = 48, FOOT_CYLINDERS = 56, FOOT_HEADS = 58, FOOT_SECTORS = 59, FOOT_TYPE = 60, FOOT_SUM = 64,
    FOOT_UUID = 68, FOOT_BYTES = 512,
    HEAD_NEXT = 8, HEAD_TABLE = 16, HEAD_VERSION = 24, HEAD_ENTRIES = 28, HEAD_BLOCK = 32, HEAD_SUM = 36, HEAD_PARENT = 40,
    HEAD_PARENT_TIME = 56, HEAD_PARENT_NAME = 64, PARENT_NAME_BYTES = 512, HEAD_LOCATORS = 576, LOCATOR = 24, N_LOCATORS = 8,
    MAX_LOCATOR = 64 << 10, HEAD_BYTES = 1024,
    TYPE_FIXED = 2, TYPE_DYNAMIC = 3, TYPE_DIFFERENCING = 4,
    BLOCK_BYTES = 2 << 20, MAX_ENTRIES = 1 << 24,
};
#define NO_BLOCK     0xffffffffu
#define MAX_CHS      (65535ull * 16 * 255)      /* sectors; what geometry cannot say is told by the size alone */
#define EPOCH_2000   946684800

typedef struct Vpc {
    Sparse   s;
    bool     fixed, differencing;
    uint8_t  parent[16];
    uint32_t parent_time;
    uint64_t table_at, bitmap, footer_at;       /* footer_at: where the file has it; 0: it has none at its end */
    uint32_t entries;
    uint8_t  footer[FOOT_BYTES];
    uint8_t *whole;                             /* bit per block: its bitmap is known to be all ones */
} Vpc;

static int vpc_probe(const uint8_t *h, size_t n) { return n >= 8 && !memcmp(h, "conectix", 8) ? 100 : 0; }

static uint32_t checksum(const uint8_t *p, size_t n, unsigned at)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += i >= at && i < at + 4u ? 0 : p[i];
    return ~sum;
}

/* The specification's appendix: a geometry for at least about that many sectors. */
static void geometry(uint64_t sectors, unsigned *c, unsigned *h, unsigned *s)
{
    sectors = MIN(sectors, MAX_CHS);
    uint64_t tracks;
    if (sectors >= 65535ull * 16 * 63) {
        *s = 255;
        *h = 16;
        tracks = sectors / *s;
    } else {
        *s = 17;
        tracks = sectors / *s;
        *h = (unsigned)MAX((tracks + 1023) / 1024, 4);
        if (tracks >= *h * 1024 || *h > 16) {
            *s = 31;
            *h = 16;
            tracks = sectors / *s;
        }
        if (tracks >= *h * 1024) {
            *s = 63;
            *h = 16;
            tracks = sectors / *s;
        }
    }
    *c = (unsigned)(tracks / *h);
}

/* --- the table */

static int vpc_find(Block *b, uint64_t n, Place *out)
{
    Vpc *v = b->state;
    uint8_t word[4];
    *out = (Place){ PLACE_NONE };
    if (n >= v->entries)
        return 0;
    int r = meta_read(&v->s.meta, v->table_at + n * 4, word, 4);
    if (load_be32(word) != NO_BLOCK)
        *out = (Place){ PLACE_DATA, (uint64_t)load_be32(word) * 512 + v->bitmap,
                        .partial = v->differencing && !(v->whole[n / 8] >> n % 8 & 1) };
    return r;
}

/* The bitmap has a bit a sector, the first one in the highest bit. */
static int vpc_own(Block *b, uint64_t n, const Place *p, uint64_t in, bool *own, uint64_t *len)
{
    Vpc *v = b->state;
    g_autofree uint8_t *bits = g_malloc(v->bitmap);
    uint64_t sector = in / 512, end = v->s.cluster / 512, i = sector + 1;
    int r = meta_read(&v->s.meta, p->at - v->bitmap, bits, v->bitmap);
    *own = bits[sector / 8] & 0x80 >> sector % 8;
    while (i < end && !(bits[i / 8] & 0x80 >> i % 8) == !*own)
        i++;
    *len = i * 512 - in;
    return r;
}

static int vpc_set(Block *b, uint64_t n, const Place *p)
{
    Vpc *v = b->state;
    uint8_t word[4];
    if (n >= v->entries)
        return -EIO;
    store_be32(word, p->kind == PLACE_DATA ? (uint32_t)((p->at - v->bitmap) / 512) : NO_BLOCK);
    return meta_write(&v->s.meta, v->table_at + n * 4, word, 4, 1);
}

static int fill_bitmap(Vpc *v, uint64_t at)
{
    g_autofree uint8_t *ones = g_malloc(v->bitmap);
    memset(ones, 0xff, v->bitmap);
    return meta_write(&v->s.meta, at, ones, v->bitmap, 0);
}

static int vpc_complete(Block *b, uint64_t n, const Place *p)
{
    Vpc *v = b->state;
    v->whole[n / 8] |= 1 << n % 8;
    return fill_bitmap(v, p->at - v->bitmap);
}

static int vpc_alloc(Block *b, uint64_t n, uint64_t *at)
{
    Vpc *v = b->state;
    int r = v->s.end / 512 >= NO_BLOCK ? -EFBIG : sparse_grow(b, at);
    if (r)
        return r;
    v->whole[n / 8] |= 1 << n % 8;
    r = fill_bitmap(v, *at - v->bitmap);
    return r;
}

static int vpc_before_commit(Block *b)
{
    Vpc *v = b->state;
    uint64_t at = v->s.end - v->bitmap;
    if (v->footer_at == at)
        return 0;
    v->footer_at = at;
    return meta_write(&v->s.meta, at, v->footer, FOOT_BYTES, 0);
}

static const SparseOps vpc_ops = { .co_find = vpc_find, .co_set = vpc_set, .co_alloc = vpc_alloc, .co_before_commit = vpc_before_commit,
                                   .co_own = vpc_own, .co_complete = vpc_complete };

/* --- requests */

static int vpc_read(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    return ((Vpc *)b->state)->fixed ? block_readv(b->file, at, v, nv) : sparse_read(b, at, v, nv);
}

/* Sectors that others' bitmaps call unused must be called used before they hold data. */
static int complete_bitmaps(Block *b, uint64_t at, uint64_t len)
{
    Vpc *v = b->state;
    int r = 0;
    g_autofree uint8_t *bits = g_malloc(v->bitmap);
    for (uint64_t n = at / v->s.cluster; n <= (at + len - 1) / v->s.cluster && !r; n++) {
        if (v->whole[n / 8] >> n % 8 & 1)
            continue;
        Place p;
        co_mutex_lock(&v->s.lock);
        r = vpc_find(b, n, &p);
        if (!r && p.kind == PLACE_DATA) {
            r = meta_read(&v->s.meta, p.at - v->bitmap, bits, v->bitmap);
            for (uint64_t i = 0; i < v->bitmap && !r; i++)
                if (bits[i] != 0xff) {
                    r = fill_bitmap(v, p.at - v->bitmap);
                    break;
                }
            if (!r)
                v->whole[n / 8] |= 1 << n % 8;
        }
        co_mutex_unlock(&v->s.lock);
    }
    return r;
}

static int vpc_write(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    if (((Vpc *)b->state)->fixed)
        return block_writev(b->file, at, v, nv, 0);
    int r = ((Vpc *)b->state)->differencing ? 0 : complete_bitmaps(b, at, iov_size(v, nv));
    return r ? r : sparse_write(b, at, v, nv);
}

static int vpc_zero(Block *b, uint64_t at, uint64_t len, unsigned flags)
{
    return ((Vpc *)b->state)->fixed ? block_zero(b->file, at, len, flags) : sparse_zero(b, at, len, flags);
}

static int vpc_discard(Block *b, uint64_t at, uint64_t len)
{
    return ((Vpc *)b->state)->fixed ? block_discard(b->file, at, len) : sparse_discard(b, at, len);
}

static int vpc_map(Block *b, uint64_t at, uint64_t len, Extent *out)
{
    if (!((Vpc *)b->state)->fixed)
        return sparse_map(b, at, len, out);
    *out = (Extent){ .len = len, .flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_OFFSET, .file = b->file, .offset = at };
    return 0;
}

static int vpc_info(Block *b, BlockInfo *out)
{
    out->granule = ((Vpc *)b->state)->s.cluster;
    return 0;
}

/* --- opening */

/* Where the parent is: by itself, beside this file, or both, in several spellings. */
static bool read_parent(Block *b, const uint8_t *h, GError **err)
{
    Vpc *v = b->state;
    /* In order of preference: relative, as a URL, absolute, and what stands in the header. */
    enum { RELATIVE, URL, ABSOLUTE, NAME, N_NAMES };
    static const char codes[][5] = { "W2ru", "MacX", "W2ku" };
    char *names[N_NAMES] = { NULL };
    memcpy(v->parent, h + HEAD_PARENT, 16);
    v->parent_time = load_be32(h + HEAD_PARENT_TIME);
    names[NAME] = parent_from_utf16(h + HEAD_PARENT_NAME, PARENT_NAME_BYTES, true);
    for (unsigned i = 0; i < N_LOCATORS; i++) {
        const uint8_t *e = h + HEAD_LOCATORS + i * LOCATOR;
        uint64_t at = load_be64(e + 16);
        uint32_t len = load_be32(e + 8);
        unsigned k = 0;
        while (k < ARRAY_LEN(codes) && memcmp(codes[k], e, 4))
            k++;
        if (k == ARRAY_LEN(codes) || names[k] || !len || len > MAX_LOCATOR || at > b->file->length || len > b->file->length - at)
            continue;
        g_autofree uint8_t *text = g_malloc0(len + 1);
        if (block_read(b->file, at, text, len))
            continue;
        if (k == URL)
            names[k] = g_filename_from_uri((const char *)text, NULL, NULL);
        else
            names[k] = parent_from_utf16(text, len, false);
    }
    b->backing_name = parent_choose(b->filename, names, N_NAMES);
    b->backing_format = g_strdup("vpc");
    for (unsigned i = 0; i < N_NAMES; i++)
        g_free(names[i]);
    return b->backing_name || fail(err, "%s: a differencing disk that does not say where its parent is", b->filename);
}

/* The id of a parent never changes; its time does when it is written to, or copied. */
static bool vpc_parent(Block *b, GError **err)
{
    Vpc *v = b->state;
    const Vpc *p = b->backing->state;
    struct stat st;
    if (!v->differencing)
        return true;
    if (b->backing->drv != &block_vpc_driver)
        return fail(err, "%s: its parent %s is no VHD image", b->filename, b->backing->filename);
    if (memcmp(p->footer + FOOT_UUID, v->parent, 16))
        return fail(err, "%s: %s is not the disk that it was made over: its id is another", b->filename, b->backing->filename);
    if (v->parent_time && !stat(b->backing->filename, &st) && st.st_mtime - EPOCH_2000 > (time_t)v->parent_time + 2)
        log_warn(b->node_name, "%s: its parent %s was changed, or copied, after this disk was made over it", b->filename,
                 b->backing->filename);
    return true;
}

static bool open_dynamic(Block *b, GError **err)
{
    Vpc *v = b->state;
    uint8_t h[HEAD_BYTES];
    uint64_t at = load_be64(v->footer + FOOT_NEXT);
    if (at > INT64_MAX - HEAD_BYTES || at + HEAD_BYTES > b->file->length)
        return fail(err, "%s: the dynamic header at %#" PRIx64 " lies beyond the end", b->filename, at);
    int r = meta_read(&v->s.meta, at, h, sizeof h);
    if (r)
        return fail_errno(err, -r, "%s: cannot read the dynamic header", b->filename);
    if (memcmp(h, "cxsparse", 8))
        return fail(err, "%s: no dynamic header at %#" PRIx64, b->filename, at);
    if (load_be32(h + HEAD_SUM) != checksum(h, sizeof h, HEAD_SUM))
        return fail(err, "%s: the dynamic header's checksum is wrong", b->filename);
    uint64_t block = load_be32(h + HEAD_BLOCK);
    v->entries = load_be32(h + HEAD_ENTRIES);
    v->table_at = load_be64(h + HEAD_TABLE);
    if (!is_pow2(block) || block < 4096 || block > 256 << 20)
        return fail(err, "%s: blocks of %" PRIu64 " bytes", b->filename, block);
    if (v->entries > MAX_ENTRIES || b->length > v->entries * block)
        return fail(err, "%s: %u blocks do not hold %" PRIu64 " bytes", b->filename, v->entries, b->length);
    if (v->table_at % 512 || v->table_at > b->file->length || b->file->length - v->table_at < (uint64_t)v->entries * 4)
        return fail(err, "%s: the table of %u blocks at %#" PRIx64 " does not lie in the file", b->filename, v->entries, v->table_at);
    v->bitmap = align_up(block / 512 / 8, 512);
    if (v->differencing && !read_parent(b, h, err))
        return false;
    v->whole = g_malloc0(v->entries / 8 + 1);
    /* A new block goes where the footer is, or where one would be that a crash has left out. */
    uint64_t end = b->file->length;
    uint8_t magic[8];
    r = end >= FOOT_BYTES && !(end % 512) ? meta_read(&v->s.meta, end - FOOT_BYTES, magic, 8) : -EIO;
    v->footer_at = !r && !memcmp(magic, "conectix", 8) ? end - FOOT_BYTES : 0;
    sparse_init(b, &vpc_ops, block, 0, 512);
    v->s.step = block + v->bitmap;
    v->s.end = v->bitmap + (v->footer_at ? v->footer_at : align_up(end, 512));
    if (v->s.fresh != UINT64_MAX)
        v->s.fresh = align_up(end, 512) + v->bitmap;
    return true;
}

static bool vpc_open(Block *b, GError **err)
{
    Vpc *v = b->state;
    uint64_t end = b->file->length;
    const char *calc = NULL;
    meta_init(&v->s.meta, b->file);
    if (!block_opt_string(b->options, "force_size_calc", &calc, err))
        return false;
    if (calc && strcmp(calc, "chs") && strcmp(calc, "current_size"))
        return fail(err, "force_size_calc '%s' is neither chs nor current_size", calc);
    if (end < FOOT_BYTES)
        return fail(err, "%s: too small for a VHD image", b->filename);
    int r = meta_read(&v->s.meta, 0, v->footer, FOOT_BYTES);
    if (!r && memcmp(v->footer, "conectix", 8))
        r = meta_read(&v->s.meta, end - FOOT_BYTES, v->footer, FOOT_BYTES);
    if (r)
        return fail_errno(err, -r, "%s: cannot read the footer", b->filename);
    if (memcmp(v->footer, "conectix", 8))
        return fail(err, "%s: not a VHD image", b->filename);
    if (load_be32(v->footer + FOOT_SUM) != checksum(v->footer, FOOT_BYTES, FOOT_SUM))
        return fail(err, "%s: the footer's checksum is wrong", b->filename);
    uint32_t type = load_be32(v->footer + FOOT_TYPE);
    if (type != TYPE_FIXED && type != TYPE_DYNAMIC && type != TYPE_DIFFERENCING)
        return fail(err, "%s: VHD type %u; only fixed, dynamic and differencing disks are known", b->filename, type);
    v->fixed = type == TYPE_FIXED;
    v->differencing = type == TYPE_DIFFERENCING;
    /* Virtual PC itself goes by the geometry and may have rounded the size differently. */
    uint64_t chs = (uint64_t)load_be16(v->footer + FOOT_CYLINDERS) * v->footer[FOOT_HEADS] * v->footer[FOOT_SECTORS];
    bool by_chs = !memcmp(v->footer + FOOT_APP, "vpc ", 4) || !memcmp(v->footer + FOOT_APP, "qemu", 4);
    if (calc)
        by_chs = !strcmp(calc, "chs");
    b->length = by_chs && chs && chs < MAX_CHS ? chs * 512 : load_be64(v->footer + FOOT_SIZE);
    if (b->length > INT64_MAX || (v->fixed && b->length > end - FOOT_BYTES))
        return fail(err, "%s: %" PRIu64 " bytes do not lie in the file", b->filename, b->length);
    return v->fixed || open_dynamic(b, err);
}

static int vpc_close(Block *b)
{
    int r = sparse_close(b);
    g_free(((Vpc *)b->state)->whole);
    return r;
}

/* --- making */

static bool vpc_create(BlockGraph *g, const char *filename, Json *options, GError **err)
{
    uint64_t size;
    const char *subformat = "dynamic", *parent_name;
    bool force = false;
    unsigned c = 0, h = 0, s = 0;
    Block *parent;
    if (!parent_for_new(g, filename, options, "vpc", &parent, &parent_name, err))
        return false;
    uint8_t parent_foot[FOOT_BYTES] = { 0 };
    g_autofree char *parent_path = parent ? g_canonicalize_filename(block_filename(parent), NULL) : NULL;
    if (parent) {
        memcpy(parent_foot, ((Vpc *)parent->state)->footer, FOOT_BYTES);
        block_close(parent);
        force = true;           /* the parent's size, which is what was said */
    }
    if (!sparse_make_size(options, (uint64_t)MAX_ENTRIES * BLOCK_BYTES / 8, &size, err) ||
        !block_opt_string(options, "subformat", &subformat, err) || !block_opt_bool(options, "force_size", &force, err))
        return false;
    bool fixed = !strcmp(subformat, "fixed");
    if (!fixed && strcmp(subformat, "dynamic"))
        return fail(err, "subformat '%s' is neither dynamic nor fixed", subformat);
    if (fixed && parent)
        return fail(err, "a fixed VHD disk has no parent");
    uint64_t sectors = (size + 511) / 512;
    if (!force && sectors < MAX_CHS) {
        /* Rounding down loses less than a cylinder, so this ends soon. */
        for (uint64_t more = 0; (uint64_t)c * h * s < sectors && sectors + more <= MAX_CHS; more++)
            geometry(sectors + more, &c, &h, &s);
        sectors = MAX((uint64_t)c * h * s, sectors);
    } else {
        geometry(sectors, &c, &h, &s);
    }
    uint8_t foot[FOOT_BYTES] = "conectix", head[HEAD_BYTES] = "cxsparse";
    store_be32(foot + FOOT_FEATURES, 2);
    store_be32(foot + FOOT_VERSION, 0x10000);
    store_be64(foot + FOOT_NEXT, fixed ? UINT64_MAX : FOOT_BYTES);
    store_be32(foot + FOOT_TIME, (uint32_t)(time(NULL) - EPOCH_2000));
    memcpy(foot + FOOT_APP, "qem2", 4);         /* others then go by the size, not by the geometry */
    store_be32(foot + FOOT_APP_VERSION, 0x10000);
    memcpy(foot + FOOT_OS, "Wi2k", 4);
    store_be64(foot + FOOT_ORIGINAL, sectors * 512);
    store_be64(foot + FOOT_SIZE, sectors * 512);
    store_be16(foot + FOOT_CYLINDERS, (uint16_t)c);
    foot[FOOT_HEADS] = (uint8_t)h;
    foot[FOOT_SECTORS] = (uint8_t)s;
    store_be32(foot + FOOT_TYPE, fixed ? TYPE_FIXED : parent ? TYPE_DIFFERENCING : TYPE_DYNAMIC);
    block_make_uuid(foot + FOOT_UUID);
    store_be32(foot + FOOT_SUM, checksum(foot, sizeof foot, FOOT_SUM));
    if (fixed)
        return sparse_make(g, filename, &(SparsePart){ sectors * 512, foot, sizeof foot }, 1, sectors * 512 + FOOT_BYTES, err);
    uint32_t entries = (uint32_t)((sectors * 512 + BLOCK_BYTES - 1) / BLOCK_BYTES), table = align_up(MAX(entries, 1) * 4, 512);
    uint64_t table_at = FOOT_BYTES + HEAD_BYTES;
    store_be64(head + HEAD_NEXT, UINT64_MAX);
    store_be64(head + HEAD_TABLE, table_at);
    store_be32(head + HEAD_VERSION, 0x10000);
    store_be32(head + HEAD_ENTRIES, entries);
    store_be32(head + HEAD_BLOCK, BLOCK_BYTES);
    uint64_t end = table_at + table;
    size_t relative_len = 0, absolute_len = 0, name_len = 0;
    g_autofree uint8_t *relative = NULL, *absolute = NULL, *in_header = NULL;
    if (parent) {
        g_autofree char *from_here = *parent_name == '/' || *parent_name == '.' ? g_strdup(parent_name) : g_strconcat("./", parent_name, NULL);
        struct stat st;
        relative = parent_to_utf16(from_here, false, &relative_len);
        absolute = parent_to_utf16(parent_path, false, &absolute_len);
        in_header = parent_to_utf16(parent_name, true, &name_len);
        memcpy(head + HEAD_PARENT, parent_foot + FOOT_UUID, 16);
        store_be32(head + HEAD_PARENT_TIME, stat(parent_path, &st) ? 0 : (uint32_t)(st.st_mtime - EPOCH_2000));
        memcpy(head + HEAD_PARENT_NAME, in_header, MIN(name_len, PARENT_NAME_BYTES - 2));
        const struct { const char *code; size_t len; } locators[] = { { "W2ru", relative_len }, { "W2ku", absolute_len } };
        for (unsigned i = 0; i < ARRAY_LEN(locators); i++) {
            uint8_t *e = head + HEAD_LOCATORS + i * LOCATOR;
            memcpy(e, locators[i].code, 4);
            store_be32(e + 4, (uint32_t)align_up(locators[i].len, 512));
            store_be32(e + 8, (uint32_t)locators[i].len);
            store_be64(e + 16, end);
            end += align_up(locators[i].len, 512);
        }
    }
    store_be32(head + HEAD_SUM, checksum(head, sizeof head, HEAD_SUM));
    g_autofree uint8_t *none = g_malloc(table);
    memset(none, 0xff, table);
    SparsePart parts[] = { { 0, foot, sizeof foot }, { FOOT_BYTES, head, sizeof head }, { table_at, none, table },
                           { end, foot, sizeof foot }, { table_at + table, relative, relative_len },
                           { table_at + table + align_up(relative_len, 512), absolute, absolute_len } };
    return sparse_make(g, filename, parts, parent ? 6 : 4, end + FOOT_BYTES, err);
}

static const BlockOption vpc_options[] = {
    { "backing_file", "str", "a VHD disk that this one differs from" },
    { "backing_fmt", "str", "vpc" },
    { "force_size", "bool", "use the size as given, not the next one that a geometry can say" },
    { "subformat", "str", "dynamic (default) or fixed" },
    { NULL }
};
static const BlockMaker vpc_maker = { .options = vpc_options, .co_create = vpc_create };

const BlockDriver block_vpc_driver = {
    .name = "vpc", .kind = BLOCK_KIND_FORMAT, .size = sizeof(Vpc), .probe = vpc_probe, .co_open = vpc_open, .co_parent = vpc_parent, .co_close = vpc_close,
    .co_read = vpc_read, .co_write = vpc_write, .co_flush = sparse_flush, .co_zero = vpc_zero, .co_discard = vpc_discard,
    .co_map = vpc_map, .co_info = vpc_info, .maker = &vpc_maker,
};
