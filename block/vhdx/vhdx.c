/* SPDX-License-Identifier: GPL-2.0-or-later
 * Hyper-V disks (VHDX): headers, regions, metadata, blocks. */
#include "block/vhdx/vhdx_int.h"

#include <errno.h>
#include <string.h>

#include "block/parent.h"
#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"

enum {
    R_CRC = 4, R_COUNT = 8, R_ENTRIES = 16, R_ENTRY = 32, R_MAX = 2047, M_COUNT = 10, M_ENTRY = 32, M_MAX = 2047, M_BYTES = 64 << 10, M_VALUES = 32 << 10, M_LOCATOR = 4096,
    BAT_NONE = 0, BAT_UNDEFINED = 1, BAT_ZERO = 2, BAT_UNMAPPED = 3, BAT_PRESENT = 6, BAT_PARTIAL = 7, BAT_STATE = 7,
    MAX_BAT = 1 << 28, L_COUNT = 18, L_ENTRIES = 20, L_ENTRY = 12, L_MAX_BYTES = 1 << 20, HAS_PARENT = 2,
};
#define BAT_AT UINT64_C(0xfffffffffff00000)
#define MAX_SIZE (UINT64_C(64) << 40)

/* As they stand in the file. */
#define GUID(a, b, c, ...) { (a) & 255, (a) >> 8 & 255, (a) >> 16 & 255, (a) >> 24, (b) & 255, (b) >> 8, (c) & 255, (c) >> 8, __VA_ARGS__ }
static const uint8_t bat_guid[16] = GUID(0x2dc27766u, 0xf623, 0x4200, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08);
static const uint8_t metadata_guid[16] = GUID(0x8b7ca206u, 0x4790, 0x4b9a, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e);
enum { ITEM_FILE, ITEM_SIZE, ITEM_PAGE83, ITEM_LOGICAL, ITEM_PHYSICAL, ITEM_LOCATOR, N_ITEMS };
static const struct { uint8_t guid[16]; uint32_t len; uint32_t flags; } items[N_ITEMS] = {
    [ITEM_FILE]     = { GUID(0xcaa16737u, 0xfa36, 0x4d43, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b), 8, 4 },
    [ITEM_SIZE]     = { GUID(0x2fa54224u, 0xcd1b, 0x4876, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8), 8, 6 },
    [ITEM_PAGE83]   = { GUID(0xbeca12abu, 0xb2e6, 0x4523, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46), 16, 6 },
    [ITEM_LOGICAL]  = { GUID(0x8141bf1du, 0xa96f, 0x4709, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f), 4, 6 },
    [ITEM_PHYSICAL] = { GUID(0xcda348c7u, 0x445d, 0x4471, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56), 4, 6 },
    [ITEM_LOCATOR]  = { GUID(0xa8d35f2du, 0xb30b, 0x454d, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c), 0, 4 },
};

static const uint8_t locator_guid[16] = GUID(0xb04aefb7u, 0xd19e, 0x4a81, 0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13);

/* CRC-32C, bit by bit reflected polynomial 82F63B78h. */
uint32_t vhdx_crc(const uint8_t *p, size_t n, unsigned crc_at)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < n; i++) {
        crc ^= i >= crc_at && i < crc_at + 4u ? 0 : p[i];
        for (unsigned k = 0; k < 8; k++)
            crc = crc >> 1 ^ (0x82f63b78u & -(crc & 1));
    }
    return ~crc;
}

static int vhdx_probe(const uint8_t *h, size_t n) { return n >= 8 && !memcmp(h, "vhdxfile", 8) ? 100 : 0; }

/* --- headers */

