/* SPDX-License-Identifier: GPL-2.0-or-later
 * -kernel on x86 without firmware: a bzImage's payload is decompressed here and entered at its 64-bit or 32-bit entry point;
 * an ELF image with a PVH note is entered as that says.  Sources: Linux Documentation/arch/x86/boot.rst (setup header
 * offsets, "32-bit Boot Protocol", "64-bit Boot Protocol") and zero-page.rst; Xen's pvh.h (start info); the ELF specification. */
#include "hw/x86/linux_boot.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "hw/x86/unpack.h"
#include "hw/x86/unpack_cache.h"
#include "util/bits.h"
#include "util/endian.h"

/* Where things lie in low memory, all below the EBDA and out of the way of the kernel. */
enum {
    AT_GDT = 0x6000, AT_START_INFO = 0x6100, AT_MEMMAP = 0x6200, AT_MODULES = 0x6800, AT_PARAMS = 0x7000,
    AT_PAGES = 0x9000, AT_CMDLINE = 0x20000, CMDLINE_ROOM = 0x10000, KERNEL_LOW = 0x100000,
};
/* Setup header */
enum {
    H_SETUP_SECTS = 0x1f1, H_BOOT_FLAG = 0x1fe, H_JUMP = 0x200, H_HEADER = 0x202, H_VERSION = 0x206, H_LOADER = 0x210,
    H_LOADFLAGS = 0x211, H_RAMDISK_IMAGE = 0x218, H_RAMDISK_SIZE = 0x21c, H_CMDLINE = 0x228, H_INITRD_MAX = 0x22c,
    H_XLOADFLAGS = 0x236, H_CMDLINE_SIZE = 0x238, H_PAYLOAD_OFFSET = 0x248, H_PAYLOAD_LENGTH = 0x24c, H_PREF_ADDRESS = 0x258,
    H_INIT_SIZE = 0x260, H_END = 0x264, ENTRY_64 = 0x200,
};
/* Zero page */
enum { Z_RSDP = 0x70, Z_N_E820 = 0x1e8, Z_E820 = 0x2d0 };
enum { XLF_KERNEL_64 = 1, PVH_MAGIC = 0x336ec578, NOTE_PHYS32_ENTRY = 18, MAX_SEGMENTS = 64 };

struct BootImage {
    BootInfo     info;
    char        *kernel_name, *initrd_name, *append, *cache, *cache_key;
    GMappedFile *kernel;
    int          initrd;                /* open file, -1: none.  Not mapped: whoever writes it anew may cut it meanwhile */
    uint64_t     initrd_len;
    bool         bzimage, bits64;       /* bits64: the bzImage has a 64-bit entry */
    bool         bare;                          /* a bzImage whose own code is to run: nothing in it is packed */
    uint64_t     payload_at, payload_len;       /* in the file; of an ELF image: all of it */
    uint64_t     initrd_at;
    uint32_t     initrd_max;
};

static int open_file(const char *what, const char *name, struct stat *st, GError **err)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, st) < 0)
        fail(err, "%s: %s: %s", what, name, g_strerror(errno));
    else if (!S_ISREG(st->st_mode))
        fail(err, "%s: %s is %s", what, name, S_ISDIR(st->st_mode) ? "a directory" : "no regular file");
    else
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static GMappedFile *map_file(const char *what, const char *name, struct stat *st, GError **err)
{
    int fd = open_file(what, name, st, err);
    if (fd < 0)
        return NULL;
    GMappedFile *f = g_mapped_file_new_from_fd(fd, FALSE, NULL);
    if (!f)
        fail(err, "%s: %s cannot be mapped", what, name);
    close(fd);
    return f;
}

