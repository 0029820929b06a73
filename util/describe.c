/* SPDX-License-Identifier: GPL-2.0-or-later
 * Walking tables of fields.  The stream: for each field its name (length byte, bytes), type byte, element
 * size and count (32 bits each), then the elements, little-endian; a zero length byte ends an object.
 *   bool, integers   size bytes each
 *   FT_FIFO8         capacity, used (16 bits each), that many bytes
 *   FT_TIMER         deadline in guest time, 64 bits
 *   FT_STRUCT        the sub-table's fields, ended by a zero byte; its size is written as 0 */
#include "util/describe.h"

#include <string.h>

#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"
#include "util/options.h"

static bool is_int(FieldType t) { return t >= FT_BOOL && t <= FT_I64; }
static bool is_signed(FieldType t) { return t >= FT_I8 && t <= FT_I64; }

uint64_t field_get(const Field *f, const void *obj, unsigned i)
{
    const uint8_t *p = (const uint8_t *)obj + f->at + (size_t)i * f->size;
    switch (f->size) {
    case 1: return is_signed(f->type) ? (uint64_t)*(const int8_t *)p : *p;
    case 2: return is_signed(f->type) ? (uint64_t)*(const int16_t *)p : *(const uint16_t *)p;
    case 4: return is_signed(f->type) ? (uint64_t)*(const int32_t *)p : *(const uint32_t *)p;
    default: return *(const uint64_t *)p;
    }
}

void field_put(const Field *f, void *obj, unsigned i, uint64_t v)
{
    uint8_t *p = (uint8_t *)obj + f->at + (size_t)i * f->size;
    switch (f->size) {
    case 1: *p = f->type == FT_BOOL ? v != 0 : (uint8_t)v; break;
    case 2: *(uint16_t *)p = (uint16_t)v; break;
    case 4: *(uint32_t *)p = (uint32_t)v; break;
    default: *(uint64_t *)p = v; break;
    }
}

const Field *describe_find(const Field *fields, const char *name)
{
    for (const Field *f = fields; f && f->name; f++)
        if (!strcmp(f->name, name))
            return f;
    return NULL;
}

unsigned describe_version(const Field *fields)
{
    unsigned v = 1;
    for (const Field *f = fields; f && f->name; f++) {
        unsigned sub = f->sub ? describe_version(f->sub) : 0;
        v = MAX(v, MAX(f->since, sub));
    }
    return v;
}

/* --- saving --- */

void state_put(GByteArray *out, uint64_t v, unsigned size)
{
    uint8_t b[8];
    store_le(b, size, v);
    g_byte_array_append(out, b, size);
}

void state_put_text(GByteArray *out, const char *text)
{
    size_t len = strlen(text);
    g_assert(len < 256);
    state_put(out, len, 1);
    g_byte_array_append(out, (const uint8_t *)text, (guint)len);
}

static void save_element(const Field *f, const void *obj, unsigned i, GByteArray *out)
{
    const uint8_t *p = (const uint8_t *)obj + f->at + (size_t)i * f->size;
    if (f->type == FT_FIFO8) {
        const Fifo8 *fifo = (const void *)p;
        state_put(out, fifo8_cap(fifo), 2);
        state_put(out, fifo8_used(fifo), 2);
        for (unsigned n = 0; n < fifo8_used(fifo); n++)
            state_put(out, fifo8_peek(fifo, n), 1);
    } else if (f->type == FT_TIMER) {
        state_put(out, (uint64_t)timer_deadline_ns((const Timer *)(const void *)p), 8);
    } else if (f->type == FT_STRUCT) {
        describe_save_to(f->sub, p, out);
    } else {
        state_put(out, field_get(f, obj, i), f->size);
    }
}

static uint32_t saved_size(const Field *f) { return is_int(f->type) ? f->size : 0; }

