/* SPDX-License-Identifier: GPL-2.0-or-later
 * -drive, -blockdev and their shorthands (drive.h).  Spelling, defaults, names and the order of things are QEMU's as its
 * manual (invocation, "Block device options") and its behaviour tell them. */
#include "block/drive_int.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/bits.h"
#include "util/error.h"
#include "util/log.h"
#include "util/options.h"

typedef struct Asked { bool blockdev, object; char *text; Options *o; Json *nodes; char *file; } Asked;

/* units: on one bus; 0: any number, and unit alone names it. */
static const struct { const char *name, *needs; unsigned units; bool named_by_media; } interfaces[DRIVE_N_IFS] = {
    [DRIVE_NONE]   = { "none", NULL, 0, false },
    [DRIVE_IDE]    = { "ide", "IDE controller", 2, true },
    [DRIVE_SCSI]   = { "scsi", "SCSI controller", 7, true },
    [DRIVE_FLOPPY] = { "floppy", "floppy disk controller", 0, false },
    [DRIVE_PFLASH] = { "pflash", "flash memory", 0, false },
    [DRIVE_MTD]    = { "mtd", "on-board flash memory", 0, false },
    [DRIVE_SD]     = { "sd", "SD card slot", 0, false },
    [DRIVE_VIRTIO] = { "virtio", "PCI bus for a virtio disk", 0, false },
    [DRIVE_XEN]    = { "xen", "Xen bus", 0, false },
};
const char *drive_if_name(DriveIf i) { return interfaces[i].name; }

static const char *const on_error[] = { "report", "stop", "enospc", "ignore" };
const char *drive_on_error_name(DriveOnError e) { return on_error[e]; }

/* --- options as they come */

/* What is -drive's own; all else goes to the image's node. */
static const char *const drive_keys[] = {
    "file", "if", "media", "index", "bus", "unit", "id", "format", "driver", "cache", "cache.direct", "cache.no-flush",
    "cache.writeback", "aio", "readonly", "read-only", "snapshot", "copy-on-read", "serial", "rerror", "werror", "boot",
};
/* Limits, and their older names. */
static const struct { const char *key, *old; } throttle_keys[] = {
    { "bps-total", "bps" }, { "bps-read", "bps_rd" }, { "bps-write", "bps_wr" }, { "iops-total", "iops" },
    { "iops-read", "iops_rd" }, { "iops-write", "iops_wr" }, { "bps-total-max", "bps_max" }, { "bps-read-max", "bps_rd_max" },
    { "bps-write-max", "bps_wr_max" }, { "iops-total-max", "iops_max" }, { "iops-read-max", "iops_rd_max" },
    { "iops-write-max", "iops_wr_max" }, { "iops-size", "iops_size" }, { "bps-total-max-length", NULL },
    { "bps-read-max-length", NULL }, { "bps-write-max-length", NULL }, { "iops-total-max-length", NULL },
    { "iops-read-max-length", NULL }, { "iops-write-max-length", NULL }, { "group", "group" },
};

static bool is_drive_key(const char *key)
{
    for (unsigned i = 0; i < ARRAY_LEN(drive_keys); i++)
        if (!strcmp(drive_keys[i], key))
            return true;
    for (unsigned i = 0; i < ARRAY_LEN(throttle_keys); i++)
        if (!g_strcmp0(throttle_keys[i].old, key))
            return true;
    return g_str_has_prefix(key, "throttling.");
}

static void asked_free(void *self)
{
    Asked *a = self;
    options_free(a->o);
    json_free(a->nodes);
    g_free(a->file);
    g_free(a->text);
    g_free(a);
}

Drives *drives_new(void)
{
    Drives *d = g_new0(Drives, 1);
    d->asked = g_ptr_array_new_with_free_func(asked_free);
    d->drives = g_ptr_array_new();
    d->nodes = g_ptr_array_new();
    return d;
}

static Asked *add(Drives *d, const char *text)
{
    Asked *a = g_new0(Asked, 1);
    a->text = g_strdup(text);
    g_ptr_array_add(d->asked, a);
    return a;
}

static void append_item(GString *s, const char *key, const char *value)
{
    g_string_append_printf(s, "%s%s=", s->len ? "," : "", key);
    for (; *value; value++)
        g_string_append(s, *value == ',' ? ",," : (char[]){ *value, 0 });
}

