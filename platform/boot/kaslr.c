// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Where in the upper half the image runs: one of 2^24 places, 2 MB apart. From RDRAND where the
// CPU has it; otherwise from the time-stamp counter and what the loader gave, which an attacker
// who knows the machine well may guess (CAVEATS). Runs unrelocated.
#include "platform/boot/cmdline.h"
#include "platform/boot/early.h"
#include "platform/cpu.h"
#include "platform/paging.h"

#include <stdbool.h>

#define WINDOW_BASE  0xffffd00000000000ull
#define WINDOW_SLOTS (1ull << 24)
#define FIXED_BASE   0xffffffff80000000ull

static uint64_t mix(uint64_t x)
{
    x ^= x >> 31;
    x *= 0x9e3779b97f4a7c15ull;
    x ^= x >> 29;
    x *= 0xd6e8feb86659fd93ull;
    return x ^ x >> 32;
}

static uint64_t entropy(const struct pf_boot_info *info)
{
    uint64_t value = mix(pf_rdtsc() ^ info->entry_tsc << 20) ^ mix(info->rsdp);
    for (size_t i = 0; info->cmdline[i] != '\0'; i++) {
        value = value * 31 + (unsigned char)info->cmdline[i];
    }
    uint32_t cpuid[4];
    pf_cpuid(1, 0, cpuid);
    for (unsigned tries = 0; (cpuid[2] >> 30 & 1) != 0 && tries < 10; tries++) {
        uint64_t random;
        unsigned char good;
        __asm__ volatile("rdrand %0; setc %1" : "=r"(random), "=q"(good)::"cc");
        if (good) {
            return random ^ mix(value);
        }
    }
    return mix(value ^ pf_rdtsc());
}

uint64_t pf_kaslr_base(const struct pf_boot_info *info, uint64_t image_bytes)
{
    char value[8];
    int length = pf_cmdline_find(info->cmdline, "kaslr", value, sizeof value);
    bool off = length == 3 && value[0] == 'o' && value[1] == 'f' && value[2] == 'f';
    if (off || pf_cmdline_find(info->cmdline, "nokaslr", value, sizeof value) >= 0) {
        return FIXED_BASE;
    }
    uint64_t slots = WINDOW_SLOTS - (image_bytes + PF_HUGE_PAGE - 1) / PF_HUGE_PAGE;
    return WINDOW_BASE + entropy(info) % slots * PF_HUGE_PAGE;
}
