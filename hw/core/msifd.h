/* SPDX-License-Identifier: GPL-2.0-or-later
 * A message-signalled interrupt behind an eventfd, for those who work beside the machine and know nothing of it: I/O
 * threads, a vhost kernel thread or process.  Whoever writes to the descriptor raises it; where the accelerator takes
 * descriptors itself no thread of ours wakes up for that, else the loop sends the message. */
#ifndef HW_CORE_MSIFD_H
#define HW_CORE_MSIFD_H

#include "hw/core/machine.h"

typedef struct MsiFd MsiFd;

/* All on the loop's thread, with no device lock held.  It is masked at first. */
MsiFd *msifd_new(Machine *m, GError **err);
int    msifd_fd(const MsiFd *f);                /* stays ours */
void   msifd_set(MsiFd *f, uint64_t addr, uint32_t data);
/* What is raised while masked comes when it is unmasked, once. */
void   msifd_mask(MsiFd *f, bool masked);
void   msifd_free(MsiFd *f);

#endif