bool drives_add_drive(Drives *d, const char *text, GError **err)
{
    Asked *a = add(d, text);
    g_autoptr(GString) rest = g_string_new(NULL);
    a->o = options_parse("-drive", text, NULL, err);
    if (!a->o)
        return false;
    for (unsigned i = 0; i < options_count(a->o); i++) {
        const char *key, *value;
        options_item(a->o, i, &key, &value);
        if (!is_drive_key(key))
            append_item(rest, key, value);
    }
    a->nodes = json_from_options("-drive", rest->str, NULL, err);
    return a->nodes;
}

bool drives_add_file(Drives *d, const char *option, const char *file, GError **err)
{
    static const struct { const char *option, *drive; } rows[] = {
        { "hda", "index=0,media=disk" }, { "hdb", "index=1,media=disk" }, { "hdc", "index=2,media=disk" },
        { "hdd", "index=3,media=disk" }, { "cdrom", "index=2,media=cdrom" }, { "fda", "if=floppy,index=0" },
        { "fdb", "if=floppy,index=1" }, { "pflash", "if=pflash,format=raw" }, { "mtdblock", "if=mtd" }, { "sd", "if=sd" },
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        if (!strcmp(rows[i].option, option)) {
            g_autoptr(GString) s = g_string_new(rows[i].drive);
            append_item(s, "file", file);
            return drives_add_drive(d, s->str, err);
        }
    return fail(err, "-%s is no drive", option);
}

bool drives_add_blockdev(Drives *d, const char *text, GError **err)
{
    Asked *a = add(d, text);
    a->blockdev = true;
    a->nodes = *text == '{' ? json_parse(text, strlen(text), err) : json_from_options("-blockdev", text, "driver", err);
    if (!a->nodes)
        return *text == '{' ? fail_prefix(err, "-blockdev %s: ", text) : false;
    for (unsigned i = 0; i < 2; i++) {
        static const char *const keys[] = { "driver", "node-name" };
        if (!json_get(a->nodes, keys[i]))
            return fail(err, "-blockdev %s: option '%s' is missing", text, keys[i]);
    }
    return true;
}

bool drives_add_object(Drives *d, const char *text, GError **err)
{
    add(d, text)->object = true;
    return true;
}

void drives_snapshot(Drives *d) { d->snapshot = true; }
bool drives_empty(const Drives *d) { return !d->asked->len; }

/* --- one -drive */

static int word_index(const char *word, const char *const *words, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (!strcmp(words[i], word))
            return (int)i;
    return -1;
}

static bool read_interface(Options *o, const DriveBoard *board, Drive *v, GError **err)
{
    const char *name = options_get(o, "if"), *media = options_get(o, "media");
    v->interface = board->preset;
    if (name) {
        for (v->interface = 0; v->interface < DRIVE_N_IFS && strcmp(interfaces[v->interface].name, name);)
            v->interface++;
        if (v->interface == DRIVE_N_IFS)
            return fail(err, "unsupported bus type '%s'", name);
    }
    if (media && strcmp(media, "disk") && strcmp(media, "cdrom"))
        return fail(err, "media '%s' is neither disk nor cdrom", media);
    v->media = media && !strcmp(media, "cdrom") ? DRIVE_CDROM : DRIVE_DISK;
    if (v->interface == DRIVE_NONE || board->slots[v->interface].buses)
        return true;
    if (v->interface == DRIVE_PFLASH)
        return fail(err, "machine '%s' has no flash memory; firmware from a file: -bios FILE", board->name);
    return fail(err, "machine '%s' has no %s for a drive with if=%s%s; if=none opens the image without one", board->name,
                interfaces[v->interface].needs, interfaces[v->interface].name, name ? "" : " (the default)");
}

static Drive *drive_in_slot(const Drives *d, DriveIf i, unsigned bus, unsigned unit)
{
    for (unsigned k = 0; k < d->drives->len; k++) {
        Drive *v = d->drives->pdata[k];
        if (v->interface == i && v->bus == bus && v->unit == unit)
            return v;
    }
    return NULL;
}

static bool read_place(const Drives *d, Options *o, const DriveBoard *board, Drive *v, GError **err)
{
    unsigned per_bus = interfaces[v->interface].units;
    uint64_t index = UINT64_MAX, bus = UINT64_MAX, unit = UINT64_MAX;
    if (!options_u64(o, "index", 0, 65535, &index, err) || !options_u64(o, "bus", 0, 65535, &bus, err) ||
        !options_u64(o, "unit", 0, 65535, &unit, err))
        return false;
    if (index != UINT64_MAX) {
        if (bus != UINT64_MAX || unit != UINT64_MAX)
            return fail(err, "index cannot be used with bus and unit");
        bus = per_bus ? index / per_bus : 0;
        unit = per_bus ? index % per_bus : index;
    }
    v->bus = bus == UINT64_MAX ? 0 : (unsigned)bus;
    v->unit = unit == UINT64_MAX ? 0 : (unsigned)unit;
    if (unit == UINT64_MAX)         /* the next that is free */
        while (drive_in_slot(d, v->interface, v->bus, v->unit)) {
            v->unit++;
            if (per_bus && v->unit >= per_bus) {
                v->unit = 0;
                v->bus++;
            }
        }
    if (per_bus && v->unit >= per_bus)
        return fail(err, "unit %u too big (max is %u)", v->unit, per_bus - 1);
    if (drive_in_slot(d, v->interface, v->bus, v->unit))
        return fail(err, "drive with bus=%u, unit=%u (index=%u) exists", v->bus, v->unit,
                    per_bus ? v->bus * per_bus + v->unit : v->unit);
    const DriveSlots *slots = &board->slots[v->interface];
    if (v->interface != DRIVE_NONE && (v->bus >= slots->buses || v->unit >= slots->units))
        return fail(err, "machine '%s' has no place for a drive with if=%s, bus=%u, unit=%u", board->name,
                    interfaces[v->interface].name, v->bus, v->unit);
    return true;
}

static bool read_id(const Drives *d, Options *o, Drive *v, GError **err)
{
    const char *id = options_get(o, "id");
    if (id) {
        bool ok = g_ascii_isalpha(*id);
        for (const char *p = id; *p; p++)
            ok &= g_ascii_isalnum(*p) || strchr("-._", *p);
        if (!ok)
            return fail(err, "id '%s' is not made of letters, digits, '-', '.' and '_', starting with a letter", id);
        v->id = g_strdup(id);
    } else {
        const char *media = !interfaces[v->interface].named_by_media ? "" : v->media == DRIVE_CDROM ? "-cd" : "-hd";
        const char *name = interfaces[v->interface].name;
        v->id = interfaces[v->interface].units ? g_strdup_printf("%s%u%s%u", name, v->bus, media, v->unit)
                                               : g_strdup_printf("%s%s%u", name, media, v->unit);
    }
    for (unsigned i = 0; i < d->drives->len; i++)
        if (!strcmp(((Drive *)d->drives->pdata[i])->id, v->id))
            return fail(err, "duplicate ID '%s' for drive", v->id);
    if (block_node(d->graph, v->id))
        return fail(err, "drive '%s' has the name of a node", v->id);
    return true;
}

static bool read_on_error(Options *o, Drive *v, GError **err)
{
    const struct { const char *key; DriveOnError *out; bool write; } rows[] = {
        { "rerror", &v->rerror, false }, { "werror", &v->werror, true },
    };
    v->rerror = DRIVE_REPORT;
    v->werror = DRIVE_ENOSPC;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        const char *how = options_get(o, rows[i].key);
        if (!how)
            continue;
        if (v->interface != DRIVE_IDE && v->interface != DRIVE_SCSI && v->interface != DRIVE_VIRTIO && v->interface != DRIVE_NONE)
            return fail(err, "%s is not supported by this bus type", rows[i].key);
        int k = word_index(how, on_error, ARRAY_LEN(on_error));
        if (k < 0 || (k == DRIVE_ENOSPC && !rows[i].write))
            return fail(err, "%s '%s' is none of report, stop, ignore%s", rows[i].key, how, rows[i].write ? ", enospc" : "");
        *rows[i].out = (DriveOnError)k;
    }
    return true;
}