int vhdx_header_update(Block *b, bool log)
{
    Vhdx *v = b->state;
    store_le64(v->header + H_SEQUENCE, load_le64(v->header + H_SEQUENCE) + 1);
    if (log) {
        block_make_uuid(v->header + H_FILE_GUID);
        block_make_uuid(v->header + H_DATA_GUID);
        block_make_uuid(v->header + H_LOG_GUID);
    } else {
        memset(v->header + H_LOG_GUID, 0, 16);
    }
    store_le32(v->header + H_CRC, vhdx_crc(v->header, VHDX_HEADER, H_CRC));
    v->header_second = !v->header_second;
    v->writing = log;
    v->s.touched |= log;
    int r = block_write(b->file, v->header_second ? VHDX_HEADER_2 : VHDX_HEADER_1, v->header, VHDX_HEADER, 0);
    return r ? r : block_flush(b->file);
}

static bool header_valid(const uint8_t *h)
{
    return !memcmp(h, "head", 4) && load_le32(h + H_CRC) == vhdx_crc(h, VHDX_HEADER, H_CRC) && load_le16(h + H_VERSION) == 1;
}

static bool read_headers(Block *b, GError **err)
{
    Vhdx *v = b->state;
    g_autofree uint8_t *second = g_malloc(VHDX_HEADER);
    int r = block_read(b->file, VHDX_HEADER_1, v->header, VHDX_HEADER);
    if (!r)
        r = block_read(b->file, VHDX_HEADER_2, second, VHDX_HEADER);
    if (r)
        return fail_errno(err, -r, "%s: cannot read the headers", b->filename);
    bool one = header_valid(v->header), two = header_valid(second);
    if (!one && !two)
        return fail(err, "%s: neither of its headers is valid", b->filename);
    v->header_second = two && (!one || load_le64(second + H_SEQUENCE) > load_le64(v->header + H_SEQUENCE));
    if (v->header_second)
        memcpy(v->header, second, VHDX_HEADER);
    v->log_at = load_le64(v->header + H_LOG_AT);
    v->log_length = load_le32(v->header + H_LOG_LENGTH);
    if (load_le16(v->header + H_LOG_VERSION) || v->log_at % VHDX_MB || v->log_at < VHDX_MB || v->log_length % VHDX_MB || !v->log_length ||
        v->log_length > 1 << 30 || v->log_at > b->file->length || v->log_length > b->file->length - v->log_at)
        return fail(err, "%s: a log of %u bytes at %#" PRIx64 " (version %u)", b->filename, v->log_length, v->log_at,
                    load_le16(v->header + H_LOG_VERSION));
    return true;
}

/* --- regions and metadata */

static bool find_regions(Block *b, uint64_t *metadata_at, uint64_t *bat_bytes, GError **err)
{
    Vhdx *v = b->state;
    g_autofree uint8_t *t = g_malloc(VHDX_REGION_BYTES);
    bool valid = false;
    static const uint32_t places[] = { VHDX_REGIONS_1, VHDX_REGIONS_2 };
    for (unsigned i = 0; i < 2 && !valid; i++)
        valid = !block_read(b->file, places[i], t, VHDX_REGION_BYTES) && !memcmp(t, "regi", 4) &&
                load_le32(t + R_COUNT) <= R_MAX && load_le32(t + R_CRC) == vhdx_crc(t, VHDX_REGION_BYTES, R_CRC);
    if (!valid)
        return fail(err, "%s: neither of its region tables is valid", b->filename);
    *metadata_at = v->bat_at = 0;
    for (unsigned i = 0; i < load_le32(t + R_COUNT); i++) {
        const uint8_t *e = t + R_ENTRIES + i * R_ENTRY;
        uint64_t at = load_le64(e + 16), len = load_le32(e + 24);
        if (at < VHDX_MB || at % VHDX_MB || at > b->file->length || len > b->file->length - at)
            return fail(err, "%s: region %u, %" PRIu64 " bytes at %#" PRIx64 ", does not lie in the file", b->filename, i, len, at);
        if (!memcmp(e, bat_guid, 16)) {
            v->bat_at = at;
            *bat_bytes = len;
        } else if (!memcmp(e, metadata_guid, 16)) {
            *metadata_at = at;
        } else if (load_le32(e + 28) & 1) {
            return fail(err, "%s: region %u is required and unknown", b->filename, i);
        }
    }
    return (*metadata_at && v->bat_at) || fail(err, "%s: the block table's or the metadata region is missing", b->filename);
}

