/* SPDX-License-Identifier: GPL-2.0-or-later
 * JSON values (RFC 8259): parsed, built, printed.  Objects keep the order of their members; a repeated member
 * replaces the earlier one.  Each value has a mark, so that whoever reads options can tell which nobody asked
 * for. */
#ifndef UTIL_JSON_H
#define UTIL_JSON_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum JsonType { JSON_NULL, JSON_BOOL, JSON_INT, JSON_REAL, JSON_STRING, JSON_ARRAY, JSON_OBJECT } JsonType;

typedef struct Json {
    JsonType  type;
    bool      seen;             /* the mark */
    bool      boolean;
    int64_t   integer;          /* 2^63..2^64-1: is_unsigned, and the same bits */
    bool      is_unsigned;
    double    real;
    char     *string;
    GPtrArray *items;           /* Json *, of arrays and objects */
    GPtrArray *keys;            /* char *, of objects */
} Json;

Json *json_null(void);
Json *json_bool(bool v);
Json *json_int(int64_t v);
Json *json_u64(uint64_t v);
Json *json_string(const char *s);
Json *json_array(void);
Json *json_object(void);
void  json_free(Json *v);               /* NULL is fine */
Json *json_copy(const Json *v);

unsigned json_count(const Json *v);     /* of an array's items or an object's members */
Json *json_item(const Json *v, unsigned i);
void  json_add(Json *array, Json *item);                    /* takes item */
void  json_set(Json *object, const char *key, Json *value); /* takes value */
Json *json_get(const Json *object, const char *key);        /* NULL: no such member; the object's still */
bool  json_drop(Json *object, const char *key);             /* whether it was there */
Json *json_take(Json *object, const char *key);             /* the caller's now; NULL: no such member */

/* The whole text is one value.  Nests at most 100 deep.  NULL on error, which says where. */
Json *json_parse(const char *text, size_t len, GError **err);
/* Appends v; pretty: four spaces a level, one member a line. */
void  json_print(const Json *v, bool pretty, GString *out);

/* "driver=qcow2,file.driver=file,file.filename=a" as nested objects of strings; "x.0=a,x.1=b" is an array.  what
 * and implied as for options_parse(). */
Json *json_from_options(const char *what, const char *text, const char *implied, GError **err);

#endif