/* Flags of the image's node; the drive's read_only is set. */
static bool read_flags(const Drive *v, Options *o, Json *nodes, unsigned *flags, GError **err)
{
    const char *cache = options_get(o, "cache"), *aio = options_get(o, "aio"), *discard = NULL;
    *flags = v->read_only ? 0 : BLOCK_RDWR | BLOCK_MAY_READ_ONLY;
    if (cache && !block_parse_cache(cache, flags, err))
        return false;
    bool direct = *flags & BLOCK_DIRECT, no_flush = *flags & BLOCK_NO_FLUSH, back = !(*flags & BLOCK_WRITETHROUGH);
    if (!options_bool(o, "cache.direct", &direct, err) || !options_bool(o, "cache.no-flush", &no_flush, err) ||
        !options_bool(o, "cache.writeback", &back, err))
        return false;
    if (aio && !block_parse_aio(aio, flags, err))
        return false;
    if ((*flags & BLOCK_AIO_NATIVE) && !direct)
        return fail(err, "aio=native needs cache.direct=on (cache=none or directsync)");
    Json *wanted = json_get(nodes, "discard");
    if (wanted)
        discard = wanted->string;
    *flags &= ~(unsigned)(BLOCK_DIRECT | BLOCK_NO_FLUSH | BLOCK_WRITETHROUGH);
    *flags |= (direct ? BLOCK_DIRECT : 0) | (no_flush ? BLOCK_NO_FLUSH : 0) | (back ? 0 : BLOCK_WRITETHROUGH);
    if (discard && (!strcmp(discard, "unmap") || !strcmp(discard, "on")))
        *flags |= BLOCK_UNMAP;
    return true;
}

