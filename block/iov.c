/* SPDX-License-Identifier: GPL-2.0-or-later
 * Scatter lists, and finding zeros. */
#include <assert.h>
#include <string.h>

#include "block/aio.h"

uint64_t iov_size(const struct iovec *v, int nv)
{
    uint64_t n = 0;
    for (int i = 0; i < nv; i++)
        n += v[i].iov_len;
    return n;
}

/* The next piece of a range of a list: skip and len shrink by it, v and nv move on.  0 at its end. */
static size_t piece(const struct iovec **v, int *nv, uint64_t *skip, uint64_t *len, uint8_t **p)
{
    while (*nv && *len) {
        uint64_t off = *skip, whole = (*v)->iov_len;
        if (off >= whole) {
            *skip -= whole;
            (*v)++;
            (*nv)--;
            continue;
        }
        size_t n = MIN(whole - off, *len);
        *p = (uint8_t *)(*v)->iov_base + off;
        *len -= n;
        *skip += n;
        return n;
    }
    return 0;
}

int iov_slice(const struct iovec *v, int nv, uint64_t skip, uint64_t len, struct iovec *out)
{
    uint8_t *p;
    int count = 0;
    for (size_t n; (n = piece(&v, &nv, &skip, &len, &p));)
        out[count++] = (struct iovec){ p, n };
    assert(!len);
    return count;
}

void iov_from_buf(const struct iovec *v, int nv, uint64_t skip, const void *buf, uint64_t len)
{
    uint8_t *p;
    const uint8_t *from = buf;
    for (size_t n; (n = piece(&v, &nv, &skip, &len, &p)); from += n)
        memcpy(p, from, n);
}

void iov_to_buf(const struct iovec *v, int nv, uint64_t skip, void *buf, uint64_t len)
{
    uint8_t *p, *to = buf;
    for (size_t n; (n = piece(&v, &nv, &skip, &len, &p)); to += n)
        memcpy(to, p, n);
}

void iov_fill(const struct iovec *v, int nv, uint64_t skip, int byte, uint64_t len)
{
    uint8_t *p;
    for (size_t n; (n = piece(&v, &nv, &skip, &len, &p));)
        memset(p, byte, n);
}

bool buf_is_zero(const void *buf, size_t len)
{
    const uint8_t *p = buf;
    for (; len && ((uintptr_t)p & 7); len--)
        if (*p++)
            return false;
    const uint64_t *w = (const uint64_t *)(const void *)p;
    for (; len >= 64; len -= 64, w += 8)
        if (w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7])
            return false;
    for (; len >= 8; len -= 8)
        if (*w++)
            return false;
    for (p = (const uint8_t *)w; len; len--)
        if (*p++)
            return false;
    return true;
}

bool iov_is_zero(const struct iovec *v, int nv)
{
    for (int i = 0; i < nv; i++)
        if (!buf_is_zero(v[i].iov_base, v[i].iov_len))
            return false;
    return true;
}
