/* SPDX-License-Identifier: GPL-2.0-or-later
 * rhea-img create, info, check, resize, snapshot, amend: images as things. */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/img/img.h"

static void print_options(const BlockOption *o)
{
    for (; o->name; o++)
        printf("  %s=<%s>%*s - %s\n", o->name, o->type, (int)MAX(0, 22 - (int)strlen(o->name) - (int)strlen(o->type)), "", o->help);
}

bool img_wants_help(const char *text) { return !strcmp(text, "help") || !strcmp(text, "?"); }

int img_list_options(const char *format)
{
    const BlockDriver *d = block_driver(format);
    const BlockOption *o = d ? block_driver_options(d) : NULL;
    if (!o)
        return img_error("format '%s' is unknown or cannot be created", format);
    printf("Supported %s options:\n", format);
    print_options(o);
    printf("  size=<size>%*s - Virtual disk size\n", 14, "");
    return 0;
}

/* The size that a new image takes from its backing file, and a check that this is there. */
static bool backing_size(Img *m, const char *filename, Json *o, bool unchecked, GError **err)
{
    const char *name = NULL, *format = NULL;
    if (!block_opt_string(o, "backing_file", &name, err) || !block_opt_string(o, "backing_fmt", &format, err))
        return false;
    if (!name || !*name || unchecked)
        return true;
    if (!format)
        return fail(err, "the backing file's format is not given (-F): a probed one could be chosen by a guest");
    g_autofree char *path = block_path_beside(filename, name);
    bool opts = m->image_opts;
    m->image_opts = false;
    Block *b = img_open(m, path, format, NULL, BLOCK_NO_IO, err);
    m->image_opts = opts;
    if (!b)
        return fail_prefix(err, "backing file: ");
    if (!json_get(o, "size"))
        json_set(o, "size", json_u64(block_length(b)));
    img_close(b, 0);
    return true;
}

static void print_formatting(const char *filename, const char *format, Json *o)
{
    printf("Formatting '%s', fmt=%s", filename, format);
    for (unsigned i = 0; i < json_count(o); i++) {
        Json *v = json_item(o, i);
        if (v->type == JSON_STRING)
            printf(" %s=%s", (char *)o->keys->pdata[i], v->string);
        else
            printf(" %s=%" PRIu64, (char *)o->keys->pdata[i], (uint64_t)v->integer);
    }
    printf("\n");
}

int img_create(Img *m)
{
    GError *err = NULL;
    Json *o = json_object();
    bool unchecked = false;
    const char *help = NULL;
    for (int c; (c = img_option(m, "b:F:o:u6e", NULL)) != -1;) {
        switch (c) {
        case 'b': json_set(o, "backing_file", json_string(optarg)); break;
        case 'F': json_set(o, "backing_fmt", json_string(optarg)); break;
        case 'o':
            if (img_wants_help(optarg))
                help = optarg;
            else if (!img_add_options(o, optarg, &err))
                return img_fail(err);
            break;
        case 'u': unchecked = true; break;
        case '6': json_set(o, "compat", json_string("0.10")); break;
        default:  return 1;
        }
    }
    const char *format = m->format ? m->format : "raw", *filename = m->argv[optind], *size = NULL;
    if (help)
        return img_list_options(format);
    if (!filename)
        return img_error("create: which file?");
    if (optind + 1 < m->argc)
        size = m->argv[optind + 1];
    if (optind + 2 < m->argc)
        return img_error("create: unexpected '%s'", m->argv[optind + 2]);
    if (size) {
        uint64_t bytes;
        if (!img_parse_size(size, &bytes, &err))
            return img_fail(err);
        if (json_get(o, "size"))
            return img_error("%s: The image size must be specified only once", filename);
        json_set(o, "size", json_u64(bytes));
    }
    const BlockDriver *d = block_driver(format);
    if (!d)
        return img_error("unknown format '%s'", format);
    if (!backing_size(m, filename, o, unchecked, &err))
        return img_fail(err);
    uint64_t bytes = UINT64_MAX;
    if (!block_opt_size(o, "size", &bytes, &err))
        return img_fail(err);
    if (bytes == UINT64_MAX)
        return img_error("%s: Image creation needs a size parameter (as the last argument)", filename);
    if (!m->quiet)
        print_formatting(filename, format, o);
    bool ok = block_create(m->graph, d, filename, o, &err);
    json_free(o);
    return ok ? 0 : img_fail(err);
}

/* --- info */