/* --- nodes of a -drive */

/* In a file without a name, gone when it is closed. */
static bool add_overlay(Drives *d, Drive *v, GError **err)
{
    const char *folder = g_getenv("TMPDIR");
    g_autofree char *path = g_strdup_printf("%s/rhea-XXXXXX", folder && *folder ? folder : "/var/tmp");
    int fd = mkstemp(path);
    if (fd < 0)
        return fail_errno(err, errno, "snapshot=on: cannot make a file in %s", folder && *folder ? folder : "/var/tmp");
    close(fd);
    Json *make = json_object(), *o = json_object(), *file = json_object();
    json_set(make, "size", json_u64(block_length(v->root)));
    json_set(file, "driver", json_string("file"));
    json_set(file, "filename", json_string(path));
    json_set(o, "driver", json_string("qcow2"));
    json_set(o, "file", file);
    json_set(o, "backing", json_string(block_name(v->root)));
    bool ok = block_create(d->graph, block_driver("qcow2"), path, make, err);
    Block *over = ok ? block_open(d->graph, NULL, o, BLOCK_RDWR | BLOCK_NO_FLUSH, err) : NULL;
    if (!ok)
        json_free(o);
    json_free(make);
    unlink(path);
    if (!over)
        return fail_prefix(err, "snapshot=on: ");
    block_close(v->root);           /* the overlay has it now */
    v->root = over;
    return true;
}

/* A filter over the root. */
static bool add_filter(Drives *d, Drive *v, const char *driver, const char *key, const char *value, GError **err)
{
    Json *o = json_object();
    json_set(o, "driver", json_string(driver));
    json_set(o, "file", json_string(block_name(v->root)));
    if (key)
        json_set(o, key, json_string(value));
    Block *over = block_open(d->graph, NULL, o, v->read_only ? 0 : BLOCK_RDWR, err);
    if (!over)
        return false;
    block_close(v->root);
    v->root = over;
    return true;
}

static bool add_throttle(Drives *d, Drive *v, Options *o, GError **err)
{
    g_autoptr(GString) spec = g_string_new(NULL);
    const char *group = v->id;
    bool limits = false;
    for (unsigned i = 0; i < ARRAY_LEN(throttle_keys); i++) {
        g_autofree char *name = g_strconcat("throttling.", throttle_keys[i].key, NULL);
        const char *value = options_get(o, name);
        if (!value && throttle_keys[i].old)
            value = options_get(o, throttle_keys[i].old);
        if (!value)
            continue;
        limits = true;
        if (!strcmp(throttle_keys[i].key, "group")) {
            group = value;
            continue;
        }
        g_autofree char *limit = g_strconcat("limits.", throttle_keys[i].key, NULL);
        append_item(spec, limit, value);
    }
    if (!limits)
        return true;
    g_autoptr(GString) text = g_string_new("throttle-group");
    append_item(text, "id", group);
    if (spec->len)
        g_string_append_printf(text, ",%s", spec->str);
    ThrottleGroup *there = block_throttle_group(d->graph, group, NULL);
    if (!there) {
        if (!block_add_object(d->graph, text->str, err))
            return false;
    } else if (spec->len) {
        ThrottleGroup *mine = throttle_group_new(text->str, err);
        bool same = mine && throttle_group_equal(mine, there);
        if (mine && !same)
            fail(err, "throttle group '%s' has other limits already", group);
        if (mine)
            throttle_group_free(mine);
        if (!same)
            return false;
    }
    return add_filter(d, v, "throttle", "throttle-group", group, err);
}

