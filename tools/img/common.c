/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the commands of rhea-img share. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/img/img.h"
#include "util/options.h"

int img_error(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fflush(stdout);
    fputs("rhea-img: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    return 1;
}

int img_fail(GError *err)
{
    img_error("%s", err->message);
    g_error_free(err);
    return 1;
}

int img_option(Img *m, const char *letters, const struct option *more)
{
    enum { OUTPUT = 1000, IMAGE_OPTS, OBJECT, MAX_OPTIONS = 32 };
    static const struct option common[] = {
        { "output", required_argument, NULL, OUTPUT }, { "image-opts", no_argument, NULL, IMAGE_OPTS },
        { "force-share", no_argument, NULL, 'U' }, { "quiet", no_argument, NULL, 'q' },
        { "progress", no_argument, NULL, 'p' }, { "format", required_argument, NULL, 'f' },
        { "object", required_argument, NULL, OBJECT },
    };
    struct option all[MAX_OPTIONS] = { { 0 } };
    unsigned n = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(common); i++)
        all[n++] = common[i];
    for (; more && more->name; more++)
        all[n++] = *more;
    g_autofree char *text = g_strdup_printf(":qpUf:%s", letters);
    for (;;) {
        int c = getopt_long(m->argc, m->argv, text, all, NULL);
        switch (c) {
        case 'q': m->quiet = true; m->progress = false; break;
        case 'p': m->progress = !m->quiet; break;
        case 'U': m->share = true; break;
        case 'f': m->format = optarg; break;
        case IMAGE_OPTS: m->image_opts = true; break;
        case OBJECT: {
            GError *err = NULL;
            if (block_add_object(m->graph, optarg, &err))
                break;
            img_fail(err);
            return '?';
        }
        case OUTPUT:
            if (strcmp(optarg, "json") && strcmp(optarg, "human")) {
                img_error("--output must be human or json");
                return '?';
            }
            m->json = !strcmp(optarg, "json");
            break;
        case ':': img_error("option '%s' needs a value", m->argv[optind - 1]); return '?';
        case '?': img_error("unknown option '%s' (rhea-img --help)", m->argv[optind - 1]); return '?';
        default:  return c;
        }
    }
}

Block *img_open(Img *m, const char *filename, const char *format, const char *cache, unsigned flags, GError **err)
{
    if (cache && !block_parse_cache(cache, &flags, err))
        return NULL;
    if (m->share)
        flags |= BLOCK_SHARE;
    Json *o = m->keys;
    m->keys = NULL;
    if (m->image_opts) {
        json_free(o);
        o = json_from_options("--image-opts", filename, NULL, err);
        if (!o)
            return NULL;
        if (format)
            json_set(o, "driver", json_string(format));
        return block_open(m->graph, NULL, o, flags, err);
    }
    if (format) {
        const BlockDriver *d = block_driver(format);
        if (!d) {
            fail(err, "unknown format '%s'", format);
            return NULL;
        }
        o = o ? o : json_object();
        json_set(o, "driver", json_string(format));
    }
    return block_open(m->graph, filename, o, flags, err);
}

void img_keys(Img *m, Json *o)
{
    static const char *const names[] = { "key-secret", "encrypt.key-secret" };
    g_autoptr(GString) text = g_string_new(NULL);
    const char *id;
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
        if (id = NULL, block_opt_string(o, names[i], &id, NULL) && id)
            g_string_append_printf(text, "%s%s=%s", text->len ? "," : "", names[i], id);
    json_free(m->keys);
    m->keys = text->len ? json_from_options("-o", text->str, NULL, NULL) : NULL;
}

int img_close(Block *b, int result)
{
    if (!b)
        return result;
    g_autofree char *name = g_strdup(block_filename(b));
    int r = block_close(b);
    return r && !result ? img_error("%s: %s", name, g_strerror(-r)) : result;
}

bool img_add_options(Json *o, const char *text, GError **err)
{
    Options *parsed = options_parse("-o", text, NULL, err);
    if (!parsed)
        return false;
    for (unsigned i = 0; i < options_count(parsed); i++) {
        const char *key, *value;
        options_item(parsed, i, &key, &value);
        json_set(o, key, json_string(value));
    }
    options_free(parsed);
    return true;
}

void img_remove_output(const char *name)
{
    struct stat st;
    if (g_str_has_prefix(name, "file:"))
        name += 5;
    if (!stat(name, &st) && S_ISREG(st.st_mode))
        unlink(name);
}

void img_progress(Img *m, uint64_t done, uint64_t total)
{
    uint64_t now = (uint64_t)g_get_monotonic_time() * 1000;
    if (*m->asked && !m->progress) {
        *m->asked = 0;
        fprintf(stderr, "    (%3.2f/100%%)\n", total ? (double)done * 100 / (double)total : 100.0);
    }
    if (!m->progress || (done < total && now - m->shown_ns < 100000000))
        return;
    m->shown_ns = now;
    printf("    (%3.2f/100%%)\r", total ? (double)done * 100 / (double)total : 100.0);
    if (done >= total)
        putchar('\n');
    fflush(stdout);
}

bool img_show_snapshot(Block *b, const char *spec, GError **err)
{
    if (!g_str_has_prefix(spec, "snapshot."))
        return block_snapshot_show(b, spec, err);
    Options *o = options_parse("-l", spec, NULL, err);
    if (!o)
        return false;
    const char *id = options_get(o, "snapshot.id"), *name = options_get(o, "snapshot.name"), *found = NULL;
    GPtrArray *list = NULL;
    bool ok = options_done(o, err) && block_snapshot_list(b, &list, err);
    for (unsigned i = 0; ok && i < list->len && !found; i++) {
        const BlockSnapshot *s = list->pdata[i];
        if ((!id || !strcmp(s->id, id)) && (!name || !strcmp(s->name, name)))
            found = s->id;
    }
    if (ok)
        ok = found ? block_snapshot_show(b, found, err) : fail(err, "%s has no snapshot of %s", block_filename(b), spec);
    if (list)
        g_ptr_array_free(list, TRUE);
    options_free(o);
    return ok;
}

void img_print_json(const Json *v)
{
    g_autoptr(GString) s = g_string_new(NULL);
    json_print(v, true, s);
    puts(s->str);
}

bool img_parse_size(const char *text, uint64_t *out, GError **err)
{
    if (!parse_size("size", text, 1, out, err))
        return false;
    return *out <= INT64_MAX || fail(err, "size %s is too large", text);
}
