/* SPDX-License-Identifier: GPL-2.0-or-later
 * A device's saved state: its state rows, and the members that its register rows name, each once.  Registers
 * of window 1 and up are saved as "W.NAME" since windows may repeat names. */
#include "hw/core/core_int.h"

#include <string.h>

typedef struct Table { GArray *rows; GPtrArray *names; } Table;

static bool has_member(const GArray *rows, uint32_t at)
{
    for (guint i = 0; i < rows->len; i++)
        if (g_array_index(rows, Field, i).at == at)
            return true;
    return false;
}

static Table table_new(const DeviceType *t)
{
    Table table = { g_array_new(TRUE, TRUE, sizeof(Field)), g_ptr_array_new_with_free_func(g_free) };
    for (const Field *f = t->state; f && f->name; f++)
        g_array_append_val(table.rows, *f);
    for (unsigned w = 0; w < DEVICE_WINDOWS; w++) {
        for (const Reg *r = device_window(t, w).regs; r && r->name; r++) {
            if (!r->type || has_member(table.rows, r->member_at))
                continue;
            char *name = w ? g_strdup_printf("%u.%s", w, r->name) : g_strdup(r->name);
            g_ptr_array_add(table.names, name);
            Field f = { .name = name, .type = r->type, .at = r->member_at, .size = r->member_size,
                        .count = r->member_count, .since = r->since };
            g_assert(!describe_find((const Field *)(void *)table.rows->data, name));
            g_array_append_val(table.rows, f);
        }
    }
    return table;
}

static const Field *table_rows(const Table *t) { return (const Field *)(void *)t->rows->data; }

static void table_free(Table *t)
{
    g_array_free(t->rows, TRUE);
    g_ptr_array_free(t->names, TRUE);
}

unsigned device_version(const Device *d)
{
    if (d->type->version)
        return d->type->version;
    Table t = table_new(d->type);
    unsigned v = describe_version(table_rows(&t));
    table_free(&t);
    return v;
}

void device_save(Device *d, GByteArray *out)
{
    Table t = table_new(d->type);
    domain_enter(d->domain);
    describe_save_to(table_rows(&t), d, out);
    domain_leave(d->domain);
    table_free(&t);
}

bool device_restore(Device *d, unsigned version, const uint8_t *bytes, size_t len, GError **err)
{
    Table t = table_new(d->type);
    domain_enter(d->domain);
    bool ok = describe_load(table_rows(&t), d, version, bytes, len, err) &&
              (!d->type->restored || d->type->restored(d, err));
    domain_leave(d->domain);
    table_free(&t);
    return ok;
}
