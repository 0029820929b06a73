/* SPDX-License-Identifier: GPL-2.0-or-later
 * -kernel: made-up bzImages and ELF images, whole, cut short, contradictory and at random; the cache of unpacked
 * kernels. */
#include "hw/x86/linux_boot.h"

#include <elf.h>
#include <glib/gstdio.h>
#include <lzma.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "hw/core/machine.h"
#include "hw/x86/unpack.h"
#include "hw/x86/unpack_cache.h"
#include "util/endian.h"

enum { RAM = 80 << 20, TEXT_AT = 1 << 20, DATA_AT = 3 << 20, TEXT_LEN = 300000, DATA_LEN = 5000, DATA_MEM = 90000 };

typedef struct Fixture {
    Machine *m;
    Region   ram;
    char    *dir, *kernel, *initrd, *cache;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    GError *err = NULL;
    f->m = machine_new("test", clock_new_manual());
    region_init_ram(&f->ram, "ram", f->m->ram, RAM, &err);
    g_assert_no_error(err);
    region_map(space_root(f->m->mem), 0, &f->ram, 0);
    f->dir = g_dir_make_tmp("rhea-boot-XXXXXX", &err);
    g_assert_no_error(err);
    f->kernel = g_build_filename(f->dir, "kernel", NULL);
    f->initrd = g_build_filename(f->dir, "initrd", NULL);
    f->cache = g_build_filename(f->dir, "cache", NULL);
}

static void remove_all(const char *path)
{
    GDir *d = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    for (const char *name; d && (name = g_dir_read_name(d));) {
        g_autofree char *inner = g_build_filename(path, name, NULL);
        remove_all(inner);
    }
    if (d)
        g_dir_close(d);
    g_remove(path);
}

static void tear_down(Fixture *f, gconstpointer data)
{
    region_destroy(&f->ram);
    machine_free(f->m);
    remove_all(f->dir);
    g_free(f->dir);
    g_free(f->kernel);
    g_free(f->initrd);
    g_free(f->cache);
}

static void write_file(const char *name, const void *bytes, size_t len)
{
    FILE *file = fopen(name, "wb");
    g_assert_nonnull(file);
    g_assert_cmpuint(fwrite(bytes, 1, len, file), ==, len);
    g_assert_cmpint(fclose(file), ==, 0);
}

/* --- made-up kernels */

typedef struct Segment { uint64_t paddr, memsz; const uint8_t *bytes; uint64_t len; uint32_t type; } Segment;

static GByteArray *elf(bool is64, uint32_t entry, const Segment *s, unsigned n)
{
    GByteArray *b = g_byte_array_new();
    unsigned head = is64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr), each = is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    uint64_t at = head + n * each;
    g_byte_array_set_size(b, at);
    memset(b->data, 0, at);
    memcpy(b->data, ELFMAG, SELFMAG);
    b->data[EI_CLASS] = is64 ? ELFCLASS64 : ELFCLASS32;
    b->data[EI_DATA] = ELFDATA2LSB;
    if (is64)
        memcpy(b->data + 16, &(Elf64_Half[]){ ET_EXEC, EM_X86_64 }, 4);
    else
        memcpy(b->data + 16, &(Elf32_Half[]){ ET_EXEC, EM_386 }, 4);
    Elf64_Ehdr *h64 = (void *)b->data;
    Elf32_Ehdr *h32 = (void *)b->data;
    if (is64) {
        h64->e_entry = entry;
        h64->e_phoff = head;
        h64->e_phentsize = each;
        h64->e_phnum = n;
    } else {
        h32->e_entry = entry;
        h32->e_phoff = head;
        h32->e_phentsize = each;
        h32->e_phnum = n;
    }
    for (unsigned i = 0; i < n; i++) {
        if (is64)
            memcpy(b->data + head + i * each, &(Elf64_Phdr){ .p_type = s[i].type, .p_offset = b->len,
                   .p_paddr = s[i].paddr, .p_filesz = s[i].len, .p_memsz = s[i].memsz }, each);
        else
            memcpy(b->data + head + i * each, &(Elf32_Phdr){ .p_type = s[i].type, .p_offset = b->len,
                   .p_paddr = s[i].paddr, .p_filesz = s[i].len, .p_memsz = s[i].memsz }, each);
        if (s[i].len)
            g_byte_array_append(b, s[i].bytes, s[i].len);
    }
    return b;
}