/* "{...}", lower case, as locators have it. */
static char *guid_text(const uint8_t g[16])
{
    return g_strdup_printf("{%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x}", load_le32(g), load_le16(g + 4), load_le16(g + 6), g[8],
                           g[9], g[10], g[11], g[12], g[13], g[14], g[15]);
}

/* [MS-VHDX] 2.6.2.6: pairs of UTF-16 texts. */
static bool read_locator(Block *b, uint64_t at, uint32_t len, GError **err)
{
    Vhdx *v = b->state;
    enum { RELATIVE, VOLUME, ABSOLUTE, N_NAMES };
    static const char *const keys[] = { "relative_path", "volume_path", "absolute_win32_path" };
    char *names[N_NAMES] = { NULL };
    if (len < L_ENTRIES || len > L_MAX_BYTES)
        return fail(err, "%s: a parent locator of %u bytes", b->filename, len);
    g_autofree uint8_t *t = g_malloc(len);
    int r = block_read(b->file, at, t, len);
    if (r || memcmp(t, locator_guid, 16))
        return fail(err, "%s: its parent locator cannot be read, or is of a kind that is not known", b->filename);
    for (unsigned i = 0; i < load_le16(t + L_COUNT) && L_ENTRIES + (i + 1) * L_ENTRY <= len; i++) {
        const uint8_t *e = t + L_ENTRIES + i * L_ENTRY;
        uint32_t key_at = load_le32(e), value_at = load_le32(e + 4), key_len = load_le16(e + 8), value_len = load_le16(e + 10);
        if (key_at > len || key_len > len - key_at || value_at > len || value_len > len - value_at)
            continue;
        g_autofree char *key = parent_from_utf16(t + key_at, key_len, false);
        char *value = parent_from_utf16(t + value_at, value_len, false), **to = NULL;
        for (unsigned k = 0; key && value && k < N_NAMES; k++)
            to = !strcmp(key, keys[k]) ? &names[k] : to;
        if (key && value && (!strcmp(key, "parent_linkage") || !strcmp(key, "parent_linkage2"))) {
            to = &v->linkage[key[strlen("parent_linkage")] == '2'];
            for (char *c = value; *c; c++)
                *c = g_ascii_tolower(*c);
        }
        if (to && !*to)
            *to = g_steal_pointer(&value);
        g_free(value);
    }
    b->backing_name = parent_choose(b->filename, names, N_NAMES);
    b->backing_format = g_strdup("vhdx");
    for (unsigned i = 0; i < N_NAMES; i++)
        g_free(names[i]);
    return (b->backing_name && v->linkage[0]) || fail(err, "%s: a differencing disk that does not say what its parent is", b->filename);
}

static bool vhdx_parent(Block *b, GError **err)
{
    Vhdx *v = b->state;
    if (!v->differencing)
        return true;
    if (b->backing->drv != &block_vhdx_driver)
        return fail(err, "%s: its parent %s is no VHDX image", b->filename, b->backing->filename);
    const Vhdx *p = b->backing->state;
    g_autofree char *id = guid_text(p->header + H_DATA_GUID);
    return !strcmp(id, v->linkage[0]) || !g_strcmp0(id, v->linkage[1]) ||
           fail(err, "%s: %s is not the disk that it was made over, or was written to since: its id is %s, not %s", b->filename,
                b->backing->filename, id, v->linkage[0]);
}

