/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/port.h"

__thread CpuPort *port_current;