/* The image itself: file= with what else is said of the nodes. */
static bool open_image(Drives *d, Drive *v, Asked *a, const char *file, const char *format, unsigned flags, GError **err)
{
    Json *o = json_copy(a->nodes), *below = json_get(o, "file");
    if (format)
        json_set(o, "driver", json_string(format));
    if (file && below && below->type == JSON_OBJECT) {
        if (json_get(below, "filename")) {
            json_free(o);
            return fail(err, "both file=%s and file.filename=", file);
        }
        json_set(below, "filename", json_string(file));
        file = NULL;
    }
    v->node = v->root = block_open(d->graph, file, o, flags, err);
    if (!v->root)
        return false;
    if (v->root->probed && (flags & BLOCK_RDWR))
        log_warn(NULL, "-drive %s: no format= given and nothing recognised, so the image is raw; writes that would make it look "
                 "like another format are refused (format=raw permits them)", a->text);
    return true;
}

static bool open_drive(Drives *d, const DriveBoard *board, Asked *a, GError **err)
{
    Options *o = a->o;
    Drive *v = g_new0(Drive, 1);
    g_ptr_array_add(d->drives, v);      /* freed with the others */
    d->drives->len--;                   /* while it is looked at, it is not among them */
    bool snapshot = d->snapshot, cor = false, read_only = false, boot = false;
    unsigned flags = 0;
    bool ok = read_interface(o, board, v, err) && read_place(d, o, board, v, err) && read_id(d, o, v, err) &&
              read_on_error(o, v, err) && options_bool(o, "snapshot", &snapshot, err) &&
              options_bool(o, "copy-on-read", &cor, err) && options_bool(o, "readonly", &read_only, err) &&
              options_bool(o, "read-only", &read_only, err) && options_bool(o, "boot", &boot, err);
    v->read_only = read_only || v->media == DRIVE_CDROM;
    v->serial = g_strdup(options_get(o, "serial"));
    d->drives->len++;
    ok = ok && read_flags(v, o, a->nodes, &flags, err);
    const char *file = options_get(o, "file"), *format = options_get(o, "format"), *driver = options_get(o, "driver");
    if (ok && format && driver)
        ok = fail(err, "format= and driver= say the same: give one of them");
    format = format ? format : driver;
    if (ok && options_get(o, "boot"))
        log_info(NULL, "-drive %s: boot= is obsolete and changes nothing", a->text);
    if (!ok || ((!file || !*file) && !format && !json_count(a->nodes)))
        return ok;      /* no medium */
    snapshot &= !v->read_only;
    if (snapshot)
        flags &= ~(unsigned)(BLOCK_RDWR | BLOCK_MAY_READ_ONLY | BLOCK_WRITETHROUGH);
    ok = open_image(d, v, a, file && *file ? file : NULL, format, flags, err) && (!snapshot || add_overlay(d, v, err));
    if (ok && !v->read_only && !block_writable(v->root))
        v->read_only = true;            /* read-only=on for the node alone */
    if (snapshot)
        v->node = v->root;
    if (ok && cor && v->read_only)
        log_warn(NULL, "-drive %s: copy-on-read needs to write, and the drive is read-only: it is off", a->text);
    else if (ok && cor)
        ok = add_filter(d, v, "copy-on-read", NULL, NULL, err);
    ok = ok && add_throttle(d, v, o, err);
    if (ok)
        block_time(v->root);
    return ok;
}

/* --- all of them */

typedef struct Opening { Drives *d; const DriveBoard *board; GError **err; bool ok; } Opening;