static bool read_metadata(Block *b, uint64_t at, GError **err)
{
    Vhdx *v = b->state;
    g_autofree uint8_t *t = g_malloc0(M_BYTES);
    uint8_t value[N_ITEMS][16] = { 0 };
    uint32_t locator_at = 0, locator_len = 0;
    bool have[N_ITEMS] = { false };
    int r = block_read(b->file, at, t, M_BYTES);
    if (r || memcmp(t, "metadata", 8) || load_le16(t + M_COUNT) > M_MAX)
        return fail(err, "%s: the metadata table is damaged", b->filename);
    for (unsigned i = 1; i <= load_le16(t + M_COUNT); i++) {
        const uint8_t *e = t + i * M_ENTRY;
        unsigned k = 0;
        while (k < N_ITEMS && memcmp(items[k].guid, e, 16))
            k++;
        if (k == N_ITEMS) {
            if (load_le32(e + 24) & 4)
                return fail(err, "%s: metadata item %u is required and unknown", b->filename, i);
            continue;
        }
        uint32_t from = load_le32(e + 16), len = load_le32(e + 20);
        if (k != ITEM_LOCATOR && len != items[k].len)
            return fail(err, "%s: metadata item %u has %u bytes", b->filename, i, len);
        have[k] = true;
        if (k == ITEM_LOCATOR) {
            locator_at = from;
            locator_len = len;
        }
        if (k != ITEM_LOCATOR && (from > INT32_MAX || block_read(b->file, at + from, value[k], len)))
            return fail(err, "%s: metadata item %u cannot be read", b->filename, i);
    }
    for (unsigned k = 0; k < N_ITEMS; k++)
        if (!have[k] && k != ITEM_LOCATOR && k != ITEM_PAGE83)
            return fail(err, "%s: a required metadata item is missing", b->filename);
    v->block = load_le32(value[ITEM_FILE]);
    v->sector = load_le32(value[ITEM_LOGICAL]);
    b->length = load_le64(value[ITEM_SIZE]);
    v->differencing = load_le32(value[ITEM_FILE] + 4) & HAS_PARENT;
    if (v->differencing && (!have[ITEM_LOCATOR] || locator_at > INT32_MAX))
        return fail(err, "%s: a differencing disk without a parent locator", b->filename);
    if (v->differencing && !read_locator(b, at + locator_at, locator_len, err))
        return false;
    if (!is_pow2(v->block) || v->block < VHDX_MB || v->block > 256 * VHDX_MB || (v->sector != 512 && v->sector != 4096))
        return fail(err, "%s: blocks of %u and sectors of %u bytes", b->filename, v->block, v->sector);
    if (b->length > MAX_SIZE || b->length % v->sector)
        return fail(err, "%s: a disk of %" PRIu64 " bytes", b->filename, b->length);
    return true;
}

/* --- blocks */

/* After each chunk_ratio blocks the table has an entry for a bitmap, which only differencing disks use: 1 MiB, a bit for each
 * sector of those blocks, the first in the lowest bit. */
static uint64_t entry_at(const Vhdx *v, uint64_t n) { return v->bat_at + (n + n / v->chunk_ratio) * 8; }

static int vhdx_find(Block *b, uint64_t n, Place *out)
{
    Vhdx *v = b->state;
    uint8_t word[8];
    *out = (Place){ PLACE_NONE };
    if ((n + n / v->chunk_ratio) >= v->bat_entries)
        return 0;
    int r = meta_read(&v->s.meta, entry_at(v, n), word, 8);
    uint64_t e = load_le64(word);
    switch (e & BAT_STATE) {
    case BAT_PRESENT: *out = (Place){ PLACE_DATA, e & BAT_AT }; break;
    case BAT_ZERO: case BAT_UNMAPPED: *out = (Place){ PLACE_ZERO }; break;
    case BAT_PARTIAL:
        *out = (Place){ PLACE_DATA, e & BAT_AT, .partial = true };
        r = r || v->differencing ? r : -EIO;
        break;
    }
    return r ? r : out->at > INT64_MAX / 2 ? -EIO : 0;
}

