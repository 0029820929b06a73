/* SPDX-License-Identifier: GPL-2.0-or-later
 * Objects: one table of types.  Written "TYPE,key=value,...", "qom-type=TYPE,..." or as a JSON object. */
#include "block/object.h"

#include <string.h>

#include "block/crypto/secret.h"
#include "block/nbd/tls.h"
#include "block/throttle.h"
#include "util/bits.h"
#include "util/error.h"

static void *make_creds(BlockGraph *g, const char *spec, GError **err) { return nbd_creds_new(spec, err); }
static void free_creds(void *self) { nbd_creds_free(self); }
static void *make_throttle(BlockGraph *g, const char *spec, GError **err) { return throttle_group_new(spec, err); }
static void free_throttle(void *self) { throttle_group_free(self); }
static void *make_secret(BlockGraph *g, const char *spec, GError **err) { return secret_new(g, spec, err); }
static void free_secret(void *self) { secret_free(self); }

typedef struct ObjectType {
    const char     *name;
    BlockObjectKind kind;
    void *(*make)(BlockGraph *g, const char *spec, GError **err);
    void  (*free)(void *self);
} ObjectType;

static const ObjectType types[] = {
    { "secret",         OBJECT_SECRET,         make_secret,   free_secret },
    { "throttle-group", OBJECT_THROTTLE_GROUP, make_throttle, free_throttle },
    { "tls-creds-psk",  OBJECT_TLS_CREDS,      make_creds,    free_creds },
    { "tls-creds-x509", OBJECT_TLS_CREDS,      make_creds,    free_creds },
};

typedef struct Object { const ObjectType *type; char *id; void *self; } Object;

void *block_object(BlockGraph *g, BlockObjectKind kind, const char *id)
{
    GPtrArray *all = block_objects(g);
    for (unsigned i = 0; i < all->len; i++) {
        Object *o = all->pdata[i];
        if (o->type->kind == kind && !strcmp(o->id, id))
            return o->self;
    }
    return NULL;
}

void block_objects_free(GPtrArray *objects)
{
    for (unsigned i = objects->len; i-- > 0;) {
        Object *o = objects->pdata[i];
        o->type->free(o->self);
        g_free(o->id);
        g_free(o);
    }
    g_ptr_array_free(objects, TRUE);
}

static void add_text(GString *out, const char *key, const char *value)
{
    g_string_append_printf(out, "%s%s=", out->len ? "," : "", key);
    for (; *value; value++)
        g_string_append(out, *value == ',' ? ",," : (char[]){ *value, 0 });
}

/* Members of a JSON object as "a.b=value,...". */
static void flatten(GString *out, const char *prefix, const Json *o)
{
    for (unsigned i = 0; i < json_count(o); i++) {
        const Json *v = json_item(o, i);
        g_autofree char *key = g_strconcat(prefix, o->keys->pdata[i], NULL), *below = g_strconcat(key, ".", NULL);
        g_autoptr(GString) text = g_string_new(NULL);
        if (v->type == JSON_OBJECT) {
            flatten(out, below, v);
        } else if (v->type == JSON_BOOL) {
            add_text(out, key, v->boolean ? "on" : "off");
        } else {
            json_print(v, false, text);
            add_text(out, key, v->type == JSON_STRING ? v->string : text->str);
        }
    }
}

static bool add_object(BlockGraph *g, const char *spec, GError **err)
{
    Options *o = options_parse("--object", spec, "qom-type", err);
    if (!o)
        return false;
    const char *name = options_get(o, "qom-type"), *id = options_get(o, "id");
    const ObjectType *type = NULL;
    g_autoptr(GString) known = g_string_new(NULL);
    for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
        g_string_append_printf(known, "%s%s", i ? ", " : "", types[i].name);
        if (name && !strcmp(types[i].name, name))
            type = &types[i];
    }
    bool ok = true;
    if (!type)
        ok = fail(err, "--object: type '%s' is none of %s", name ? name : "", known->str);
    else if (!id || !*id)
        ok = fail(err, "--object %s: id= is needed", name);
    for (unsigned i = 0; ok && i < block_objects(g)->len; i++)
        if (!strcmp(((Object *)block_objects(g)->pdata[i])->id, id))
            ok = fail(err, "--object: there is an object '%s' already", id);
    void *self = ok ? type->make(g, spec, err) : NULL;
    if (self) {
        Object *object = g_new(Object, 1);
        *object = (Object){ type, g_strdup(id), self };
        g_ptr_array_add(block_objects(g), object);
    }
    options_free(o);
    return self;
}

bool block_add_object(BlockGraph *g, const char *spec, GError **err)
{
    if (*spec != '{')
        return add_object(g, spec, err);
    Json *o = json_parse(spec, strlen(spec), err);
    if (!o)
        return fail_prefix(err, "--object: ");
    g_autoptr(GString) text = g_string_new(NULL);
    flatten(text, "", o);
    json_free(o);
    return add_object(g, text->str, err);
}
