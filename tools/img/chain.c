/* SPDX-License-Identifier: GPL-2.0-or-later
 * rhea-img commit and rebase: images and what lies below them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/img/img.h"

enum { CHUNK = 2 << 20 };

/* --- commit */

/* The images of top's chain above base into base. */
static int commit_into(Img *m, Block *top, Block *base, Block *target)
{
    uint8_t *buf = block_memory(CHUNK);
    int r = buf ? 0 : -ENOMEM;
    uint64_t len = block_length(top);
    for (uint64_t at = 0, n; at < len && !r; at += n) {
        Extent e;
        if (*m->interrupted)
            r = -EINTR;
        else
            r = block_map_above(top, base, at, len - at, &e);
        if (r)
            break;
        n = e.len;
        if (e.flags & EXTENT_ZERO) {
            r = e.flags & EXTENT_ALLOCATED ? block_zero(target, at, n, BLOCK_MAY_UNMAP) : 0;
        } else if (e.flags & EXTENT_ALLOCATED) {
            n = MIN(n, CHUNK);
            r = block_read(top, at, buf, n);
            if (!r)
                r = block_write(target, at, buf, n, 0);
        }
        img_progress(m, at + n, len);
    }
    free(buf);
    return r ? r : block_flush(target);
}

int img_commit(Img *m)
{
    const char *cache = NULL, *base_name = NULL;
    bool drop = false;
    GError *err = NULL;
    for (int c; (c = img_option(m, "t:b:dr:", NULL)) != -1;) {
        switch (c) {
        case 't': cache = optarg; break;
        case 'b': base_name = optarg; break;
        case 'd': drop = true; break;
        case 'r': break;
        default: return 1;
        }
    }
    if (optind != m->argc - 1)
        return img_error("commit: which image?");
    Block *top = img_open(m, m->argv[optind], m->format, cache, BLOCK_RDWR | BLOCK_UNMAP, &err);
    if (!top)
        return img_fail(err);
    Block *base = block_backing(top);
    if (!base)
        return img_close(top, img_error("%s has no backing file", block_filename(top)));
    drop |= base_name != NULL;
    if (base_name) {
        while (base && strcmp(block_filename(base), base_name)) {
            g_autofree char *beside = block_path_beside(block_filename(top), base_name);
            if (!strcmp(block_filename(base), beside))
                break;
            base = block_backing(base);
        }
        if (!base)
            return img_close(top, img_error("%s is not below %s", base_name, block_filename(top)));
    }
    /* Made writable for the while. */
    if (!block_set_writable(base, true, &err))
        return img_close(top, img_fail(err));
    bool ok = block_length(base) >= block_length(top) || block_resize(base, block_length(top), PREALLOC_OFF, &err);
    int r = ok ? commit_into(m, top, base, base) : 0;
    if (ok && r)
        ok = r == -EINTR ? fail(&err, "interrupted; the image still has everything")
                         : fail_errno(&err, -r, "cannot commit %s", block_filename(top));
    if (ok && !drop && block_backing(top) == base) {
        r = block_make_empty(top);
        if (r)
            ok = fail_errno(&err, -r, "committed, but %s cannot be emptied", block_filename(top));
    }
    int result = img_close(top, ok ? 0 : img_fail(err));
    if (!result && !m->quiet)
        printf("Image committed.\n");
    return result;
}

/* --- rebase */

static int read_or_zero(Block *b, uint64_t at, uint8_t *buf, uint64_t n)
{
    uint64_t there = b && at < block_length(b) ? MIN(n, block_length(b) - at) : 0;
    memset(buf + there, 0, n - there);
    return there ? block_read(b, at, buf, there) : 0;
}

/* What the old backing file shows and the new one does not becomes the image's own. */
static int keep_differences(Img *m, Block *b, Block *now)
{
    enum { UNIT = 64 << 10 };
    uint8_t *old_data = block_memory(CHUNK), *new_data = block_memory(CHUNK);
    int r = old_data && new_data ? 0 : -ENOMEM;
    uint64_t len = block_length(b);
    for (uint64_t at = 0, n; at < len && !r; at += n) {
        Extent e;
        if (*m->interrupted)
            r = -EINTR;
        else
            r = block_map(b, at, len - at, &e);
        if (r)
            break;
        n = e.len;
        img_progress(m, at, len);
        if (e.flags & EXTENT_ALLOCATED)
            continue;
        n = MIN(n, CHUNK);
        r = read_or_zero(block_backing(b), at, old_data, n);
        if (!r)
            r = read_or_zero(now, at, new_data, n);
        for (uint64_t i = 0, k; i < n && !r; i += k) {
            k = MIN(n - i, UNIT);
            if (!memcmp(old_data + i, new_data + i, k))
                continue;
            r = buf_is_zero(old_data + i, k) ? block_zero(b, at + i, k, 0) : block_write(b, at + i, old_data + i, k, 0);
        }
    }
    free(old_data);
    free(new_data);
    img_progress(m, len, len);
    return r ? r : block_flush(b);
}

int img_rebase(Img *m)
{
    const char *cache = NULL, *source_cache = NULL, *base = NULL, *format = NULL;
    bool unsafe = false;
    GError *err = NULL;
    for (int c; (c = img_option(m, "t:T:b:F:u", NULL)) != -1;) {
        switch (c) {
        case 't': cache = optarg; break;
        case 'T': source_cache = optarg; break;
        case 'b': base = optarg; break;
        case 'F': format = optarg; break;
        case 'u': unsafe = true; break;
        default: return 1;
        }
    }
    if (optind != m->argc - 1 || !base)
        return img_error("rebase: -b BACKING (\"\" for none) and an image, please");
    if (*base && !format)
        return img_error("the backing file's format is not given (-F): a probed one could be chosen by a guest");
    Block *b = img_open(m, m->argv[optind], m->format, cache, BLOCK_RDWR | (unsafe ? BLOCK_NO_BACKING : 0), &err);
    if (!b)
        return img_fail(err);
    Block *now = NULL;
    bool ok = true;
    if (!unsafe) {
        if (*base) {
            g_autofree char *path = block_path_beside(block_filename(b), base);
            bool opts = m->image_opts;
            m->image_opts = false;
            now = img_open(m, path, format, source_cache, 0, &err);
            m->image_opts = opts;
            ok = now;
        }
        int r = ok ? keep_differences(m, b, now) : 0;
        if (r)
            ok = r == -EINTR ? fail(&err, "interrupted; the image still has its old backing file")
                             : fail_errno(&err, -r, "cannot rebase %s", block_filename(b));
    }
    ok = ok && block_set_backing(b, *base ? base : NULL, format, &err);
    int result = ok ? 0 : img_fail(err);
    result = img_close(now, result);
    return img_close(b, result);
}
