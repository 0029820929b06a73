/* SPDX-License-Identifier: GPL-2.0-or-later
 * The firmware configuration device: items, each a string of bytes with a 16-bit key, some of them files with a name.
 * Source: the specification "QEMU Firmware Configuration (fw_cfg) Device", revision with DMA.
 *
 * Window 0 is the selector (16 bits, offset 0) and the data port (8 bits, offset 1); window 1 the DMA address register.
 * No item can be written. */
#include "hw/nvram/fw_cfg.h"

#include <inttypes.h>
#include <string.h>

#include "hw/core/machine.h"
#include "util/bits.h"

enum { DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16 };
enum { ID_TRADITIONAL = 1, ID_DMA = 2 };
enum { DIR_ENTRY = 64 };                        /* size, key, two reserved bytes, 56 bytes of name */

typedef struct Item {
    uint16_t key;
    char    *name;                              /* NULL: no file */
    GBytes  *bytes;
} Item;

typedef struct FwCfg {
    Device     dev;
    GPtrArray *items;                           /* Item; files in the order of their names */
    uint16_t   key;
    uint32_t   at;                              /* offset in the selected item */
    uint64_t   dma;                             /* address register: what has been written of it */
} FwCfg;

static void item_free(gpointer self)
{
    Item *i = self;
    g_free(i->name);
    g_bytes_unref(i->bytes);
    g_free(i);
}

static Item *find(const FwCfg *f, uint16_t key)
{
    for (unsigned i = 0; i < f->items->len; i++) {
        Item *it = g_ptr_array_index(f->items, i);
        if (it->key == key)
            return it;
    }
    return NULL;
}

static void put_be(uint8_t *p, uint64_t v, unsigned n)
{
    while (n--) {
        p[n] = v;
        v >>= 8;
    }
}

static uint64_t get_be(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | *p++;
    return v;
}

void fw_cfg_add(Device *d, uint16_t key, const void *bytes, size_t len)
{
    FwCfg *f = (FwCfg *)d;
    Item *i = find(f, key);
    if (!i) {
        i = g_new0(Item, 1);
        i->key = key;
        g_ptr_array_add(f->items, i);
    } else {
        g_bytes_unref(i->bytes);
    }
    i->bytes = g_bytes_new(bytes, len);
}

void fw_cfg_add_u16(Device *d, uint16_t key, uint16_t v)
{
    v = GUINT16_TO_LE(v);
    fw_cfg_add(d, key, &v, sizeof(v));
}

static int by_name(gconstpointer a, gconstpointer b)
{
    const Item *x = *(Item *const *)a, *y = *(Item *const *)b;
    return g_strcmp0(x->name, y->name);         /* those without a name first */
}

/* Files are sorted, so that their keys do not depend on who added them when. */
static void make_directory(FwCfg *f)
{
    GByteArray *dir = g_byte_array_new();
    uint8_t head[4], entry[DIR_ENTRY];
    unsigned n = 0;
    g_ptr_array_sort(f->items, by_name);
    for (unsigned i = 0; i < f->items->len; i++)
        n += ((Item *)g_ptr_array_index(f->items, i))->name != NULL;
    put_be(head, n, 4);
    g_byte_array_append(dir, head, sizeof(head));
    n = 0;
    for (unsigned i = 0; i < f->items->len; i++) {
        Item *it = g_ptr_array_index(f->items, i);
        if (!it->name)
            continue;
        it->key = FW_CFG_FILE_FIRST + n++;
        memset(entry, 0, sizeof(entry));
        put_be(entry, g_bytes_get_size(it->bytes), 4);
        put_be(entry + 4, it->key, 2);
        g_strlcpy((char *)entry + 8, it->name, FW_CFG_NAME_MAX + 1);
        g_byte_array_append(dir, entry, sizeof(entry));
    }
    fw_cfg_add(&f->dev, FW_CFG_FILE_DIR, dir->data, dir->len);
    g_byte_array_free(dir, TRUE);
}

bool fw_cfg_add_file(Device *d, const char *name, const void *bytes, size_t len, GError **err)
{
    FwCfg *f = (FwCfg *)d;
    Item *it = NULL;
    unsigned files = 0;
    if (!*name || strlen(name) > FW_CFG_NAME_MAX)
        return fail(err, "'%s': a name has 1 to %d bytes", name, FW_CFG_NAME_MAX);
    if (len > UINT32_MAX)
        return fail(err, "%s: %zu bytes; an item has less than 4 GiB", name, len);
    for (unsigned i = 0; i < f->items->len; i++) {
        Item *other = g_ptr_array_index(f->items, i);
        files += other->name != NULL;
        if (g_strcmp0(other->name, name) == 0)
            it = other;
    }
    if (!it && files == FW_CFG_FILES_MAX)
        return fail(err, "%s: more than %d files", name, FW_CFG_FILES_MAX);
    if (!it) {
        it = g_new0(Item, 1);
        it->name = g_strdup(name);
        g_ptr_array_add(f->items, it);
    } else {
        g_bytes_unref(it->bytes);
    }
    it->bytes = g_bytes_new(bytes, len);
    make_directory(f);
    return true;
}

