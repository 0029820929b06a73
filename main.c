/* SPDX-License-Identifier: GPL-2.0-or-later
 * rhea-system: the command line, and starting things in order. */
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "accel/accel.h"
#include "block/drive.h"
#include "config.h"
#include "hw/core/machine.h"
#include "hw/x86/pc.h"
#include "monitor/monitor.h"
#include "util/bits.h"
#include "util/error.h"
#include "util/log.h"
#include "util/options.h"

/* Texts and lists are copies. */
typedef struct Config {
    GPtrArray  *accel, *serial, *chardev, *device, *monitor, *mon, *fw_cfg, *folders;   /* char * */
    char       *cpu, *kernel, *initrd, *append, *bios, *pidfile, *debugcon, *log_file, *log_categories, *mem_path, *gdb, *uuid;
    char       *name, *process, *firmware, *rtc_base, *boot_order, *boot_once;
    char       *machine_accel, *irqchip;    /* -machine accel=, kernel-irqchip= */
    char       *pit_policy;         /* -global kvm-pit.lost_tick_policy= */
    PcConfig    pc;
    Drives     *drives;
    bool        stopped;            /* -S */
    bool        no_display;         /* -display none */
    bool        default_monitor;    /* one shares the terminal with the serial port */
    RamHints    ram_hints;
    bool        cpu_pm;             /* -overcommit: the guest idles the processor itself */
    uint64_t    escape;             /* -echr; 0: Ctrl-A */
    char       *chroot, *user;      /* -run-with; user: a name, or NULL with uid and gid where become is set */
    bool        become;
    uid_t       uid;
    gid_t       gid;
    bool        stamp_messages, name_messages;      /* -msg */
    bool        nographic, no_reboot, no_shutdown, daemonize, perfmap, no_defaults;
    bool        done;               /* the option has said all there is to say (-version, help) */
} Config;

static GPtrArray *text_list(void) { return g_ptr_array_new_with_free_func(g_free); }
static void add_text(GPtrArray *list, const char *text) { g_ptr_array_add(list, g_strdup(text)); }

/* If there is a text. */
static void set_text(char **to, const char *text)
{
    if (!text)
        return;
    g_free(*to);
    *to = g_strdup(text);
}

/* --- options that are more than a text, a flag or an entry of a list */

static bool say(Config *c, GString *text)
{
    fputs(text->str, stdout);
    g_string_free(text, TRUE);
    c->done = true;
    return true;
}

/* No value is fine. */
static bool one_of(const char *key, const char *value, const char *const *names, GError **err)
{
    if (!value || g_strv_contains(names, value))
        return true;
    g_autofree char *all = g_strjoinv("', '", (char **)names);
    return fail(err, "%s=%s: it can be '%s'", key, value, all);
}
#define ONE_OF(key, value, err, ...) one_of(key, value, (const char *const[]){ __VA_ARGS__, NULL }, err)

static void machine_help(GString *out)
{
    g_string_append(out, "Supported machines are:\n"
                         "pc                   Rhea's direct-boot PC (alias of pc-1.0) (default)\n"
                         "pc-1.0               Rhea's direct-boot PC\n");
}

static void display_help(GString *out) { g_string_append(out, "Available display types:\nnone\n"); }

static void chardev_help(GString *out)
{
    g_string_append(out, "Available chardev back ends:\n");
    stream_help(out);
}

/* Several options add up, as QEMU's do. */
static bool machine_keys(Config *c, Options *o, GError **err)
{
    const char *type = options_get(o, "type"), *chips = options_get(o, "kernel-irqchip");
    const char *old = options_get(o, "kernel_irqchip");     /* QEMU's older spelling */
    bool merge = !c->ram_hints.keep_single;
    set_text(&c->machine_accel, options_get(o, "accel"));
    set_text(&c->irqchip, chips ? chips : old);
    if (!options_bool(o, "mem-merge", &merge, err) || !options_bool(o, "dump-guest-core", &c->ram_hints.dump, err))
        return false;
    c->ram_hints.keep_single = !merge;
    return (!type || strcmp(type, "pc") == 0 || strcmp(type, "pc-1.0") == 0 ||
            fail(err, "-machine: unknown machine '%s'; -machine help lists them", type)) &&
           ONE_OF("-machine kernel-irqchip", c->irqchip, err, "on", "split", "off");
}

/* There is no hot-plugging: what is more than `size` would never be memory. */
static bool memory_slots(Options *o, uint64_t size, GError **err)
{
    uint64_t max = size, slots = 0;
    if (!options_size(o, "maxmem", 1 << 20, &max, err) || !options_u64(o, "slots", 0, UINT32_MAX, &slots, err))
        return false;
    if (max < size)
        return fail(err, "-m: maxmem=%s is less than the size", options_get(o, "maxmem"));
    if (slots && !options_get(o, "maxmem"))
        return fail(err, "-m: slots=%s without maxmem=", options_get(o, "slots"));
    return (!slots && max == size) ||
           fail(err, "-m: slots= and maxmem= beyond the size are for memory that is hot-plugged, which this machine "
                     "cannot have; give all of it as the size");
}

static bool enable_kvm(Config *c, const char *v, GError **err)
{
    set_text(&c->machine_accel, "kvm");
    return true;
}

static bool memory_keys(Config *c, Options *o, GError **err)
{
    uint64_t size = c->pc.ram;
    if (!options_size(o, "size", 1 << 20, &size, err))
        return false;
    if (size < PC_MIN_RAM)
        return fail(err, "-m: %s is too small; this machine has at least %u MiB", options_get(o, "size"), (unsigned)(PC_MIN_RAM >> 20));
    c->pc.ram = align_up(size, 1 << 20);
    return memory_slots(o, size, err);
}