/* Text with a long run of zeros in it, data with memory beyond the file's, a PVH note. */
static GByteArray *vmlinux(bool is64)
{
    static uint8_t text[TEXT_LEN], data[DATA_LEN];
    uint8_t note[20] = { 4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0, 0x78, 0x56, 0x34, 0x12 };
    for (unsigned i = 0; i < TEXT_LEN; i++)
        text[i] = i > 50000 && i < 200000 ? 0 : i * 7 + i / 256;
    memset(data, 0xda, sizeof data);
    const Segment s[] = {
        { TEXT_AT, TEXT_LEN, text, TEXT_LEN, PT_LOAD }, { DATA_AT, DATA_MEM, data, DATA_LEN, PT_LOAD },
        { 0, 0, note, sizeof note, PT_NOTE },
    };
    return elf(is64, TEXT_AT + 0x40, s, G_N_ELEMENTS(s));
}

typedef enum Packer { XZ, GZIP, ZSTD, LZMA, N_PACKERS } Packer;

static GByteArray *pack(Packer how, const GByteArray *in)
{
    size_t room = in->len + 65536, len = 0;
    GByteArray *out = g_byte_array_new();
    g_byte_array_set_size(out, room);
    if (how == XZ) {
        g_assert_cmpint(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, NULL, in->data, in->len, out->data, &len, room), ==,
                        LZMA_OK);
    } else if (how == ZSTD) {
        len = ZSTD_compress(out->data, room, in->data, in->len, 1);
    } else if (how == LZMA) {
        lzma_options_lzma o;
        lzma_stream s = LZMA_STREAM_INIT;
        lzma_lzma_preset(&o, 1);
        g_assert_cmpint(lzma_alone_encoder(&s, &o), ==, LZMA_OK);
        s.next_in = in->data;
        s.avail_in = in->len;
        s.next_out = out->data;
        s.avail_out = room;
        g_assert_cmpint(lzma_code(&s, LZMA_FINISH), ==, LZMA_STREAM_END);
        len = s.total_out;
        lzma_end(&s);
    } else {
        z_stream z = { .next_in = in->data, .avail_in = in->len, .next_out = out->data, .avail_out = room };
        g_assert_cmpint(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), ==, Z_OK);
        g_assert_cmpint(deflate(&z, Z_FINISH), ==, Z_STREAM_END);
        len = z.total_out;
        deflateEnd(&z);
    }
    g_byte_array_set_size(out, len);
    return out;
}

enum { SETUP = 2 * 512, PAYLOAD_OFFSET = 0x100 };

static GByteArray *bzimage(Packer how, const GByteArray *image, uint32_t says)
{
    GByteArray *b = g_byte_array_new(), *packed = pack(how, image);
    uint8_t size[4];
    store_le(size, 4, says);
    g_byte_array_append(packed, size, 4);
    g_byte_array_set_size(b, SETUP + PAYLOAD_OFFSET);
    memset(b->data, 0x11, b->len);
    b->data[0x1f1] = 1;
    store_le(b->data + 0x1fe, 2, 0xaa55);
    b->data[0x201] = 0x62;
    memcpy(b->data + 0x202, "HdrS", 4);
    store_le(b->data + 0x206, 2, 0x20f);
    store_le(b->data + 0x22c, 4, 0x7fffffff);
    store_le(b->data + 0x236, 2, 1);
    store_le(b->data + 0x238, 4, 2047);
    store_le(b->data + 0x248, 4, PAYLOAD_OFFSET);
    store_le(b->data + 0x24c, 4, packed->len);
    g_byte_array_append(b, packed->data, packed->len);
    g_byte_array_append(b, (const uint8_t *)"tail", 4);
    g_byte_array_free(packed, TRUE);
    return b;
}

static GByteArray *good_bzimage(Packer how)
{
    g_autoptr(GByteArray) image = vmlinux(true);
    return bzimage(how, image, image->len);
}

/* --- booting them */