static const uint8_t *bytes(GMappedFile *f) { return (const uint8_t *)g_mapped_file_get_contents(f); }
static size_t length(GMappedFile *f) { return g_mapped_file_get_length(f); }
static uint16_t le16(const uint8_t *p) { return p[0] | p[1] << 8; }
static uint32_t le32(const uint8_t *p) { return le16(p) | (uint32_t)le16(p + 2) << 16; }
static void put32(uint8_t *p, uint32_t v) { v = GUINT32_TO_LE(v); memcpy(p, &v, 4); }
static void put64(uint8_t *p, uint64_t v) { v = GUINT64_TO_LE(v); memcpy(p, &v, 8); }

static bool check_bzimage(BootImage *b, GError **err)
{
    const uint8_t *k = bytes(b->kernel);
    size_t len = length(b->kernel);
    unsigned version = le16(k + H_VERSION);
    if (version < 0x208)
        return fail(err, "boot protocol %u.%02u is older than 2.08 (Linux 2.6.26), the first that tells where the payload is",
                    version >> 8, version & 0xff);
    b->bits64 = version >= 0x20c && (le16(k + H_XLOADFLAGS) & XLF_KERNEL_64);
    uint64_t setup = (k[H_SETUP_SECTS] ? k[H_SETUP_SECTS] : 4) * 512 + 512;
    b->payload_at = setup + le32(k + H_PAYLOAD_OFFSET);
    b->payload_len = le32(k + H_PAYLOAD_LENGTH);
    b->bare = le32(k + H_PAYLOAD_OFFSET) == 0 && b->payload_len == 0 && setup < len &&
              version >= 0x20a;
    if (b->bare)
        b->payload_len = len - setup;
    if (b->payload_len < 16 || b->payload_at + b->payload_len > len)
        return fail(err, "truncated: its payload should end at byte %" PRIu64 ", the file has %zu",
                    b->payload_at + b->payload_len, len);
    b->initrd_max = le32(k + H_INITRD_MAX);
    if (b->append && strlen(b->append) > le32(k + H_CMDLINE_SIZE))
        return fail(err, "-append: %zu characters, this kernel takes %u", strlen(b->append), le32(k + H_CMDLINE_SIZE));
    b->bzimage = true;
    return true;
}

static bool check_kernel(BootImage *b, GError **err)
{
    const uint8_t *k = bytes(b->kernel);
    size_t len = length(b->kernel);
    if (len >= H_END && le16(k + H_BOOT_FLAG) == 0xaa55 && memcmp(k + H_HEADER, "HdrS", 4) == 0)
        return check_bzimage(b, err);
    if (len >= sizeof(Elf32_Ehdr) && memcmp(k, ELFMAG, SELFMAG) == 0) {
        b->payload_len = len;
        b->initrd_max = 0xffffffff;
        return true;
    }
    if (len < H_END)
        return fail(err, "too short to be a kernel (%zu bytes)", len);
    if (len >= 0x40 && memcmp(k + 0x38, "ARM\x64", 4) == 0)
        return fail(err, "it is an arm64 kernel; this machine is an x86_64 PC");
    if (memcmp(k + 0x30, "RISCV", 5) == 0)
        return fail(err, "it is a riscv kernel; this machine is an x86_64 PC");
    return fail(err, "neither a bzImage nor an ELF image");
}

static bool place_initrd(BootImage *b, GError **err)
{
    uint64_t len = b->initrd_len, top = MIN(b->info.low_ram, (uint64_t)b->initrd_max + 1);
    const uint64_t kernel_room = 64 << 20;      /* 16 MiB to where it is loaded, and its own size at the least */
    if (len > top || align_down(top - len, 4096) < kernel_room)
        return fail(err, "-initrd: %s: %" PRIu64 " MiB do not fit into the guest's %" PRIu64 " MiB (a larger -m helps)",
                    b->initrd_name, (len + 0xfffff) >> 20, b->info.low_ram >> 20);
    b->initrd_at = align_down(top - len, 4096);
    return true;
}