/* What is not given is made up: cores first, then sockets, then threads, as QEMU does since 6.2. */
static bool smp_keys(Config *c, Options *o, GError **err)
{
    uint64_t n = 0, max = 0, sockets = 0, dies = 0, cores = 0, threads = 0, one = 1;
    struct { const char *key; uint64_t *to; } const numbers[] = {
        { "cpus", &n }, { "maxcpus", &max }, { "sockets", &sockets }, { "dies", &dies }, { "cores", &cores },
        { "threads", &threads },
    };
    for (unsigned i = 0; i < ARRAY_LEN(numbers); i++)
        if (!options_u64(o, numbers[i].key, 1, 65535, numbers[i].to, err))
            return false;
    if (!options_u64(o, "clusters", 1, 1, &one, err))
        return false;
    uint64_t all = max ? max : n;
    dies = MAX(dies, 1);
    if (!cores) {
        sockets = MAX(sockets, 1);
        threads = MAX(threads, 1);
        cores = MAX(all / (sockets * dies * threads), 1);
    } else if (!sockets) {
        threads = MAX(threads, 1);
        sockets = MAX(all / (dies * cores * threads), 1);
    } else if (!threads) {
        threads = MAX(all / (sockets * dies * cores), 1);
    }
    max = all ? all : sockets * dies * cores * threads;
    n = n ? n : max;
    if (sockets * dies * cores * threads != max)
        return fail(err, "-smp: invalid CPU topology: sockets (%u) * dies (%u) * cores (%u) * threads (%u) is not maxcpus (%u)",
                    (unsigned)sockets, (unsigned)dies, (unsigned)cores, (unsigned)threads, (unsigned)max);
    if (n > max)
        return fail(err, "-smp: invalid CPU topology: there are more cpus (%u) than maxcpus (%u)", (unsigned)n, (unsigned)max);
    if (max > PC_MAX_CPUS)
        return fail(err, "-smp: invalid SMP CPUs %u: the machine 'pc' has %u at most", (unsigned)max, PC_MAX_CPUS);
    c->pc.n_cpus = n;
    c->pc.topology = (X86Topology){ .threads = threads, .cores = cores, .dies = dies };
    return true;
}

static bool set_display(Config *c, const char *v, GError **err)
{
    c->no_display = true;
    return strcmp(v, "none") == 0 || fail(err, "-display: unknown display '%s'; this machine has no screen, none is the only type", v);
}

static bool mon_keys(Config *c, Options *o, GError **err)
{
    const char *id = options_get(o, "chardev");
    bool pretty;
    if (!id)
        return fail(err, "-mon: needs a chardev=ID");
    add_text(c->mon, id);
    return ONE_OF("-mon mode", options_get(o, "mode"), err, "readline") && options_bool(o, "pretty", &pretty, err);
}

static bool gdb_default(Config *c, const char *v, GError **err)
{
    set_text(&c->gdb, "tcp::1234");
    return true;
}

static bool set_uuid(Config *c, const char *v, GError **err)
{
    set_text(&c->uuid, v);
    return g_uuid_string_is_valid(v) || fail(err, "-uuid: '%s' is not a UUID (xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx)", v);
}

static bool rtc_keys(Config *c, Options *o, GError **err)
{
    const char *clock = options_get(o, "clock"), *fix = options_get(o, "driftfix");
    set_text(&c->rtc_base, options_get(o, "base"));
    c->pc.slew_rtc = fix ? strcmp(fix, "slew") == 0 : c->pc.slew_rtc;
    return ONE_OF("-rtc clock", clock, err, "host", "rt", "vm") && ONE_OF("-rtc driftfix", fix, err, "none", "slew") &&
           (!clock || strcmp(clock, "vm") == 0 ||
            fail(err, "-rtc clock=%s: the clock goes by the guest's time, which is clock=vm", clock));
}

/* Options of what guests may have elsewhere; "none" is how it is. */
static void none_help(GString *out) { g_string_append(out, "none\n"); }

static bool no_such(const char *option, const char *what, const char *v, GError **err)
{
    return strcmp(v, "none") == 0 || fail(err, "-%s %s: this machine has no %s; -%s none says so", option, v, what, option);
}

static bool no_net(Config *c, const char *v, GError **err) { return no_such("net", "network", v, err); }
static bool no_nic(Config *c, const char *v, GError **err) { return no_such("nic", "network", v, err); }
static bool no_vga(Config *c, const char *v, GError **err) { return no_such("vga", "graphics card", v, err); }
static bool no_parallel(Config *c, const char *v, GError **err) { return no_such("parallel", "parallel port", v, err); }
static bool no_audio(Config *c, const char *v, GError **err) { return no_such("audio", "sound card", v, err); }

/* For what this machine has or has not anyway. */
static bool as_it_is(Config *c, const char *v, GError **err) { return true; }

static bool audiodev_keys(Config *c, Options *o, GError **err)
{
    const char *driver = options_get(o, "driver");
    return (options_get(o, "id") || fail(err, "-audiodev: needs an id=ID")) &&
           (driver || fail(err, "-audiodev: needs a driver")) &&
           (strcmp(driver, "none") == 0 || fail(err, "-audiodev: there is no driver '%s', none is the only one", driver));
}

static bool sandbox_keys(Config *c, Options *o, GError **err)
{
    bool on = false;
    static const char *const keys[] = { "obsolete", "elevateprivileges", "spawn", "resourcecontrol" };
    for (unsigned i = 0; i < ARRAY_LEN(keys); i++)
        options_get(o, keys[i]);            /* what the filter would let pass */
    return options_bool(o, "enable", &on, err) &&
           (!on || fail(err, "-sandbox on: there is no system call filter; -sandbox off goes on without, and "
                             "-run-with user=USER,chroot=FOLDER takes away rights"));
}

/* Nothing here panics but by a triple fault, which is a reset, and there is no watchdog. */
static bool watchdog_action(Config *c, const char *v, GError **err)
{
    return ONE_OF("-watchdog-action", v, err, "reset", "shutdown", "poweroff", "inject-nmi", "pause", "debug", "none");
}

static bool action_keys(Config *c, Options *o, GError **err)
{
    const char *reboot = options_get(o, "reboot"), *shutdown = options_get(o, "shutdown");
    const char *watchdog = options_get(o, "watchdog");
    if (!ONE_OF("-action reboot", reboot, err, "reset", "shutdown") ||
        !ONE_OF("-action shutdown", shutdown, err, "poweroff", "pause") ||
        !ONE_OF("-action panic", options_get(o, "panic"), err, "pause", "shutdown", "exit-failure", "none") ||
        (watchdog && !watchdog_action(c, watchdog, err)))
        return false;
    c->no_reboot = reboot ? strcmp(reboot, "shutdown") == 0 : c->no_reboot;
    c->no_shutdown = shutdown ? strcmp(shutdown, "pause") == 0 : c->no_shutdown;
    return true;
}

