; SPDX-License-Identifier: Apache-2.0
; SPDX-FileCopyrightText: The Tessera authors
;
; Entry of exceptions and interrupts, each on its IST stack, and of `syscall`. What is interrupted
; may have live data in its red zone and in SSE registers. Source: Intel SDM 3A 6.12, 6.14.

global pf_exception_stubs
global pf_interrupt_stubs
global pf_syscall_entry:function
extern pf_trap_exception
extern pf_irq_dispatch
extern pf_syscall_target

section .text.traps exec
bits 64

; Vectors 0..31, 16 bytes each. These push an error code: 8 10-14 17 21 29 30.
align 16
pf_exception_stubs:
%assign v 0
%rep 32
    align 16
  %if !(v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21 || v == 29 || v == 30)
    push 0
  %endif
    push v
    jmp near exception
  %assign v v + 1
%endrep

; Vectors 32..255, 8 bytes each. The pushed byte is sign-extended and cut again below.
align 16
pf_interrupt_stubs:
%assign v 32
%rep 224
    align 8
    push byte ((v ^ 0x80) - 0x80)
    jmp near interrupt
  %assign v v + 1
%endrep

align 16
exception:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp                ; struct pf_trap_frame: 22 words on a 16-aligned top
    xor ebp, ebp
    call pf_trap_exception      ; does not return
    ud2

; The handlers are built with general registers only, but what they call (the libos's wakes,
; memcpy) may use SSE: xmm0-xmm15 are kept for the interrupted code. Upper halves of wider
; registers stay as they are, since nothing here is AVX code.
align 16
interrupt:
    push rbp
    mov rbp, rsp
    push rax
    push rcx
    push rdx
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    sub rsp, 256                ; 16 words were pushed: 16-aligned
%assign i 0
%rep 16
    movaps [rsp + i * 16], xmm %+ i
  %assign i i + 1
%endrep
    cld
    movzx edi, byte [rbp + 8]
    call pf_irq_dispatch
%assign i 0
%rep 16
    movaps xmm %+ i, [rsp + i * 16]
  %assign i i + 1
%endrep
    add rsp, 256
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rax
    pop rbp
    add rsp, 8                  ; vector
    iretq

; `syscall` from ring 0: rax = number, rdi rsi rdx r10 r8 r9 = arguments, rcx = return address,
; r11 = flags. The compiler believes that only rax, rcx and r11 change, so everything else,
; SSE registers included, is kept; the stack below rsp is the caller's red zone.
; The target is long (*)(long n, long a, long b, long c, long d, long e, long f).
align 16
pf_syscall_entry:
    lea rsp, [rsp - 128]
    push rcx                    ; with rbp next to it: a frame that a backtrace can follow
    push rbp
    mov rbp, rsp
    push r11
    push rdi
    push rsi
    push rdx
    push r10
    push r8
    push r9
    sub rsp, 256 + 16
    and rsp, -16
%assign i 0
%rep 16
    movaps [rsp + 16 + i * 16], xmm %+ i
  %assign i i + 1
%endrep
    mov [rsp], r9               ; seventh argument
    mov r9, r8
    mov r8, r10
    mov rcx, rdx
    mov rdx, rsi
    mov rsi, rdi
    mov rdi, rax
    call [rel pf_syscall_target]
%assign i 0
%rep 16
    movaps xmm %+ i, [rsp + 16 + i * 16]
  %assign i i + 1
%endrep
    lea rsp, [rbp - 7 * 8]
    pop r9
    pop r8
    pop r10
    pop rdx
    pop rsi
    pop rdi
    pop r11
    pop rbp
    pop rcx
    push r11
    popfq
    lea rsp, [rsp + 128]
    jmp rcx
