/* SPDX-License-Identifier: GPL-2.0-or-later
 * The journal of VHDX ([MS-VHDX] 2.3): a ring of entries, each a header, descriptors and 4 KiB sectors of data. */
#include <errno.h>
#include <string.h>

#include "block/vhdx/vhdx_int.h"
#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"

enum {
    E_CRC = 4, E_LENGTH = 8, E_TAIL = 12, E_SEQUENCE = 16, E_DESCRIPTORS = 24, E_GUID = 32, E_FLUSHED = 48, E_LAST = 56, E_HEADER = 64,
    D_TRAILING = 4, D_LEADING = 8, D_AT = 16, D_SEQUENCE = 24, D_BYTES = 32,
    IN_FIRST = (VHDX_LOG_SECTOR - E_HEADER) / D_BYTES, PER_SECTOR = VHDX_LOG_SECTOR / D_BYTES,
    S_HIGH = 4, S_DATA = 8, S_DATA_BYTES = 4084, S_LOW = 4092,
};

static unsigned descriptor_sectors(uint32_t n) { return n <= IN_FIRST ? 1 : 1 + (n - IN_FIRST + PER_SECTOR - 1) / PER_SECTOR; }
/* Descriptors follow each other without regard to sectors, the first behind the header. */
static uint8_t *descriptor(uint8_t *entry, uint32_t i) { return entry + E_HEADER + i * D_BYTES; }

static int ring_read(Vhdx *v, Block *b, uint32_t at, uint8_t *out, uint32_t len)
{
    uint32_t first = MIN(len, v->log_length - at);
    int r = block_read(b->file, v->log_at + at, out, first);
    return r || first == len ? r : block_read(b->file, v->log_at, out + first, len - first);
}

/* The entry at `at`, or NULL: there is none that is valid. */
static uint8_t *entry_read(Vhdx *v, Block *b, uint32_t at)
{
    uint8_t head[E_HEADER];
    if (ring_read(v, b, at, head, sizeof head))
        return NULL;
    uint32_t length = load_le32(head + E_LENGTH), n = load_le32(head + E_DESCRIPTORS), tail = load_le32(head + E_TAIL);
    if (memcmp(head, "loge", 4) || memcmp(head + E_GUID, v->header + H_LOG_GUID, 16) || length % VHDX_LOG_SECTOR || !length ||
        length > v->log_length || tail % VHDX_LOG_SECTOR || tail >= v->log_length || !load_le64(head + E_SEQUENCE) ||
        n > v->log_length / D_BYTES || descriptor_sectors(n) > length / VHDX_LOG_SECTOR)
        return NULL;
    uint8_t *entry = g_try_malloc(length);
    if (!entry)
        return NULL;
    if (ring_read(v, b, at, entry, length) || load_le32(entry + E_CRC) != vhdx_crc(entry, length, E_CRC)) {
        g_free(entry);
        return NULL;
    }
    return entry;
}

/* Walks the chain of valid entries that starts at `at`: the last one's sequence number and place; 0: none. */
static uint64_t chain(Vhdx *v, Block *b, uint32_t at, uint32_t *head_at)
{
    uint64_t last = 0, walked = 0;
    while (walked < v->log_length) {
        g_autofree uint8_t *entry = entry_read(v, b, at);
        if (!entry || (last && load_le64(entry + E_SEQUENCE) != last + 1))
            break;
        last = load_le64(entry + E_SEQUENCE);
        *head_at = at;
        walked += load_le32(entry + E_LENGTH);
        at = (at + load_le32(entry + E_LENGTH)) % v->log_length;
    }
    return last;
}

static int apply(Block *b, uint8_t *entry)
{
    uint64_t sequence = load_le64(entry + E_SEQUENCE);
    uint32_t n = load_le32(entry + E_DESCRIPTORS), used = descriptor_sectors(n), sectors = load_le32(entry + E_LENGTH) / VHDX_LOG_SECTOR;
    int r = 0;
    for (uint32_t i = 0; i < n && !r; i++) {
        uint8_t *d = descriptor(entry, i), data[VHDX_LOG_SECTOR];
        uint64_t at = load_le64(d + D_AT);
        if (load_le64(d + D_SEQUENCE) != sequence || at % VHDX_LOG_SECTOR || at > INT64_MAX / 2)
            return -EIO;
        if (!memcmp(d, "zero", 4)) {
            uint64_t len = load_le64(d + D_LEADING);
            if (len % VHDX_LOG_SECTOR || at + len > b->file->length + VHDX_MB)
                return -EIO;
            r = block_zero(b->file, at, len, 0);
            continue;
        }
        if (memcmp(d, "desc", 4) || used >= sectors)
            return -EIO;
        uint8_t *s = entry + (size_t)used++ * VHDX_LOG_SECTOR;
        if (memcmp(s, "data", 4) || load_le32(s + S_HIGH) != sequence >> 32 || load_le32(s + S_LOW) != (uint32_t)sequence)
            return -EIO;
        memcpy(data, d + D_LEADING, 8);
        memcpy(data + 8, s + S_DATA, S_DATA_BYTES);
        memcpy(data + 8 + S_DATA_BYTES, d + D_TRAILING, 4);
        if (at > b->file->length + VHDX_MB)
            return -EIO;
        r = block_write(b->file, at, data, sizeof data, 0);
    }
    return r;
}