static bool msg_keys(Config *c, Options *o, GError **err)
{
    c->stamp_messages = c->name_messages = false;       /* the last -msg counts, as with QEMU */
    return options_bool(o, "timestamp", &c->stamp_messages, err) && options_bool(o, "guest-name", &c->name_messages, err);
}

static bool set_escape(Config *c, const char *v, GError **err) { return parse_u64("-echr", v, 1, 255, &c->escape, err); }

/* A name, or numbers UID:GID. */
static bool set_user(Config *c, const char *v, GError **err)
{
    const struct passwd *p = getpwnam(v);
    uint64_t uid, gid;
    g_auto(GStrv) parts = g_strsplit(v, ":", 2);
    g_clear_pointer(&c->user, g_free);
    if (p) {
        c->user = g_strdup(v);
        c->uid = p->pw_uid;
        c->gid = p->pw_gid;
    } else if (parts[0] && parts[1] && parse_u64("", parts[0], 0, INT32_MAX, &uid, NULL) &&
               parse_u64("", parts[1], 0, INT32_MAX, &gid, NULL)) {
        c->uid = uid;
        c->gid = gid;
    } else {
        return fail(err, "there is no user '%s', and it is not UID:GID", v);
    }
    c->become = true;
    return true;
}

static bool run_with_keys(Config *c, Options *o, GError **err)
{
    const char *user = options_get(o, "user");
    bool teardown = false;
    set_text(&c->chroot, options_get(o, "chroot"));
    return (!user || set_user(c, user, err) || fail_prefix(err, "-run-with: ")) &&
           options_bool(o, "async-teardown", &teardown, err) &&
           (!teardown || fail(err, "-run-with async-teardown=on: memory is given back when the process ends; off says so"));
}

static bool run_as(Config *c, const char *v, GError **err) { return set_user(c, v, err) || fail_prefix(err, "-runas: "); }

static bool add_folder(Config *c, const char *v, GError **err)
{
    add_text(c->folders, v);
    if (strcmp(v, "help") != 0)
        return true;
    g_ptr_array_set_size(c->folders, (int)c->folders->len - 1);
    g_ptr_array_add(c->folders, NULL);
    GString *s = g_string_new(NULL);
    firmware_folders((char *const *)c->folders->pdata, s);
    return say(c, s);
}

/* debug-threads=on changes nothing: threads always have names. */
static bool name_keys(Config *c, Options *o, GError **err)
{
    bool named;
    set_text(&c->name, options_get(o, "guest"));
    set_text(&c->process, options_get(o, "process"));
    return options_bool(o, "debug-threads", &named, err);
}

/* strict=on changes nothing: there are no devices to be strict about. */
static bool boot_keys(Config *c, Options *o, GError **err)
{
    BootConfig *b = &c->pc.boot;
    bool strict = false;
    uint64_t splash = b->splash_ms, timeout = b->reboot_ms;
    const char *order = options_get(o, "order"), *once = options_get(o, "once"), *reboot = options_get(o, "reboot-timeout");
    bool never = reboot && strcmp(reboot, "-1") == 0;
    if ((order && !firmware_boot_order_ok(order, err)) || (once && !firmware_boot_order_ok(once, err)) ||
        !options_bool(o, "menu", &b->menu, err) || !options_u64(o, "splash-time", 0, 0xffff, &splash, err) ||
        (!never && !options_u64(o, "reboot-timeout", 0, 0xffff, &timeout, err)) || !options_bool(o, "strict", &strict, err))
        return false;
    b->splash_ms = splash;
    b->reboot_ms = timeout;
    b->reboot = reboot ? !never : b->reboot;
    set_text(&c->boot_order, order);
    set_text(&c->boot_once, once);
    return true;
}

static bool add_device(Config *c, const char *v, GError **err)
{
    const char *comma = strchr(v, ',');
    if (comma && strcmp(comma, ",help") == 0) {
        g_autofree char *type = g_strndup(v, comma - v);
        GString *s = g_string_new(NULL);
        if (pc_device_props_help(type, s))
            return say(c, s);
        g_string_free(s, TRUE);     /* making it says that it is unknown */
    }
    add_text(c->device, v);
    return true;
}

static bool add_drive(Config *c, const char *v, GError **err) { return drives_add_drive(c->drives, v, err); }
static bool add_object(Config *c, const char *v, GError **err) { return drives_add_object(c->drives, v, err); }
static bool add_blockdev(Config *c, const char *v, GError **err) { return drives_add_blockdev(c->drives, v, err); }
static bool set_snapshot(Config *c, const char *v, GError **err)
{
    drives_snapshot(c->drives);
    return true;
}

static bool overcommit_keys(Config *c, Options *o, GError **err)
{
    return options_bool(o, "mem-lock", &c->ram_hints.lock, err) && options_bool(o, "cpu-pm", &c->cpu_pm, err);
}

static bool set_global(Config *c, const char *v, GError **err)
{
    static const char policy[] = "kvm-pit.lost_tick_policy=";
    if (!g_str_has_prefix(v, policy))
        return fail(err, "-global: '%s' is not known; kvm-pit.lost_tick_policy=delay|discard is", v);
    set_text(&c->pit_policy, v + strlen(policy));
    c->pc.discard_lost_ticks = strcmp(c->pit_policy, "discard") == 0;
    return ONE_OF("-global kvm-pit.lost_tick_policy", c->pit_policy, err, "delay", "discard");
}

static bool show_version(Config *c, const char *v, GError **err)
{
    /* Tools look for "QEMU emulator version X.Y.Z" and derive from it which options they may use. */
    return say(c, g_string_new("Rhea " RHEA_VERSION ", compatible with QEMU emulator version 7.2.0\n"
                               "Copyright (c) the Rhea developers; GPL-2.0-or-later\n"));
}