void describe_save_to(const Field *fields, const void *obj, GByteArray *out)
{
    for (const Field *f = fields; f && f->name; f++) {
        g_assert(*f->name && (is_int(f->type) || (f->type >= FT_FIFO8 && f->type <= FT_STRUCT)));
        state_put_text(out, f->name);
        state_put(out, f->type, 1);
        state_put(out, saved_size(f), 4);
        state_put(out, f->count, 4);
        for (unsigned i = 0; i < f->count; i++)
            save_element(f, obj, i, out);
    }
    state_put(out, 0, 1);
}

GByteArray *describe_save(const Field *fields, const void *obj)
{
    GByteArray *out = g_byte_array_new();
    describe_save_to(fields, obj, out);
    return out;
}

/* --- loading --- */

bool state_get(StateBytes *s, unsigned size, uint64_t *v, GError **err)
{
    if (s->len - s->at < size)
        return fail(err, "saved state ends early, at byte %zu", s->len);
    *v = load_le(s->bytes + s->at, size);
    s->at += size;
    return true;
}

bool state_get_text(StateBytes *s, char out[256], GError **err)
{
    uint64_t len;
    if (!state_get(s, 1, &len, err))
        return false;
    if (s->len - s->at < len)
        return fail(err, "saved state ends early, at byte %zu", s->len);
    memcpy(out, s->bytes + s->at, len);
    out[len] = 0;
    s->at += len;
    return g_utf8_validate(out, (gssize)len, NULL) || fail(err, "saved state holds a name that is not text");
}

static bool load_fields(const Field *fields, void *obj, unsigned version, StateBytes *s, GError **err);

static bool load_fifo(Fifo8 *fifo, StateBytes *s, GError **err)
{
    uint64_t cap, used, b;
    if (!state_get(s, 2, &cap, err) || !state_get(s, 2, &used, err))
        return false;
    if (cap < 1 || cap > FIFO8_MAX || used > cap)
        return fail(err, "a fifo of %u bytes cannot hold %u", (unsigned)cap, (unsigned)used);
    fifo8_clear(fifo);
    fifo8_set_cap(fifo, (unsigned)cap);
    while (used--) {
        if (!state_get(s, 1, &b, err))
            return false;
        fifo8_push(fifo, (uint8_t)b);
    }
    return true;
}

static bool load_element(const Field *f, void *obj, unsigned i, unsigned version, StateBytes *s, GError **err)
{
    uint8_t *p = (uint8_t *)obj + f->at + (size_t)i * f->size;
    uint64_t v;
    if (f->type == FT_FIFO8)
        return load_fifo((Fifo8 *)(void *)p, s, err);
    if (f->type == FT_STRUCT)
        return load_fields(f->sub, p, version, s, err);
    if (f->type == FT_TIMER) {
        Timer *t = (Timer *)(void *)p;
        if (!state_get(s, 8, &v, err))
            return false;
        if (t->clock)
            timer_set_ns(t, (int64_t)v);
        else
            t->deadline = (int64_t)v;
        return true;
    }
    if (!state_get(s, f->size, &v, err))
        return false;
    if (f->type == FT_BOOL && v > 1)
        return fail(err, "a yes or no is %u", (unsigned)v);
    field_put(f, obj, i, v);
    return true;
}

static bool load_fields(const Field *fields, void *obj, unsigned version, StateBytes *s, GError **err)
{
    unsigned n = 0;
    for (const Field *f = fields; f && f->name; f++)
        n++;
    g_autofree bool *seen = g_new0(bool, n + 1);
    for (;;) {
        uint64_t type, size, count;
        char name[256];
        if (!state_get_text(s, name, err))
            return false;
        if (!*name)
            break;
        if (!state_get(s, 1, &type, err) || !state_get(s, 4, &size, err) || !state_get(s, 4, &count, err))
            return false;
        const Field *f = describe_find(fields, name);
        if (!f)
            return fail(err, "saved state holds an unknown field '%s'", name);
        if (type != (uint64_t)f->type || size != saved_size(f) || count != f->count)
            return fail(err, "field '%s' has another shape than here", name);
        if (seen[f - fields])
            return fail(err, "field '%s' comes twice", name);
        seen[f - fields] = true;
        for (unsigned i = 0; i < f->count; i++)
            if (!load_element(f, obj, i, version, s, err))
                return fail_prefix(err, "%s: ", name);
    }
    for (unsigned i = 0; i < n; i++)
        if (!seen[i] && fields[i].since <= version)
            return fail(err, "field '%s' is missing", fields[i].name);
    return true;
}