BootImage *boot_image_open(const BootInfo *info, GError **err)
{
    BootImage *b = g_new0(BootImage, 1);
    b->info = *info;
    b->initrd = -1;
    b->kernel_name = g_strdup(info->kernel);
    b->initrd_name = g_strdup(info->initrd);
    b->append = g_strdup(info->append ? info->append : "");
    b->cache = g_strdup(info->cache);
    struct stat st;
    b->kernel = map_file("-kernel", b->kernel_name, &st, err);
    bool ok = b->kernel != NULL;
    if (ok)
        b->cache_key = unpack_cache_key(&st, bytes(b->kernel), length(b->kernel));
    if (ok && !check_kernel(b, err))
        ok = fail_prefix(err, "-kernel: %s: ", b->kernel_name);
    if (ok && strlen(b->append) >= CMDLINE_ROOM)
        ok = fail(err, "-append: longer than %u characters", CMDLINE_ROOM - 1);
    if (ok && b->initrd_name) {
        b->initrd = open_file("-initrd", b->initrd_name, &st, err);
        b->initrd_len = b->initrd >= 0 ? st.st_size : 0;
        ok = b->initrd >= 0 && place_initrd(b, err);
    }
    if (!ok) {
        boot_image_free(b);
        return NULL;
    }
    return b;
}

void boot_image_free(BootImage *b)
{
    if (b->kernel)
        g_mapped_file_unref(b->kernel);
    if (b->initrd >= 0)
        close(b->initrd);
    g_free(b->kernel_name);
    g_free(b->initrd_name);
    g_free(b->append);
    g_free(b->cache);
    g_free(b->cache_key);
    g_free(b);
}

/* --- ELF */

typedef struct ElfSegment { uint64_t offset, paddr, filesz, memsz; uint32_t type; } ElfSegment;

typedef struct ElfView {
    const uint8_t *p;
    uint64_t       have, len;           /* bytes at p, and of the whole image */
    bool           is64;
    uint64_t       entry, phoff;
    unsigned       phnum, phentsize;
} ElfView;

static bool elf_open(ElfView *e, const uint8_t *p, uint64_t have, uint64_t len, GError **err)
{
    *e = (ElfView){ .p = p, .have = have, .len = len };
    if (have < sizeof(Elf32_Ehdr) || memcmp(p, ELFMAG, SELFMAG) != 0)
        return fail(err, "no ELF image");
    e->is64 = p[EI_CLASS] == ELFCLASS64;
    if (p[EI_DATA] != ELFDATA2LSB || (e->is64 && have < sizeof(Elf64_Ehdr)))
        return fail(err, "broken ELF header");
    unsigned machine;
    if (e->is64) {
        Elf64_Ehdr h;
        memcpy(&h, p, sizeof(h));
        e->entry = h.e_entry;
        e->phoff = h.e_phoff;
        e->phnum = h.e_phnum;
        e->phentsize = h.e_phentsize;
        machine = h.e_machine;
    } else {
        Elf32_Ehdr h;
        memcpy(&h, p, sizeof(h));
        e->entry = h.e_entry;
        e->phoff = h.e_phoff;
        e->phnum = h.e_phnum;
        e->phentsize = h.e_phentsize;
        machine = h.e_machine;
    }
    if (machine != EM_X86_64 && machine != EM_386)
        return fail(err, "an ELF image for machine %u; this one is an x86_64 PC (62)", machine);
    if (e->phentsize != (e->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) || e->phoff > have ||
        (uint64_t)e->phnum * e->phentsize > have - e->phoff)
        return fail(err, "broken ELF program header table at 0x%" PRIx64, e->phoff);
    return true;
}