static Json *snapshot_json(const BlockSnapshot *s)
{
    Json *o = json_object();
    json_set(o, "id", json_string(s->id));
    json_set(o, "name", json_string(s->name));
    json_set(o, "vm-state-size", json_u64(s->vm_state_size));
    json_set(o, "date-sec", json_u64(s->date_s));
    json_set(o, "date-nsec", json_int(s->date_ns));
    json_set(o, "vm-clock-sec", json_u64(s->vm_clock_ns / 1000000000));
    json_set(o, "vm-clock-nsec", json_u64(s->vm_clock_ns % 1000000000));
    if (s->icount != UINT64_MAX)
        json_set(o, "icount", json_u64(s->icount));
    return o;
}

static Json *info_json(Block *b, const BlockInfo *i, GPtrArray *snapshots)
{
    const char *format, *backing = block_backing_name(b, &format);
    Json *o = json_object();
    if (snapshots && snapshots->len) {
        Json *list = json_array();
        for (unsigned k = 0; k < snapshots->len; k++)
            json_add(list, snapshot_json(snapshots->pdata[k]));
        json_set(o, "snapshots", list);
    }
    json_set(o, "virtual-size", json_u64(block_length(b)));
    json_set(o, "filename", json_string(block_filename(b)));
    if (i->granule)
        json_set(o, "cluster-size", json_u64(i->granule));
    json_set(o, "format", json_string(block_format(b)));
    if (i->allocated != UINT64_MAX)
        json_set(o, "actual-size", json_u64(i->allocated));
    if (i->specific)
        json_set(o, "format-specific", json_copy(i->specific));
    if (backing) {
        g_autofree char *full = block_path_beside(block_filename(b), backing);
        json_set(o, "full-backing-filename", json_string(full));
        json_set(o, "backing-filename", json_string(backing));
        if (format)
            json_set(o, "backing-filename-format", json_string(format));
    }
    if (i->encrypted)
        json_set(o, "encrypted", json_bool(true));
    json_set(o, "dirty-flag", json_bool(i->dirty));
    return o;
}

static int info_one(Img *m, Block *b, Json *all)
{
    BlockInfo i;
    GPtrArray *snapshots = NULL;
    int r = block_info(b, &i);
    if (r)
        return img_error("%s: %s", block_filename(b), g_strerror(-r));
    block_snapshot_list(b, &snapshots, NULL);
    if (all) {
        json_add(all, info_json(b, &i, snapshots));
    } else {
        g_autoptr(GString) text = g_string_new(NULL);
        block_info_text(b, &i, snapshots, text);
        fputs(text->str, stdout);
    }
    if (snapshots)
        g_ptr_array_free(snapshots, TRUE);
    json_free(i.specific);
    return 0;
}

int img_info(Img *m)
{
    enum { CHAIN = 2000 };
    static const struct option more[] = { { "backing-chain", no_argument, NULL, CHAIN }, { NULL } };
    bool chain = false;
    GError *err = NULL;
    for (int c; (c = img_option(m, "", more)) != -1;) {
        if (c != CHAIN)
            return 1;
        chain = true;
    }
    if (optind != m->argc - 1)
        return img_error("info: which image?");
    Block *b = img_open(m, m->argv[optind], m->format, NULL, BLOCK_NO_IO | (chain ? 0 : BLOCK_NO_BACKING), &err);
    if (!b)
        return img_fail(err);
    Json *all = m->json ? json_array() : NULL;
    int result = 0;
    for (Block *n = b; n && !result; n = chain ? block_backing(n) : NULL) {
        if (n != b && !all)
            printf("\n");
        result = info_one(m, n, all);
    }
    if (all && !result)
        img_print_json(chain ? all : json_item(all, 0));
    json_free(all);
    return img_close(b, result);
}

/* --- check */

