/* SPDX-License-Identifier: GPL-2.0-or-later
 * rhea-system: the command line, and starting things in order. */
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
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

typedef struct Config {
    GPtrArray  *accel, *serial, *chardev, *device, *monitor, *mon, *gdb, *fw_cfg;    /* const char * */
    const char *cpu, *machine, *pidfile, *debugcon, *display, *log_file, *log_categories, *uuid;
    char       *name, *process, *firmware;
    PcConfig    pc;
    Drives     *drives;
    bool        stopped;            /* -S */
    bool        default_monitor;    /* one shares the terminal with the serial port */
    RamHints    ram_hints;
    const char *pit_policy;         /* -global kvm-pit.lost_tick_policy= */
    bool        cpu_pm;             /* -overcommit: the guest idles the processor itself */
    bool        nographic, no_reboot, no_shutdown, daemonize, perfmap, no_defaults;
    bool        done;               /* the option has said all there is to say (-version, help) */
} Config;

/* --- options */

typedef bool OptionFn(Config *c, const char *value, GError **err);
typedef struct Option { const char *name, *arg; OptionFn *fn; const char *help; } Option;

static bool is_help(const char *v) { return strcmp(v, "help") == 0 || strcmp(v, "?") == 0; }
static bool say(Config *c, GString *text)
{
    fputs(text->str, stdout);
    g_string_free(text, TRUE);
    c->done = true;
    return true;
}

static bool opt_accel(Config *c, const char *v, GError **err)
{
    if (is_help(v)) {
        GString *s = g_string_new(NULL);
        accel_help(s);
        return say(c, s);
    }
    g_ptr_array_add(c->accel, g_strdup(v));
    return true;
}

static bool opt_enable_kvm(Config *c, const char *v, GError **err) { return opt_accel(c, "kvm", err); }

static bool opt_machine(Config *c, const char *v, GError **err)
{
    if (is_help(v))
        return say(c, g_string_new("Supported machines are:\n"
                                   "pc                   Rhea's direct-boot PC (alias of pc-1.0) (default)\n"
                                   "pc-1.0               Rhea's direct-boot PC\n"));
    c->machine = v;
    return true;
}

static bool opt_cpu(Config *c, const char *v, GError **err)
{
    if (is_help(v)) {
        GString *s = g_string_new(NULL);
        x86_models_help(s);
        return say(c, s);
    }
    c->cpu = v;
    return true;
}

static bool opt_memory(Config *c, const char *v, GError **err)
{
    Options *o = options_parse("-m", v, "size", err);
    uint64_t size = c->pc.ram;
    bool ok = o && options_size(o, "size", 1 << 20, &size, err) && options_done(o, err);
    if (o)
        options_free(o);
    if (!ok)
        return false;
    if (size < PC_MIN_RAM)
        return fail(err, "-m: %s is too small; this machine has at least %u MiB", v, (unsigned)(PC_MIN_RAM >> 20));
    c->pc.ram = align_up(size, 1 << 20);
    return true;
}

