// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Starts libc as a Linux kernel would: argc, argv, environment and auxiliary vector in a row.
// Source: System V ABI x86-64, 3.4.1 and 3.4.3.
#include "libos/posix/internal.h"

#include "platform/cpu.h"
#include "platform/time.h"

#include <elf.h>

extern const Elf64_Ehdr __ehdr_start __attribute__((visibility("hidden")));
int __libc_start_main(int (*run)(int, char **, char **), int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*ldso_fini)(void));

// 16 bytes for libc's stack canary.
static void seed(uint64_t out[2])
{
    for (int i = 0; i < 2; i++) {
        uint64_t v = pf_rdtsc() * 0x9e3779b97f4a7c15ull ^ pf_wall_ns();
        if (pf_cpu_features()->rdrand) {
            uint64_t r;
            uint8_t ok;
            __asm__ volatile("rdrand %0; setc %1" : "=r"(r), "=qm"(ok)::"cc");
            v ^= ok ? r : 0;
        }
        out[i] = v ^ v >> 29;
    }
}

// libc finds the image's base as AT_PHDR minus PT_PHDR's address. The image has no such header, so
// libc gets a copy of the table with one in front.
#define HEADERS 16
static Elf64_Phdr headers[HEADERS];
static unsigned copy_headers(void)
{
    const Elf64_Phdr *from = (const Elf64_Phdr *)((uint64_t)&__ehdr_start + __ehdr_start.e_phoff);
    unsigned n = 0;
    headers[n++] = (Elf64_Phdr){.p_type = PT_PHDR,
                                .p_flags = PF_R,
                                .p_vaddr = (uint64_t)headers - (uint64_t)&__ehdr_start,
                                .p_filesz = sizeof headers,
                                .p_memsz = sizeof headers,
                                .p_align = 8};
    for (unsigned i = 0; i < __ehdr_start.e_phnum && n < HEADERS; i++) {
        headers[n++] = from[i];
    }
    return n;
}

_Noreturn void posix_start(int (*run)(int argc, char **argv, char **envp), const char *program)
{
    static uint64_t random[2];
    static uint64_t words[32];
    uint32_t leaf[4];
    uint64_t *w = words;
    seed(random);
    pf_cpuid(1, 0, leaf);
    *w++ = (uint64_t)program; // argv
    *w++ = 0;
    *w++ = (uint64_t) "HOME=/"; // environment
    *w++ = (uint64_t) "TZ=UTC0";
    *w++ = 0;
    const uint64_t aux[] = {
        AT_PHDR,   (uint64_t)headers,
        AT_PHENT,  __ehdr_start.e_phentsize,
        AT_PHNUM,  copy_headers(),
        AT_PAGESZ, 4096,
        AT_CLKTCK, 100,
        AT_HWCAP,  leaf[3],
        AT_RANDOM, (uint64_t)random,
        AT_EXECFN, (uint64_t)program,
        AT_SECURE, 0,
        AT_NULL,   0,
    };
    for (unsigned i = 0; i < sizeof aux / sizeof aux[0]; i++) {
        *w++ = aux[i];
    }
    __libc_start_main(run, 1, (char **)words, 0, 0, 0);
    __builtin_unreachable();
}