static bool show_help(Config *c, const char *v, GError **err);

/* --- the table */

typedef enum OptionKind { OPT_TEXT, OPT_FLAG, OPT_LIST, OPT_DRIVE, OPT_CALL, OPT_KEYS } OptionKind;

typedef struct Option {
    const char *name, *arg, *help;
    OptionKind  kind;
    size_t      at;             /* TEXT, FLAG, LIST: the member of Config */
    bool      (*call)(Config *c, const char *value, GError **err);
    bool      (*keys)(Config *c, Options *o, GError **err);     /* what it does not ask for is refused */
    const char *implied;        /* KEYS: the key of a first item without '=' */
    void      (*values)(GString *out);      /* what "help" as an argument prints */
} Option;

#define TEXT(member)     .kind = OPT_TEXT, .at = offsetof(Config, member)
#define FLAG(member)     .kind = OPT_FLAG, .at = offsetof(Config, member)
#define LIST(member)     .kind = OPT_LIST, .at = offsetof(Config, member)
#define CALL(fn)         .kind = OPT_CALL, .call = fn
#define KEYS(fn, first)  .kind = OPT_KEYS, .keys = fn, .implied = first
#define DRIVE            .kind = OPT_DRIVE          /* named as in drives_add_file() */

static const Option options[] = {
    { "accel", "NAME[,opt=...]", "accelerator; several are tried in order; 'help' lists them", LIST(accel), .values = accel_help },
    { "action", "[reboot=reset|shutdown][,shutdown=poweroff|pause][,...]", "what to do when the guest reboots or powers off",
      KEYS(action_keys, NULL) },
    { "append", "TEXT", "kernel command line", TEXT(append) },
    { "audio", "none", "there is no sound card", CALL(no_audio), .values = none_help },
    { "audiodev", "none,id=ID", "the same", KEYS(audiodev_keys, "driver"), .values = none_help },
    { "bios", "FILE", "firmware, when there is no -kernel", TEXT(bios) },
    { "blockdev", "[driver=]DRIVER,node-name=NAME[,...]", "open an image or filter as a node; dotted keys or JSON",
      CALL(add_blockdev) },
    { "boot", "[order=]acdn[,once=][,menu=on]", "what the firmware boots from, and whether it offers a menu",
      KEYS(boot_keys, "order") },
    { "cdrom", "FILE", "-drive index=2,media=cdrom,file=FILE", DRIVE },
    { "chardev", "TYPE,id=ID[,...]", "character device for -serial chardev:ID and -device; 'help'", LIST(chardev),
      .values = chardev_help },
    { "chroot", "FOLDER", "the same as -run-with chroot=", TEXT(chroot) },
    { "cpu", "MODEL[,+feature][,-feature]", "CPU model; 'help' lists models and features", TEXT(cpu), .values = x86_models_help },
    { "D", "FILE", "where the -d log goes (default: standard error)", TEXT(log_file) },
    { "d", "ITEM[,...]", "log items; 'help' lists them", TEXT(log_categories), .values = log_help },
    { "daemonize", NULL, "go to the background when all is set up", FLAG(daemonize) },
    { "debugcon", "DEV", "debug console at port 0xe9, to a back end as of -serial", TEXT(debugcon), .values = chardev_help },
    { "device", "TYPE[,prop=...]", "add a device; 'help' and TYPE,help say which and how", CALL(add_device), .values = pc_device_help },
    { "display", "TYPE", "'none' is the only one", CALL(set_display), .values = display_help },
    { "drive", "[file=FILE][,if=none|ide|...][,id=ID][,...]", "open an image for a controller or -device", CALL(add_drive) },
    { "echr", "N", "escape character on the terminal instead of Ctrl-A, which is 1", CALL(set_escape) },
    { "enable-kvm", NULL, "the same as -machine accel=kvm", CALL(enable_kvm) },
    { "fda", "FILE", "-drive if=floppy,index=0,file=FILE", DRIVE },
    { "fdb", "FILE", "-drive if=floppy,index=1,file=FILE", DRIVE },
    { "fw_cfg", "[name=]NAME,file=F|string=S", "an item for the firmware; names of your own begin with opt/", LIST(fw_cfg) },
    { "gdb", "DEV", "gdb stub on tcp:HOST:PORT, unix:PATH or another back end; 'none'", TEXT(gdb), .values = chardev_help },
    { "global", "DRIVER.PROP=VALUE", "kvm-pit.lost_tick_policy=delay|discard", CALL(set_global) },
    { "h", NULL, "this text", CALL(show_help) },
    { "hda", "FILE", "-drive index=0,media=disk,file=FILE; a file without an option is the same", DRIVE },
    { "hdb", "FILE", "-drive index=1,media=disk,file=FILE", DRIVE },
    { "hdc", "FILE", "-drive index=2,media=disk,file=FILE", DRIVE },
    { "hdd", "FILE", "-drive index=3,media=disk,file=FILE", DRIVE },
    { "help", NULL, "this text", CALL(show_help) },
    { "initrd", "FILE", "initial RAM disk", TEXT(initrd) },
    { "k", "LAYOUT", "keyboard of a display that sends characters: there is none", CALL(as_it_is) },
    { "kernel", "FILE", "Linux bzImage, or an ELF image with a PVH entry", TEXT(kernel) },
    { "L", "FOLDER", "where -bios looks first; 'help' lists all", CALL(add_folder) },
    { "M", "NAME[,prop=...]", "the same as -machine", KEYS(machine_keys, "type"), .values = machine_help },
    { "m", "[size=]SIZE", "RAM in MiB, or with a suffix (default: 128)", KEYS(memory_keys, "size") },
    { "machine", "NAME[,accel=A[:B]][,kernel-irqchip=on|split|off]", "machine type; 'help' lists them",
      KEYS(machine_keys, "type"), .values = machine_help },
    { "mon", "chardev=ID", "monitor on a -chardev", KEYS(mon_keys, "chardev") },
    { "mem-path", "FOLDER", "RAM in a file made there (huge pages: a hugetlbfs)", TEXT(mem_path) },
    { "mem-prealloc", NULL, "take all of the RAM from the host at once", FLAG(ram_hints.prealloc) },
    { "monitor", "DEV", "monitor on stdio, unix:PATH,server=on,wait=off, tcp:HOST:PORT,...; 'none'", LIST(monitor),
      .values = chardev_help },
    { "msg", "[timestamp=on|off][,guest-name=on|off]", "what error messages begin with", KEYS(msg_keys, NULL) },
    { "name", "TEXT", "name of the guest", KEYS(name_keys, "guest") },
    { "net", "none", "there is no network card", CALL(no_net), .values = none_help },
    { "nic", "none", "the same", CALL(no_nic), .values = none_help },
    { "no-fd-bootchk", NULL, "firmware boots from floppies without a signature", FLAG(pc.boot.unsigned_floppies) },
    { "no-hpet", NULL, "there is none", CALL(as_it_is) },
    { "no-reboot", NULL, "exit instead of rebooting", FLAG(no_reboot) },
    { "no-shutdown", NULL, "stop instead of exiting when the guest powers off", FLAG(no_shutdown) },
    { "no-user-config", NULL, "there are no configuration files", CALL(as_it_is) },
    { "nodefaults", NULL, "no default serial port", FLAG(no_defaults) },
    { "nographic", NULL, "no display; serial port on the terminal, Ctrl-A H for help", FLAG(nographic) },
    { "object", "TYPE,id=ID[,...]", "make a secret, TLS credentials or a throttle group for images", CALL(add_object) },
    { "overcommit", "[mem-lock=on|off][,cpu-pm=on|off]", "lock memory; let the guest idle the processor itself",
      KEYS(overcommit_keys, NULL) },
    { "parallel", "none", "there is no parallel port", CALL(no_parallel), .values = none_help },
    { "perfmap", NULL, "write /tmp/perf-PID.map for perf", FLAG(perfmap) },
    { "pflash", "FILE", "-drive if=pflash,format=raw,file=FILE", DRIVE },
    { "pidfile", "FILE", "write the process id there", TEXT(pidfile) },
    { "rtc", "[base=utc|localtime|DATE][,clock=vm][,driftfix=none|slew]", "real-time clock; slew: lost interrupts come later",
      KEYS(rtc_keys, NULL) },
    { "run-with", "[user=USER|UID:GID][,chroot=FOLDER]", "give up the rights of root before the guest runs",
      KEYS(run_with_keys, NULL) },
    { "runas", "USER", "the same as -run-with user=", CALL(run_as) },
    { "S", NULL, "do not start the CPUs; 'cont' in the monitor or gdb does", FLAG(stopped) },
    { "s", NULL, "the same as -gdb tcp::1234", CALL(gdb_default) },
    { "sandbox", "off", "there is no system call filter", KEYS(sandbox_keys, "enable") },
    { "serial", "DEV", "serial port to stdio, mon:stdio, file:PATH, pty, null, none; up to four", LIST(serial),
      .values = chardev_help },
    { "smp", "[cpus=]N[,maxcpus=N][,sockets=N][,dies=N][,cores=N][,threads=N]",
      "number of vCPUs (1 to 64; default: 1) and their topology", KEYS(smp_keys, "cpus") },
    { "snapshot", NULL, "writes of every -drive go to a temporary file", CALL(set_snapshot) },
    { "uuid", "UUID", "the machine's UUID", CALL(set_uuid) },
    { "version", NULL, "version", CALL(show_version) },
    { "vga", "none", "there is no graphics card", CALL(no_vga), .values = none_help },
    { "watchdog-action", "ACTION", "what a watchdog would do: there is none", CALL(watchdog_action) },
};

