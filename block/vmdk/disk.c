/* SPDX-License-Identifier: GPL-2.0-or-later
 * VMware disks: the driver, and requests of disks that are several extents. */
#include <errno.h>
#include <string.h>

#include "block/vmdk/vmdk_int.h"
#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"

static const char descriptor_head[] = "# Disk DescriptorFile";

static bool is_descriptor(const uint8_t *h, size_t n)
{
    /* Comments and blank lines may stand before it. */
    for (size_t i = 0; i < n;) {
        if (n - i >= sizeof descriptor_head - 1 && !g_ascii_strncasecmp((const char *)h + i, descriptor_head, sizeof descriptor_head - 1))
            return true;
        if (h[i] != '#' && h[i] != ' ' && h[i] != '\r' && h[i] != '\n')
            return false;
        while (i < n && h[i] != '\n')
            i++;
        i++;
    }
    return false;
}

static int vmdk_probe(const uint8_t *h, size_t n)
{
    if (n >= SE_HEADER && (load_le32(h) == VMDK_MAGIC || load_le32(h) == COWD_MAGIC))
        return 100;
    return is_descriptor(h, n) ? 100 : 0;
}

static bool vmdk_open(Block *b, GError **err)
{
    Vmdk *d = b->state;
    uint8_t h[SE_HEADER] = { 0 };
    int r = block_read(b->file, 0, h, MIN(sizeof h, b->file->length));
    if (r)
        return fail_errno(err, -r, "%s: cannot read the header", b->filename);
    uint32_t magic = load_le32(h);
    if (magic == VMDK_MAGIC || magic == COWD_MAGIC) {
        if (!vmdk_extent_open(b, h, err))
            return false;
        /* One extent of several has room for a descriptor, and nothing there. */
        return !d->descriptor || !*d->descriptor || vmdk_descriptor_parse(b, err);
    }
    if (!is_descriptor(h, sizeof h))
        return fail(err, "%s: neither a sparse extent nor a descriptor", b->filename);
    if (b->file->length > MAX_DESCRIPTOR)
        return fail(err, "%s: a descriptor of %" PRIu64 " bytes", b->filename, b->file->length);
    d->descriptor = g_malloc0(b->file->length + 1);
    r = block_read(b->file, 0, d->descriptor, b->file->length);
    if (r)
        return fail_errno(err, -r, "%s: cannot read the descriptor", b->filename);
    return vmdk_descriptor_parse(b, err) && vmdk_descriptor_extents(b, err);
}

static int vmdk_close(Block *b)
{
    Vmdk *d = b->state;
    int r = d->is_extent ? sparse_close(b) : 0;
    for (unsigned i = 0; i < d->n_extents; i++) {
        int one = d->extent[i].node ? block_close(d->extent[i].node) : 0;
        r = r ? r : one;
    }
    g_free(d->extent);
    g_free(d->descriptor);
    g_free(d->create_type);
    return r;
}

/* --- several extents */

static const VmdkExtent *extent_of(const Vmdk *d, uint64_t at)
{
    unsigned lo = 0, hi = d->n_extents;
    while (hi - lo > 1) {
        unsigned mid = (lo + hi) / 2;
        if (d->extent[mid].from <= at)
            lo = mid;
        else
            hi = mid;
    }
    return &d->extent[lo];
}

/* The extent at `at`; *len clipped to what is allocated in it, or is not, in one piece (where there is a parent). */
static int look(Block *b, uint64_t at, uint64_t *len, const VmdkExtent **e, bool *there)
{
    *e = extent_of(b->state, at);
    *len = MIN(*len, (*e)->from + (*e)->len - at);
    *there = true;
    if (!(*e)->node || !b->backing)
        return 0;
    Extent x;
    int r = block_map((*e)->node, at - (*e)->from, *len, &x);
    *len = MIN(*len, x.len);
    *there = x.flags & EXTENT_ALLOCATED;
    return r;
}

static int vmdk_read(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Vmdk *d = b->state;
    if (d->is_extent)
        return sparse_read(b, at, v, nv);
    uint64_t total = iov_size(v, nv);
    g_autofree struct iovec *part = g_new(struct iovec, nv);
    int r = 0;
    for (uint64_t done = 0, len; done < total && !r; done += len) {
        const VmdkExtent *e;
        bool there;
        len = total - done;
        r = look(b, at + done, &len, &e, &there);
        if (r)
            break;
        int n = iov_slice(v, nv, done, len, part);
        if (!e->node)
            iov_fill(part, n, 0, 0, len);
        else if (there)
            r = block_readv(e->node, at + done - e->from, part, n);
        else
            r = block_read_backing(b, at + done, part, n, len);
    }
    return r;
}

/* Part of a grain that the extent does not have yet: the parent's rest with it. */
static int write_filled(Block *b, const VmdkExtent *e, uint64_t at, const struct iovec *v, int nv, uint64_t len)
{
    BlockInfo info = { 0 };
    int r = block_info(e->node, &info);
    json_free(info.specific);
    uint64_t grain = MAX(info.granule, 512), from = align_down(at - e->from, grain) + e->from;
    uint64_t to = MIN(e->from + align_up(at + len - e->from, grain), e->from + e->len);
    if (r)
        return r;
    uint8_t *buf = g_try_malloc(to - from);
    if (!buf)
        return -ENOMEM;
    struct iovec whole = { buf, to - from };
    r = vmdk_read(b, from, &whole, 1);
    iov_to_buf(v, nv, 0, buf + (at - from), len);
    if (!r)
        r = block_write(e->node, from - e->from, buf, to - from, 0);
    g_free(buf);
    return r;
}