int vhdx_replay(Block *b, GError **err)
{
    Vhdx *v = b->state;
    static const uint8_t none[16];
    if (!memcmp(v->header + H_LOG_GUID, none, 16))
        return 0;
    /* The sequence that counts is the one with the highest number whose last entry's tail is in it. */
    uint64_t best = 0;
    uint32_t tail = 0, head = 0;
    for (uint32_t at = 0; at < v->log_length; at += VHDX_LOG_SECTOR) {
        uint32_t last_at = 0;
        uint64_t last = chain(v, b, at, &last_at);
        if (last <= best)
            continue;
        g_autofree uint8_t *entry = entry_read(v, b, last_at);
        uint32_t its_tail = entry ? load_le32(entry + E_TAIL) : 0, reached = 0;
        if (entry && chain(v, b, its_tail, &reached) == last) {
            best = last;
            tail = its_tail;
            head = last_at;
        }
    }
    if (!best)
        return 0;       /* emptied already */
    if (!(b->file->flags & BLOCK_RDWR)) {
        fail(err, "%s: its log must be replayed, for which it must be opened for writing ('rhea-img check -r all' does it)", b->filename);
        return -EROFS;
    }
    int r = 0;
    for (uint32_t at = tail; !r;) {
        g_autofree uint8_t *entry = entry_read(v, b, at);
        if (!entry)
            return -EIO;
        uint64_t size = load_le64(entry + E_LAST);
        if (size > b->file->length && size <= b->file->length + ((uint64_t)1 << 40) && b->file->growable &&
            !block_resize(b->file, size, PREALLOC_OFF, err))
            return -EIO;
        r = apply(b, entry);
        if (at == head)
            break;
        at = (at + load_le32(entry + E_LENGTH)) % v->log_length;
    }
    if (!r)
        r = block_flush(b->file);
    if (!r)
        r = vhdx_header_update(b, false);
    return r ? r : block_flush(b->file);
}

int vhdx_log(void *block, const MetaChange *change, unsigned n)
{
    Block *b = block;
    Vhdx *v = b->state;
    int r = v->writing ? 0 : vhdx_header_update(b, true);
    if (!r)
        r = block_flush(b->file);       /* data, and what the entry before has logged, are in their places */
    if (r)
        return r;
    unsigned sectors = descriptor_sectors(n) + n;
    uint32_t length = sectors * VHDX_LOG_SECTOR;
    g_autofree uint8_t *e = g_malloc0(length);
    uint64_t sequence = ++v->log_sequence;
    memcpy(e, "loge", 4);
    store_le32(e + E_LENGTH, length);
    store_le32(e + E_TAIL, v->log_head);        /* nothing before it is needed any more */
    store_le64(e + E_SEQUENCE, sequence);
    store_le32(e + E_DESCRIPTORS, n);
    memcpy(e + E_GUID, v->header + H_LOG_GUID, 16);
    store_le64(e + E_FLUSHED, b->file->length);
    store_le64(e + E_LAST, b->file->length);
    for (unsigned i = 0; i < n; i++) {
        uint8_t *d = descriptor(e, i), *s = e + (size_t)(sectors - n + i) * VHDX_LOG_SECTOR;
        memcpy(d, "desc", 4);
        memcpy(d + D_LEADING, change[i].data, 8);
        memcpy(d + D_TRAILING, change[i].data + 8 + S_DATA_BYTES, 4);
        store_le64(d + D_AT, change[i].at);
        store_le64(d + D_SEQUENCE, sequence);
        memcpy(s, "data", 4);
        store_le32(s + S_HIGH, (uint32_t)(sequence >> 32));
        memcpy(s + S_DATA, change[i].data + 8, S_DATA_BYTES);
        store_le32(s + S_LOW, (uint32_t)sequence);
    }
    store_le32(e + E_CRC, vhdx_crc(e, length, E_CRC));
    uint32_t first = MIN(length, v->log_length - v->log_head);
    r = block_write(b->file, v->log_at + v->log_head, e, first, 0);
    if (!r && first < length)
        r = block_write(b->file, v->log_at, e + first, length - first, 0);
    v->log_head = (v->log_head + length) % v->log_length;
    return r ? r : block_flush(b->file);
}