static bool show_help(Config *c, const char *v, GError **err)
{
    GString *s = g_string_new("usage: rhea-system-x86_64 [options] [disk image]\n\n");
    for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
        char *left = g_strdup_printf("-%s %s", options[i].name, options[i].arg ? options[i].arg : "");
        g_string_append_printf(s, "%-34s %s\n", left, options[i].help);
        g_free(left);
    }
    g_string_append(s, "\nWith -nographic, Ctrl-A X quits and Ctrl-A H lists the other keys.\n");
    return say(c, s);
}

static bool take_keys(Config *c, const Option *option, const char *value, GError **err)
{
    g_autofree char *what = g_strdup_printf("-%s", option->name);
    Options *o = options_parse(what, value, option->implied, err);
    if (!o)
        return false;
    bool ok = option->keys(c, o, err) && options_done(o, err);
    options_free(o);
    return ok;
}

static bool take_option(Config *c, const Option *o, const char *value, GError **err)
{
    void *member = (char *)c + o->at;
    if (o->values && (strcmp(value, "help") == 0 || strcmp(value, "?") == 0)) {
        GString *s = g_string_new(NULL);
        o->values(s);
        return say(c, s);
    }
    switch (o->kind) {
    case OPT_TEXT:
        set_text(member, value);
        return true;
    case OPT_FLAG:
        *(bool *)member = true;
        return true;
    case OPT_LIST:
        add_text(*(GPtrArray **)member, value);
        return true;
    case OPT_DRIVE:
        return drives_add_file(c->drives, o->name, value, err);
    case OPT_CALL:
        return o->call(c, value, err);
    case OPT_KEYS:
        return take_keys(c, o, value, err);
    }
    g_assert_not_reached();
}

static bool parse_arguments(Config *c, int argc, char **argv, GError **err)
{
    for (int i = 1; i < argc && !c->done; i++) {
        const char *name = argv[i];
        const Option *o = NULL;
        if (name[0] != '-') {
            if (!drives_add_file(c->drives, "hda", name, err))
                return false;
            continue;
        }
        name += name[1] == '-' ? 2 : 1;
        for (unsigned k = 0; k < ARRAY_LEN(options); k++)
            if (strcmp(name, options[k].name) == 0)
                o = &options[k];
        if (!o)
            return fail(err, "unknown option '%s' (-help lists the options)", argv[i]);
        if (o->arg && ++i == argc)
            return fail(err, "-%s needs an argument: %s", o->name, o->arg);
        if (!take_option(c, o, o->arg ? argv[i] : NULL, err))
            return false;
    }
    return true;
}