static int vhdx_set(Block *b, uint64_t n, const Place *p)
{
    Vhdx *v = b->state;
    uint8_t word[8];
    if ((n + n / v->chunk_ratio) >= v->bat_entries)
        return -EIO;
    store_le64(word, p->kind == PLACE_DATA ? p->at | BAT_PRESENT : p->kind == PLACE_ZERO ? BAT_ZERO : BAT_NONE);
    return meta_write(&v->s.meta, entry_at(v, n), word, 8, 1);
}

static int vhdx_own(Block *b, uint64_t n, const Place *p, uint64_t in, bool *own, uint64_t *len)
{
    Vhdx *v = b->state;
    uint64_t entry = (n / v->chunk_ratio + 1) * (v->chunk_ratio + 1) - 1, sectors = v->block / v->sector;
    uint64_t first = n % v->chunk_ratio * sectors, i = in / v->sector;
    uint8_t word[8], bits[META_PIECE];
    if (entry >= v->bat_entries)
        return -EIO;
    int r = meta_read(&v->s.meta, v->bat_at + entry * 8, word, 8);
    if (r || (load_le64(word) & BAT_STATE) != BAT_PRESENT)
        return r ? r : -EIO;
    /* As far as one piece of the bitmap tells. */
    uint64_t piece = (first + i) / 8 / META_PIECE * META_PIECE, base = piece * 8;
    r = meta_read(&v->s.meta, (load_le64(word) & BAT_AT) + piece, bits, sizeof bits);
    *own = bits[(first + i - base) / 8] >> (first + i - base) % 8 & 1;
    for (i++; i < sectors && first + i - base < sizeof bits * 8 && (bits[(first + i - base) / 8] >> (first + i - base) % 8 & 1) == *own;)
        i++;
    *len = i * v->sector - in;
    return r;
}

static int vhdx_complete(Block *b, uint64_t n, const Place *p) { return vhdx_set(b, n, &(Place){ PLACE_DATA, p->at }); }

/* Before data change for the first time in a session, so does the GUID that disks made over this one know (2.2.2). */
static int vhdx_touch(Block *b)
{
    Vhdx *v = b->state;
    block_make_uuid(v->header + H_FILE_GUID);
    block_make_uuid(v->header + H_DATA_GUID);
    return vhdx_header_update(b, false);
}

static const SparseOps vhdx_ops = { .co_find = vhdx_find, .co_set = vhdx_set, .marks_zero = true, .co_own = vhdx_own,
                                    .co_complete = vhdx_complete, .co_touch = vhdx_touch };

static bool vhdx_open(Block *b, GError **err)
{
    Vhdx *v = b->state;
    uint64_t metadata_at, bat_bytes = 0;
    uint8_t magic[8];
    int r = block_read(b->file, 0, magic, 8);
    if (r || memcmp(magic, "vhdxfile", 8))
        return fail(err, "%s: not a VHDX image", b->filename);
    if (!read_headers(b, err))
        return false;
    GError *why = NULL;
    r = vhdx_replay(b, &why);
    if (why) {
        g_propagate_error(err, why);
        return false;
    }
    if (r)
        return fail_errno(err, -r, "%s: its log cannot be replayed", b->filename);
    if (!find_regions(b, &metadata_at, &bat_bytes, err) || !read_metadata(b, metadata_at, err))
        return false;
    v->chunk_ratio = ((uint64_t)v->sector << 23) / v->block;
    uint64_t blocks = (b->length + v->block - 1) / v->block;
    v->bat_entries = bat_bytes / 8;
    if (blocks && (v->bat_entries > MAX_BAT || blocks + (blocks - 1) / v->chunk_ratio > v->bat_entries))
        return fail(err, "%s: a table of %" PRIu64 " entries does not hold %" PRIu64 " blocks", b->filename, v->bat_entries, blocks);
    sparse_init(b, &vhdx_ops, v->block, 0, 0);
    v->s.end = align_up(b->file->length, VHDX_MB);
    v->s.meta.co_log = vhdx_log;
    v->s.meta.log_self = b;
    return true;
}