static BootInfo info_of(const Fixture *f, bool initrd)
{
    return (BootInfo){ .kernel = f->kernel, .initrd = initrd ? f->initrd : NULL, .append = "quiet", .low_ram = RAM,
                       .rsdp = 0xe0000, .n_e820 = 2,
                       .e820 = { { 0, 0x9fc00, E820_RAM }, { 0x100000, RAM - 0x100000, E820_RAM } } };
}

/* NULL, or why not; the caller frees it. */
static char *boot(Fixture *f, const BootInfo *info, bool fresh, BootEntry *e)
{
    GError *err = NULL;
    BootImage *b = boot_image_open(info, &err);
    if (b) {
        g_assert_no_error(err);
        bool ok = boot_image_load(b, f->m->mem, fresh, e, &err);
        g_assert_true(ok == !err);
        boot_image_free(b);
    }
    char *why = err ? g_strdup(err->message) : NULL;
    g_clear_error(&err);
    return why;
}

static void boots(Fixture *f, bool initrd, BootEntry *e)
{
    BootInfo info = info_of(f, initrd);
    g_autofree char *why = boot(f, &info, false, e);
    g_assert_cmpstr(why, ==, NULL);
}

static void refused(Fixture *f, const BootInfo *info, const char *because)
{
    BootEntry e;
    g_autofree char *why = boot(f, info, false, &e);
    g_assert_nonnull(why);
    if (!strstr(why, because))
        g_error("'%s' does not speak of '%s'", why, because);
    g_assert_null(strchr(why, '\n'));
}

static uint64_t mem(Fixture *f, uint64_t pa, unsigned size) { return space_load(f->m->mem, pa, size, NULL); }

static void kernel_is_in_place(Fixture *f)
{
    g_autoptr(GByteArray) image = vmlinux(true);
    g_autofree uint8_t *got = g_malloc(DATA_MEM + TEXT_LEN);
    const uint8_t *text = image->data + sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr);
    space_read(f->m->mem, TEXT_AT, got, TEXT_LEN);
    g_assert_cmpmem(got, TEXT_LEN, text, TEXT_LEN);
    space_read(f->m->mem, DATA_AT, got, DATA_MEM);
    g_assert_cmpmem(got, DATA_LEN, text + TEXT_LEN, DATA_LEN);
    for (unsigned i = DATA_LEN; i < DATA_MEM; i++)
        g_assert_cmphex(got[i], ==, 0);
}

static void a_bzimage_by_any_packer(Fixture *f, gconstpointer data)
{
    for (Packer how = 0; how < N_PACKERS; how++) {
        g_autoptr(GByteArray) k = good_bzimage(how);
        BootEntry e;
        write_file(f->kernel, k->data, k->len);
        dma_fill(f->m->mem, 0, 0xee, 16 << 20);                 /* a reset finds what the last kernel left */
        boots(f, false, &e);
        kernel_is_in_place(f);
        g_assert_true(e.long_mode);
        g_assert_cmphex(e.pc, ==, TEXT_AT + 0x40);
    }
}

static void a_32_bit_bzimage(Fixture *f, gconstpointer data)
{
    g_autoptr(GByteArray) image = vmlinux(false), k = bzimage(XZ, image, image->len);
    BootEntry e;
    store_le(k->data + 0x236, 2, 0);
    write_file(f->kernel, k->data, k->len);
    boots(f, false, &e);
    g_assert_false(e.long_mode);
    g_assert_true(e.linux32);
    g_assert_cmphex(e.pc, ==, TEXT_AT + 0x40);
    g_assert_cmphex(mem(f, e.arg + 0x202, 4), ==, 0x53726448);
    g_assert_cmphex(mem(f, TEXT_AT + 1, 1), ==, 7);
    g_assert_cmphex(mem(f, e.gdt + 0x10, 8), ==, 0x00cf9b000000ffff);
}

static void fresh_memory(Fixture *f, gconstpointer data)
{
    g_autoptr(GByteArray) k = good_bzimage(XZ);
    BootInfo info = info_of(f, false);
    BootEntry e;
    write_file(f->kernel, k->data, k->len);
    g_autofree char *why = boot(f, &info, true, &e);
    g_assert_cmpstr(why, ==, NULL);
    kernel_is_in_place(f);
}

