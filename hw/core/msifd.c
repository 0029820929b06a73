/* SPDX-License-Identifier: GPL-2.0-or-later
 * Message-signalled interrupts behind eventfds. */
#include "hw/core/msifd.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct MsiFd {
    Machine *m;
    int      fd, id;            /* id: of the accelerator's route; -1: it has none */
    Watch   *watch;             /* NULL: nobody listens here */
    uint64_t addr;
    uint32_t data;
    bool     masked;
};

static void raised(void *self, unsigned events)
{
    MsiFd *f = self;
    eventfd_t n;
    if (eventfd_read(f->fd, &n) == 0)
        machine_send_msi(f->m, f->addr, f->data);
}

static void begin(MsiFd *f)
{
    const MsiHost *h = f->m->msi_host;
    f->id = h ? h->add(f->m->msi_host_self, f->fd, f->addr, f->data) : -1;
    if (f->id < 0)
        f->watch = loop_watch(f->m->loop, f->fd, LOOP_READ, raised, f);
}

static void end(MsiFd *f)
{
    if (f->id >= 0)
        f->m->msi_host->remove(f->m->msi_host_self, f->id);
    if (f->watch)
        watch_free(f->watch);
    f->id = -1;
    f->watch = NULL;
}

MsiFd *msifd_new(Machine *m, GError **err)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        fail_errno(err, errno, "a file descriptor for an interrupt");
        return NULL;
    }
    MsiFd *f = g_new(MsiFd, 1);
    *f = (MsiFd){ .m = m, .fd = fd, .id = -1, .masked = true };
    return f;
}

int msifd_fd(const MsiFd *f) { return f->fd; }

void msifd_set(MsiFd *f, uint64_t addr, uint32_t data)
{
    f->addr = addr;
    f->data = data;
    if (f->id >= 0)
        f->m->msi_host->change(f->m->msi_host_self, f->id, addr, data);
}

void msifd_mask(MsiFd *f, bool masked)
{
    if (f->masked == masked)
        return;
    f->masked = masked;
    if (masked)
        end(f);
    else
        begin(f);
}

void msifd_free(MsiFd *f)
{
    end(f);
    close(f->fd);
    g_free(f);
}
