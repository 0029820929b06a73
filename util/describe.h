/* SPDX-License-Identifier: GPL-2.0-or-later
 * Tables that describe an object's members: name, type, place, age.  Properties, pins and saved state are
 * such tables; setting, saving, restoring and showing are derived from them. */
#ifndef UTIL_DESCRIBE_H
#define UTIL_DESCRIBE_H

#include <glib.h>
#include <stddef.h>

#include "util/clock.h"
#include "util/fifo.h"
#include "util/line.h"

typedef struct Device Device;
typedef struct Stream Stream;

typedef enum FieldType {
    FT_NONE, FT_BOOL, FT_U8, FT_U16, FT_U32, FT_U64, FT_I8, FT_I16, FT_I32, FT_I64,
    FT_FIFO8,               /* contents and capacity */
    FT_TIMER,               /* its deadline in guest time */
    FT_STRUCT,              /* described by .sub */
    FT_STRING, FT_STREAM, FT_DEVICE,    /* properties only: text, a character device's id, a device's id */
    FT_LINE, FT_SINK,       /* pins only: output, input */
} FieldType;

/* A row.  Tables end with { 0 }. */
typedef struct Field {
    const char         *name;
    const char         *help;           /* of a property */
    FieldType           type;
    uint32_t            at;             /* offset in the object */
    uint32_t            size;           /* of one element */
    uint32_t            count;          /* elements */
    uint16_t            since;          /* version of the table that brought it; 0: always there */
    /* reset leaves it alone; other state is zeroed, emptied, cancelled by reset */
    bool                keep;
    const struct Field *sub;
    LineFn             *sink;
    const char         *preset;         /* property's value when none is given */
} Field;

/* Type of a member or of an array's element.  (A plain pointer to an integer is not describable.) */
#define FIELD_TYPE(m) _Generic((m),                                                                     \
    bool: FT_BOOL, uint8_t: FT_U8, uint16_t: FT_U16, uint32_t: FT_U32, uint64_t: FT_U64,                \
    int8_t: FT_I8, int16_t: FT_I16, int32_t: FT_I32, int64_t: FT_I64,                                   \
    bool *: FT_BOOL, uint8_t *: FT_U8, uint16_t *: FT_U16, uint32_t *: FT_U32, uint64_t *: FT_U64,      \
    int8_t *: FT_I8, int16_t *: FT_I16, int32_t *: FT_I32, int64_t *: FT_I64,                           \
    Fifo8: FT_FIFO8, Fifo8 *: FT_FIFO8, Timer: FT_TIMER, Timer *: FT_TIMER,                             \
    char *: FT_STRING, const char *: FT_STRING, Stream *: FT_STREAM, Device *: FT_DEVICE,               \
    Line: FT_LINE, Line *: FT_LINE)
#define FIELD_SIZE(m) _Generic((m),                                                                     \
    bool: 1, uint8_t: 1, uint16_t: 2, uint32_t: 4, uint64_t: 8, int8_t: 1, int16_t: 2, int32_t: 4,      \
    int64_t: 8, bool *: 1, uint8_t *: 1, uint16_t *: 2, uint32_t *: 4, uint64_t *: 8,                   \
    int8_t *: 1, int16_t *: 2, int32_t *: 4, int64_t *: 8,                                              \
    Fifo8: sizeof(Fifo8), Fifo8 *: sizeof(Fifo8), Timer: sizeof(Timer), Timer *: sizeof(Timer),         \
    char *: sizeof(char *), const char *: sizeof(char *), Stream *: sizeof(void *),                     \
    Device *: sizeof(void *), Line: sizeof(Line), Line *: sizeof(Line))
#define FIELD_MEMBER(T, m) .type = FIELD_TYPE(((T *)0)->m), .at = offsetof(T, m),                       \
    .size = FIELD_SIZE(((T *)0)->m),                                                                    \
    .count = sizeof(((T *)0)->m) / FIELD_SIZE(((T *)0)->m)

/* Saved state.  FIELD_SUB: a struct, or an array of n of them, with a table of its own. */
#define FIELD(T, m)             { .name = #m, FIELD_MEMBER(T, m) }
#define FIELD_SINCE(v, T, m)    { .name = #m, .since = (v), FIELD_MEMBER(T, m) }
#define FIELD_KEEP(T, m)        { .name = #m, .keep = true, FIELD_MEMBER(T, m) }
#define FIELD_SUB(T, m, n, tab) { .name = #m, .type = FT_STRUCT, .at = offsetof(T, m), \
                                  .size = sizeof(((T *)0)->m) / (n), .count = (n), .sub = (tab) }
/* Properties: integers, bool, char * (owned by the object), Stream *, Device *.  PROP_SET gives a default. */
#define PROP(T, m, nm, txt)          { .name = (nm), .help = (txt), FIELD_MEMBER(T, m) }
#define PROP_SET(T, m, nm, val, txt) { .name = (nm), .help = (txt), .preset = (val), FIELD_MEMBER(T, m) }
/* Pins: an output Line (or array of them); n inputs that call fn(self, i, level). */
#define PIN(T, m, nm)       { .name = (nm), FIELD_MEMBER(T, m) }
#define PIN_IN(nm, n, fn)   { .name = (nm), .type = FT_SINK, .count = (n), .sink = (fn) }

/* Bytes of saved state, which may be anything.  False where they end early, or a text is none. */
typedef struct StateBytes { const uint8_t *bytes; size_t len, at; } StateBytes;
bool state_get(StateBytes *s, unsigned size, uint64_t *v, GError **err);        /* little-endian, 1 to 8 bytes */
bool state_get_text(StateBytes *s, char out[256], GError **err);                /* a length byte, then UTF-8 without NUL; may be empty */
void state_put(GByteArray *out, uint64_t v, unsigned size);
void state_put_text(GByteArray *out, const char *text);                         /* 255 bytes at most */

/* Appends the fields as (name, type, size, count, little-endian values), ended by an empty name. */
void describe_save_to(const Field *fields, const void *obj, GByteArray *out);
GByteArray *describe_save(const Field *fields, const void *obj);
/* What a reset does to state: zero, empty, cancelled; `keep` rows stay. */
void describe_reset(const Field *fields, void *obj);
/* Reads what describe_save wrote, all of it.  `version` is the table's version when it was saved: fields younger than it may
 * be missing and keep their value.  False, with what the object then holds unspecified but well-formed, on anything that does
 * not fit. */
bool describe_load(const Field *fields, void *obj, unsigned version, const uint8_t *bytes, size_t len,
                   GError **err);
/* "rx=3 bytes, tx_done=0": for the monitor. */
void describe_show(const Field *fields, const void *obj, GString *out);
/* Highest since in the table, at least 1. */
unsigned describe_version(const Field *fields);
const Field *describe_find(const Field *fields, const char *name);

/* Integer fields by index; the caller has checked the type. */
uint64_t field_get(const Field *f, const void *obj, unsigned i);
void     field_put(const Field *f, void *obj, unsigned i, uint64_t v);
/* Sets a bool, integer or string property from text; "256M" for 64-bit ones too. */
bool     field_parse(const Field *f, void *obj, const char *text, GError **err);
void     field_free(const Field *f, void *obj);

#endif
