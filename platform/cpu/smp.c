// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Starting the other CPUs, all at the same time. CPU `index` is entry `index` of the MADT, with
// the boot CPU moved to 0. Source: Intel SDM 3A 8.4.4.
#include "platform/cpu/smp.h"
#include "platform/acpi.h"
#include "platform/boot/early.h"
#include "platform/cpu/cpu.h"
#include "platform/lib/mem.h"
#include "platform/paging.h"
#include "platform/paging/paging.h"
#include "platform/power.h"
#include "platform/priv/init.h"
#include "platform/time.h"

#define AP_STACK_BYTES    (16u << 10)
#define START_WITHIN_NS   100000000ull
#define EFER_LME_LMA_MASK 0x500u
#define MSR_EFER          0xc0000080u

// Read by ap_start.asm. Filled before the first start-up IPI.
uint32_t pf_ap_ids[PF_MAX_CPUS];
uint64_t pf_ap_stacks[PF_MAX_CPUS];
uint32_t pf_ap_count;

extern const char pf_ap_code[], pf_ap_code_end[];
extern const uint32_t pf_ap_long_offset;
extern const uint64_t pf_boot_gdt[];
void pf_ap_entry(void);
void pf_ap_main(uint32_t index);

// A CPU is waited for, then online or given up; both ways by compare-exchange from WAITED, so
// that one that comes late stays out.
enum ap_state { AP_NONE, AP_WAITED, AP_ONLINE, AP_GIVEN_UP };
static uint32_t state[PF_MAX_CPUS];
static uint32_t online = 1;
static void (*entry)(uint32_t index); // set before the first start-up IPI

uint32_t pf_cpu_online(void)
{
    return __atomic_load_n(&online, __ATOMIC_ACQUIRE);
}

uint32_t pf_cpu_present(void)
{
    uint32_t count = pf_acpi()->cpu_count;
    return count == 0 ? 1 : count > PF_MAX_CPUS ? PF_MAX_CPUS : count;
}

bool pf_cpu_is_online(uint32_t index)
{
    return index == 0 ||
           (index < PF_MAX_CPUS && __atomic_load_n(&state[index], __ATOMIC_ACQUIRE) == AP_ONLINE);
}

struct pf_cpu *pf_cpu(uint32_t index)
{
    return index < PF_MAX_CPUS ? &pf_cpus[index] : NULL;
}

void pf_cpu_sleep(void)
{
    pf_tlb_sleep();
    pf_wait_for_interrupt();
    pf_irq_disable();
    pf_tlb_wake(); // for a wake-up that no handler of ours has seen
}

void pf_ap_main(uint32_t index)
{
    pf_control_init();
    pf_descriptors_load(index);
    pf_apic_init_ap();
    uint32_t expected = AP_WAITED;
    if (!__atomic_compare_exchange_n(&state[index], &expected, AP_ONLINE, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE)) {
        for (;;) {
            __asm__ volatile("cli; hlt");
        }
    }
    pf_tlb_join(index);
    __atomic_add_fetch(&online, 1, __ATOMIC_ACQ_REL);
    entry(index);
    pf_panic("the entry function of CPU %u returned", index);
}

// A page of RAM below 640 KB, not the first one. 0: none.
static uint64_t start_page(void)
{
    const struct pf_boot_info *info = &pf_boot_record;
    for (uint32_t i = 0; i < info->range_count; i++) {
        const struct pf_range *r = &info->ranges[i];
        uint64_t low = r->base < PF_PAGE ? PF_PAGE : (r->base + PF_PAGE - 1) & ~(PF_PAGE - 1);
        if (r->type == PF_RANGE_RAM && low + PF_PAGE <= r->base + r->length && low < 0xa0000) {
            return low;
        }
    }
    return 0;
}