static bool elf_segment(const ElfView *e, unsigned i, ElfSegment *s, GError **err)
{
    const uint8_t *at = e->p + e->phoff + (uint64_t)i * e->phentsize;
    if (e->is64) {
        Elf64_Phdr h;
        memcpy(&h, at, sizeof(h));
        *s = (ElfSegment){ h.p_offset, h.p_paddr, h.p_filesz, h.p_memsz, h.p_type };
    } else {
        Elf32_Phdr h;
        memcpy(&h, at, sizeof(h));
        *s = (ElfSegment){ h.p_offset, h.p_paddr, h.p_filesz, h.p_memsz, h.p_type };
    }
    if (s->offset > e->len || s->filesz > e->len - s->offset)
        return fail(err, "truncated: segment %u ends beyond the file", i);
    if (s->type == PT_LOAD && s->filesz > s->memsz)
        return fail(err, "segment %u is larger in the file than in memory", i);
    return true;
}

/* --- segments into memory, from an image that comes by the piece */

typedef struct Placer {
    const BootImage *b;
    Space           *mem;
    bool             fresh;             /* memory reads as zero */
    uint64_t         len, at;           /* of the image; how much has come */
    uint64_t         entry;
    ElfSegment       seg[MAX_SEGMENTS];
    unsigned         n;
    CacheWriter     *cache;
} Placer;

static bool overlaps(const ElfSegment *s, const ElfSegment *t)
{
    return s->paddr < t->paddr + t->memsz && t->paddr < s->paddr + s->memsz;
}

static bool add_segment(Placer *p, const ElfSegment *s, GError **err)
{
    uint64_t limit = p->b->initrd >= 0 ? p->b->initrd_at : p->b->info.low_ram;
    if (s->paddr < KERNEL_LOW || s->paddr > limit || s->memsz > limit - s->paddr)
        return fail(err, "its segment of %" PRIu64 " bytes at 0x%" PRIx64 " does not fit between 1 MiB and %" PRIu64
                    " MiB (a larger -m helps)", s->memsz, s->paddr, limit >> 20);
    if (p->n == MAX_SEGMENTS)
        return fail(err, "more than %u segments", MAX_SEGMENTS);
    for (unsigned i = 0; i < p->n; i++)
        if (overlaps(s, &p->seg[i]))
            return fail(err, "its segments at 0x%" PRIx64 " and 0x%" PRIx64 " overlap", p->seg[i].paddr, s->paddr);
    p->seg[p->n++] = *s;
    return true;
}

static bool is_zero(const uint8_t *p, size_t len) { return !*p && memcmp(p, p + 1, len - 1) == 0; }

static bool memory_is_zero(const Placer *p, uint64_t pa, uint64_t len)
{
    uint64_t n = len;
    const uint8_t *host = p->fresh ? NULL : dma_map(p->mem, pa, &n, false);
    return p->fresh || (host && n >= len && is_zero(host, len));
}

/* Writes all but the zeros that are there already, a page at a time: half of a kernel is zeros, which need not be
 * touched on the host either. */
static void put(const Placer *p, uint64_t pa, const uint8_t *src, uint64_t len)
{
    while (len) {
        uint64_t run = 0, n;
        bool zero = false;
        for (; run < len && !zero; run += zero ? 0 : n) {
            n = MIN(4096 - ((pa + run) & 4095), len - run);
            zero = is_zero(src + run, n) && memory_is_zero(p, pa + run, n);
        }
        if (run)
            space_write(p->mem, pa, src, run);
        run += zero ? n : 0;
        pa += run;
        src += run;
        len -= run;
    }
}

static void clear(const Placer *p, uint64_t pa, uint64_t len)
{
    static const uint8_t zeros[4096];
    for (uint64_t n; len && !p->fresh; pa += n, len -= n) {
        n = MIN(4096 - (pa & 4095), len);
        put(p, pa, zeros, n);
    }
}