static void select_item(FwCfg *f, uint16_t key)
{
    f->key = key;
    f->at = 0;
}

/* The selected item's rest; none where there is no such item or it has been read to its end. */
static const uint8_t *rest(const FwCfg *f, size_t *len)
{
    const Item *i = find(f, f->key);
    gsize size = 0;
    const uint8_t *bytes = i ? g_bytes_get_data(i->bytes, &size) : NULL;
    *len = f->at < size ? size - f->at : 0;
    return *len ? bytes + f->at : NULL;
}

static uint64_t data_read(void *self, uint64_t off, unsigned size)
{
    FwCfg *f = self;
    size_t len;
    if (off != 1)
        return 0;
    const uint8_t *p = rest(f, &len);
    f->at += len != 0;
    return len ? *p : 0;
}

static void select_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    if (off == 0 && size == 2)
        select_item(self, v);
    else
        log_guest_dev(self, "a write of %u bytes at offset %u is neither a selection nor possible", size, (unsigned)off);
}

/* Bytes past the item's end read as zero.  The destination must be RAM: false if not. */
static bool dma_copy(FwCfg *f, uint64_t to, uint32_t len)
{
    Space *mem = f->dev.machine->mem;
    while (len) {
        uint64_t piece = len;
        size_t left;
        uint8_t *host = dma_map(mem, to, &piece, true);
        if (!host || !piece)
            return false;
        const uint8_t *from = rest(f, &left);
        if (left)
            piece = MIN(piece, left);
        if (left)
            memcpy(host, from, piece);
        else
            memset(host, 0, piece);
        dma_done(mem, host, piece);
        f->at += left ? piece : 0;
        to += piece;
        len -= piece;
    }
    return true;
}

static void dma_run(FwCfg *f, uint64_t at)
{
    Space *mem = f->dev.machine->mem;
    uint8_t block[16], answer[4];
    if (dma_read(mem, at, block, sizeof(block)) != MEM_OK) {
        log_guest_dev(f, "no DMA control block can be read at %#" PRIx64, at);
        return;
    }
    uint32_t control = get_be(block, 4), len = get_be(block + 4, 4);
    uint64_t to = get_be(block + 8, 8);
    bool ok = true;
    if (control & DMA_SELECT)
        select_item(f, control >> 16);
    if (control & DMA_READ) {
        ok = dma_copy(f, to, len);
    } else if (control & DMA_WRITE) {
        ok = false;
    } else if (control & DMA_SKIP) {
        size_t left;
        rest(f, &left);
        f->at += MIN(left, len);
    }
    if (!ok)
        log_guest_dev(f, "DMA of %u bytes to %#" PRIx64 ", control %#x, cannot be done", len, to, control);
    put_be(answer, ok ? 0 : DMA_ERROR, 4);
    dma_write(mem, at, answer, sizeof(answer));
}

/* Reading the address register shows that there is DMA. */
static uint64_t dma_reg_read(void *self, uint64_t off, unsigned size)
{
    static const uint8_t signature[] = "QEMU CFG";
    uint64_t v = 0;
    for (unsigned i = size; i--;)
        v = v << 8 | signature[off + i];
    return v;
}

/* Big-endian; the write of the lower half starts the transfer. */
static void dma_reg_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    FwCfg *f = self;
    if (size == 8) {
        dma_run(f, GUINT64_SWAP_LE_BE(v));
    } else if (size == 4 && off == 0) {
        f->dma = (uint64_t)GUINT32_SWAP_LE_BE((uint32_t)v) << 32;
    } else if (size == 4 && off == 4) {
        uint64_t at = f->dma | GUINT32_SWAP_LE_BE((uint32_t)v);
        f->dma = 0;
        dma_run(f, at);
    } else {
        log_guest_dev(f, "a write of %u bytes to the DMA address register", size);
    }
}

static const RegionOps data_ops = { data_read, select_write, .min = 1, .max = 2 };
static const RegionOps dma_ops = { dma_reg_read, dma_reg_write, .min = 1, .max = 8 };

static bool init(void *self, GError **err)
{
    FwCfg *f = self;
    static const uint8_t id[4] = { ID_TRADITIONAL | ID_DMA };
    f->items = g_ptr_array_new_with_free_func(item_free);
    fw_cfg_add(&f->dev, FW_CFG_SIGNATURE, "QEMU", 4);
    fw_cfg_add(&f->dev, FW_CFG_ID, id, sizeof(id));
    make_directory(f);
    return true;
}

static void release(void *self)
{
    FwCfg *f = self;
    if (f->items)
        g_ptr_array_free(f->items, TRUE);
}

static const Field state[] = { FIELD(FwCfg, key), FIELD(FwCfg, at), FIELD(FwCfg, dma), { 0 } };

const DeviceType fw_cfg_type = {
    .name = "fw_cfg", .help = "firmware configuration", .size = sizeof(FwCfg),
    .windows = { { .span = 2, .ops = &data_ops }, { .name = "dma", .span = 8, .ops = &dma_ops } },
    .state = state, .init = init, .free = release,
};