static void what_the_kernel_finds(Fixture *f, gconstpointer data)
{
    g_autoptr(GByteArray) k = good_bzimage(XZ);
    BootEntry e;
    char text[8];
    write_file(f->kernel, k->data, k->len);
    write_file(f->initrd, "0123456789", 10);
    boots(f, true, &e);
    uint64_t params = e.arg;
    g_assert_cmphex(mem(f, params + 0x202, 4), ==, 0x53726448);
    g_assert_cmphex(mem(f, params + 0x210, 1), ==, 0xff);
    space_read(f->m->mem, mem(f, params + 0x228, 4), text, 6);
    g_assert_cmpstr(text, ==, "quiet");
    uint64_t initrd = mem(f, params + 0x218, 4);
    g_assert_cmphex(initrd, ==, RAM - 4096);
    g_assert_cmpuint(mem(f, params + 0x21c, 4), ==, 10);
    g_assert_cmphex(mem(f, initrd, 4), ==, 0x33323130);
    g_assert_cmphex(mem(f, params + 0x70, 8), ==, 0xe0000);
    g_assert_cmpuint(mem(f, params + 0x1e8, 1), ==, 2);
    g_assert_cmphex(mem(f, params + 0x2d0 + 20, 8), ==, 0x100000);
    g_assert_cmphex(mem(f, e.gdt + 0x10, 8), ==, 0x00af9b000000ffff);
    for (uint64_t va = 0; va < UINT64_C(4) << 30; va += 0x12345678) {       /* paging maps it one to one */
        uint64_t pml4e = mem(f, e.cr3, 8), pdpte = mem(f, (pml4e & ~0xfffull) + (va >> 30) * 8, 8);
        uint64_t pde = mem(f, (pdpte & ~0xfffull) + (va >> 21 & 511) * 8, 8);
        g_assert_cmphex(pde, ==, (va & ~0x1fffffull) | 0x83);
    }
}

static void pvh(Fixture *f, gconstpointer data)
{
    for (unsigned is64 = 0; is64 < 2; is64++) {
        g_autoptr(GByteArray) k = vmlinux(is64);
        BootEntry e;
        write_file(f->kernel, k->data, k->len);
        write_file(f->initrd, "abcd", 4);
        boots(f, true, &e);
        g_assert_false(e.long_mode);
        g_assert_cmphex(e.pc, ==, 0x12345678);
        g_assert_cmphex(mem(f, TEXT_AT + 1, 1), ==, 7);
        g_assert_cmphex(mem(f, e.arg, 4), ==, 0x336ec578);
        g_assert_cmpuint(mem(f, e.arg + 12, 4), ==, 1);
        uint64_t module = mem(f, e.arg + 16, 8), map = mem(f, e.arg + 40, 8);
        g_assert_cmphex(mem(f, mem(f, module, 8), 4), ==, 0x64636261);
        g_assert_cmpuint(mem(f, module + 8, 8), ==, 4);
        g_assert_cmphex(mem(f, e.arg + 32, 8), ==, 0xe0000);
        g_assert_cmpuint(mem(f, e.arg + 48, 4), ==, 2);
        g_assert_cmphex(mem(f, map + 24, 8), ==, 0x100000);
        g_assert_cmpuint(mem(f, map + 24 + 16, 4), ==, E820_RAM);
        g_assert_cmphex(mem(f, e.gdt + 0x10, 8), ==, 0x00cf9b000000ffff);
    }
}

static void initrds(Fixture *f, gconstpointer data)
{
    g_autoptr(GByteArray) k = good_bzimage(XZ);
    BootInfo info = info_of(f, true);
    BootEntry e;
    g_autofree uint8_t *big = g_malloc0(17 << 20);
    store_le(k->data + 0x22c, 4, (70 << 20) - 1);       /* the kernel wants it below 70 MiB */
    write_file(f->kernel, k->data, k->len);
    write_file(f->initrd, big, 5000);
    boots(f, true, &e);
    g_assert_cmphex(mem(f, e.arg + 0x218, 4), ==, (70 << 20) - 8192);
    write_file(f->initrd, big, 0);
    boots(f, true, &e);
    g_assert_cmpuint(mem(f, e.arg + 0x21c, 4), ==, 0);
    write_file(f->initrd, big, 7 << 20);
    refused(f, &info, "fit");
    store_le(k->data + 0x22c, 4, 0xffffffff);
    write_file(f->kernel, k->data, k->len);
    boots(f, true, &e);
    write_file(f->initrd, big, 17 << 20);
    refused(f, &info, "-m");
    info.initrd = f->dir;
    refused(f, &info, "directory");
    info.initrd = "/dev/zero";
    refused(f, &info, "regular");
}