bool describe_load(const Field *fields, void *obj, unsigned version, const uint8_t *bytes, size_t len,
                   GError **err)
{
    StateBytes s = { bytes, len, 0 };
    if (!load_fields(fields, obj, version, &s, err))
        return false;
    return s.at == len || fail(err, "%zu bytes too many at the end of saved state", len - s.at);
}

void describe_reset(const Field *fields, void *obj)
{
    for (const Field *f = fields; f && f->name; f++) {
        for (unsigned i = 0; i < f->count && !f->keep; i++) {
            void *p = (uint8_t *)obj + f->at + (size_t)i * f->size;
            if (is_int(f->type))
                field_put(f, obj, i, 0);
            else if (f->type == FT_FIFO8)
                fifo8_clear(p);
            else if (f->type == FT_TIMER)
                timer_cancel(p);
            else if (f->type == FT_STRUCT)
                describe_reset(f->sub, p);
        }
    }
}

/* --- showing, properties --- */

static void show_element(const Field *f, const void *obj, unsigned i, GString *out)
{
    const uint8_t *p = (const uint8_t *)obj + f->at + (size_t)i * f->size;
    if (f->type == FT_FIFO8)
        g_string_append_printf(out, "%u/%u bytes", fifo8_used((const void *)p), fifo8_cap((const void *)p));
    else if (f->type == FT_TIMER && !timer_armed((const void *)p))
        g_string_append(out, "off");
    else if (f->type == FT_TIMER)
        g_string_append_printf(out, "%" G_GINT64_FORMAT " ns", timer_deadline_ns((const void *)p));
    else if (f->type == FT_STRUCT) {
        g_string_append_c(out, '{');
        describe_show(f->sub, p, out);
        g_string_append_c(out, '}');
    } else if (f->type == FT_STRING)
        g_string_append(out, *(char *const *)(const void *)p ? *(char *const *)(const void *)p : "");
    else if (is_int(f->type))
        g_string_append_printf(out, "%0*" G_GINT64_MODIFIER "x", (int)(f->type == FT_BOOL ? 1 : 2 * f->size),
                               field_get(f, obj, i) & size_mask(f->size));
    else
        g_string_append_c(out, '-');
}

void describe_show(const Field *fields, const void *obj, GString *out)
{
    const char *between = "";
    for (const Field *f = fields; f && f->name; f++, between = ", ") {
        g_string_append_printf(out, "%s%s=", between, f->name);
        for (unsigned i = 0; i < f->count; i++) {
            if (i)
                g_string_append_c(out, ' ');
            show_element(f, obj, i, out);
        }
    }
}

bool field_parse(const Field *f, void *obj, const char *text, GError **err)
{
    uint8_t *p = (uint8_t *)obj + f->at;
    uint64_t v;
    bool b;
    switch (f->type) {
    case FT_BOOL:
        if (!parse_bool(f->name, text, &b, err))
            return false;
        *p = b;
        return true;
    case FT_STRING:
        g_free(*(char **)(void *)p);
        *(char **)(void *)p = g_strdup(text);
        return true;
    case FT_U64:
        if (!parse_size(f->name, text, 1, &v, err))
            return false;
        break;
    case FT_U8: case FT_U16: case FT_U32:
        if (!parse_u64(f->name, text, 0, (UINT64_C(1) << 8 * f->size) - 1, &v, err))
            return false;
        break;
    default:
        return fail(err, "'%s' cannot be set from text", f->name);
    }
    field_put(f, obj, 0, v);
    return true;
}

void field_free(const Field *f, void *obj)
{
    char **text = (char **)(void *)((uint8_t *)obj + f->at);
    if (f->type == FT_STRING) {
        g_free(*text);
        *text = NULL;
    }
}
