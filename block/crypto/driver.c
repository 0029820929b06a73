/* SPDX-License-Identifier: GPL-2.0-or-later
 * LUKS images: a header (luks.c), then the disk, sector by sector.
 *
 * Nothing is known of sectors that were never written: a new image reads as noise, and zeros must be written. */
#include "block/crypto/luks.h"

#include <errno.h>

#include "util/bits.h"
#include "util/error.h"

typedef struct LuksImage { Luks *luks; } LuksImage;

static bool luks_image_open(Block *b, GError **err)
{
    LuksImage *s = b->state;
    const char *key = NULL;
    if (!block_opt_string(b->options, "key-secret", &key, err))
        return false;
    s->luks = luks_open(b->file, 0, b->file->length, err);
    if (!s->luks)
        return fail_prefix(err, "%s: ", b->filename);
    b->align = CRYPT_SECTOR;
    b->length = align_down(b->file->length - s->luks->payload, CRYPT_SECTOR);
    /* To look at the header, none is needed. */
    if (!key && (b->flags & (BLOCK_NO_IO | BLOCK_CHECK)))
        return true;
    return luks_unlock(s->luks, b->graph, key, err) || fail_prefix(err, "%s: ", b->filename);
}

static int luks_image_close(Block *b)
{
    luks_free(((LuksImage *)b->state)->luks);
    return 0;
}

static int luks_image_read(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Luks *l = ((LuksImage *)b->state)->luks;
    return l->crypt ? crypt_readv(l->crypt, b->file, l->payload + at, at / CRYPT_SECTOR, v, nv) : -EACCES;
}

static int luks_image_write(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Luks *l = ((LuksImage *)b->state)->luks;
    return l->crypt ? crypt_writev(l->crypt, b->file, l->payload + at, at / CRYPT_SECTOR, v, nv) : -EACCES;
}

static int luks_image_resize(Block *b, uint64_t len, BlockPrealloc how, GError **err)
{
    Luks *l = ((LuksImage *)b->state)->luks;
    if (len % CRYPT_SECTOR) {
        fail(err, "an encrypted disk is whole sectors of %d bytes", CRYPT_SECTOR);
        return -EINVAL;
    }
    if (len > INT64_MAX - l->payload || !block_resize(b->file, l->payload + len, how, err))
        return -EIO;
    b->length = len;
    return 0;
}

static int luks_image_info(Block *b, BlockInfo *out)
{
    out->encrypted = out->noise = true;
    out->specific = json_object();
    Json *data = json_object();
    luks_info(((LuksImage *)b->state)->luks, NULL, data);
    json_set(out->specific, "type", json_string("luks"));
    json_set(out->specific, "data", data);
    return 0;
}

static bool make_options(Json *o, LuksMake *m, uint64_t *size, const char **prealloc, GError **err)
{
    if (!luks_make_options(o, "", m, err) || !block_opt_size(o, "size", size, err) ||
        !block_opt_string(o, "preallocation", prealloc, err))
        return false;
    *size = align_up(*size, CRYPT_SECTOR);
    return *size <= INT64_MAX - luks_make_size(m) || fail(err, "a size of %" PRIu64 " bytes is too large", *size);
}

static bool luks_image_create(BlockGraph *g, const char *filename, Json *options, GError **err)
{
    LuksMake m;
    uint64_t size = 0;
    const char *prealloc = NULL;
    if (!make_options(options, &m, &size, &prealloc, err) || !luks_make_ready(g, &m, err))
        return false;
    Json *below = json_object();
    json_set(below, "size", json_u64(size + luks_make_size(&m)));
    if (prealloc)
        json_set(below, "preallocation", json_string(prealloc));
    bool ok = block_create(g, &block_file_driver, filename, below, err);
    json_free(below);
    Block *file = ok ? block_open(g, filename, NULL, BLOCK_RDWR | BLOCK_PROTOCOL, err) : NULL;
    if (!file)
        return false;
    ok = luks_make(file, 0, &m, err);
    int r = block_close(file);
    return ok && r ? fail_errno(err, -r, "cannot write %s", filename) : ok;
}

static bool luks_image_amend(Block *b, Json *options, GError **err)
{
    return luks_amend(((LuksImage *)b->state)->luks, b->graph, options, "", err) && block_opt_done(options, "amend", err);
}

static bool luks_image_measure(Json *options, uint64_t size, uint64_t data, uint64_t *required, uint64_t *full, GError **err)
{
    LuksMake m;
    const char *prealloc = NULL;
    if (!make_options(options, &m, &size, &prealloc, err))
        return false;
    *required = *full = size + luks_make_size(&m);
    return true;
}

static const BlockOption luks_options[] = {
    LUKS_MAKE_OPTIONS(""), { "preallocation", "str", "off, falloc or full" }, { NULL }
};
static const BlockOption amend_options[] = { LUKS_AMEND_OPTIONS(""), { NULL } };
static const BlockMaker luks_maker = {
    .options = luks_options, .co_create = luks_image_create, .co_amend = luks_image_amend,
    .amend_options = amend_options, .measure = luks_image_measure,
};

const BlockDriver block_luks_driver = {
    .name = "luks", .kind = BLOCK_KIND_FORMAT, .size = sizeof(LuksImage), .probe = luks_probe, .co_open = luks_image_open,
    .co_close = luks_image_close, .co_read = luks_image_read, .co_write = luks_image_write, .co_resize = luks_image_resize,
    .co_info = luks_image_info, .maker = &luks_maker,
};