/* A build that writes the file anew while a machine starts or resets. */
static void an_initrd_that_shrinks(Fixture *f, gconstpointer data)
{
    g_autoptr(GByteArray) k = good_bzimage(XZ);
    BootInfo info = info_of(f, true);
    BootEntry e;
    g_autoptr(GError) err = NULL;
    g_autofree uint8_t *big = g_malloc0(1 << 20);
    write_file(f->kernel, k->data, k->len);
    write_file(f->initrd, big, 1 << 20);
    BootImage *b = boot_image_open(&info, &err);
    g_assert_no_error(err);
    g_assert_true(boot_image_load(b, f->m->mem, false, &e, &err));
    g_assert_cmpint(truncate(f->initrd, 700000), ==, 0);
    g_assert_false(boot_image_load(b, f->m->mem, false, &e, &err));
    g_assert_nonnull(strstr(err->message, "cut short: 1048576 bytes when it was opened, now 700000"));
    boot_image_free(b);
}

static void cut_short(Fixture *f, gconstpointer data)
{
    BootInfo info = info_of(f, false);
    for (unsigned which = 0; which < 2 + N_PACKERS; which++) {
        g_autoptr(GByteArray) k = which < 2 ? vmlinux(which) : good_bzimage(which - 2);
        for (unsigned i = 0; i < 120; i++) {
            unsigned len = i < 60 ? i * 20 : (uint64_t)k->len * (i - 60) / 60;
            write_file(f->kernel, k->data, MIN(len, k->len - 5));
            refused(f, &info, "kernel");
        }
    }
}

static void contradictions_of_a_bzimage(Fixture *f, gconstpointer data)
{
    static const struct { unsigned at, size; uint64_t v; const char *because; } rows[] = {
        { 0x1fe, 2, 0, "neither" }, { 0x202, 4, 0, "neither" }, { 0x206, 2, 0x207, "protocol" }, { 0x206, 2, 0x20b, "64-bit" },
        { 0x236, 2, 0, "64-bit" },
        { 0x248, 4, 0xffffffff, "truncated" }, { 0x24c, 4, 0xffffffff, "truncated" }, { 0x24c, 4, 0, "truncated" },
        { 0x248, 4, PAYLOAD_OFFSET + 1, "memory" }, { 0x1f1, 1, 255, "truncated" }, { 0x238, 4, 4, "-append" },
        { SETUP + PAYLOAD_OFFSET, 1, 0, "compression" }, { SETUP + PAYLOAD_OFFSET + 100, 4, 0x12345678, "xz" },
    };
    BootInfo info = info_of(f, false);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GByteArray) k = good_bzimage(XZ);
        store_le(k->data + rows[i].at, rows[i].size, rows[i].v);
        write_file(f->kernel, k->data, k->len);
        refused(f, &info, rows[i].because);
    }
    g_autoptr(GByteArray) image = vmlinux(true), image32 = vmlinux(false), text = g_byte_array_new();
    static const struct { uint32_t says; const char *because; } sizes[] = {
        { 0, "more than" }, { 100000, "more than" }, { 0xffffffff, "memory" }, { RAM, "unpacks to" },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        for (Packer how = 0; how < N_PACKERS; how++) {
            g_autoptr(GByteArray) k = bzimage(how, image, sizes[i].says);
            write_file(f->kernel, k->data, k->len);
            refused(f, &info, sizes[i].because);
        }
    }
    g_autoptr(GByteArray) k32 = bzimage(XZ, image32, image32->len);
    write_file(f->kernel, k32->data, k32->len);
    refused(f, &info, "64-bit");
    g_byte_array_append(text, (const uint8_t *)"no ELF image at all", 19);
    g_autoptr(GByteArray) k_text = bzimage(GZIP, text, text->len);
    write_file(f->kernel, k_text->data, k_text->len);
    refused(f, &info, "ELF");
}