int img_check(Img *m)
{
    unsigned fix = 0;
    GError *err = NULL;
    const char *cache = NULL;
    static const struct option more[] = { { "repair", required_argument, NULL, 'r' }, { NULL } };
    for (int c; (c = img_option(m, "r:T:", more)) != -1;) {
        switch (c) {
        case 'r':
            if (!strcmp(optarg, "leaks"))
                fix = CHECK_FIX_LEAKS;
            else if (!strcmp(optarg, "all"))
                fix = CHECK_FIX_LEAKS | CHECK_FIX_ERRORS;
            else
                return img_error("-r must be leaks or all");
            break;
        case 'T': cache = optarg; break;
        default: return 1;
        }
    }
    if (optind != m->argc - 1)
        return img_error("check: which image?");
    Block *b = img_open(m, m->argv[optind], m->format, cache, BLOCK_CHECK | BLOCK_NO_BACKING | (fix ? BLOCK_RDWR : 0), &err);
    if (!b)
        return img_fail(err);
    BlockCheck k;
    int r = block_check(b, fix, &k, &err);
    if (r == -ENOTSUP && !err) {
        block_check_clear(&k);
        img_error("format '%s' has nothing to check", block_format(b));
        return img_close(b, 63);
    }
    if (r) {
        block_check_clear(&k);
        return img_close(b, img_fail(err));
    }
    if (fix && (k.corruptions_fixed || k.leaks_fixed)) {        /* and what is there now? */
        BlockCheck again;
        if (!m->json && !m->quiet)
            printf("The following inconsistencies were found and repaired:\n\n    %" PRIu64 " leaked clusters\n    %" PRIu64
                   " corruptions\n\nDouble checking the fixed image now...\n", k.leaks_fixed, k.corruptions_fixed);
        r = block_check(b, 0, &again, &err);
        again.leaks_fixed = k.leaks_fixed;
        again.corruptions_fixed = k.corruptions_fixed;
        block_check_clear(&k);
        k = again;
        if (r) {
            block_check_clear(&k);
            return img_close(b, img_fail(err));
        }
    }
    if (m->json) {
        Json *o = json_object();
        const struct { const char *name; uint64_t v; bool always; } rows[] = {
            { "image-end-offset", k.image_end, false }, { "total-clusters", k.total_clusters, false },
            { "check-errors", k.check_errors, true }, { "corruptions", k.corruptions, false }, { "leaks", k.leaks, false },
            { "corruptions-fixed", k.corruptions_fixed, false }, { "leaks-fixed", k.leaks_fixed, false },
            { "allocated-clusters", k.allocated_clusters, false }, { "fragmented-clusters", k.fragmented_clusters, false },
            { "compressed-clusters", k.compressed_clusters, false },
        };
        for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
            if (rows[i].v || rows[i].always)
                json_set(o, rows[i].name, json_u64(rows[i].v));
        json_set(o, "filename", json_string(m->argv[optind]));
        json_set(o, "format", json_string(block_format(b)));
        img_print_json(o);
        json_free(o);
    } else {
        for (unsigned i = 0; i < k.messages->len; i++)
            fprintf(stderr, "%s\n", (char *)k.messages->pdata[i]);
        if (k.corruptions)
            printf("\n%" PRIu64 " errors were found on the image.\nData may be corrupted, or further writes to the image may "
                   "corrupt it.\n", k.corruptions);
        if (k.leaks)
            printf("\n%" PRIu64 " leaked clusters were found on the image.\nThis means waste of disk space, but no harm to "
                   "data.\n", k.leaks);
        if (!k.corruptions && !k.leaks && !m->quiet)
            printf("No errors were found on the image.\n");
        if (k.total_clusters && !m->quiet)
            printf("%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n",
                   k.allocated_clusters, k.total_clusters, (double)k.allocated_clusters * 100 / (double)k.total_clusters,
                   (double)k.fragmented_clusters * 100 / (double)MAX(k.allocated_clusters, 1),
                   (double)k.compressed_clusters * 100 / (double)MAX(k.allocated_clusters, 1));
        if (k.image_end && !m->quiet)
            printf("Image end offset: %" PRIu64 "\n", k.image_end);
    }
    int result = k.corruptions ? 2 : k.leaks ? 3 : 0;
    block_check_clear(&k);
    return img_close(b, result);
}

/* --- resize, snapshot, amend */

int img_resize(Img *m)
{
    enum { PREALLOC = 2000, SHRINK };
    static const struct option more[] = {
        { "preallocation", required_argument, NULL, PREALLOC }, { "shrink", no_argument, NULL, SHRINK }, { NULL }
    };
    BlockPrealloc how = PREALLOC_OFF;
    bool shrink = false;
    GError *err = NULL;
    /* A size of "-1G" is no option. */
    const char *size = m->argc > 1 ? m->argv[m->argc - 1] : NULL;
    m->argc -= size != NULL;
    if (size)
        m->argv[m->argc] = NULL;
    for (int c; (c = img_option(m, "", more)) != -1;) {
        if (c == PREALLOC) {
            if (!block_parse_prealloc(optarg, &how, &err))
                return img_fail(err);
        } else if (c == SHRINK) {
            shrink = true;
        } else {
            return 1;
        }
    }
    if (!size || optind != m->argc - 1)
        return img_error("resize: an image and a size, please");
    int sign = *size == '+' ? 1 : *size == '-' ? -1 : 0;
    uint64_t n;
    if (!img_parse_size(size + (sign != 0), &n, &err))
        return img_fail(err);
    Block *b = img_open(m, m->argv[optind], m->format, NULL, BLOCK_RDWR | BLOCK_UNMAP, &err);
    if (!b)
        return img_fail(err);
    uint64_t now = block_length(b);
    if (sign < 0 && n > now)
        return img_close(b, img_error("the image has only %" PRIu64 " bytes", now));
    n = sign > 0 ? now + n : sign < 0 ? now - n : n;
    if (n < now && how != PREALLOC_OFF)
        return img_close(b, img_error("Preallocation can only be used for growing images"));
    if (n < now && !shrink)
        return img_close(b, img_error("shrinking an image deletes the data past its new end; --shrink says that this is meant"));
    if (!block_resize(b, n, how, &err))
        return img_close(b, img_fail(err));
    int result = img_close(b, 0);
    if (!result && !m->quiet)
        printf("Image resized.\n");
    return result;
}