/* --- what follows from all of them */

/* What QEMU has as a property of the machine or of a device is one of the accelerator here. */
static void add_for_kvm(char **spec, const char *key, const char *value)
{
    if (!value || !(g_str_equal(*spec, "kvm") || g_str_has_prefix(*spec, "kvm,")) || strstr(*spec, key))
        return;
    char *with = g_strdup_printf("%s,%s=%s", *spec, key, value);
    g_free(*spec);
    *spec = with;
}

static bool choose_accel(Config *c, GError **err)
{
    if (c->machine_accel && c->accel->len)
        return fail(err, "-accel and -machine accel= (or -enable-kvm) exclude each other");
    if (c->machine_accel) {
        g_auto(GStrv) list = g_strsplit(c->machine_accel, ":", -1);
        for (unsigned i = 0; list[i]; i++)
            add_text(c->accel, list[i]);
    }
    for (unsigned i = 0; i < c->accel->len; i++) {
        add_for_kvm((char **)&c->accel->pdata[i], "kernel-irqchip", c->irqchip);
        add_for_kvm((char **)&c->accel->pdata[i], "kvm-pit.lost_tick_policy", c->pit_policy);
    }
    return true;
}

/* Some serial port is on the terminal. */
static bool has_console(const Config *c)
{
    for (unsigned i = 0; i < c->serial->len; i++)
        if (strstr(c->serial->pdata[i], "stdio") || g_str_has_prefix(c->serial->pdata[i], "chardev:"))
            return true;
    return false;
}

static bool check_config(Config *c, GError **err)
{
    if (!choose_accel(c, err))
        return false;
    if (c->initrd && !c->kernel)
        return fail(err, "-initrd is for -kernel");
    if (c->append && !c->kernel)
        return fail(err, "-append is for -kernel");
    if (c->serial->len > PC_MAX_SERIAL)
        return fail(err, "-serial: this machine has %u serial ports", PC_MAX_SERIAL);
    if (c->daemonize && c->nographic)
        return fail(err, "-nographic and -daemonize exclude each other");
    /* SeaBIOS's build for machines without PCI: this one has no host bridge, which the others look for. */
    static const char preset[] = "bios-microvm.bin";
    g_ptr_array_add(c->folders, NULL);
    c->firmware = firmware_find(c->bios ? c->bios : preset, (char *const *)c->folders->pdata);
    if (!c->kernel && !c->bios && access(c->firmware, R_OK) < 0)
        return fail(err, "nothing to run: no -kernel, no -bios, and %s not found (Debian package seabios)", preset);
    c->pc.bios = c->firmware;
    c->pc.kernel = c->kernel;
    c->pc.initrd = c->initrd;
    c->pc.append = c->append;
    c->pc.rtc_base = c->rtc_base;
    c->pc.boot.order = c->boot_order;
    c->pc.boot.once = c->boot_once;
    c->ram_hints.path = c->mem_path;
    c->pc.fw_cfg = (const char *const *)c->fw_cfg->pdata;
    c->pc.n_fw_cfg = c->fw_cfg->len;
    /* Without a screen, the serial port is what there is to see, and the monitor behind it. */
    bool terminal = c->nographic || !c->no_display, monitor = c->monitor->len || c->mon->len;
    c->default_monitor = !monitor;
    if (c->serial->len == 0 && !c->no_defaults && !c->daemonize && terminal) {
        bool taken = monitor && c->monitor->len && strcmp(c->monitor->pdata[0], "stdio") == 0;
        if (taken && c->nographic)
            g_ptr_array_set_size(c->monitor, 0);
        add_text(c->serial, taken && !c->nographic ? "null" : "mon:stdio");
        c->default_monitor |= taken && c->nographic;
    } else if (c->nographic && !monitor && !c->no_defaults && c->serial->len && !has_console(c)) {
        add_text(c->monitor, "stdio");   /* the terminal is free for it */
    }
    return true;
}

/* --- background */

/* The child goes on; the parent waits for its word and exits with it. */
static int daemonize(void)
{
    int fd[2];
    if (pipe(fd) < 0) {
        log_error(NULL, "-daemonize: %s", g_strerror(errno));
        exit(1);
    }
    fcntl(fd[1], F_SETFD, FD_CLOEXEC);
    pid_t pid = fork();
    if (pid < 0) {
        log_error(NULL, "-daemonize: %s", g_strerror(errno));
        exit(1);
    }
    if (pid > 0) {
        uint8_t status = 1;
        close(fd[1]);
        while (read(fd[0], &status, 1) < 0 && errno == EINTR)
            ;
        _exit(status);
    }
    close(fd[0]);
    setsid();
    signal(SIGHUP, SIG_IGN);
    return fd[1];
}

static bool open_null(int *fd, GError **err)
{
    *fd = open("/dev/null", O_RDWR);
    return *fd >= 0 || fail_errno(err, errno, "/dev/null");
}

static bool daemon_ready(int fd, int null, GError **err)
{
    for (int i = 0; i < 3; i++)
        dup2(null, i);
    if (null > 2)
        close(null);
    if (chdir("/") < 0)
        return fail_errno(err, errno, "/");
    bool told = write(fd, "", 1) == 1;
    close(fd);
    return told || fail(err, "-daemonize: the parent is gone");
}

/* path: made absolute, since -daemonize leaves the folder. */
static bool write_pidfile(char **name, int *fd, GError **err)
{
    char *path = g_canonicalize_filename(*name, NULL);
    g_free(*name);
    *name = path;
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (*fd < 0)
        return fail_errno(err, errno, "-pidfile: %s", path);
    if (flock(*fd, LOCK_EX | LOCK_NB) < 0) {
        close(*fd);
        *fd = -1;                       /* so that it is not removed either */
        return fail(err, "-pidfile: %s is held by another process", path);
    }
    char text[32];
    int len = g_snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(*fd, 0) < 0 || write(*fd, text, len) != len)
        return fail_errno(err, errno, "-pidfile: %s", path);
    return true;
}