static void refused_elf(Fixture *f, const Segment *s, unsigned n, const char *because)
{
    BootInfo info = info_of(f, false);
    g_autoptr(GByteArray) k = elf(true, TEXT_AT, s, n);
    write_file(f->kernel, k->data, k->len);
    refused(f, &info, because);
    g_autoptr(GByteArray) bz = bzimage(XZ, k, k->len);
    write_file(f->kernel, bz->data, bz->len);
    if (s[0].type == PT_LOAD)
        refused(f, &info, because);
}

static void contradictions_of_an_elf_image(Fixture *f, gconstpointer data)
{
    static uint8_t bytes[4096];
    const uint8_t note[20] = { 4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0, 0, 0, 0x10, 0 };
    const Segment n = { 0, 0, note, sizeof note, PT_NOTE };
    refused_elf(f, (Segment[]){ { 0xfff00, 4096, bytes, 4096, PT_LOAD }, n }, 2, "fit");        /* our tables */
    refused_elf(f, (Segment[]){ { 0x7000, 4096, bytes, 4096, PT_LOAD }, n }, 2, "fit");
    refused_elf(f, (Segment[]){ { RAM - 4095, 4096, bytes, 4096, PT_LOAD }, n }, 2, "-m");
    refused_elf(f, (Segment[]){ { UINT64_MAX - 100, 4096, bytes, 4096, PT_LOAD }, n }, 2, "fit");
    refused_elf(f, (Segment[]){ { TEXT_AT, UINT64_MAX - TEXT_AT + 1, bytes, 4096, PT_LOAD }, n }, 2, "fit");
    refused_elf(f, (Segment[]){ { TEXT_AT, 100, bytes, 4096, PT_LOAD }, n }, 2, "larger");
    refused_elf(f, (Segment[]){ { TEXT_AT, 9000, bytes, 4096, PT_LOAD }, { TEXT_AT + 8999, 1, bytes, 1, PT_LOAD }, n }, 3,
                "overlap");
    Segment many[66];
    for (unsigned i = 0; i < 65; i++)
        many[i] = (Segment){ TEXT_AT + 4096 * i, 16, bytes, 16, PT_LOAD };
    many[65] = n;
    refused_elf(f, many, 66, "64 segments");

    static const uint8_t bad[][20] = {
        { 4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 18, 0, 0, 0, 'X', 'e', 'n', 0, 0, 0, 0x10, 0 },
        { 0xff, 0xff, 0xff, 0xff, 4, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0, 0, 0, 0x10, 0 },
        { 4, 0, 0, 0, 3, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0, 0, 0, 0x10, 0 },
        { 4, 0, 0, 0, 4, 0, 0, 0, 17, 0, 0, 0, 'X', 'e', 'n', 0, 0, 0, 0x10, 0 },
        { 4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, 'G', 'N', 'U', 0, 0, 0, 0x10, 0 },
        { 0 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
        refused_elf(f, (Segment[]){ { 0, 0, bad[i], 20, PT_NOTE }, { TEXT_AT, 16, bytes, 16, PT_LOAD } }, 2, "PVH");
    refused_elf(f, (Segment[]){ { 0, 0, bad[0], 5, PT_NOTE } }, 1, "PVH");

    static const struct { unsigned at, size; uint64_t v; const char *because; } rows[] = {
        { EI_DATA, 1, 2, "header" }, { 18, 2, EM_AARCH64, "machine 183" }, { 32, 8, UINT64_MAX, "table" },
        { 56, 2, 0xffff, "table" }, { 54, 2, 1, "table" }, { 64 + 8, 8, UINT64_MAX, "truncated" },
        { 64 + 32, 8, UINT64_MAX, "truncated" },
    };
    BootInfo info = info_of(f, false);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GByteArray) k = vmlinux(true);
        store_le(k->data + rows[i].at, rows[i].size, rows[i].v);
        write_file(f->kernel, k->data, k->len);
        refused(f, &info, rows[i].because);
    }
}