static void fill_start_page(uint64_t phys)
{
    char *page = pf_phys_to_virt(phys);
    size_t code = (size_t)(pf_ap_code_end - pf_ap_code);
    uint64_t cr0, cr4;
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));

    struct pf_ap_page data = {
        .cr0 = (uint32_t)cr0,
        // The identity map that this CPU started on; the image's part of it is the final one.
        .cr3 = (uint32_t)pf_virt_to_phys(pf_early_tables),
        .cr4 = (uint32_t)cr4,
        .efer = (uint32_t)pf_rdmsr(MSR_EFER) & ~0x400u, // LMA is read-only
        .jump_offset = (uint32_t)phys + pf_ap_long_offset,
        .jump_selector = PF_CODE_SELECTOR,
        .gdt_limit = 23,
        .gdt_base = (uint32_t)pf_virt_to_phys(pf_boot_gdt),
        .entry = (uint64_t)pf_ap_entry,
    };
    memcpy(page, pf_ap_code, code);
    memcpy(page + code, &data, sizeof data);
}

// Numbers the CPUs and gives each its stacks. Returns how many there are, the boot CPU included.
static uint32_t prepare(void)
{
    const struct pf_acpi_info *acpi = pf_acpi();
    uint32_t boot_id = pf_cpus[0].apic_id, count = 1;
    pf_ap_ids[0] = boot_id;
    for (uint32_t i = 0; i < pf_cpu_present() && count < PF_MAX_CPUS; i++) {
        uint32_t id = acpi->apic_id[i];
        if (acpi->cpu_count == 0 || id == boot_id) {
            continue;
        }
        uint64_t stack = pf_stack_map(AP_STACK_BYTES);
        if (stack == 0 || pf_interrupt_stacks(count) != 0) {
            pf_printk("smp: no memory for the stacks of CPU %u; going on with %u\n", count, count);
            break;
        }
        pf_ap_ids[count] = id;
        pf_ap_stacks[count] = stack;
        pf_cpus[count].apic_id = id;
        pf_cpus[count].index = count;
        __atomic_store_n(&state[count], AP_WAITED, __ATOMIC_RELEASE);
        count++;
    }
    pf_ap_count = count;
    return count;
}

uint32_t pf_smp_begin(void (*start)(uint32_t index))
{
    if (pf_ap_count != 0 || pf_cpu_present() == 1) {
        return pf_cpu_online();
    }
    uint64_t page = start_page();
    if (page == 0) {
        pf_printk("smp: no RAM below 640 KB to start the other CPUs from\n");
        return 1;
    }
    uint32_t count = prepare();
    entry = start;
    fill_start_page(page);
    for (uint32_t i = 1; i < count; i++) {
        if (pf_lapic_send_init_sipi(pf_ap_ids[i], (uint8_t)(page / PF_PAGE)) != 0) {
            pf_printk("smp: the interrupt controller does not take the start of CPU %u\n", i);
        }
    }
    return count;
}

uint32_t pf_smp_settle(uint64_t within_ns)
{
    // An emulator on a busy host may start them one after the other: wait from the last arrival.
    uint32_t seen = pf_cpu_online(), count = pf_ap_count;
    uint64_t deadline = pf_now_ns() + within_ns;
    while (seen < count && pf_now_ns() < deadline) {
        pf_pause();
        if (pf_cpu_online() != seen) {
            seen = pf_cpu_online();
            deadline = pf_now_ns() + within_ns;
        }
    }
    for (uint32_t i = 1; i < count; i++) {
        uint32_t expected = AP_WAITED;
        if (__atomic_compare_exchange_n(&state[i], &expected, AP_GIVEN_UP, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
            pf_printk("smp: CPU %u (APIC id %u) did not start in time; left out\n", i,
                      pf_ap_ids[i]);
        }
    }
    return pf_cpu_online();
}

uint32_t pf_smp_start(void (*start)(uint32_t index))
{
    (void)pf_smp_begin(start);
    return pf_smp_settle(START_WITHIN_NS);
}