/* What -run-with says: no way back, for all threads (setuid(2), "C library/kernel differences"). */
static bool give_up_rights(const Config *c, GError **err)
{
    if (c->chroot && (chroot(c->chroot) < 0 || chdir("/") < 0))
        return fail_errno(err, errno, "-run-with chroot=%s", c->chroot);
    if (!c->become)
        return true;
    if ((c->user ? initgroups(c->user, c->gid) : setgroups(1, &c->gid)) < 0 || setgid(c->gid) < 0 || setuid(c->uid) < 0)
        return fail_errno(err, errno, "-run-with user=");
    return c->uid == 0 || setuid(0) < 0 || fail(err, "-run-with user=: the rights of root come back");
}

/* --- running */

typedef struct Run {
    Config    *c;
    Machine   *m;
    Accel     *accel;
    Pc        *pc;
    Monitor   *monitor;
    GPtrArray *sources;
} Run;

static void quit(void *self) { Run *r = self; machine_request_shutdown(r->m, CAUSE_HOST_QUIT); }
static const StreamControl stream_control = { .quit = quit };

static void cpu_dead(void *self, unsigned cpu_index)
{
    Run *r = self;
    trace(LOG_RESET | LOG_INT, "cpu%u: triple fault", cpu_index);
    machine_request_reset(r->m, CAUSE_GUEST_PANIC);
}

static void cpu_stopped(void *self, unsigned cpu_index)
{
    Run *r = self;
    machine_request_debug_pause(r->m);
}

static gboolean terminated(gpointer self)
{
    Run *r = self;
    machine_request_exit(r->m, 0);
    return TRUE;
}

static void cpu_failed(void *self, unsigned cpu_index)
{
    Run *r = self;
    machine_request_exit(r->m, 1);
}

static void add_signals(Run *r)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    for (unsigned i = 0; i < ARRAY_LEN(signals); i++) {
        if (signals[i] == SIGHUP && r->c->daemonize)
            continue;
        GSource *s = g_unix_signal_source_new(signals[i]);
        g_source_set_callback(s, terminated, r, NULL);
        g_source_attach(s, loop_context(r->m->loop));
        g_ptr_array_add(r->sources, s);
    }
    signal(SIGPIPE, SIG_IGN);
}

static void own_stream(Run *r, Stream *s)
{
    stream_set_control(s, &stream_control, r);
    stream_set_clock(s, r->m->clock);
    if (r->c->escape)
        stream_set_escape(s, r->c->escape);
    machine_add_stream(r->m, s);
    if (stream_path(s)) {       /* QEMU's words: scripts read the name from them */
        printf("char device redirected to %s (label %s)\n", stream_path(s), stream_id(s));
        fflush(stdout);
    }
}

/* A stream from the spec of -serial and -debugcon, known to the machine as `id` unless the spec names one. */
static const char *add_stream(Run *r, const char *spec, const char *id, GError **err)
{
    if (g_str_has_prefix(spec, "chardev:")) {
        Stream *s = machine_stream(r->m, spec + 8);
        if (!s)
            fail(err, "there is no -chardev with id=%s", spec + 8);
        return s ? stream_id(s) : NULL;
    }
    Stream *s = stream_open(r->m->loop, spec, err);
    if (!s)
        return NULL;
    stream_set_id(s, id);
    own_stream(r, s);
    return stream_id(s);
}

static bool add_streams(Run *r, GError **err)
{
    static const char *const ids[PC_MAX_SERIAL] = { "serial0", "serial1", "serial2", "serial3" };
    Config *c = r->c;
    for (unsigned i = 0; i < c->chardev->len; i++) {
        Stream *s = stream_open_chardev(r->m->loop, g_ptr_array_index(c->chardev, i), err);
        if (!s)
            return false;
        own_stream(r, s);
    }
    for (unsigned i = 0, n = 0; i < c->serial->len; i++) {
        const char *spec = g_ptr_array_index(c->serial, i);
        if (strcmp(spec, "none") == 0)
            continue;
        c->pc.serial[n] = add_stream(r, spec, ids[n], err);
        if (!c->pc.serial[n++])
            return fail_prefix(err, "-serial: ");
    }
    return true;
}

static bool add_user_devices(Run *r, GError **err)
{
    if (r->c->debugcon) {
        const char *id = add_stream(r, r->c->debugcon, "debugcon", err);
        char *opts = id ? g_strdup_printf("isa-debugcon,chardev=%s", id) : NULL;
        bool ok = opts && pc_add_device(r->pc, opts, err);
        g_free(opts);
        if (!ok)
            return fail_prefix(err, "-debugcon: ");
    }
    for (unsigned i = 0; i < r->c->device->len; i++)
        if (!pc_add_device(r->pc, g_ptr_array_index(r->c->device, i), err))
            return false;
    return true;
}

/* On a stream, or beside the user that it has. */
static bool add_monitor(Run *r, Stream *s, GError **err)
{
    if (!stream_user(s))
        return monitor_open(r->monitor, s, err);
    g_autofree char *id = g_strdup_printf("%s-monitor", stream_id(s));
    Stream *second = stream_mux_add(s, id, err);
    if (!second)
        return false;
    machine_add_stream(r->m, second);
    return monitor_open(r->monitor, second, err);
}

static bool add_monitors(Run *r, GError **err)
{
    Config *c = r->c;
    MonitorEnv env = { r->m, r->accel, RHEA_VERSION, c->name, c->uuid, c->drives };
    r->monitor = monitor_new(&env);
    for (unsigned i = 0; i < c->monitor->len; i++) {
        const char *spec = c->monitor->pdata[i];
        if (strcmp(spec, "none") == 0 || strcmp(spec, "vc") == 0)
            continue;
        g_autofree char *id = g_strdup_printf("compat_monitor%u", i);
        const char *name = add_stream(r, spec, id, err);
        if (!name || !add_monitor(r, machine_stream(r->m, name), err))
            return fail_prefix(err, "-monitor: ");
    }
    for (unsigned i = 0; i < c->mon->len; i++) {
        Stream *s = machine_stream(r->m, c->mon->pdata[i]);
        if (!s)
            return fail(err, "-mon: there is no -chardev with id=%s", (const char *)c->mon->pdata[i]);
        if (!add_monitor(r, s, err))
            return fail_prefix(err, "-mon: ");
    }
    for (unsigned i = 0, n = 0; c->default_monitor && i < c->serial->len; i++) {
        const char *spec = c->serial->pdata[i];
        g_autofree char *id = g_strdup_printf("serial%u", n);
        n += strcmp(spec, "none") != 0;
        if (g_str_has_prefix(spec, "mon:"))
            return add_monitor(r, machine_stream(r->m, id), err);
    }
    return true;
}