static void other_files(Fixture *f, gconstpointer data)
{
    BootInfo info = info_of(f, false);
    g_autofree uint8_t *zeros = g_malloc0(4096), *arm = g_malloc0(4096), *riscv = g_malloc0(4096);
    refused(f, &info, f->kernel);                       /* not there */
    memcpy(arm + 0x38, "ARM\x64", 4);
    memcpy(riscv + 0x30, "RISCV", 5);
    write_file(f->kernel, arm, 4096);
    refused(f, &info, "arm64");
    write_file(f->kernel, riscv, 4096);
    refused(f, &info, "riscv");
    write_file(f->kernel, zeros, 4096);
    refused(f, &info, "neither");
    write_file(f->kernel, zeros, 0);
    refused(f, &info, "short");
    info.kernel = f->dir;
    refused(f, &info, "directory");
    info.kernel = "/dev/null";
    refused(f, &info, "regular");
}

/* A few bytes changed at random, mostly in the headers. */
static void random_damage(Fixture *f, gconstpointer data)
{
    unsigned booted = 0;
    GRand *r = g_rand_new_with_seed(1);
    write_file(f->initrd, "abcd", 4);
    for (unsigned i = 0; i < 1500; i++) {
        unsigned which = g_rand_int(r) % (2 + N_PACKERS);
        g_autoptr(GByteArray) k = which < 2 ? vmlinux(which) : good_bzimage(which - 2);
        for (unsigned n = 1 + g_rand_int(r) % 8; n; n--) {
            unsigned span = g_rand_int(r) % 4 ? MIN(k->len, which < 2 ? 256 : 1400) : k->len;
            k->data[g_rand_int(r) % span] = g_rand_int(r) % 2 ? g_rand_int(r) : 1u << g_rand_int(r) % 8;
        }
        write_file(f->kernel, k->data, k->len);
        BootInfo info = info_of(f, g_rand_int(r) % 2);
        BootEntry e;
        g_autofree char *why = boot(f, &info, false, &e);
        booted += !why;
    }
    g_rand_free(r);
    g_test_message("%u of 1500 were still kernels", booted);
}

/* --- the cache */

static char *cached_file(Fixture *f)
{
    GDir *d = g_dir_open(f->cache, 0, NULL);
    char *name = d ? g_strdup(g_dir_read_name(d)) : NULL;
    char *path = name ? g_build_filename(f->cache, name, NULL) : NULL;
    if (d)
        g_dir_close(d);
    g_free(name);
    return path;
}

static unsigned count_cached(Fixture *f)
{
    unsigned n = 0;
    GDir *d = g_dir_open(f->cache, 0, NULL);
    while (d && g_dir_read_name(d))
        n++;
    if (d)
        g_dir_close(d);
    return n;
}

static void boots_with_cache(Fixture *f)
{
    BootInfo info = info_of(f, false);
    BootEntry e;
    info.cache = f->cache;
    dma_fill(f->m->mem, 0, 0xee, 16 << 20);
    g_autofree char *why = boot(f, &info, false, &e);
    g_assert_cmpstr(why, ==, NULL);
    g_assert_cmphex(e.pc, ==, TEXT_AT + 0x40);
    kernel_is_in_place(f);
}