/* What is not given is made up: cores first, then sockets, then threads, as QEMU does since 6.2. */
static bool opt_smp(Config *c, const char *v, GError **err)
{
    uint64_t n = 0, max = 0, sockets = 0, dies = 0, cores = 0, threads = 0, one = 1;
    struct { const char *key; uint64_t *to; } const numbers[] = {
        { "cpus", &n }, { "maxcpus", &max }, { "sockets", &sockets }, { "dies", &dies }, { "cores", &cores },
        { "threads", &threads },
    };
    Options *o = options_parse("-smp", v, "cpus", err);
    bool ok = o != NULL;
    for (unsigned i = 0; ok && i < ARRAY_LEN(numbers); i++)
        ok = options_u64(o, numbers[i].key, 1, 65535, numbers[i].to, err);
    ok = ok && options_u64(o, "clusters", 1, 1, &one, err) && options_done(o, err);
    if (o)
        options_free(o);
    if (!ok)
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

static bool opt_serial(Config *c, const char *v, GError **err)
{
    if (is_help(v)) {
        GString *s = g_string_new("Available -serial back ends:\n");
        stream_help(s);
        return say(c, s);
    }
    if (c->serial->len == PC_MAX_SERIAL)
        return fail(err, "-serial: this machine has %u serial ports", PC_MAX_SERIAL);
    g_ptr_array_add(c->serial, (gpointer)v);
    return true;
}

static bool opt_chardev(Config *c, const char *v, GError **err)
{
    if (is_help(v)) {
        GString *s = g_string_new("Available chardev back ends:\n");
        stream_help(s);
        return say(c, s);
    }
    g_ptr_array_add(c->chardev, (gpointer)v);
    return true;
}

static bool opt_display(Config *c, const char *v, GError **err)
{
    if (is_help(v))
        return say(c, g_string_new("Available display types:\nnone\n"));
    if (strcmp(v, "none") != 0)
        return fail(err, "-display: unknown display '%s'; this machine has no screen, none is the only type", v);
    c->display = v;
    return true;
}

static bool opt_monitor(Config *c, const char *v, GError **err)
{
    if (is_help(v))
        return opt_chardev(c, v, err);
    g_ptr_array_add(c->monitor, (gpointer)v);
    return true;
}

static bool opt_mon(Config *c, const char *v, GError **err)
{
    Options *o = options_parse("-mon", v, "chardev", err);
    if (!o)
        return false;
    const char *id = options_get(o, "chardev"), *mode = options_get(o, "mode");
    bool pretty;
    bool ok = id || fail(err, "-mon: needs a chardev=ID");
    if (ok && mode && strcmp(mode, "readline") != 0)
        ok = fail(err, "-mon: mode '%s': 'readline' is the only one", mode);
    ok = ok && options_bool(o, "pretty", &pretty, err) && options_done(o, err);
    if (ok)
        g_ptr_array_add(c->mon, g_strdup(id));
    options_free(o);
    return ok;
}

static bool opt_gdb(Config *c, const char *v, GError **err)
{
    g_ptr_array_set_size(c->gdb, 0);
    g_ptr_array_add(c->gdb, (gpointer)v);
    return true;
}

static bool opt_gdb_default(Config *c, const char *v, GError **err) { return opt_gdb(c, "tcp::1234", err); }

static bool opt_uuid(Config *c, const char *v, GError **err)
{
    if (!g_uuid_string_is_valid(v))
        return fail(err, "-uuid: '%s' is not a UUID (xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx)", v);
    c->uuid = v;
    return true;
}

static bool opt_rtc(Config *c, const char *v, GError **err)
{
    Options *o = options_parse("-rtc", v, NULL, err);
    if (!o)
        return false;
    c->pc.rtc_base = g_strdup(options_get(o, "base"));
    bool ok = options_done(o, err);
    options_free(o);
    return ok;
}

static bool opt_log(Config *c, const char *v, GError **err)
{
    if (is_help(v)) {
        log_help(stdout);
        c->done = true;
        return true;
    }
    c->log_categories = v;
    return true;
}

static bool opt_version(Config *c, const char *v, GError **err)
{
    /* Tools look for "QEMU emulator version X.Y.Z" and derive from it which options they may use. */
    GString *s = g_string_new(NULL);
    g_string_printf(s, "Rhea " RHEA_VERSION ", compatible with QEMU emulator version 7.2.0\n"
                       "Copyright (c) the Rhea developers; GPL-2.0-or-later\n");
    return say(c, s);
}

static bool opt_help(Config *c, const char *v, GError **err);

#define TEXT_OPTION(fn_name, member) \
    static bool fn_name(Config *c, const char *v, GError **err) { c->member = v; return true; }
#define FLAG_OPTION(fn_name, member) \
    static bool fn_name(Config *c, const char *v, GError **err) { c->member = true; return true; }
TEXT_OPTION(opt_kernel, pc.kernel)
TEXT_OPTION(opt_initrd, pc.initrd)
TEXT_OPTION(opt_append, pc.append)
TEXT_OPTION(opt_bios, pc.bios)
TEXT_OPTION(opt_pidfile, pidfile)
TEXT_OPTION(opt_debugcon, debugcon)
TEXT_OPTION(opt_log_file, log_file)
FLAG_OPTION(opt_stopped, stopped)
FLAG_OPTION(opt_nographic, nographic)
FLAG_OPTION(opt_no_reboot, no_reboot)
FLAG_OPTION(opt_no_shutdown, no_shutdown)
FLAG_OPTION(opt_daemonize, daemonize)
FLAG_OPTION(opt_perfmap, perfmap)
FLAG_OPTION(opt_no_defaults, no_defaults)

static bool opt_name(Config *c, const char *v, GError **err)
{
    Options *o = options_parse("-name", v, "guest", err);
    if (!o)
        return false;
    c->name = g_strdup(options_get(o, "guest"));
    c->process = g_strdup(options_get(o, "process"));
    bool ok = options_done(o, err);
    options_free(o);
    return ok;
}

/* strict=on changes nothing: there are no devices to be strict about. */
static bool opt_boot(Config *c, const char *v, GError **err)
{
    Options *o = options_parse("-boot", v, "order", err);
    if (!o)
        return false;
    BootConfig *b = &c->pc.boot;
    bool strict = false;
    uint64_t splash = b->splash_ms, timeout = b->reboot_ms;
    const char *order = options_get(o, "order"), *once = options_get(o, "once");
    bool ok = (!order || firmware_boot_order_ok(order, err)) && (!once || firmware_boot_order_ok(once, err)) &&
              options_bool(o, "menu", &b->menu, err) && options_u64(o, "splash-time", 0, 0xffff, &splash, err) &&
              options_u64(o, "reboot-timeout", 0, 0xffff, &timeout, err) && options_bool(o, "strict", &strict, err) &&
              options_done(o, err);
    b->splash_ms = splash;
    b->reboot_ms = timeout;
    b->reboot |= options_get(o, "reboot-timeout") != NULL;
    if (order) {
        g_free((char *)b->order);
        b->order = g_strdup(order);
    }
    if (once) {
        g_free((char *)b->once);
        b->once = g_strdup(once);
    }
    options_free(o);
    return ok;
}

static bool opt_fw_cfg(Config *c, const char *v, GError **err)
{
    g_ptr_array_add(c->fw_cfg, (gpointer)v);
    return true;
}

static bool opt_device(Config *c, const char *v, GError **err)
{
    if (is_help(v)) {
        GString *s = g_string_new(NULL);
        pc_device_help(NULL, s);
        return say(c, s);
    }
    g_ptr_array_add(c->device, (gpointer)v);
    return true;
}

static bool opt_drive(Config *c, const char *v, GError **err) { return drives_add_drive(c->drives, v, err); }
static bool opt_object(Config *c, const char *v, GError **err) { return drives_add_object(c->drives, v, err); }
static bool opt_blockdev(Config *c, const char *v, GError **err) { return drives_add_blockdev(c->drives, v, err); }
static bool opt_snapshot(Config *c, const char *v, GError **err)
{
    drives_snapshot(c->drives);
    return true;
}
#define FILE_OPTION(name) \
    static bool opt_##name(Config *c, const char *v, GError **err) { return drives_add_file(c->drives, #name, v, err); }
FILE_OPTION(hda)
FILE_OPTION(hdb)
FILE_OPTION(hdc)
FILE_OPTION(hdd)
FILE_OPTION(cdrom)
FILE_OPTION(fda)
FILE_OPTION(fdb)
FILE_OPTION(pflash)

static bool opt_overcommit(Config *c, const char *v, GError **err)
{
    Options *o = options_parse("-overcommit", v, NULL, err);
    if (!o)
        return false;
    bool ok = options_bool(o, "mem-lock", &c->ram_hints.lock, err) && options_bool(o, "cpu-pm", &c->cpu_pm, err) && options_done(o, err);
    options_free(o);
    return ok;
}

static bool opt_global(Config *c, const char *v, GError **err)
{
    static const char policy[] = "kvm-pit.lost_tick_policy=";
    if (!g_str_has_prefix(v, policy))
        return fail(err, "-global: '%s' is not known; kvm-pit.lost_tick_policy=delay|discard is", v);
    c->pit_policy = v + strlen(policy);
    return true;
}

static bool opt_mem_prealloc(Config *c, const char *v, GError **err)
{
    c->ram_hints.prealloc = true;
    return true;
}

static bool opt_mem_path(Config *c, const char *v, GError **err)
{
    c->ram_hints.path = v;
    return true;
}

static const Option options[] = {
    { "accel", "NAME[,opt=...]", opt_accel, "accelerator; several are tried in order; 'help' lists them" },
    { "append", "TEXT", opt_append, "kernel command line" },
    { "bios", "FILE", opt_bios, "firmware, when there is no -kernel" },
    { "blockdev", "[driver=]DRIVER,node-name=NAME[,...]", opt_blockdev, "open an image or filter as a node; dotted keys or JSON" },
    { "boot", "[order=]acdn[,once=][,menu=on]", opt_boot, "what the firmware boots from, and whether it offers a menu" },
    { "cdrom", "FILE", opt_cdrom, "-drive index=2,media=cdrom,file=FILE" },
    { "chardev", "TYPE,id=ID[,...]", opt_chardev, "character device for -serial chardev:ID and -device; 'help'" },
    { "cpu", "MODEL[,+feature][,-feature]", opt_cpu, "CPU model; 'help' lists models and features" },
    { "D", "FILE", opt_log_file, "where the -d log goes (default: standard error)" },
    { "d", "ITEM[,...]", opt_log, "log items; 'help' lists them" },
    { "daemonize", NULL, opt_daemonize, "go to the background when all is set up" },
    { "debugcon", "DEV", opt_debugcon, "debug console at port 0xe9, to a back end as of -serial" },
    { "device", "TYPE[,prop=...]", opt_device, "add a device; 'help' lists them" },
    { "display", "TYPE", opt_display, "'none' is the only one" },
    { "drive", "[file=FILE][,if=none|ide|...][,id=ID][,...]", opt_drive, "open an image for a controller or -device" },
    { "enable-kvm", NULL, opt_enable_kvm, "the same as -accel kvm" },
    { "fda", "FILE", opt_fda, "-drive if=floppy,index=0,file=FILE" },
    { "fdb", "FILE", opt_fdb, "-drive if=floppy,index=1,file=FILE" },
    { "fw_cfg", "[name=]NAME,file=F|string=S", opt_fw_cfg, "an item for the firmware; names of your own begin with opt/" },
    { "gdb", "DEV", opt_gdb, "gdb stub on tcp:HOST:PORT, unix:PATH or another back end; 'none'" },
    { "global", "DRIVER.PROP=VALUE", opt_global, "kvm-pit.lost_tick_policy=delay|discard" },
    { "h", NULL, opt_help, "this text" },
    { "hda", "FILE", opt_hda, "-drive index=0,media=disk,file=FILE; a file without an option is the same" },
    { "hdb", "FILE", opt_hdb, "-drive index=1,media=disk,file=FILE" },
    { "hdc", "FILE", opt_hdc, "-drive index=2,media=disk,file=FILE" },
    { "hdd", "FILE", opt_hdd, "-drive index=3,media=disk,file=FILE" },
    { "help", NULL, opt_help, "this text" },
    { "initrd", "FILE", opt_initrd, "initial RAM disk" },
    { "kernel", "FILE", opt_kernel, "Linux bzImage, or an ELF image with a PVH entry" },
    { "M", "NAME[,prop=...]", opt_machine, "the same as -machine" },
    { "m", "SIZE", opt_memory, "RAM in MiB, or with a suffix (default: 128)" },
    { "machine", "NAME[,accel=A[:B]][,kernel-irqchip=on|split|off]", opt_machine, "machine type; 'help' lists them" },
    { "mon", "chardev=ID", opt_mon, "monitor on a -chardev" },
    { "mem-path", "FOLDER", opt_mem_path, "RAM in a file made there (huge pages: a hugetlbfs)" },
    { "mem-prealloc", NULL, opt_mem_prealloc, "take all of the RAM from the host at once" },
    { "monitor", "DEV", opt_monitor, "monitor on stdio, unix:PATH,server=on,wait=off, tcp:HOST:PORT,...; 'none'" },
    { "name", "TEXT", opt_name, "name of the guest" },
    { "no-reboot", NULL, opt_no_reboot, "exit instead of rebooting" },
    { "no-shutdown", NULL, opt_no_shutdown, "stop instead of exiting when the guest powers off" },
    { "nodefaults", NULL, opt_no_defaults, "no default serial port" },
    { "nographic", NULL, opt_nographic, "no display; serial port on the terminal, Ctrl-A H for help" },
    { "object", "TYPE,id=ID[,...]", opt_object, "make a secret, TLS credentials or a throttle group for images" },
    { "overcommit", "[mem-lock=on|off][,cpu-pm=on|off]", opt_overcommit, "lock memory; let the guest idle the processor itself" },
    { "perfmap", NULL, opt_perfmap, "write /tmp/perf-PID.map for perf" },
    { "pflash", "FILE", opt_pflash, "-drive if=pflash,format=raw,file=FILE" },
    { "pidfile", "FILE", opt_pidfile, "write the process id there" },
    { "rtc", "base=utc|localtime|DATE", opt_rtc, "real-time clock" },
    { "S", NULL, opt_stopped, "do not start the CPUs; 'cont' in the monitor or gdb does" },
    { "s", NULL, opt_gdb_default, "the same as -gdb tcp::1234" },
    { "serial", "DEV", opt_serial, "serial port to stdio, mon:stdio, file:PATH, pty, null, none; up to four" },
    { "smp", "[cpus=]N[,maxcpus=N][,sockets=N][,dies=N][,cores=N][,threads=N]", opt_smp,
      "number of vCPUs (1 to 64; default: 1) and their topology" },
    { "snapshot", NULL, opt_snapshot, "writes of every -drive go to a temporary file" },
    { "uuid", "UUID", opt_uuid, "the machine's UUID" },
    { "version", NULL, opt_version, "version" },
};

static bool opt_help(Config *c, const char *v, GError **err)
{
    GString *s = g_string_new("usage: rhea-system-x86_64 [options]\n\n");
    for (unsigned i = 0; i < ARRAY_LEN(options); i++) {
        char *left = g_strdup_printf("-%s %s", options[i].name, options[i].arg ? options[i].arg : "");
        g_string_append_printf(s, "%-34s %s\n", left, options[i].help);
        g_free(left);
    }
    g_string_append(s, "\nWith -nographic, Ctrl-A X quits and Ctrl-A H lists the other keys.\n");
    return say(c, s);
}

static bool parse_arguments(Config *c, int argc, char **argv, GError **err)
{
    for (int i = 1; i < argc && !c->done; i++) {
        const char *name = argv[i];
        const Option *o = NULL;
        if (name[0] != '-') {
            if (!opt_hda(c, name, err))
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
        if (!o->fn(c, o->arg ? argv[i] : NULL, err))
            return false;
    }
    return true;
}

/* What QEMU has as a property of the machine or of a device is one of the accelerator here. */
static void add_for_kvm(char **spec, const char *key, const char *value)
{
    if (!value || !(g_str_equal(*spec, "kvm") || g_str_has_prefix(*spec, "kvm,")) || strstr(*spec, key))
        return;
    char *with = g_strdup_printf("%s,%s=%s", *spec, key, value);
    g_free(*spec);
    *spec = with;
}

static bool parse_machine(Config *c, GError **err)
{
    Options *o = options_parse("-machine", c->machine ? c->machine : "pc", "type", err);
    if (!o)
        return false;
    const char *type = options_get(o, "type"), *accel = options_get(o, "accel"), *chips = options_get(o, "kernel-irqchip");
    const char *old = options_get(o, "kernel_irqchip");     /* QEMU's older spelling */
    chips = chips ? chips : old;
    bool merge = true;
    bool ok = options_bool(o, "mem-merge", &merge, err) && options_bool(o, "dump-guest-core", &c->ram_hints.dump, err);
    c->ram_hints.keep_single = !merge;
    ok = ok && (!type || strcmp(type, "pc") == 0 || strcmp(type, "pc-1.0") == 0 ||
              fail(err, "-machine: unknown machine '%s'; -machine help lists them", type));
    ok = ok && options_done(o, err);
    if (ok && accel && c->accel->len == 0) {
        char **list = g_strsplit(accel, ":", -1);
        for (unsigned i = 0; list[i]; i++)
            g_ptr_array_add(c->accel, g_strdup(list[i]));
        g_strfreev(list);
    }
    for (unsigned i = 0; ok && i < c->accel->len; i++) {
        add_for_kvm((char **)&c->accel->pdata[i], "kernel-irqchip", chips);
        add_for_kvm((char **)&c->accel->pdata[i], "kvm-pit.lost_tick_policy", c->pit_policy);
    }
    options_free(o);
    return ok;
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
    if (!parse_machine(c, err))
        return false;
    if (c->pc.initrd && !c->pc.kernel)
        return fail(err, "-initrd is for -kernel");
    if (c->pc.append && !c->pc.kernel)
        return fail(err, "-append is for -kernel");
    if (c->daemonize && c->nographic)
        return fail(err, "-nographic and -daemonize exclude each other");
    /* SeaBIOS's build for machines without PCI: this one has no host bridge, which the others look for. */
    static const char preset[] = "bios-microvm.bin";
    c->firmware = firmware_find(c->pc.bios ? c->pc.bios : preset);
    if (!c->pc.kernel && !c->pc.bios && access(c->firmware, R_OK) < 0)
        return fail(err, "nothing to run: no -kernel, no -bios, and %s not found (Debian package seabios)", preset);
    c->pc.bios = c->firmware;
    c->pc.fw_cfg = (const char *const *)c->fw_cfg->pdata;
    c->pc.n_fw_cfg = c->fw_cfg->len;
    /* Without a screen, the serial port is what there is to see, and the monitor behind it. */
    bool terminal = c->nographic || !c->display, monitor = c->monitor->len || c->mon->len;
    c->default_monitor = !monitor;
    if (c->serial->len == 0 && !c->no_defaults && !c->daemonize && terminal) {
        bool taken = monitor && c->monitor->len && strcmp(c->monitor->pdata[0], "stdio") == 0;
        if (taken && c->nographic)
            g_ptr_array_set_size(c->monitor, 0);
        g_ptr_array_add(c->serial, taken && !c->nographic ? "null" : "mon:stdio");
        c->default_monitor |= taken && c->nographic;
    } else if (c->nographic && !monitor && !c->no_defaults && c->serial->len && !has_console(c)) {
        g_ptr_array_add(c->monitor, "stdio");   /* the terminal is free for it */
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

static bool daemon_ready(int fd, GError **err)
{
    int null = open("/dev/null", O_RDWR);
    if (null < 0)
        return fail_errno(err, errno, "/dev/null");
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

static bool write_pidfile(const char *path, int *fd, GError **err)
{
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (*fd < 0)
        return fail_errno(err, errno, "-pidfile: %s", path);
    if (flock(*fd, LOCK_EX | LOCK_NB) < 0)
        return fail(err, "-pidfile: %s is held by another process", path);
    char text[32];
    int len = g_snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(*fd, 0) < 0 || write(*fd, text, len) != len)
        return fail_errno(err, errno, "-pidfile: %s", path);
    return true;
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
    return !c->gdb->len || monitor_gdb(r->monitor, c->gdb->pdata[0], err) || fail_prefix(err, "-gdb: ");
}

static int run(Config *c)
{
    Run r = { .c = c, .sources = g_ptr_array_new() };
    GError *err = NULL;
    int ready = -1, pid_fd = -1, status = 1;
    if (c->daemonize)
        ready = daemonize();
    if (c->process)
        prctl(PR_SET_NAME, c->process, 0, 0, 0);
    r.m = machine_new(c->name ? c->name : "rhea", NULL);
    bool ok = start(&r, &err) && (!c->pidfile || write_pidfile(c->pidfile, &pid_fd, &err)) &&
              (ready < 0 || daemon_ready(ready, &err));
    if (ok) {
        add_signals(&r);
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
    GPtrArray *const lists[] = { c->accel, c->serial, c->chardev, c->device, c->monitor, c->mon, c->gdb, c->fw_cfg };
    for (unsigned i = 0; i < ARRAY_LEN(lists); i++)
        g_ptr_array_free(lists[i], TRUE);
    if (c->pc.model)
        x86_model_free(c->pc.model);
    if (c->drives)
        drives_free(c->drives);
    g_free(c->name);
    g_free(c->process);
    g_free(c->firmware);
    g_free((char *)c->pc.boot.order);
    g_free((char *)c->pc.boot.once);
    g_free((char *)c->pc.rtc_base);
}

int main(int argc, char **argv)
{
    Config c = { .accel = g_ptr_array_new_with_free_func(g_free), .serial = g_ptr_array_new(),
                 .chardev = g_ptr_array_new(), .device = g_ptr_array_new(), .monitor = g_ptr_array_new(),
                 .mon = g_ptr_array_new_with_free_func(g_free), .gdb = g_ptr_array_new(), .fw_cfg = g_ptr_array_new(),
                 .pc = { .ram = 128 << 20, .n_cpus = 1 }, .drives = drives_new() };
    GError *err = NULL;
    int status = 0;
    char *program = g_path_get_basename(argv[0]);
    log_set_program(program);
    bool ok = parse_arguments(&c, argc, argv, &err);
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