int img_snapshot(Img *m)
{
    int action = 0;
    const char *name = NULL;
    GError *err = NULL;
    for (int c; (c = img_option(m, "la:c:d:", NULL)) != -1;) {
        if (c == '?')
            return 1;
        if (action)
            return img_error("snapshot: only one of -l, -a, -c, -d");
        action = c;
        name = optarg;
    }
    if (optind != m->argc - 1)
        return img_error("snapshot: which image?");
    if (!action)
        action = 'l';
    Block *b = img_open(m, m->argv[optind], m->format, NULL,
                        action == 'l' ? BLOCK_NO_BACKING | BLOCK_NO_IO : BLOCK_RDWR | BLOCK_UNMAP, &err);
    if (!b)
        return img_fail(err);
    bool ok;
    GPtrArray *list;
    switch (action) {
    case 'a': ok = block_snapshot_apply(b, name, &err); break;
    case 'c': ok = block_snapshot_create(b, name, &err); break;
    case 'd': ok = block_snapshot_delete(b, name, &err); break;
    default:
        ok = true;              /* a format without snapshots has none */
        if (block_snapshot_list(b, &list, NULL)) {
            g_autoptr(GString) text = g_string_new(NULL);
            if (list->len)
                block_snapshots_text(list, text);
            fputs(text->str, stdout);
            g_ptr_array_free(list, TRUE);
        }
    }
    return img_close(b, ok ? 0 : img_fail(err));
}

static int list_amend_options(const char *format)
{
    const BlockDriver *d = block_driver(format);
    const BlockOption *o = d ? block_driver_amend_options(d) : NULL;
    if (!o)
        return img_error("Format driver '%s' does not support option amendment", format);
    printf("Amend options for '%s':\n", format);
    print_options(o);
    return 0;
}

static bool has_option(const BlockOption *o, const char *name)
{
    while (o && o->name && strcmp(o->name, name))
        o++;
    return o && o->name;
}

/* Whether the format can change all that is asked for. */
static bool can_amend(Block *b, Json *o, GError **err)
{
    const BlockDriver *d = block_driver(block_format(b));
    if (!block_driver_amend_options(d))
        return fail(err, "Format driver '%s' does not support option amendment", block_format(b));
    for (unsigned i = 0; i < json_count(o); i++) {
        const char *name = o->keys->pdata[i];
        if (strcmp(name, "force") && !has_option(block_driver_amend_options(d), name))
            return fail(err, "Invalid parameter '%s'%s", name,
                        has_option(block_driver_options(d), name) ? "\nThis option is only supported for image creation" : "");
    }
    return true;
}

int img_amend(Img *m)
{
    GError *err = NULL;
    Json *o = json_object();
    const char *cache = NULL;
    bool force = false, help = false;
    enum { FORCE = 2000 };
    static const struct option more[] = { { "force", no_argument, NULL, FORCE }, { NULL } };
    for (int c; (c = img_option(m, "o:t:", more)) != -1;) {
        if (c == FORCE) {
            force = true;
        } else if (c == 'o') {
            if (img_wants_help(optarg))
                help = true;
            else if (!img_add_options(o, optarg, &err))
                return img_fail(err);
        } else if (c == 't') {
            cache = optarg;
        } else {
            return 1;
        }
    }
    if (help && m->format)
        return list_amend_options(m->format);
    if (optind != m->argc - 1)
        return img_error(help ? "amend: -f FORMAT or an image, please" : "amend: which image?");
    if (!json_count(o) && !help)
        return img_error("Must specify options (-o)");
    Block *b = img_open(m, m->argv[optind], m->format, cache, BLOCK_NO_BACKING | (help ? BLOCK_NO_IO : BLOCK_RDWR), &err);
    if (!b)
        return img_fail(err);
    if (help)
        return img_close(b, list_amend_options(block_format(b)));
    if (force)
        json_set(o, "force", json_bool(true));
    img_progress(m, 0, 1);
    bool ok = can_amend(b, o, &err) && block_amend(b, o, &err);
    json_free(o);
    if (ok)
        img_progress(m, 1, 1);
    return img_close(b, ok ? 0 : img_fail(err));
}
