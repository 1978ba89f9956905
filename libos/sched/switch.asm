; SPDX-License-Identifier: Apache-2.0
; SPDX-FileCopyrightText: The Tessera authors
;
; Changes from one strand's stack to another's. Called as a C function, so only what the System V
; ABI (3.2.1) has a callee keep is kept: rbx rbp r12-r15, MXCSR's and the x87 word's control bits.

        bits 64
        default rel
        section .text

        global strand_switch:function
        global strand_first:function
        extern sched_after_switch
        extern sched_exit

; void strand_switch(struct strand *from, struct strand *to); the first field of each is its saved rsp.
strand_switch:
        push    rbp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        sub     rsp, 8
        stmxcsr [rsp]
        fnstcw  [rsp + 4]
        mov     [rdi], rsp
        mov     rsp, [rsi]
        ldmxcsr [rsp]
        fldcw   [rsp + 4]
        add     rsp, 8
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        ret

; A new strand comes here with its function in r12 and the argument on top of its stack, where
; musl's clone left it (rsp is 8 past a multiple of 16).
strand_first:
        xor     ebp, ebp
        sub     rsp, 8
        call    sched_after_switch
        add     rsp, 8
        sti
        pop     rdi
        call    r12
        call    sched_exit
        ud2

        section .note.GNU-stack noalloc noexec nowrite progbits