/* Finds the places of all segments and clears what has no bytes in the file. */
static bool plan(Placer *p, const ElfView *e, GError **err)
{
    if (p->b->bzimage && e->is64 != p->b->bits64)
        return fail(err, e->is64 ? "its payload is a 64-bit kernel and has no 64-bit entry point (boot protocol 2.12, Linux 3.8)"
                                 : "its payload is not a 64-bit kernel");
    for (unsigned i = 0; i < e->phnum; i++) {
        ElfSegment s;
        if (!elf_segment(e, i, &s, err))
            return false;
        if (s.type == PT_LOAD && s.memsz && !add_segment(p, &s, err))
            return false;
    }
    for (unsigned i = 0; i < p->n; i++)
        clear(p, p->seg[i].paddr + p->seg[i].filesz, p->seg[i].memsz - p->seg[i].filesz);
    p->entry = e->entry;
    return true;
}

static bool place(void *self, const uint8_t *piece, size_t len, GError **err)
{
    Placer *p = self;
    ElfView e;
    if (len > p->len - p->at)
        return fail(err, "it unpacks to more than the %" PRIu64 " bytes that it says", p->len);
    if (p->at == 0 && (!elf_open(&e, piece, len, p->len, err) || !plan(p, &e, err)))
        return false;
    for (unsigned i = 0; i < p->n; i++) {
        const ElfSegment *s = &p->seg[i];
        uint64_t from = MAX(s->offset, p->at), to = MIN(s->offset + s->filesz, p->at + len);
        if (from < to)
            put(p, s->paddr + (from - s->offset), piece + (from - p->at), to - from);
    }
    p->at += len;
    unpack_cache_put(p->cache, piece, len);
    return true;
}

static bool find_pvh_entry(const ElfView *e, uint32_t *entry, GError **err)
{
    for (unsigned i = 0; i < e->phnum; i++) {
        ElfSegment s;
        if (!elf_segment(e, i, &s, err))
            return false;
        if (s.type != PT_NOTE)
            continue;
        const uint8_t *p = e->p + s.offset, *end = p + s.filesz;
        while (end - p >= 12) {
            uint64_t name = (le32(p) + 3ull) & ~3ull, desc = (le32(p + 4) + 3ull) & ~3ull;
            if (name + desc > (uint64_t)(end - p) - 12)
                break;
            if (le32(p) == 4 && le32(p + 4) >= 4 && le32(p + 8) == NOTE_PHYS32_ENTRY && memcmp(p + 12, "Xen", 4) == 0) {
                *entry = le32(p + 12 + name);
                return true;
            }
            p += 12 + name + desc;
        }
    }
    return fail(err, "an ELF image without a PVH entry note (a bzImage, or a vmlinux built with CONFIG_PVH, works)");
}

/* --- tables in guest memory */

static void write_gdt(Space *mem, BootEntry *entry)
{
    uint64_t code = entry->long_mode ? 0x00af9b000000ffff : 0x00cf9b000000ffff;
    const uint64_t gdt[4] = { 0, 0, GUINT64_TO_LE(code), GUINT64_TO_LE(UINT64_C(0x00cf93000000ffff)) };
    space_write(mem, AT_GDT, gdt, sizeof(gdt));
    entry->gdt = AT_GDT;
    entry->gdt_limit = sizeof(gdt) - 1;
}

/* The first 4 GiB, one to one, in pages of 2 MiB: a PML4, a PDPT, four page directories. */
static void write_page_tables(Space *mem, BootEntry *entry)
{
    enum { P_RW = 3, PS = 0x80, PML4 = 0, PDPT = 512, PD = 1024, N = PD + 4 * 512 };
    g_autofree uint64_t *t = g_new0(uint64_t, N);
    t[PML4] = GUINT64_TO_LE((AT_PAGES + 8 * PDPT) | P_RW);
    for (unsigned i = 0; i < 4; i++)
        t[PDPT + i] = GUINT64_TO_LE((AT_PAGES + 8 * (PD + 512 * i)) | P_RW);
    for (uint64_t i = 0; i < 4 * 512; i++)
        t[PD + i] = GUINT64_TO_LE(i << 21 | P_RW | PS);
    space_write(mem, AT_PAGES, t, 8 * N);
    entry->cr3 = AT_PAGES;
}

