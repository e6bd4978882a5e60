/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where kernel::configfs::Subsystem::new() cannot register a subsystem, it drops the value, and
 * dropping unregisters what is not registered: a NULL dereference, found in 7.3. Nothing outside of
 * the kernel crate can keep that value from being dropped. But the code is generic, so that it
 * is compiled into this module, and the linker lets it call the function below in the place of the
 * kernel's (--wrap in Kbuild).
 */
#ifndef PINBLK_CONFIGFS_H
#define PINBLK_CONFIGFS_H

struct configfs_subsystem;

void __real_configfs_unregister_subsystem(struct configfs_subsystem *subsystem);
void __wrap_configfs_unregister_subsystem(struct configfs_subsystem *subsystem);

#endif /* PINBLK_CONFIGFS_H */
