/* SPDX-License-Identifier: GPL-2.0-or-later
 * rhea-img bitmap: the dirty bitmaps of an image; and copying all of them for convert. */
#include <string.h>

#include "block/bitmap.h"
#include "tools/img/img.h"

typedef struct Action { int what; const char *source; } Action;
enum { ADD = 2000, REMOVE, CLEAR, ENABLE, DISABLE, MERGE };

static const char *action_name(int what)
{
    static const char *const names[] = { "add", "remove", "clear", "enable", "disable", "merge" };
    return names[what - ADD];
}

static bool merge(BlockBitmap *m, Block *source, const char *name, GError **err)
{
    BlockBitmap *from = block_bitmap_find(source, name, err);
    if (!from || !block_bitmap_usable(from, err))
        return false;
    if (from->length != m->length)
        return fail(err, "Bitmaps are of different sizes (destination size is %" PRIu64 " and source size is %" PRIu64
                    ") and can't be merged", m->length, from->length);
    block_bitmap_merge(m, from);
    return true;
}

static bool perform(const Action *a, Block *b, Block *source, const char *name, uint64_t granularity, GError **err)
{
    if (a->what == ADD) {
        BlockBitmap *m = block_bitmap_new(b, name, granularity, err);
        if (m && !block_bitmap_persist(m, err)) {
            block_bitmap_free(m);
            m = NULL;
        }
        return m;
    }
    BlockBitmap *m = block_bitmap_find(b, name, err);
    if (!m || (a->what != REMOVE && !block_bitmap_usable(m, err)))
        return false;
    switch (a->what) {
    case REMOVE:  block_bitmap_free(m); return true;
    case CLEAR:   block_bitmap_clear(m, 0, UINT64_MAX); return true;
    case ENABLE:  m->enabled = true; return true;
    case DISABLE: m->enabled = false; return true;
    default:      return merge(m, source, a->source, err);
    }
}

int img_bitmap(Img *m)
{
    enum { MAX_ACTIONS = 64 };
    static const struct option more[] = {
        { "add", no_argument, NULL, ADD }, { "remove", no_argument, NULL, REMOVE }, { "clear", no_argument, NULL, CLEAR },
        { "enable", no_argument, NULL, ENABLE }, { "disable", no_argument, NULL, DISABLE },
        { "merge", required_argument, NULL, MERGE }, { NULL }
    };
    Action actions[MAX_ACTIONS];
    unsigned n = 0;
    const char *source_file = NULL, *source_format = NULL;
    uint64_t granularity = 0;
    bool add = false, merging = false;
    GError *err = NULL;
    for (int c; (c = img_option(m, "b:F:g:", more)) != -1;) {
        switch (c) {
        case 'b': source_file = optarg; break;
        case 'F': source_format = optarg; break;
        case 'g':
            if (!img_parse_size(optarg, &granularity, &err))
                return img_fail(err);
            break;
        case '?': return 1;
        default:
            if (n == MAX_ACTIONS)
                return img_error("bitmap: at most %d actions at a time", MAX_ACTIONS);
            actions[n++] = (Action){ c, optarg };
            add |= c == ADD;
            merging |= c == MERGE;
        }
    }
    if (optind != m->argc - 2)
        return img_error("Expecting filename and bitmap name");
    if (!n)
        return img_error("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
    if (granularity && !add)
        return img_error("granularity only supported with --add");
    if (source_file && !merging)
        return img_error("Merge bitmap source file only supported with --merge");
    if (source_format && !source_file)
        return img_error("-F only supported with -b");
    const char *name = m->argv[optind + 1];
    Block *b = img_open(m, m->argv[optind], m->format, NULL, BLOCK_RDWR | BLOCK_NO_BACKING, &err);
    if (!b)
        return img_fail(err);
    Block *source = b;
    if (source_file) {
        bool opts = m->image_opts;
        m->image_opts = false;
        source = img_open(m, source_file, source_format, NULL, BLOCK_NO_BACKING, &err);
        m->image_opts = opts;
        if (!source)
            return img_close(b, img_fail(err));
    }
    int result = 0;
    for (unsigned i = 0; i < n && !result; i++)
        if (!perform(&actions[i], b, source, name, granularity, &err)) {
            result = img_error("Operation %s on bitmap %s failed: %s", action_name(actions[i].what), name, err->message);
            g_error_free(err);
        }
    if (source != b)
        result = img_close(source, result);
    return img_close(b, result);
}

bool img_check_bitmaps(Block *from, bool skip_broken, GError **err)
{
    for (BlockBitmap *m = block_bitmap_first(from); m; m = m->next)
        if (m->persistent && m->inconsistent && !skip_broken)
            return fail(err, "Cannot copy inconsistent bitmap '%s'\nTry --skip-broken-bitmaps, or use 'rhea-img bitmap --remove'",
                        m->name);
    return true;
}

bool img_copy_bitmaps(Block *from, Block *to, GError **err)
{
    for (BlockBitmap *m = block_bitmap_first(from); m; m = m->next) {
        if (!m->persistent)
            continue;
        if (m->inconsistent) {
            img_error("warning: Skipping inconsistent bitmap '%s'", m->name);
            continue;
        }
        BlockBitmap *copy = block_bitmap_new(to, m->name, UINT64_C(1) << m->shift, err);
        if (!copy || !block_bitmap_persist(copy, err))
            return fail_prefix(err, "Failed to populate bitmap %s: ", m->name);
        copy->enabled = m->enabled;
        block_bitmap_merge(copy, m);
    }
    return true;
}

bool img_measure_bitmaps(Block *b, uint64_t cluster_size, uint64_t *out)
{
    uint64_t clusters = 0, directory = 0;
    for (BlockBitmap *m = block_bitmap_first(b); m; m = m->next) {
        if (!m->persistent)
            continue;
        uint64_t data = ((m->n_bits + 7) / 8 + cluster_size - 1) / cluster_size;
        clusters += data + (data * 8 + cluster_size - 1) / cluster_size;
        directory += (24 + strlen(m->name) + 7) / 8 * 8;
    }
    *out = (clusters + (directory + cluster_size - 1) / cluster_size) * cluster_size;
    return block_keeps_bitmaps(b);
}