static bool start(Run *r, GError **err)
{
    Config *c = r->c;
    AccelMachine am = { .target = &x86_target, .clock = r->m->clock, .mem = r->m->mem, .io = r->m->io, .ram = r->m->ram, .self = r,
                        .cpu_dead = cpu_dead, .cpu_failed = cpu_failed, .cpu_stopped = cpu_stopped,
                        .perfmap = c->perfmap, .chips = true, .cpu_pm = c->cpu_pm };
    r->m->ram->hints = c->ram_hints;
    /* All else as it is touched: large tables are only reserved. */
    if (c->ram_hints.lock && mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
        return fail_errno(err, errno, "-overcommit mem-lock=on");
    if (!drives_empty(c->drives) && !drives_open(c->drives, &pc_drive_board, err))
        return false;
    r->m->no_reboot = c->no_reboot;
    r->m->no_shutdown = c->no_shutdown;
    r->accel = accel_open((const char *const *)c->accel->pdata, c->accel->len, &am, err);
    if (!r->accel || !(c->pc.model = x86_model_parse_for(c->cpu, accel_host_cpu(r->accel), err)))
        return false;
    if (!add_streams(r, err) || !(r->pc = pc_new(r->m, &c->pc, err)) || !add_user_devices(r, err))
        return false;
    if (!pc_add_cpus(r->pc, r->accel, err) || !pc_power_on(r->pc, err) || !add_monitors(r, err))
        return false;
    return !c->gdb || monitor_gdb(r->monitor, c->gdb, err) || fail_prefix(err, "-gdb: ");
}

static int run(Config *c)
{
    Run r = { .c = c, .sources = g_ptr_array_new() };
    GError *err = NULL;
    int ready = -1, null = -1, pid_fd = -1, status = 1;
    if (c->daemonize)
        ready = daemonize();
    if (c->process)
        prctl(PR_SET_NAME, c->process, 0, 0, 0);
    r.m = machine_new(c->name ? c->name : "rhea", NULL);
    bool ok = start(&r, &err) && (!c->pidfile || write_pidfile(&c->pidfile, &pid_fd, &err)) &&
              (ready < 0 || open_null(&null, &err)) && give_up_rights(c, &err);         /* in a chroot it may not be there */
    if (ok) {
        add_signals(&r);                /* before the parent says that all is set up: it may be told to end at once */
        ok = ready < 0 || daemon_ready(ready, null, &err);
    }
    if (ok) {
        if (!c->stopped)
            machine_start(r.m);
        status = machine_run(r.m);
        if (log_on(LOG_STATS)) {
            GString *s = g_string_new(NULL);
            accel_stats(r.accel, s);
            log_write(s->str, s->len);
            g_string_free(s, TRUE);
        }
    } else {
        log_error(NULL, "%s", err->message);
        g_error_free(err);
    }
    for (unsigned i = 0; i < r.sources->len; i++) {
        g_source_destroy(g_ptr_array_index(r.sources, i));
        g_source_unref(g_ptr_array_index(r.sources, i));
    }
    g_ptr_array_free(r.sources, TRUE);
    monitor_free(r.monitor);
    if (r.accel)
        accel_close(r.accel);
    if (r.pc)
        pc_free(r.pc);
    machine_free(r.m);
    if (pid_fd >= 0)
        unlink(c->pidfile);
    int closing = drives_free(c->drives);
    c->drives = NULL;
    if (closing) {
        log_error(NULL, "closing the drives: %s", g_strerror(-closing));
        status = status ? status : 1;
    }
    log_flush();
    return status;
}

static void config_free(Config *c)
{
    for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
        void *member = (char *)c + options[i].at;
        if (options[i].kind == OPT_LIST)
            g_ptr_array_free(*(GPtrArray **)member, TRUE);
        else if (options[i].kind == OPT_TEXT)
            g_free(*(char **)member);
    }
    g_ptr_array_free(c->mon, TRUE);
    g_ptr_array_free(c->device, TRUE);
    g_ptr_array_free(c->folders, TRUE);
    char *const others[] = { c->uuid, c->name, c->process, c->firmware, c->rtc_base, c->boot_order, c->boot_once,
                             c->machine_accel, c->irqchip, c->pit_policy, c->user };
    for (unsigned i = 0; i < ARRAY_LEN(others); i++)
        g_free(others[i]);
    if (c->pc.model)
        x86_model_free(c->pc.model);
    if (c->drives)
        drives_free(c->drives);
}

int main(int argc, char **argv)
{
    Config c = { .accel = text_list(), .serial = text_list(), .chardev = text_list(), .device = text_list(),
                 .monitor = text_list(), .mon = text_list(), .fw_cfg = text_list(), .pc = { .ram = 128 << 20, .n_cpus = 1 },
                 .folders = text_list(), .drives = drives_new() };
    GError *err = NULL;
    int status = 0;
    char *program = g_path_get_basename(argv[0]);
    log_set_program(program);
    bool ok = parse_arguments(&c, argc, argv, &err);
    log_set_prefix(c.stamp_messages, c.name_messages ? c.name : NULL);
    if (ok && !c.done) {
        ok = check_config(&c, &err) && (!c.log_file || log_set_file(c.log_file, &err)) &&
             (!c.log_categories || log_set_categories(c.log_categories, &err));
        if (ok)
            status = run(&c);
    }
    if (!ok) {
        log_error(NULL, "%s", err->message);
        g_error_free(err);
        status = 1;
    }
    config_free(&c);
    g_free(program);
    return status;
}
