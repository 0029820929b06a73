/* SPDX-License-Identifier: GPL-2.0-or-later
 * Shared libraries that are loaded when first asked for, so that a run that does not need them starts without. */
#ifndef UTIL_LIBRARY_H
#define UTIL_LIBRARY_H

/* Loads the first of `files` (separated by blanks) that is there.  Returns the addresses of its `functions` (ended by NULL)
 * in their order, which is a struct of pointers to these functions; it and the library stay for good.  NULL: there is no such
 * file, or it lacks one of them.  Called by way of g_once(). */
void *library_open(const char *files, const char *const *functions);

#endif
