; SPDX-License-Identifier: Apache-2.0
; SPDX-FileCopyrightText: The Tessera authors
;
; What another CPU runs first. The piece between pf_ap_code and pf_ap_code_end is copied to a page
; below 1 MB, struct pf_ap_page (smp.h) right behind it. It goes from real mode to long mode in one
; step, on the early identity map, and on to pf_ap_entry in the image.
; Source: Intel SDM 3A 8.4, 9.8.5.

global pf_ap_code
global pf_ap_code_end
global pf_ap_entry
global pf_ap_long_offset
extern pf_ap_ids
extern pf_ap_stacks
extern pf_ap_count
extern pf_ap_main
extern pf_final_cr3

EFER equ 0xc0000080

section .rodata.ap
align 16
bits 16
pf_ap_code:
    cli
    cld
    mov ax, cs
    mov ds, ax
    o32 lgdt [data.gdt - pf_ap_code]
    mov eax, [data.cr4 - pf_ap_code]
    mov cr4, eax
    mov eax, [data.cr3 - pf_ap_code]
    mov cr3, eax
    mov ecx, EFER
    rdmsr
    mov eax, [data.efer - pf_ap_code]
    wrmsr
    mov eax, [data.cr0 - pf_ap_code]
    mov cr0, eax
    o32 jmp far [data.jump - pf_ap_code]
bits 64
.long:
    mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    jmp [rel data.entry]
align 8
pf_ap_code_end:
data:
.cr0:   dd 0
.cr3:   dd 0
.cr4:   dd 0
.efer:  dd 0
.jump:  dd 0
        dw 0
.gdt:   dw 0
        dd 0
        dd 0
.entry: dq 0

pf_ap_long_offset:
    dd pf_ap_code.long - pf_ap_code

; At the image's address, still with the identity map below. No stack yet: find out which CPU
; this is by its APIC id (CPUID 0xB where it exists, for ids above 255).
section .text.ap exec
bits 64
pf_ap_entry:
    mov rax, [rel pf_final_cr3]
    mov cr3, rax
    xor eax, eax
    cpuid
    cmp eax, 0xb
    jb .leaf1
    mov eax, 0xb
    xor ecx, ecx
    cpuid
    test ebx, ebx
    jnz .search
.leaf1:
    mov eax, 1
    cpuid
    mov edx, ebx
    shr edx, 24
.search:
    lea rsi, [rel pf_ap_ids]
    xor edi, edi
.next:
    cmp edi, [rel pf_ap_count]
    jae .unknown
    cmp [rsi + rdi * 4], edx
    je .found
    inc edi
    jmp .next
.found:
    lea rsi, [rel pf_ap_stacks]
    mov rsp, [rsi + rdi * 8]
    test rsp, rsp
    jz .unknown
    xor ebp, ebp
    call pf_ap_main             ; edi = index; does not return
.unknown:
    cli
    hlt
    jmp .unknown
