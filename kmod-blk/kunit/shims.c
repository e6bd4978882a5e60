// SPDX-License-Identifier: GPL-2.0
/* The driver's own: an object of Kbuild belongs to one module. */
#include "../sys/shims.c"
