// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What an application gives the libos, and how it ends. The libos's pf_main initialises memory,
// scheduler, devices, manifest, network and shell, then calls app_main on its own strand.
#ifndef LIBOS_APP_H
#define LIBOS_APP_H

#include <stddef.h>
#include <stdint.h>

// Implemented by the application. Returning is an error exit.
int app_main(int argc, char **argv);
// Optional: what takes no network, done beside the start of the network, on another CPU where there
// is one. Runs on a strand of its own from when storage is there (boot files, pmem, disks);
// app_main is called when the network has been started, and does not wait for it, nor for CPUs that
// are still coming up.
void app_load(void) __attribute__((weak));
// "0.1.0"
extern const char app_version[];
extern const char app_name[];

// Value of `key=value` on the kernel command line, copied into buf. Its length, -ENOENT, -ERANGE.
int app_option(const char *key, char *buf, size_t size);

// Registers what is to happen when the power button is pressed or `shutdown` is typed, before the
// machine goes off: called on its own strand, last registered first, bounded by 10 s in all. Up
// to 8.
void app_on_shutdown(void (*drain)(void *arg), void *arg);
_Noreturn void app_shutdown(void); // drain, then power off
_Noreturn void app_reboot(void);

#endif