static void write_boot_params(const BootImage *b, Space *mem)
{
    uint8_t z[4096] = { 0 };
    const uint8_t *k = bytes(b->kernel);
    unsigned header_end = MIN(H_HEADER + k[H_JUMP + 1], Z_E820);
    memcpy(z + H_SETUP_SECTS, k + H_SETUP_SECTS, header_end - H_SETUP_SECTS);
    z[H_LOADER] = 0xff;
    z[H_LOADFLAGS] = 1;                 /* LOADED_HIGH; no heap, no KASLR: nobody has moved the kernel */
    put32(z + H_CMDLINE, AT_CMDLINE);
    if (b->initrd >= 0) {
        put32(z + H_RAMDISK_IMAGE, b->initrd_at);
        put32(z + H_RAMDISK_SIZE, b->initrd_len);
    }
    put64(z + Z_RSDP, b->info.rsdp);
    z[Z_N_E820] = b->info.n_e820;
    memcpy(z + Z_E820, b->info.e820, b->info.n_e820 * sizeof(E820Entry));
    space_write(mem, AT_PARAMS, z, sizeof(z));
}

static void write_start_info(const BootImage *b, Space *mem)
{
    uint8_t s[56] = { 0 };
    put32(s, PVH_MAGIC);
    put32(s + 4, 1);                    /* version 1: with a memory map */
    put32(s + 12, b->initrd >= 0 ? 1 : 0);
    put64(s + 16, AT_MODULES);
    put64(s + 24, AT_CMDLINE);
    put64(s + 32, b->info.rsdp);
    put64(s + 40, AT_MEMMAP);
    put32(s + 48, b->info.n_e820);
    space_write(mem, AT_START_INFO, s, sizeof(s));
    for (unsigned i = 0; i < b->info.n_e820; i++) {
        uint8_t e[24] = { 0 };
        memcpy(e, &b->info.e820[i], sizeof(E820Entry));
        space_write(mem, AT_MEMMAP + sizeof(e) * i, e, sizeof(e));
    }
    if (b->initrd >= 0) {
        uint8_t m[32] = { 0 };
        put64(m, b->initrd_at);
        put64(m + 8, b->initrd_len);
        space_write(mem, AT_MODULES, m, sizeof(m));
    }
}

/* --- loading */

static bool load_cached(Placer *p, GError **err)
{
    const BootImage *b = p->b;
    GMappedFile *packed = unpack_cache_find(b->cache, b->cache_key);
    if (!packed)
        return false;
    bool ok = unpack(bytes(packed), length(packed), place, p, err) && p->at == p->len;
    g_mapped_file_unref(packed);
    if (!ok) {                          /* broken, or it does not fit, which the kernel's own file will tell */
        g_clear_error(err);
        unpack_cache_forget(b->cache, b->cache_key);
        p->fresh = false;
    }
    return ok;
}

static bool unpack_kernel(Placer *p, const uint8_t *payload, GError **err)
{
    const BootImage *b = p->b;
    p->cache = unpack_cache_begin(b->cache, b->cache_key);
    p->at = p->n = 0;
    bool ok = unpack(payload, b->payload_len, place, p, err);
    if (ok && p->at < p->len)
        ok = fail(err, "it unpacks to %" PRIu64 " bytes and says that it has %" PRIu64, p->at, p->len);
    unpack_cache_end(p->cache, ok);
    return ok;
}