static int vhdx_close(Block *b)
{
    Vhdx *v = b->state;
    int r = b->opened && (b->flags & BLOCK_RDWR) ? sparse_flush(b) : 0;
    if (!r && v->writing && !meta_dirty(&v->s.meta)) {
        r = block_flush(b->file);
        if (!r)
            r = vhdx_header_update(b, false);
    }
    int close_result = sparse_close(b);
    g_free(v->linkage[0]);
    g_free(v->linkage[1]);
    return r ? r : close_result;
}

static int vhdx_info(Block *b, BlockInfo *out)
{
    out->granule = ((Vhdx *)b->state)->block;
    return 0;
}

static gint by_number(gconstpointer a, gconstpointer b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static int vhdx_check(Block *b, unsigned fix, BlockCheck *out, GError **err)
{
    Vhdx *v = b->state;
    g_autoptr(GArray) places = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    int r = 0;
    out->total_clusters = (b->length + v->block - 1) / v->block;
    out->image_end = b->file->length;
    co_mutex_lock(&v->s.lock);
    for (uint64_t n = 0; n < out->total_clusters && !r; n++) {
        Place p;
        if (vhdx_find(b, n, &p)) {
            sparse_check_note(out, &out->corruptions, "block %" PRIu64 " is in a state that this disk cannot have", n);
            continue;
        }
        if (p.kind != PLACE_DATA)
            continue;
        out->allocated_clusters++;
        if (p.at >= VHDX_MB && p.at + v->block <= align_up(b->file->length, VHDX_MB)) {
            g_array_append_val(places, p.at);
            continue;
        }
        sparse_check_note(out, &out->corruptions, "block %" PRIu64 " lies beyond the file, at %#" PRIx64, n, p.at);
        if (fix & CHECK_FIX_ERRORS) {
            r = vhdx_set(b, n, &(Place){ PLACE_NONE });
            out->corruptions_fixed += !r;
        }
    }
    g_array_sort(places, by_number);
    for (guint i = 1; i < places->len; i++)
        if (g_array_index(places, uint64_t, i) - g_array_index(places, uint64_t, i - 1) < v->block)
            sparse_check_note(out, &out->corruptions, "two blocks overlap at %#" PRIx64, g_array_index(places, uint64_t, i));
    if (!r && out->corruptions_fixed)
        r = meta_commit(&v->s.meta);
    co_mutex_unlock(&v->s.lock);
    return r;
}

/* --- making */

/* The last metadata item, behind the others' values. */
static void put_locator(uint8_t *table, const char *id, const char *name, const char *path)
{
    g_autofree char *relative = *name == '/' || *name == '.' ? g_strdup(name) : g_strconcat("./", name, NULL);
    const char *const pairs[][2] = { { "parent_linkage", id }, { "relative_path", relative }, { "absolute_win32_path", path } };
    uint8_t *l = table + M_BYTES + M_LOCATOR, *e = table + N_ITEMS * M_ENTRY;
    uint32_t from = L_ENTRIES + ARRAY_LEN(pairs) * L_ENTRY;
    memcpy(l, locator_guid, 16);
    store_le16(l + L_COUNT, ARRAY_LEN(pairs));
    for (unsigned i = 0; i < ARRAY_LEN(pairs); i++)
        for (unsigned k = 0; k < 2; k++) {
            size_t len;
            g_autofree uint8_t *text = parent_to_utf16(pairs[i][k], false, &len);
            len = MIN(len, 8192);
            memcpy(l + from, text, len);
            store_le32(l + L_ENTRIES + i * L_ENTRY + k * 4, from);
            store_le16(l + L_ENTRIES + i * L_ENTRY + 8 + k * 2, (uint16_t)len);
            from += (uint32_t)len;
        }
    memcpy(e, items[ITEM_LOCATOR].guid, 16);
    store_le32(e + 16, M_BYTES + M_LOCATOR);
    store_le32(e + 20, from);
    store_le32(e + 24, items[ITEM_LOCATOR].flags);
}

static bool vhdx_create(BlockGraph *g, const char *filename, Json *options, GError **err)
{
    uint64_t size, block = 0, log = VHDX_MB;
    const char *subformat = "dynamic", *parent_name;
    bool zero_state = true;
    Block *parent;
    if (!parent_for_new(g, filename, options, "vhdx", &parent, &parent_name, err))
        return false;
    g_autofree char *parent_id = parent ? guid_text(((Vhdx *)parent->state)->header + H_DATA_GUID) : NULL;
    g_autofree char *parent_path = parent ? g_canonicalize_filename(block_filename(parent), NULL) : NULL;
    uint32_t sector = parent ? ((Vhdx *)parent->state)->sector : 512;
    if (parent)
        block_close(parent);
    if (!sparse_make_size(options, MAX_SIZE, &size, err) || !block_opt_size(options, "block_size", &block, err) ||
        !block_opt_size(options, "log_size", &log, err) || !block_opt_string(options, "subformat", &subformat, err) ||
        !block_opt_bool(options, "block_state_zero", &zero_state, err))
        return false;
    bool fixed = !strcmp(subformat, "fixed");
    if (!fixed && strcmp(subformat, "dynamic"))
        return fail(err, "subformat '%s' is neither dynamic nor fixed", subformat);
    if (fixed && parent)
        return fail(err, "a fixed VHDX disk has no parent");
    if (!block)
        block = (size > UINT64_C(32) << 40 ? 64 : size > UINT64_C(100) << 30 ? 32 : size > 1 << 30 ? 16 : 8) * VHDX_MB;
    if (!is_pow2(block) || block < VHDX_MB || block > 256 * VHDX_MB)
        return fail(err, "block_size %" PRIu64 " is no power of two from 1M to 256M", block);
    if (!log || log % VHDX_MB || log > 1 << 30)
        return fail(err, "log_size %" PRIu64 " is no multiple of 1M up to 1G", log);
    size = align_up(size, sector);
    uint64_t blocks = (size + block - 1) / block, ratio = ((uint64_t)sector << 23) / block;
    uint64_t entries = parent ? (blocks + ratio - 1) / ratio * (ratio + 1) : blocks + (blocks ? (blocks - 1) / ratio : 0);
    uint64_t log_at = VHDX_MB, metadata_at = log_at + log, bat_at = metadata_at + VHDX_MB, bat_bytes = align_up(MAX(entries, 1) * 8, VHDX_MB);
    uint64_t data_at = bat_at + bat_bytes;

    g_autofree uint8_t *ident = g_malloc0(4096), *header = g_malloc0(VHDX_HEADER), *regions = g_malloc0(VHDX_REGION_BYTES);
    g_autofree uint8_t *second = g_malloc0(VHDX_HEADER), *table = g_malloc0(M_BYTES + M_VALUES), *bat = g_malloc0(entries * 8 + 1);
    static const char creator[] = "Rhea";
    memcpy(ident, "vhdxfile", 8);
    for (unsigned i = 0; creator[i]; i++)
        ident[8 + i * 2] = (uint8_t)creator[i];
    memcpy(header, "head", 4);
    block_make_uuid(header + H_FILE_GUID);
    block_make_uuid(header + H_DATA_GUID);
    store_le16(header + H_VERSION, 1);
    store_le32(header + H_LOG_LENGTH, (uint32_t)log);
    store_le64(header + H_LOG_AT, log_at);
    memcpy(second, header, VHDX_HEADER);
    store_le64(second + H_SEQUENCE, 1);
    store_le32(header + H_CRC, vhdx_crc(header, VHDX_HEADER, H_CRC));
    store_le32(second + H_CRC, vhdx_crc(second, VHDX_HEADER, H_CRC));

    memcpy(regions, "regi", 4);
    store_le32(regions + R_COUNT, 2);
    const struct { const uint8_t *guid; uint64_t at, len; } region[] = { { bat_guid, bat_at, bat_bytes }, { metadata_guid, metadata_at, VHDX_MB } };
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *e = regions + R_ENTRIES + i * R_ENTRY;
        memcpy(e, region[i].guid, 16);
        store_le64(e + 16, region[i].at);
        store_le32(e + 24, (uint32_t)region[i].len);
        store_le32(e + 28, 1);
    }
    store_le32(regions + R_CRC, vhdx_crc(regions, VHDX_REGION_BYTES, R_CRC));

    memcpy(table, "metadata", 8);
    store_le16(table + M_COUNT, N_ITEMS - !parent);
    if (parent)
        put_locator(table, parent_id, parent_name, parent_path);
    for (unsigned k = 0, from = M_BYTES; k < N_ITEMS - 1; from += items[k++].len) {
        uint8_t *e = table + (k + 1) * M_ENTRY, *value = table + from;
        memcpy(e, items[k].guid, 16);
        store_le32(e + 16, from);
        store_le32(e + 20, items[k].len);
        store_le32(e + 24, items[k].flags);
        switch (k) {
        case ITEM_FILE:
            store_le32(value, (uint32_t)block);
            store_le32(value + 4, parent ? HAS_PARENT : fixed);
            break;
        case ITEM_SIZE:     store_le64(value, size); break;
        case ITEM_PAGE83:   block_make_uuid(value); break;
        case ITEM_LOGICAL:  store_le32(value, sector); break;
        case ITEM_PHYSICAL: store_le32(value, sector); break;
        }
    }
    /* A new block without an entry reads as zeros either way; "zero" says so to others. */
    for (uint64_t i = 0; i < blocks; i++)
        store_le64(bat + (i + i / ratio) * 8, fixed ? (data_at + i * block) | BAT_PRESENT : zero_state && !parent ? BAT_ZERO : BAT_NONE);
    SparsePart parts[] = {
        { 0, ident, 4096 }, { VHDX_HEADER_1, header, VHDX_HEADER }, { VHDX_HEADER_2, second, VHDX_HEADER },
        { VHDX_REGIONS_1, regions, VHDX_REGION_BYTES }, { VHDX_REGIONS_2, regions, VHDX_REGION_BYTES },
        { metadata_at, table, M_BYTES + M_VALUES }, { bat_at, bat, entries * 8 },
    };
    return sparse_make(g, filename, parts, ARRAY_LEN(parts), data_at + (fixed ? blocks * block : 0), err);
}

static const BlockOption vhdx_options[] = {
    { "backing_file", "str", "a VHDX disk that this one differs from" },
    { "backing_fmt", "str", "vhdx" },
    { "block_size", "size", "1M to 256M; 0 (default): by the size of the disk" },
    { "block_state_zero", "bool", "blocks that have never been written are marked as zeros (default on)" },
    { "log_size", "size", "a multiple of 1M, default 1M" },
    { "subformat", "str", "dynamic (default) or fixed" },
    { NULL }
};
static const BlockMaker vhdx_maker = { .options = vhdx_options, .co_create = vhdx_create, .co_check = vhdx_check };

const BlockDriver block_vhdx_driver = {
    .name = "vhdx", .kind = BLOCK_KIND_FORMAT, .size = sizeof(Vhdx), .probe = vhdx_probe, .co_open = vhdx_open, .co_parent = vhdx_parent, .co_close = vhdx_close,
    .co_read = sparse_read, .co_write = sparse_write, .co_flush = sparse_flush, .co_zero = sparse_zero, .co_discard = sparse_discard,
    .co_map = sparse_map, .co_info = vhdx_info, .maker = &vhdx_maker,
};