static int vmdk_write(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Vmdk *d = b->state;
    if (d->is_extent)
        return d->compressed ? vmdk_write_packed(b, at, v, nv) : sparse_write(b, at, v, nv);
    uint64_t total = iov_size(v, nv);
    g_autofree struct iovec *part = g_new(struct iovec, nv);
    int r = 0;
    if (b->backing)
        co_mutex_lock(&d->fill);
    if (!d->cid_new)
        r = vmdk_new_cid(b);
    for (uint64_t done = 0, len; done < total && !r; done += len) {
        const VmdkExtent *e;
        bool there;
        len = total - done;
        r = look(b, at + done, &len, &e, &there);
        if (r)
            break;
        int n = iov_slice(v, nv, done, len, part);
        if (!e->node)
            r = -EIO;
        else if (there)
            r = block_writev(e->node, at + done - e->from, part, n, 0);
        else
            r = write_filled(b, e, at + done, part, n, len);
    }
    if (b->backing)
        co_mutex_unlock(&d->fill);
    return r;
}

static int vmdk_zero(Block *b, uint64_t at, uint64_t len, unsigned flags)
{
    Vmdk *d = b->state;
    if (d->is_extent)
        return d->compressed ? -ENOTSUP : sparse_zero(b, at, len, flags);
    if (b->backing)
        return -ENOTSUP;
    int r = d->cid_new ? 0 : vmdk_new_cid(b);
    for (uint64_t done = 0, n; done < len && !r; done += n) {
        const VmdkExtent *e = extent_of(d, at + done);
        n = MIN(len - done, e->from + e->len - at - done);
        if (e->node)
            r = block_zero(e->node, at + done - e->from, n, flags);
    }
    return r;
}

static int vmdk_discard(Block *b, uint64_t at, uint64_t len)
{
    Vmdk *d = b->state;
    return d->is_extent && !d->compressed ? sparse_discard(b, at, len) : -ENOTSUP;
}

static int vmdk_map(Block *b, uint64_t at, uint64_t len, Extent *out)
{
    Vmdk *d = b->state;
    if (d->is_extent)
        return sparse_map(b, at, len, out);
    const VmdkExtent *e = extent_of(d, at);
    len = MIN(len, e->from + e->len - at);
    if (e->node)
        return block_map(e->node, at - e->from, len, out);
    *out = (Extent){ .len = len, .flags = EXTENT_ZERO | EXTENT_ALLOCATED };
    return 0;
}

static int vmdk_flush(Block *b)
{
    Vmdk *d = b->state;
    int r = d->is_extent ? sparse_flush(b) : 0;
    for (unsigned i = 0; i < d->n_extents && !r; i++)
        r = d->extent[i].node ? block_flush(d->extent[i].node) : 0;
    return r;
}

static bool vmdk_reopen(Block *b, GError **err)
{
    Vmdk *d = b->state;
    for (unsigned i = 0; i < d->n_extents; i++)
        if (d->extent[i].node && !block_set_writable(d->extent[i].node, b->flags & BLOCK_RDWR, err))
            return false;
    return true;
}

static Json *extent_json(Block *node, const char *filename, const char *format)
{
    Vmdk *d = node->drv == &block_vmdk_driver ? node->state : NULL;
    Json *o = json_object();
    if (d)
        json_set(o, "compressed", json_bool(d->compressed));
    json_set(o, "virtual-size", json_u64(node->length));
    json_set(o, "filename", json_string(filename));
    if (d)
        json_set(o, "cluster-size", json_u64(d->s.cluster));
    json_set(o, "format", json_string(format));
    return o;
}

static int vmdk_info(Block *b, BlockInfo *out)
{
    Vmdk *d = b->state;
    out->granule = d->is_extent ? d->s.cluster : 0;
    if (!d->create_type)
        return 0;
    Json *o = json_object(), *data = json_object(), *extents = json_array();
    json_set(data, "cid", json_u64(d->cid));
    json_set(data, "parent-cid", json_u64(d->parent_cid));
    json_set(data, "create-type", json_string(d->create_type));
    if (d->is_extent)
        json_add(extents, extent_json(b, b->filename, ""));
    for (unsigned i = 0; i < d->n_extents; i++) {
        Block *node = d->extent[i].node;
        if (!node)
            continue;
        json_add(extents, extent_json(node, node->filename, node->drv == &block_vmdk_driver ? "SPARSE" : "FLAT"));
        BlockInfo one;
        if (!block_info(node, &one) && one.allocated != UINT64_MAX && out->allocated != UINT64_MAX)
            out->allocated += one.allocated;
        if (node->drv == &block_vmdk_driver)
            out->granule = one.granule;
        json_free(one.specific);
    }
    json_set(data, "extents", extents);
    json_set(o, "type", json_string("vmdk"));
    json_set(o, "data", data);
    out->specific = o;
    return 0;
}

const BlockDriver block_vmdk_driver = {
    .name = "vmdk", .kind = BLOCK_KIND_FORMAT, .size = sizeof(Vmdk), .probe = vmdk_probe, .co_open = vmdk_open, .co_close = vmdk_close,
    .co_read = vmdk_read, .co_write = vmdk_write, .co_flush = vmdk_flush, .co_zero = vmdk_zero, .co_discard = vmdk_discard,
    .co_map = vmdk_map, .co_info = vmdk_info, .co_reopen = vmdk_reopen, .maker = &vmdk_maker,
};