static bool load_bzimage(const BootImage *b, Space *mem, bool fresh, BootEntry *entry, GError **err)
{
    const uint8_t *payload = bytes(b->kernel) + b->payload_at;
    /* Linux appends the unpacked size to the payload (scripts/Makefile.lib "size_append"). */
    Placer p = { .b = b, .mem = mem, .fresh = fresh, .len = le32(payload + b->payload_len - 4) };
    if (p.len > b->info.low_ram)
        return fail(err, "unpacked it has %" PRIu64 " MiB, more than the guest's memory", p.len >> 20);
    GError *broken = NULL;
    if (!load_cached(&p, &broken) && !unpack_kernel(&p, payload, err))
        return false;
    write_boot_params(b, mem);
    *entry = (BootEntry){ .long_mode = b->bits64, .pc = p.entry, .arg = AT_PARAMS, .linux32 = !b->bits64 };
    if (b->bits64)
        write_page_tables(mem, entry);
    return true;
}

/* Programs that are no Linux and keep its protocol (memtest86+): at their preferred address, entered there
 * in 32-bit mode or 200h behind it in 64-bit mode, boot.rst "32-bit" and "64-bit Boot Protocol". */
static bool load_bare(const BootImage *b, Space *mem, bool fresh, BootEntry *entry, GError **err)
{
    const uint8_t *k = bytes(b->kernel);
    ElfSegment s = { .filesz = b->payload_len, .paddr = le32(k + H_PREF_ADDRESS) | (uint64_t)le32(k + H_PREF_ADDRESS + 4) << 32,
                     .memsz = MAX(b->payload_len, le32(k + H_INIT_SIZE)) };
    Placer p = { .b = b, .mem = mem, .fresh = fresh };
    if (b->payload_len <= ENTRY_64)
        return fail(err, "truncated: its 64-bit entry point is beyond its end");
    if (!add_segment(&p, &s, err))
        return false;
    clear(&p, s.paddr + s.filesz, s.memsz - s.filesz);
    put(&p, s.paddr, k + b->payload_at, s.filesz);
    write_boot_params(b, mem);
    *entry = (BootEntry){ .long_mode = b->bits64, .pc = s.paddr + (b->bits64 ? ENTRY_64 : 0), .arg = AT_PARAMS,
                          .linux32 = !b->bits64 };
    if (b->bits64)
        write_page_tables(mem, entry);
    return true;
}

static bool load_elf(const BootImage *b, Space *mem, bool fresh, BootEntry *entry, GError **err)
{
    ElfView e;
    uint32_t pc;
    Placer p = { .b = b, .mem = mem, .fresh = fresh, .len = length(b->kernel) };
    if (!elf_open(&e, bytes(b->kernel), p.len, p.len, err) || !find_pvh_entry(&e, &pc, err) ||
        !place(&p, bytes(b->kernel), p.len, err))
        return false;
    write_start_info(b, mem);
    *entry = (BootEntry){ .pc = pc, .arg = AT_START_INFO };
    return true;
}

static bool load_initrd(const BootImage *b, Space *mem, GError **err)
{
    enum { PIECE = 256 << 10 };
    g_autofree uint8_t *buf = g_malloc(PIECE);
    for (uint64_t at = 0; at < b->initrd_len;) {
        ssize_t n = pread(b->initrd, buf, MIN(PIECE, b->initrd_len - at), at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_errno(err, errno, "-initrd: %s: cannot be read", b->initrd_name);
        if (n == 0)
            return fail(err, "-initrd: %s: cut short: %" PRIu64 " bytes when it was opened, now %" PRIu64, b->initrd_name,
                        b->initrd_len, at);
        space_write(mem, b->initrd_at + at, buf, n);
        at += n;
    }
    return true;
}

bool boot_image_load(const BootImage *b, Space *mem, bool fresh, BootEntry *entry, GError **err)
{
    if (!(b->bare ? load_bare : b->bzimage ? load_bzimage : load_elf)(b, mem, fresh, entry, err))
        return fail_prefix(err, "-kernel: %s: ", b->kernel_name);
    space_write(mem, AT_CMDLINE, b->append, strlen(b->append) + 1);
    if (b->initrd >= 0 && !load_initrd(b, mem, err))
        return false;
    write_gdt(mem, entry);
    return true;
}
