/* SPDX-License-Identifier: GPL-2.0-or-later
 * What is known of an image, in the words of qemu-img info: for rhea-img and the monitor. */
#include <string.h>
#include <time.h>

#include "block/block.h"

/* "3.5 GiB" */
static char *size_text(uint64_t bytes)
{
    static const char *const units[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
    double v = (double)bytes;
    unsigned u = 0;
    for (; v >= 1000 && u + 1 < G_N_ELEMENTS(units); u++)
        v /= 1024;
    return g_strdup_printf("%0.3g %sB", v, units[u]);
}

void block_snapshots_text(const GPtrArray *list, GString *out)
{
    g_string_append(out, "Snapshot list:\nID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT\n");
    for (unsigned i = 0; i < list->len; i++) {
        const BlockSnapshot *s = list->pdata[i];
        char date[64];
        time_t t = (time_t)s->date_s;
        struct tm tm;
        localtime_r(&t, &tm);
        strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &tm);
        g_autofree char *size = size_text(s->vm_state_size);
        uint64_t sec = s->vm_clock_ns / 1000000000;
        g_autofree char *icount = s->icount == UINT64_MAX ? g_strdup("") : g_strdup_printf("%" PRIu64, s->icount);
        g_string_append_printf(out, "%-9s %-16s %8s%20s %02u:%02u:%02u.%03u%11s\n", s->id, s->name, size, date,
                               (unsigned)(sec / 3600), (unsigned)(sec / 60 % 60), (unsigned)(sec % 60),
                               (unsigned)(s->vm_clock_ns / 1000000 % 1000), icount);
    }
}

static void specific_text(const Json *v, unsigned depth, GString *out)
{
    for (unsigned i = 0; i < json_count(v); i++) {
        const Json *item = json_item(v, i);
        g_autofree char *name = g_strdup(v->keys ? v->keys->pdata[i] : "");
        g_strdelimit(name, "-", ' ');
        if (!v->keys) {
            g_free(name);
            name = g_strdup_printf("[%u]", i);
        }
        g_string_append_printf(out, "%*s%s:", (int)depth * 4, "", name);
        if (item->type == JSON_OBJECT || item->type == JSON_ARRAY) {
            g_string_append_c(out, '\n');
            specific_text(item, depth + 1, out);
            continue;
        }
        g_autoptr(GString) s = g_string_new(NULL);
        json_print(item, false, s);
        g_string_append_printf(out, " %s\n", item->type == JSON_STRING ? item->string : s->str);
    }
}

void block_info_text(Block *b, const BlockInfo *i, const GPtrArray *snapshots, GString *out)
{
    const char *format, *backing = block_backing_name(b, &format);
    g_autofree char *virtual = size_text(block_length(b)), *disk = size_text(i->allocated);
    g_string_append_printf(out, "image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64 " bytes)\ndisk size: %s\n",
                           block_filename(b), block_format(b), virtual, block_length(b),
                           i->allocated == UINT64_MAX ? "unavailable" : disk);
    if (i->encrypted)
        g_string_append(out, "encrypted: yes\n");
    if (i->granule)
        g_string_append_printf(out, "cluster_size: %" PRIu64 "\n", i->granule);
    if (i->dirty)
        g_string_append(out, "cleanly shut down: no\n");
    if (backing) {
        g_autofree char *full = block_path_beside(block_filename(b), backing);
        g_string_append_printf(out, "backing file: %s", backing);
        if (strcmp(full, backing))
            g_string_append_printf(out, " (actual path: %s)", full);
        g_string_append_c(out, '\n');
        if (format)
            g_string_append_printf(out, "backing file format: %s\n", format);
    }
    if (snapshots && snapshots->len)
        block_snapshots_text(snapshots, out);
    if (i->specific) {
        g_string_append(out, "Format specific information:\n");
        specific_text(json_get(i->specific, "data"), 1, out);
    }
}
