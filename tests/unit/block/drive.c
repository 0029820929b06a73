/* SPDX-License-Identifier: GPL-2.0-or-later
 * -drive and -blockdev: rows of option strings with the drives and nodes that they make, or the error.  Names, defaults
 * and refusals are what QEMU 7.2 does with the same strings, except where a message says more. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "block/drive.h"
#include "util/bits.h"

/* A PC with IDE and virtio, and no flash. */
static const DriveBoard board = {
    .name = "test", .preset = DRIVE_IDE,
    .slots = { [DRIVE_IDE] = { 2, 2 }, [DRIVE_VIRTIO] = { 1, 32 }, [DRIVE_SCSI] = { 1, 7 }, [DRIVE_FLOPPY] = { 1, 2 } },
};

/* Lines of options; in the folder there are a.raw (1 MiB), b.qcow2 (2 MiB), and c.qcow2 over it. */
typedef struct Row { const char *options, *expect, *error; } Row;

#define REPORT "\"rerror\":\"report\",\"werror\":\"enospc\""
#define RAW "{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"a.raw\"}}"
#define B(more) "{\"driver\":\"qcow2\"" more ",\"file\":{\"driver\":\"file\",\"filename\":\"b.qcow2\"" more "}}"

static const Row rows[] = {
    /* Names and places. */
    { "-drive file=a.raw,format=raw",
      "{\"id\":\"ide0-hd0\",\"if\":\"ide\",\"bus\":0,\"unit\":0," REPORT ",\"root\":" RAW "}", NULL },
    { "-drive file=a.raw,format=raw,index=3",
      "{\"id\":\"ide1-hd1\",\"if\":\"ide\",\"bus\":1,\"unit\":1," REPORT ",\"root\":" RAW "}", NULL },
    { "-drive file=a.raw,format=raw,bus=1",
      "{\"id\":\"ide1-hd0\",\"if\":\"ide\",\"bus\":1,\"unit\":0," REPORT ",\"root\":" RAW "}", NULL },
    { "-drive if=virtio,file=a.raw,format=raw",
      "{\"id\":\"virtio0\",\"if\":\"virtio\",\"bus\":0,\"unit\":0," REPORT ",\"root\":" RAW "}", NULL },
    { "-drive if=scsi,unit=3,media=cdrom",
      "{\"id\":\"scsi0-cd3\",\"if\":\"scsi\",\"bus\":0,\"unit\":3,\"media\":\"cdrom\"," REPORT ",\"root\":null}", NULL },
    { "-drive if=none,id=x.1_-,driver=raw,file=a.raw,serial=S1,rerror=stop,werror=ignore",
      "{\"id\":\"x.1_-\",\"if\":\"none\",\"bus\":0,\"unit\":0,\"rerror\":\"stop\",\"werror\":\"ignore\",\"serial\":\"S1\",\"root\":" RAW "}",
      NULL },
    { "-hda a.raw\n-cdrom b.qcow2",
      "{\"id\":\"ide0-hd0\",\"if\":\"ide\",\"bus\":0,\"unit\":0," REPORT ",\"root\":" RAW "}"
      "{\"id\":\"ide1-cd0\",\"if\":\"ide\",\"bus\":1,\"unit\":0,\"media\":\"cdrom\"," REPORT ",\"root\":" B(",\"read-only\":true") "}", NULL },
    { "-drive if=none\n-drive if=none,media=cdrom",
      "{\"id\":\"none0\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":null}"
      "{\"id\":\"none1\",\"if\":\"none\",\"bus\":0,\"unit\":1,\"media\":\"cdrom\"," REPORT ",\"root\":null}", NULL },
    { "-drive file=a.raw,index=0\n-drive file=b.qcow2,index=0", NULL, "drive with bus=0, unit=0 (index=0) exists" },
    { "-drive file=a.raw,bus=1,index=2", NULL, "index cannot be used with bus and unit" },
    { "-drive file=a.raw,unit=5", NULL, "unit 5 too big (max is 1)" },
    { "-drive file=a.raw,index=4", NULL, "no place for a drive with if=ide, bus=2, unit=0" },
    { "-drive if=none,id=a,file=a.raw\n-drive if=none,id=a,file=b.qcow2", NULL, "duplicate ID 'a' for drive" },
    { "-drive if=none,id=9x,file=a.raw", NULL, "id '9x' is not made of letters" },
    { "-drive if=foo,file=a.raw", NULL, "unsupported bus type 'foo'" },
    { "-drive if=sd,file=a.raw", NULL, "machine 'test' has no SD card slot for a drive with if=sd; if=none opens" },
    { "-drive if=pflash,file=a.raw", NULL, "no flash memory; firmware from a file: -bios FILE" },
    { "-drive media=tape,file=a.raw", NULL, "media 'tape' is neither disk nor cdrom" },
    { "-drive if=floppy,file=a.raw,rerror=stop", NULL, "rerror is not supported by this bus type" },
    { "-drive if=none,file=a.raw,werror=zz", NULL, "werror 'zz' is none of" },
    { "-drive if=none,file=a.raw,rerror=enospc", NULL, "rerror 'enospc' is none of" },
    /* Images and their nodes. */
    { "-drive if=none,file=b.qcow2", "{\"id\":\"none0\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":" B("") "}", NULL },
    { "-drive if=none,file=b.qcow2,readonly=on",
      "{\"id\":\"none0\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":" B(",\"read-only\":true") "}", NULL },
    { "-drive if=none,file=b.qcow2,cache=none,aio=native",
      "{\"id\":\"none0\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":" B(",\"direct\":true") "}", NULL },
    { "-drive if=none,file=b.qcow2,cache=unsafe",
      "{\"id\":\"none0\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":" B(",\"no-flush\":true") "}", NULL },
    { "-drive if=none,file=b.qcow2,cache=writethrough,discard=unmap,detect-zeroes=unmap",
      "{\"id\":\"none0\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":{\"driver\":\"qcow2\",\"writethrough\":true,\"unmap\":true,"
      "\"detect-zeroes\":true,\"file\":{\"driver\":\"file\",\"filename\":\"b.qcow2\",\"unmap\":true}}}", NULL },
    { "-drive if=none,file=b.qcow2,cache.direct=on,cache.writeback=off,aio=threads,node-name=n",
      "{\"id\":\"none0\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":{\"driver\":\"qcow2\",\"node-name\":\"n\",\"direct\":true,"
      "\"writethrough\":true,\"file\":{\"driver\":\"file\",\"filename\":\"b.qcow2\",\"direct\":true}}}", NULL },
    { "-drive if=none,file=a.raw,format=raw,file.driver=file,file.node-name=below",
      "{\"id\":\"none0\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":{\"driver\":\"raw\",\"file\":{\"driver\":\"file\","
      "\"node-name\":\"below\",\"filename\":\"a.raw\"}}}", NULL },
    { "-drive if=none,driver=qcow2,file.driver=file,file.filename=b.qcow2,l2-cache-size=1M",
      "{\"id\":\"none0\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":" B("") "}", NULL },
    { "-drive if=none,file=json:{\"driver\":\"raw\",,\"file\":{\"driver\":\"file\",,\"filename\":\"a.raw\"}}",
      "{\"id\":\"none0\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":" RAW "}", NULL },
    { "-drive if=none,driver=null-co,size=4M",
      "{\"id\":\"none0\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":{\"driver\":\"null-co\",\"filename\":\"null-co://\"}}", NULL },
    { "-drive if=none,file=c.qcow2,snapshot=on",
      "{\"id\":\"none0\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":{\"driver\":\"qcow2\",\"no-flush\":true,\"file\":{"
      "\"driver\":\"file\",\"filename\":\"*\",\"no-flush\":true},\"backing\":{\"driver\":\"qcow2\",\"read-only\":true,\"file\":{\"driver\":"
      "\"file\",\"filename\":\"c.qcow2\",\"read-only\":true},\"backing\":" B(",\"read-only\":true") "}}}", NULL },
    { "-snapshot\n-drive if=none,file=a.raw,format=raw,snapshot=off",
      "{\"id\":\"none0\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":" RAW "}", NULL },
    { "-drive if=none,file=b.qcow2,copy-on-read=on",
      "{\"id\":\"none0\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":{\"driver\":\"copy-on-read\",\"file\":" B("") "}}", NULL },
    { "-drive if=none,file=b.qcow2,copy-on-read=on,readonly=on",
      "{\"id\":\"none0\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":" B(",\"read-only\":true") "}", NULL },
    { "-drive if=none,file=a.raw,format=raw,throttling.bps-total=5M,iops_rd=10,throttling.bps-total-max=10M",
      "{\"id\":\"none0\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":{\"driver\":\"throttle\",\"limits\":\"bps=5242880 bps_rd=0 "
      "bps_wr=0 bps_max=10485760 bps_rd_max=0 bps_wr_max=0 iops=0 iops_rd=10 iops_wr=0 iops_max=0 iops_rd_max=0 iops_wr_max=0 "
      "iops_size=0 group=none0\",\"file\":" RAW "}}", NULL },
    { "-drive if=none,file=a.raw,format=raw,bps=1,bps_rd=1", NULL, "exclude each other" },
    { "-drive if=none,file=a.raw,format=raw,bps=5,group=g\n-drive if=none,file=b.qcow2,bps=6,group=g", NULL,
      "throttle group 'g' has other limits already" },
    { "-drive if=none,file=nothing.raw", NULL, "nothing.raw: No such file" },
    { "-drive if=none,file=a.raw,format=zz", NULL, "unknown driver 'zz'" },
    { "-drive if=none,file=a.raw,format=raw,driver=raw", NULL, "format= and driver= say the same" },
    { "-drive if=none,file=a.raw,format=raw,bogus=1", NULL, "unknown option 'bogus'" },
    { "-drive if=none,file=a.raw,format=raw,file.bogus=1", NULL, "unknown option 'bogus'" },
    { "-drive if=none,file=a.raw,file.filename=b.qcow2", NULL, "a.raw and file.filename=" },
    { "-drive if=none,file=a.raw,cache=zz", NULL, "cache mode 'zz' is none of" },
    { "-drive if=none,file=a.raw,cache.direct=zz", NULL, "cache.direct" },
    { "-drive if=none,file=a.raw,aio=zz", NULL, "aio 'zz' is none of" },
    { "-drive if=none,file=a.raw,aio=native", NULL, "aio=native needs cache.direct=on" },
    { "-drive if=none,file=a.raw,format=raw,discard=zz", NULL, "discard 'zz' is neither" },
    { "-drive if=none,file=a.raw,format=raw,detect-zeroes=unmap", NULL, "detect-zeroes=unmap needs discard=unmap" },
    { "-drive if=none,file=a.raw,snapshot=zz", NULL, "snapshot" },
    { "-drive if=none,format=raw", NULL, "option 'file' is missing" },
    { "-drive if=none,file=a.raw,format=raw\n-drive if=none,file=a.raw,format=raw", NULL, "a.raw is in use" },
    { "-drive if=none,file=a.raw,format=raw,readonly=on\n-drive if=none,file=a.raw,format=raw,readonly=on",
      "{\"id\":\"none0\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":{\"driver\":\"raw\",\"read-only\":true,\"file\":{\"driver\":"
      "\"file\",\"filename\":\"a.raw\",\"read-only\":true}}}"
      "{\"id\":\"none1\",\"if\":\"none\",\"bus\":0,\"unit\":1," REPORT ",\"root\":{\"driver\":\"raw\",\"read-only\":true,\"file\":{\"driver\":"
      "\"file\",\"filename\":\"a.raw\",\"read-only\":true}}}", NULL },
    { "-drive if=none,file=nbd://localhost:1/x", NULL, "localhost" },
    { "-drive if=none,media=cdrom,file.driver=host_cdrom,file.filename=a.raw", NULL, "is no CD-ROM drive (driver=file" },
    { "-drive if=none,media=cdrom,file=host_cdrom:/dev/null", NULL, "is neither a file nor a block device" },
    { "-blockdev host_cdrom,node-name=c,filename=a.raw", NULL, "CD-ROM drives are only read (read-only=on" },
    { "-drive ,", NULL, "item without a name" },
    /* Nodes by themselves; @NAME looks one up as -device's drive= does. */
    { "-blockdev driver=file,node-name=f,filename=b.qcow2\n-blockdev driver=qcow2,node-name=q,file=f\n@q",
      "{\"id\":\"q\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":{\"driver\":\"qcow2\",\"node-name\":\"q\",\"file\":{\"driver\":"
      "\"file\",\"node-name\":\"f\",\"filename\":\"b.qcow2\"}}}", NULL },
    { "-blockdev {\"driver\":\"qcow2\",\"node-name\":\"q\",\"discard\":\"unmap\",\"file\":{\"driver\":\"file\",\"filename\":\"b.qcow2\"}}\n@q",
      "{\"id\":\"q\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":{\"driver\":\"qcow2\",\"node-name\":\"q\",\"unmap\":true,\"file\":{"
      "\"driver\":\"file\",\"filename\":\"b.qcow2\",\"unmap\":true}}}", NULL },
    { "-blockdev qcow2,node-name=q,backing=,file.driver=file,file.filename=c.qcow2,read-only=on\n@q",
      "{\"id\":\"q\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":{\"driver\":\"qcow2\",\"node-name\":\"q\",\"read-only\":true,\"file\":{"
      "\"driver\":\"file\",\"filename\":\"c.qcow2\",\"read-only\":true}}}", NULL },
    { "-blockdev driver=raw,node-name=r,offset=512,size=1024,file.driver=file,file.filename=a.raw,cache.direct=on,cache.no-flush=on\n@r",
      "{\"id\":\"r\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":{\"driver\":\"raw\",\"node-name\":\"r\",\"direct\":true,"
      "\"no-flush\":true,\"file\":{\"driver\":\"file\",\"filename\":\"a.raw\",\"direct\":true,\"no-flush\":true}}}", NULL },
    /* As libvirt has it: the file below opens for writing once the format asks. */
    { "-blockdev {\"driver\":\"file\",\"filename\":\"b.qcow2\",\"node-name\":\"s\",\"auto-read-only\":true,\"discard\":\"unmap\"}\n"
      "-blockdev {\"node-name\":\"q\",\"read-only\":true,\"driver\":\"qcow2\",\"file\":\"s\"}\n@q",
      "{\"id\":\"q\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":{\"driver\":\"qcow2\",\"node-name\":\"q\",\"read-only\":true,\"file\":{"
      "\"driver\":\"file\",\"node-name\":\"s\",\"filename\":\"b.qcow2\",\"read-only\":true,\"unmap\":true}}}", NULL },
    { "-blockdev {\"driver\":\"file\",\"filename\":\"b.qcow2\",\"node-name\":\"s\",\"auto-read-only\":true}\n"
      "-blockdev {\"node-name\":\"q\",\"driver\":\"qcow2\",\"file\":\"s\"}\n@q",
      "{\"id\":\"q\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":{\"driver\":\"qcow2\",\"node-name\":\"q\",\"file\":{\"driver\":"
      "\"file\",\"node-name\":\"s\",\"filename\":\"b.qcow2\"}}}", NULL },
    { "-object throttle-group,id=g,limits.iops-total=9\n-blockdev throttle,node-name=t,throttle-group=g,file.driver=null-co\n@t",
      "{\"id\":\"t\",\"if\":\"none\",\"bus\":0,\"unit\":0," REPORT ",\"root\":{\"driver\":\"throttle\",\"node-name\":\"t\",\"limits\":\"bps=0 bps_rd=0 "
      "bps_wr=0 bps_max=0 bps_rd_max=0 bps_wr_max=0 iops=9 iops_rd=0 iops_wr=0 iops_max=0 iops_rd_max=0 iops_wr_max=0 iops_size=0 "
      "group=g\",\"file\":{\"driver\":\"null-co\",\"filename\":\"null-co://\"}}}", NULL },
    { "-blockdev driver=file,node-name=f,filename=b.qcow2\n-blockdev driver=qcow2,node-name=q,file=f\n"
      "-blockdev driver=qcow2,node-name=r,file=f", NULL, "node 'f' is changed by node 'q' already" },
    { "-blockdev driver=file,node-name=f,filename=b.qcow2\n-blockdev driver=qcow2,node-name=q,file=f\n@f", NULL,
      "node 'f' is changed by node 'q'" },
    { "-blockdev driver=raw,node-name=r,file=zz", NULL, "there is no node 'zz'" },
    { "-blockdev node-name=a", NULL, "option 'driver' is missing" },
    { "-blockdev driver=null-co", NULL, "option 'node-name' is missing" },
    { "-blockdev driver=raw,node-name=r", NULL, "option 'file' is missing" },
    { "-blockdev driver=foo,node-name=a", NULL, "unknown driver 'foo'" },
    { "-blockdev driver=null-co,node-name=a\n-blockdev driver=null-co,node-name=a", NULL, "there is a node 'a' already" },
    { "-blockdev driver=null-co,node-name=a\n-drive if=none,id=a,driver=null-co", NULL, "drive 'a' has the name of a node" },
    { "-blockdev driver=file,filename=a.raw,node-name=a,bogus=1", NULL, "unknown option 'bogus'" },
    { "-blockdev {\"driver\":\"raw\"", NULL, "JSON" },
    { "-blockdev [1],node-name=x", NULL, "unknown driver '[1]'" },
    { "@nothing", NULL, "there is no drive and no node 'nothing'" },
};

typedef struct Lab { char *dir; Aio *aio; BlockGraph *graph; } Lab;

static void make_one(Lab *l, const char *name, const char *format, const char *options)
{
    GError *err = NULL;
    g_autofree char *path = g_build_filename(l->dir, name, NULL);
    Json *o = json_from_options("test", options, NULL, &err);
    g_assert_no_error(err);
    block_create(l->graph, block_driver(format), path, o, &err);
    g_assert_no_error(err);
    json_free(o);
}

static void make_images(void *self)
{
    Lab *l = self;
    make_one(l, "a.raw", "raw", "size=1M");
    make_one(l, "b.qcow2", "qcow2", "size=2M");
    make_one(l, "c.qcow2", "qcow2", "size=2M,backing_file=b.qcow2,backing_fmt=qcow2");
}

/* Names of images become paths. */
static char *with_paths(const Lab *l, const char *line)
{
    static const char *const names[] = { "a.raw", "b.qcow2", "c.qcow2" };
    char *s = g_strdup(line);
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        g_auto(GStrv) parts = g_strsplit(s, names[i], -1);
        g_autofree char *path = g_build_filename(l->dir, names[i], NULL);
        g_free(s);
        s = g_strjoinv(path, parts);
    }
    return s;
}

static bool apply(Drives *d, const char *line, GError **err)
{
    g_auto(GStrv) word = g_strsplit(line, " ", 2);
    const char *name = word[0] + 1;
    if (!strcmp(name, "snapshot"))
        drives_snapshot(d);
    else if (!strcmp(name, "drive"))
        return drives_add_drive(d, word[1], err);
    else if (!strcmp(name, "blockdev"))
        return drives_add_blockdev(d, word[1], err);
    else if (!strcmp(name, "object"))
        return drives_add_object(d, word[1], err);
    else
        return drives_add_file(d, name, word[1], err);
    return true;
}

/* The name of an overlay's file is made up. */
static void hide_names(Json *v)
{
    Json *name = v->type == JSON_OBJECT ? json_get(v, "filename") : NULL;
    if (name && g_str_has_prefix(name->string, "rhea-")) {
        g_free(name->string);
        name->string = g_strdup("*");
    }
    for (unsigned i = 0; i < json_count(v); i++)
        hide_names(json_item(v, i));
}

static void check_row(const Lab *l, const Row *row)
{
    Drives *d = drives_new();
    GError *err = NULL;
    g_autofree char *text = with_paths(l, row->options);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    bool ok = true;
    for (unsigned i = 0; ok && lines[i]; i++)
        ok = *lines[i] == '@' || apply(d, lines[i], &err);
    ok = ok && drives_open(d, &board, &err);
    for (unsigned i = 0; ok && lines[i]; i++)
        ok = *lines[i] != '@' || drives_find(d, lines[i] + 1, &err);
    g_autoptr(GString) out = g_string_new(NULL);
    for (unsigned i = 0; ok && i < drives_count(d); i++) {
        Json *v = drive_describe(drives_at(d, i));
        hide_names(v);
        json_print(v, false, out);
        json_free(v);
    }
    if (row->error) {
        if (ok || !strstr(err->message, row->error))
            g_error("%s: got \"%s\" instead of an error with \"%s\"", row->options, ok ? out->str : err->message, row->error);
    } else {
        /* Both without the blanks that the printer puts in. */
        g_auto(GStrv) parts = g_strsplit(out->str, ": ", -1);
        g_autofree char *tight = g_strjoinv(":", parts);
        g_auto(GStrv) more = g_strsplit(tight, ", ", -1);
        g_autofree char *tighter = g_strjoinv(",", more);
        if (!ok || strcmp(tighter, row->expect))
            g_error("%s:\n  got    %s\n  expect %s", row->options, ok ? tighter : err->message, row->expect);
    }
    g_clear_error(&err);
    g_assert_cmpint(drives_free(d), ==, 0);
}

static void table(void)
{
    GError *err = NULL;
    Lab l = { .dir = g_dir_make_tmp("rhea-drive-XXXXXX", &err) };
    l.aio = aio_new(AIO_AUTO, &err);
    l.graph = block_graph_new(l.aio);
    aio_run(l.aio, make_images, &l);
    block_graph_free(l.graph);
    aio_free(l.aio);
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        check_row(&l, &rows[i]);
    static const char *const names[] = { "a.raw", "b.qcow2", "c.qcow2" };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        g_autofree char *path = g_build_filename(l.dir, names[i], NULL);
        unlink(path);
    }
    g_assert_cmpint(rmdir(l.dir), ==, 0);       /* nothing was left there */
    g_free(l.dir);
}

/* --- what the monitor says */

static void write_some(void *self)
{
    Block *b = self;
    uint8_t buf[4096];
    memset(buf, 0x55, sizeof buf);
    g_assert_cmpint(block_write(b, 0, buf, sizeof buf, 0), ==, 0);
    g_assert_cmpint(block_read(b, 0, buf, 512), ==, 0);
    g_assert_cmpint(block_flush(b), ==, 0);
}

static void info(void)
{
    Drives *d = drives_new();
    GError *err = NULL;
    g_autoptr(GString) out = g_string_new(NULL);
    g_assert_true(drives_add_blockdev(d, "null-co,node-name=n,size=1M,read-zeroes=on", &err));
    g_assert_true(drives_add_drive(d, "if=none,id=d,driver=raw,file=null-co://,node-name=r,cache=none,detect-zeroes=on", &err));
    g_assert_true(drives_add_drive(d, "if=none,id=e,media=cdrom", &err));
    drives_open(d, &board, &err);
    g_assert_no_error(err);
    g_assert_true(drives_info(d, NULL, false, false, out, &err));
    g_assert_cmpstr(out->str, ==, "d (r): null-co:// (raw)\n    Removable device: not locked, tray closed\n"
                    "    Cache mode:       writeback, direct\n    Detect zeroes:    on\n\n"
                    "e: [not inserted]\n    Removable device: not locked, tray closed\n");
    g_string_truncate(out, 0);
    g_assert_true(drives_info(d, "d", false, true, out, &err));
    g_assert_nonnull(strstr(out->str, "\n\nImages:\nimage: null-co://\nfile format: raw\nvirtual size: 1 GiB (1073741824 bytes)\n"));
    g_string_truncate(out, 0);
    g_assert_true(drives_info(d, "n", false, false, out, &err));
    g_assert_cmpstr(out->str, ==, "n: null-co:// (null-co)\n    Cache mode:       writeback\n");
    g_string_truncate(out, 0);
    g_assert_false(drives_info(d, "x", false, false, out, &err));
    g_clear_error(&err);
    Drive *v = drives_at(d, 0);
    v->user = d;
    g_assert_null(drives_find(d, "d", &err));
    g_assert_nonnull(strstr(err->message, "in use by another device"));
    g_clear_error(&err);
    aio_run(block_graph_aio(drives_graph(d)), write_some, v->root);
    g_string_truncate(out, 0);
    drives_stats(d, out);
    unsigned long rb, wb, r, w, f;
    g_assert_cmpint(sscanf(out->str, "d: rd_bytes=%lu wr_bytes=%lu rd_operations=%lu wr_operations=%lu flush_operations=%lu", &rb, &wb,
                           &r, &w, &f), ==, 5);
    g_assert_cmpuint(rb, ==, 512);
    g_assert_cmpuint(wb, ==, 4096);
    g_assert_cmpuint(r, ==, 1);
    g_assert_cmpuint(w, ==, 1);
    g_assert_cmpuint(f, ==, 1);
    g_assert_nonnull(strstr(out->str, "\ne: rd_bytes=0 wr_bytes=0 "));
    g_assert_cmpint(drives_free(d), ==, 0);
}

/* Writes of snapshot=on do not reach the image, and its file leaves nothing behind. */
static void check_snapshot(void *self)
{
    Block *b = self;
    uint8_t buf[512];
    memset(buf, 0xaa, sizeof buf);
    g_assert_cmpint(block_write(b, 65536, buf, sizeof buf, 0), ==, 0);
    memset(buf, 0, sizeof buf);
    g_assert_cmpint(block_read(b, 65536, buf, sizeof buf), ==, 0);
    g_assert_cmpint(buf[511], ==, 0xaa);
}

static void snapshot(void)
{
    GError *err = NULL;
    g_autofree char *dir = g_dir_make_tmp("rhea-drive-XXXXXX", &err), *path = g_build_filename(dir, "a", NULL);
    g_autofree char *zeros = g_malloc0(1 << 20), *text = g_strdup_printf("if=none,format=raw,file=%s", path), *after = NULL;
    size_t len;
    g_assert_true(g_file_set_contents(path, zeros, 1 << 20, &err));
    Drives *d = drives_new();
    drives_snapshot(d);
    g_assert_true(drives_add_drive(d, text, &err));
    drives_open(d, &board, &err);
    g_assert_no_error(err);
    aio_run(block_graph_aio(drives_graph(d)), check_snapshot, drives_at(d, 0)->root);
    g_assert_cmpint(access(block_filename(drives_at(d, 0)->root), F_OK), ==, -1);
    g_assert_cmpint(drives_free(d), ==, 0);
    g_assert_true(g_file_get_contents(path, &after, &len, &err));
    g_assert_cmpmem(after, len, zeros, 1 << 20);
    unlink(path);
    rmdir(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_ERROR);
    g_test_add_func("/block/drive/table", table);
    g_test_add_func("/block/drive/info", info);
    g_test_add_func("/block/drive/snapshot", snapshot);
    return g_test_run();
}