static bool open_asked(Drives *d, const DriveBoard *board, Asked *a, GError **err)
{
    if (a->object)
        return block_add_object(d->graph, a->text, err);
    if (!a->blockdev)
        return open_drive(d, board, a, err) || fail_prefix(err, "-drive %s: ", a->text);
    Block *b = block_open(d->graph, NULL, json_copy(a->nodes), BLOCK_RDWR | BLOCK_UNUSED, err);
    if (!b)
        return fail_prefix(err, "-blockdev %s: ", a->text);
    g_ptr_array_add(d->nodes, b);
    return true;
}

static void open_all(void *self)
{
    Opening *p = self;
    p->ok = true;
    for (unsigned pass = 0; pass < 3; pass++)
        for (unsigned i = 0; p->ok && i < p->d->asked->len; i++) {
            Asked *a = p->d->asked->pdata[i];
            if (pass == (a->object ? 0u : a->blockdev ? 1u : 2u))
                p->ok = open_asked(p->d, p->board, a, p->err);
        }
}

bool drives_open(Drives *d, const DriveBoard *board, GError **err)
{
    assert(!d->graph);
    d->aio = aio_new(AIO_AUTO, err);
    if (!d->aio)
        return false;
    d->graph = block_graph_new(d->aio);
    Opening p = { .d = d, .board = board, .err = err };
    aio_run(d->aio, open_all, &p);
    return p.ok;
}

typedef struct Closing { Drives *d; int result; } Closing;

static void close_all(void *self)
{
    Closing *c = self;
    GPtrArray *drives = c->d->drives, *nodes = c->d->nodes;
    for (unsigned i = drives->len; i--;) {
        Drive *v = drives->pdata[i];
        int r = v->root ? block_close(v->root) : 0;
        c->result = c->result ? c->result : r;
    }
    for (unsigned i = nodes->len; i--;) {
        int r = block_close(nodes->pdata[i]);
        c->result = c->result ? c->result : r;
    }
}

int drives_free(Drives *d)
{
    Closing c = { .d = d };
    if (d->graph) {
        aio_run(d->aio, close_all, &c);
        block_graph_free(d->graph);
        aio_free(d->aio);
    }
    for (unsigned i = 0; i < d->drives->len; i++) {
        Drive *v = d->drives->pdata[i];
        g_free(v->id);
        g_free(v->serial);
        g_free(v);
    }
    g_ptr_array_free(d->drives, TRUE);
    g_ptr_array_free(d->nodes, TRUE);
    g_ptr_array_free(d->asked, TRUE);
    g_free(d);
    return c.result;
}

BlockGraph *drives_graph(Drives *d) { return d->graph; }
unsigned drives_count(const Drives *d) { return d->drives->len; }
Drive *drives_at(Drives *d, unsigned i) { return d->drives->pdata[i]; }

typedef struct Waking { Block *b; GError **err; bool ok; } Waking;
static void make_writable(void *self)
{
    Waking *w = self;
    w->ok = block_set_writable(w->b, true, w->err);
}

Drive *drives_find(Drives *d, const char *name, GError **err)
{
    for (unsigned i = 0; i < d->drives->len; i++) {
        Drive *v = d->drives->pdata[i];
        if (!strcmp(v->id, name) || (v->node && !strcmp(block_name(v->node), name))) {
            if (v->user)
                fail(err, "drive '%s' is in use by another device already", name);
            return v->user ? NULL : v;
        }
    }
    Block *b = d->graph ? block_node(d->graph, name) : NULL;
    if (!b) {
        fail(err, "there is no drive and no node '%s'", name);
        return NULL;
    }
    if (b->writer) {
        fail(err, "node '%s' is changed by node '%s', and not for a device", name, block_name(b->writer));
        return NULL;
    }
    if (b->auto_read_only) {
        Waking w = { .b = b, .err = err };
        aio_run(d->aio, make_writable, &w);
        if (!w.ok)
            return NULL;
    }
    Drive *v = g_new0(Drive, 1);
    v->id = g_strdup(name);
    v->root = v->node = b;
    v->werror = DRIVE_ENOSPC;
    v->read_only = !block_writable(b);
    block_ref(b);
    block_time(b);
    g_ptr_array_add(d->drives, v);
    return v;
}
