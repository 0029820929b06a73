/* SPDX-License-Identifier: GPL-2.0-or-later
 * Names of parent disks (parent.h). */
#include "block/parent.h"

#include <string.h>
#include <unistd.h>

#include "util/endian.h"
#include "util/error.h"

char *parent_from_utf16(const uint8_t *text, size_t bytes, bool big_endian)
{
    size_t n = 0;
    g_autofree gunichar2 *units = g_new0(gunichar2, bytes / 2 + 1);
    for (; n < bytes / 2; n++) {
        units[n] = big_endian ? load_be16(text + n * 2) : load_le16(text + n * 2);
        if (!units[n])
            break;
    }
    char *s = g_utf16_to_utf8(units, (glong)n, NULL, NULL, NULL);
    if (!s || !*s) {
        g_free(s);
        return NULL;
    }
    g_strdelimit(s, "\\", '/');
    char *from = s;
    if (g_ascii_isalpha(s[0]) && s[1] == ':')
        from += 2;
    while (g_str_has_prefix(from, "./"))
        from += 2;
    memmove(s, from, strlen(from) + 1);
    return s;
}

uint8_t *parent_to_utf16(const char *path, bool big_endian, size_t *bytes)
{
    glong n = 0;
    g_autofree char *back = g_strdup(path);
    g_strdelimit(back, "/", '\\');
    g_autofree gunichar2 *units = g_utf8_to_utf16(back, -1, NULL, &n, NULL);
    n = units ? n : 0;
    uint8_t *out = g_malloc0((size_t)n * 2 + 2);
    for (glong i = 0; i < n; i++)
        if (big_endian)
            store_be16(out + i * 2, units[i]);
        else
            store_le16(out + i * 2, units[i]);
    *bytes = (size_t)n * 2;
    return out;
}

char *parent_choose(const char *over, char *const *names, unsigned n)
{
    const char *first = NULL;
    for (unsigned i = 0; i < n; i++) {
        if (!names[i])
            continue;
        first = first ? first : names[i];
        const char *last = strrchr(names[i], '/');
        const char *ways[] = { names[i], last ? last + 1 : NULL };
        for (unsigned k = 0; k < 2 && ways[k]; k++) {
            g_autofree char *path = block_path_beside(over, ways[k]);
            if (!access(path, F_OK))
                return g_strdup(ways[k]);
        }
    }
    return g_strdup(first);
}

bool parent_for_new(BlockGraph *g, const char *filename, Json *options, const char *format, Block **out, const char **name, GError **err)
{
    const char *given = NULL;
    *name = NULL;
    *out = NULL;
    if (!block_opt_string(options, "backing_file", name, err) || !block_opt_string(options, "backing_fmt", &given, err))
        return false;
    if (!*name || !**name)
        return true;
    if (given && strcmp(given, format))
        return fail(err, "the parent of a %s disk is a %s disk, not %s", format, format, given);
    g_autofree char *path = block_path_beside(filename, *name);
    Json *o = json_object();
    json_set(o, "driver", json_string(format));
    *out = block_open(g, path, o, BLOCK_NO_IO, err);
    return *out || fail_prefix(err, "backing file: ");
}