static void the_cache(Fixture *f, gconstpointer data)
{
    g_autoptr(GByteArray) k = good_bzimage(XZ);
    struct stat st;
    write_file(f->kernel, k->data, k->len);
    boots_with_cache(f);
    g_assert_cmpuint(count_cached(f), ==, 1);
    g_assert_cmpint(stat(f->cache, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 0777, ==, 0700);
    boots_with_cache(f);

    g_autofree char *path = cached_file(f);             /* tampered with at every byte: seen, made again */
    g_autofree char *text = NULL;
    gsize len;
    g_assert_true(g_file_get_contents(path, &text, &len, NULL));
    for (unsigned at = 0; at < len; at += at < 32 || at + 16 > len ? 1 : len / 20) {
        text[at] ^= 0x10;
        write_file(path, text, len);
        boots_with_cache(f);
        text[at] ^= 0x10;
    }
    write_file(path, text, len / 2);
    boots_with_cache(f);
    write_file(path, text, 0);
    boots_with_cache(f);
    g_remove(path);
    g_assert_cmpint(symlink("/dev/zero", path), ==, 0); /* not followed, replaced */
    boots_with_cache(f);
    g_assert_cmpint(lstat(path, &st), ==, 0);
    g_assert_true(S_ISREG(st.st_mode));

    /* a good file of another kernel under this name */
    g_autoptr(GByteArray) other = g_byte_array_new();
    g_byte_array_set_size(other, 400000);
    memset(other->data, 0x5a, other->len);
    g_autoptr(GByteArray) z = pack(ZSTD, other);
    write_file(path, z->data, z->len);
    boots_with_cache(f);
    g_assert_cmpuint(count_cached(f), ==, 1);
}

static void the_cache_is_for_its_owner(Fixture *f, gconstpointer data)
{
    g_autoptr(GByteArray) k = good_bzimage(XZ);
    write_file(f->kernel, k->data, k->len);
    g_assert_cmpint(g_mkdir(f->cache, 0700), ==, 0);
    g_assert_cmpint(chmod(f->cache, 0777), ==, 0);
    boots_with_cache(f);
    g_assert_cmpuint(count_cached(f), ==, 0);
    g_assert_cmpint(g_rmdir(f->cache), ==, 0);
    g_assert_cmpint(symlink(f->dir, f->cache), ==, 0);
    boots_with_cache(f);
    g_assert_cmpint(g_remove(f->cache), ==, 0);
    write_file(f->cache, "a file", 6);
    boots_with_cache(f);
}

static void the_cache_is_bounded(Fixture *f, gconstpointer data)
{
    for (unsigned i = 0; i < 12; i++) {
        g_autoptr(GByteArray) k = good_bzimage(i % N_PACKERS);
        k->data[0] = i;                                 /* another file */
        write_file(f->kernel, k->data, k->len);
        boots_with_cache(f);
    }
    g_assert_cmpuint(count_cached(f), ==, 8);
}

static void kernels_that_do_not_unpack_are_not_kept(Fixture *f, gconstpointer data)
{
    g_autoptr(GByteArray) image = vmlinux(true), k = bzimage(GZIP, image, image->len + 1);
    BootInfo info = info_of(f, false);
    info.cache = f->cache;
    write_file(f->kernel, k->data, k->len);
    refused(f, &info, "unpacks to");
    g_assert_cmpuint(count_cached(f), ==, 0);
}

static void the_cache_can_be_off(void)
{
    g_setenv("RHEA_CACHE", "off", TRUE);
    g_assert_null(unpack_cache_dir());
    g_unsetenv("RHEA_CACHE");
    g_autofree char *dir = unpack_cache_dir();
    g_assert_true(g_str_has_suffix(dir, "/rhea/kernels"));
    g_assert_null(unpack_cache_begin(NULL, "key"));
    g_assert_null(unpack_cache_find(NULL, "key"));
    unpack_cache_put(NULL, NULL, 0);
    unpack_cache_end(NULL, true);
}

#define CASE(name, fn) g_test_add("/linux_boot/" name, Fixture, NULL, set_up, fn, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    CASE("a bzImage by any packer", a_bzimage_by_any_packer);
    CASE("a 32-bit bzImage", a_32_bit_bzimage);
    CASE("fresh memory", fresh_memory);
    CASE("what the kernel finds", what_the_kernel_finds);
    CASE("PVH", pvh);
    CASE("initrds", initrds);
    CASE("an initrd that shrinks", an_initrd_that_shrinks);
    CASE("cut short", cut_short);
    CASE("contradictions of a bzImage", contradictions_of_a_bzimage);
    CASE("contradictions of an ELF image", contradictions_of_an_elf_image);
    CASE("other files", other_files);
    CASE("random damage", random_damage);
    CASE("the cache", the_cache);
    CASE("the cache is for its owner", the_cache_is_for_its_owner);
    CASE("the cache is bounded", the_cache_is_bounded);
    CASE("kernels that do not unpack are not kept", kernels_that_do_not_unpack_are_not_kept);
    g_test_add_func("/linux_boot/the cache can be off", the_cache_can_be_off);
    return g_test_run();
}
