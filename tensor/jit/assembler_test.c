// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Every form of every instruction against its bytes as GNU as and objdump (binutils 2.40) give
// them.
//
// Links: tensor/jit/assembler.c
#include "tensor/jit/assembler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const struct vector sse = {FORM_SSE, WIDTH_128, 0, false};
static const struct vector sse1 = {FORM_SSE, WIDTH_SCALAR, 0, false};
static const struct vector one = {FORM_VEX, WIDTH_SCALAR, 0, false};
static const struct vector x = {FORM_VEX, WIDTH_128, 0, false};
static const struct vector y = {FORM_VEX, WIDTH_256, 0, false};
static const struct vector z = {FORM_EVEX, WIDTH_512, 0, false};
static const struct vector masked = {FORM_EVEX, WIDTH_512, 1, false};
static const struct vector zeroed = {FORM_EVEX, WIDTH_512, 1, true};

static struct assembler out;
static struct assembler *const a = &out;
static uint8_t code[4096];

static void begin(void)
{
    asm_begin(a, code, sizeof code, 32);
}

static void is_bytes(const char *want, const char *call)
{
    char got[128] = "";
    for (size_t i = 0; i < a->used && i < 60; i++) {
        snprintf(got + 2 * i, 3, "%02x", code[i]);
    }
    if (strcmp(got, want) != 0) {
        fail_msg("%s: %s, wanted %s", call, got, want);
    }
}
#define IS(bytes, call)                                                                            \
    do {                                                                                           \
        begin();                                                                                   \
        call;                                                                                      \
        is_bytes(bytes, #call);                                                                    \
    } while (0)

static void general_instructions(void **state)
{
    (void)state;
    IS("b878563412", asm_move_immediate(a, RAX, 0x12345678));                // mov eax, 0x12345678
    IS("41bb78563412", asm_move_immediate(a, R11, 0x12345678));              // mov r11d, 0x12345678
    IS("488b0e", asm_load_pointer(a, RCX, in_memory(RSI, NO_REGISTER, 0)));  // mov rcx, [rsi]
    IS("4c8b4608", asm_load_pointer(a, R8, in_memory(RSI, NO_REGISTER, 8))); // mov r8, [rsi+8]
    IS("498b9424e8030000",
       asm_load_pointer(a, RDX, in_memory(R12, NO_REGISTER, 1000)));          // mov rdx, [r12+1000]
    IS("498b5500", asm_load_pointer(a, RDX, in_memory(R13, NO_REGISTER, 0))); // mov rdx, [r13]
    IS("4e8b4c1500", asm_load_pointer(a, R9, in_memory(RBP, R10, 0)));        // mov r9, [rbp+r10]
    IS("4883c040", asm_add_immediate(a, RAX, 64));                            // add rax, 64
    IS("4981c100010000", asm_add_immediate(a, R9, 256));                      // add r9, 256
    IS("4881fa00100000", asm_compare_immediate(a, RDX, 4096));                // cmp rdx, 4096
    IS("4983fafb", asm_compare_immediate(a, R10, -5));                        // cmp r10, -5
    IS("c3", asm_return(a));                                                  // ret
    IS("c5f877", asm_zero_upper(a));                                          // vzeroupper
    IS("c5f892c8", asm_set_mask(a, 1, RAX));                                  // kmovw k1, eax
    IS("c4c17892f9", asm_set_mask(a, 7, R9));                                 // kmovw k7, r9d
}

static void arithmetic(void **state)
{
    (void)state;
    IS("410f51c9", asm_arithmetic(a, sse, OP_SQRT, 1, 1, in_register(9)));    // sqrtps xmm1, xmm9
    IS("f3440f51c2", asm_arithmetic(a, sse1, OP_SQRT, 8, 8, in_register(2))); // sqrtss xmm8, xmm2
    IS("c59a51dd",
       asm_arithmetic(a, one, OP_SQRT, 3, 12, in_register(5))); // vsqrtss xmm3, xmm12, xmm5
    IS("c4c17c51c9", asm_arithmetic(a, y, OP_SQRT, 1, 0, in_register(9)));    // vsqrtps ymm1, ymm9
    IS("62c17c4851c9", asm_arithmetic(a, z, OP_SQRT, 17, 0, in_register(9))); // vsqrtps zmm17, zmm9
    IS("410f54c9", asm_arithmetic(a, sse, OP_AND, 1, 1, in_register(9)));     // andps xmm1, xmm9
    IS("c5e854cb", asm_arithmetic(a, x, OP_AND, 1, 2, in_register(3))); // vandps xmm1, xmm2, xmm3
    IS("c4416c54cd",
       asm_arithmetic(a, y, OP_AND, 9, 2, in_register(13))); // vandps ymm9, ymm2, ymm13
    IS("62116c4054cd",
       asm_arithmetic(a, z, OP_AND, 9, 18, in_register(29))); // vandps zmm9, zmm18, zmm29
    IS("c52454540620",
       asm_arithmetic(a, y, OP_AND, 10, 11,
                      in_memory(RSI, RAX, 32))); // vandps ymm10, ymm11, ymmword ptr [rsi+rax+32]
    IS("6261244854b40620000000",
       asm_arithmetic(a, z, OP_AND, 30, 11,
                      in_memory(RSI, RAX, 32))); // vandps zmm30, zmm11, zmmword ptr [rsi+rax+32]
    IS("410f55c9", asm_arithmetic(a, sse, OP_AND_NOT, 1, 1, in_register(9))); // andnps xmm1, xmm9
    IS("c5e855cb",
       asm_arithmetic(a, x, OP_AND_NOT, 1, 2, in_register(3))); // vandnps xmm1, xmm2, xmm3
    IS("c4416c55cd",
       asm_arithmetic(a, y, OP_AND_NOT, 9, 2, in_register(13))); // vandnps ymm9, ymm2, ymm13
    IS("62116c4055cd",
       asm_arithmetic(a, z, OP_AND_NOT, 9, 18, in_register(29))); // vandnps zmm9, zmm18, zmm29
    IS("c40124559411a0860100",
       asm_arithmetic(
           a, y, OP_AND_NOT, 10, 11,
           in_memory(R9, R10, 100000))); // vandnps ymm10, ymm11, ymmword ptr [r9+r10+100000]
    IS("6201244855b411a0860100",
       asm_arithmetic(
           a, z, OP_AND_NOT, 30, 11,
           in_memory(R9, R10, 100000))); // vandnps zmm30, zmm11, zmmword ptr [r9+r10+100000]
    IS("410f56c9", asm_arithmetic(a, sse, OP_OR, 1, 1, in_register(9)));  // orps xmm1, xmm9
    IS("c5e856cb", asm_arithmetic(a, x, OP_OR, 1, 2, in_register(3)));    // vorps xmm1, xmm2, xmm3
    IS("c4416c56cd", asm_arithmetic(a, y, OP_OR, 9, 2, in_register(13))); // vorps ymm9, ymm2, ymm13
    IS("62116c4056cd",
       asm_arithmetic(a, z, OP_OR, 9, 18, in_register(29))); // vorps zmm9, zmm18, zmm29
    IS("c5245617",
       asm_arithmetic(a, y, OP_OR, 10, 11,
                      in_memory(RDI, NO_REGISTER, 0))); // vorps ymm10, ymm11, ymmword ptr [rdi]
    IS("626124485637",
       asm_arithmetic(a, z, OP_OR, 30, 11,
                      in_memory(RDI, NO_REGISTER, 0))); // vorps zmm30, zmm11, zmmword ptr [rdi]
    IS("410f57c9", asm_arithmetic(a, sse, OP_XOR, 1, 1, in_register(9))); // xorps xmm1, xmm9
    IS("c5e857cb", asm_arithmetic(a, x, OP_XOR, 1, 2, in_register(3)));   // vxorps xmm1, xmm2, xmm3
    IS("c4416c57cd",
       asm_arithmetic(a, y, OP_XOR, 9, 2, in_register(13))); // vxorps ymm9, ymm2, ymm13
    IS("62116c4057cd",
       asm_arithmetic(a, z, OP_XOR, 9, 18, in_register(29))); // vxorps zmm9, zmm18, zmm29
    IS("c52457540620",
       asm_arithmetic(a, y, OP_XOR, 10, 11,
                      in_memory(RSI, RAX, 32))); // vxorps ymm10, ymm11, ymmword ptr [rsi+rax+32]
    IS("6261244857b40620000000",
       asm_arithmetic(a, z, OP_XOR, 30, 11,
                      in_memory(RSI, RAX, 32))); // vxorps zmm30, zmm11, zmmword ptr [rsi+rax+32]
    IS("410f58c9", asm_arithmetic(a, sse, OP_ADD, 1, 1, in_register(9)));    // addps xmm1, xmm9
    IS("f3440f58c2", asm_arithmetic(a, sse1, OP_ADD, 8, 8, in_register(2))); // addss xmm8, xmm2
    IS("c59a58dd",
       asm_arithmetic(a, one, OP_ADD, 3, 12, in_register(5)));          // vaddss xmm3, xmm12, xmm5
    IS("c5e858cb", asm_arithmetic(a, x, OP_ADD, 1, 2, in_register(3))); // vaddps xmm1, xmm2, xmm3
    IS("c4416c58cd",
       asm_arithmetic(a, y, OP_ADD, 9, 2, in_register(13))); // vaddps ymm9, ymm2, ymm13
    IS("62116c4058cd",
       asm_arithmetic(a, z, OP_ADD, 9, 18, in_register(29))); // vaddps zmm9, zmm18, zmm29
    IS("c40124589411a0860100",
       asm_arithmetic(
           a, y, OP_ADD, 10, 11,
           in_memory(R9, R10, 100000))); // vaddps ymm10, ymm11, ymmword ptr [r9+r10+100000]
    IS("6201244858b411a0860100",
       asm_arithmetic(
           a, z, OP_ADD, 30, 11,
           in_memory(R9, R10, 100000))); // vaddps zmm30, zmm11, zmmword ptr [r9+r10+100000]
    IS("410f59c9", asm_arithmetic(a, sse, OP_MUL, 1, 1, in_register(9)));    // mulps xmm1, xmm9
    IS("f3440f59c2", asm_arithmetic(a, sse1, OP_MUL, 8, 8, in_register(2))); // mulss xmm8, xmm2
    IS("c59a59dd",
       asm_arithmetic(a, one, OP_MUL, 3, 12, in_register(5)));          // vmulss xmm3, xmm12, xmm5
    IS("c5e859cb", asm_arithmetic(a, x, OP_MUL, 1, 2, in_register(3))); // vmulps xmm1, xmm2, xmm3
    IS("c4416c59cd",
       asm_arithmetic(a, y, OP_MUL, 9, 2, in_register(13))); // vmulps ymm9, ymm2, ymm13
    IS("62116c4059cd",
       asm_arithmetic(a, z, OP_MUL, 9, 18, in_register(29))); // vmulps zmm9, zmm18, zmm29
    IS("c5245917",
       asm_arithmetic(a, y, OP_MUL, 10, 11,
                      in_memory(RDI, NO_REGISTER, 0))); // vmulps ymm10, ymm11, ymmword ptr [rdi]
    IS("626124485937",
       asm_arithmetic(a, z, OP_MUL, 30, 11,
                      in_memory(RDI, NO_REGISTER, 0))); // vmulps zmm30, zmm11, zmmword ptr [rdi]
    IS("410f5cc9", asm_arithmetic(a, sse, OP_SUB, 1, 1, in_register(9)));    // subps xmm1, xmm9
    IS("f3440f5cc2", asm_arithmetic(a, sse1, OP_SUB, 8, 8, in_register(2))); // subss xmm8, xmm2
    IS("c59a5cdd",
       asm_arithmetic(a, one, OP_SUB, 3, 12, in_register(5)));          // vsubss xmm3, xmm12, xmm5
    IS("c5e85ccb", asm_arithmetic(a, x, OP_SUB, 1, 2, in_register(3))); // vsubps xmm1, xmm2, xmm3
    IS("c4416c5ccd",
       asm_arithmetic(a, y, OP_SUB, 9, 2, in_register(13))); // vsubps ymm9, ymm2, ymm13
    IS("62116c405ccd",
       asm_arithmetic(a, z, OP_SUB, 9, 18, in_register(29))); // vsubps zmm9, zmm18, zmm29
    IS("c5245c540620",
       asm_arithmetic(a, y, OP_SUB, 10, 11,
                      in_memory(RSI, RAX, 32))); // vsubps ymm10, ymm11, ymmword ptr [rsi+rax+32]
    IS("626124485cb40620000000",
       asm_arithmetic(a, z, OP_SUB, 30, 11,
                      in_memory(RSI, RAX, 32))); // vsubps zmm30, zmm11, zmmword ptr [rsi+rax+32]
    IS("410f5dc9", asm_arithmetic(a, sse, OP_MIN, 1, 1, in_register(9)));    // minps xmm1, xmm9
    IS("f3440f5dc2", asm_arithmetic(a, sse1, OP_MIN, 8, 8, in_register(2))); // minss xmm8, xmm2
    IS("c59a5ddd",
       asm_arithmetic(a, one, OP_MIN, 3, 12, in_register(5)));          // vminss xmm3, xmm12, xmm5
    IS("c5e85dcb", asm_arithmetic(a, x, OP_MIN, 1, 2, in_register(3))); // vminps xmm1, xmm2, xmm3
    IS("c4416c5dcd",
       asm_arithmetic(a, y, OP_MIN, 9, 2, in_register(13))); // vminps ymm9, ymm2, ymm13
    IS("62116c405dcd",
       asm_arithmetic(a, z, OP_MIN, 9, 18, in_register(29))); // vminps zmm9, zmm18, zmm29
    IS("c401245d9411a0860100",
       asm_arithmetic(
           a, y, OP_MIN, 10, 11,
           in_memory(R9, R10, 100000))); // vminps ymm10, ymm11, ymmword ptr [r9+r10+100000]
    IS("620124485db411a0860100",
       asm_arithmetic(
           a, z, OP_MIN, 30, 11,
           in_memory(R9, R10, 100000))); // vminps zmm30, zmm11, zmmword ptr [r9+r10+100000]
    IS("410f5ec9", asm_arithmetic(a, sse, OP_DIV, 1, 1, in_register(9)));    // divps xmm1, xmm9
    IS("f3440f5ec2", asm_arithmetic(a, sse1, OP_DIV, 8, 8, in_register(2))); // divss xmm8, xmm2
    IS("c59a5edd",
       asm_arithmetic(a, one, OP_DIV, 3, 12, in_register(5)));          // vdivss xmm3, xmm12, xmm5
    IS("c5e85ecb", asm_arithmetic(a, x, OP_DIV, 1, 2, in_register(3))); // vdivps xmm1, xmm2, xmm3
    IS("c4416c5ecd",
       asm_arithmetic(a, y, OP_DIV, 9, 2, in_register(13))); // vdivps ymm9, ymm2, ymm13
    IS("62116c405ecd",
       asm_arithmetic(a, z, OP_DIV, 9, 18, in_register(29))); // vdivps zmm9, zmm18, zmm29
    IS("c5245e17",
       asm_arithmetic(a, y, OP_DIV, 10, 11,
                      in_memory(RDI, NO_REGISTER, 0))); // vdivps ymm10, ymm11, ymmword ptr [rdi]
    IS("626124485e37",
       asm_arithmetic(a, z, OP_DIV, 30, 11,
                      in_memory(RDI, NO_REGISTER, 0))); // vdivps zmm30, zmm11, zmmword ptr [rdi]
    IS("410f5fc9", asm_arithmetic(a, sse, OP_MAX, 1, 1, in_register(9)));    // maxps xmm1, xmm9
    IS("f3440f5fc2", asm_arithmetic(a, sse1, OP_MAX, 8, 8, in_register(2))); // maxss xmm8, xmm2
    IS("c59a5fdd",
       asm_arithmetic(a, one, OP_MAX, 3, 12, in_register(5)));          // vmaxss xmm3, xmm12, xmm5
    IS("c5e85fcb", asm_arithmetic(a, x, OP_MAX, 1, 2, in_register(3))); // vmaxps xmm1, xmm2, xmm3
    IS("c4416c5fcd",
       asm_arithmetic(a, y, OP_MAX, 9, 2, in_register(13))); // vmaxps ymm9, ymm2, ymm13
    IS("62116c405fcd",
       asm_arithmetic(a, z, OP_MAX, 9, 18, in_register(29))); // vmaxps zmm9, zmm18, zmm29
    IS("c5245f540620",
       asm_arithmetic(a, y, OP_MAX, 10, 11,
                      in_memory(RSI, RAX, 32))); // vmaxps ymm10, ymm11, ymmword ptr [rsi+rax+32]
    IS("626124485fb40620000000",
       asm_arithmetic(a, z, OP_MAX, 30, 11,
                      in_memory(RSI, RAX, 32))); // vmaxps zmm30, zmm11, zmmword ptr [rsi+rax+32]
    IS("440f584c0620",
       asm_arithmetic(a, sse, OP_ADD, 9, 9,
                      in_memory(RSI, RAX, 32))); // addps xmm9, xmmword ptr [rsi+rax+32]
    IS("f3450f584efc",
       asm_arithmetic(a, sse1, OP_ADD, 9, 9,
                      in_memory(R14, NO_REGISTER, -4))); // addss xmm9, dword ptr [r14-4]
}

static void fused_moves_and_the_rest(void **state)
{
    (void)state;
    IS("c4e26998cb",
       asm_fused(a, x, FUSED_132, 1, 2, in_register(3))); // vfmadd132ps xmm1, xmm2, xmm3
    IS("c4426d98cd",
       asm_fused(a, y, FUSED_132, 9, 2, in_register(13))); // vfmadd132ps ymm9, ymm2, ymm13
    IS("62e20d4098df",
       asm_fused(a, z, FUSED_132, 19, 30, in_register(7))); // vfmadd132ps zmm19, zmm30, zmm7
    IS("c4e255986402a0",
       asm_fused(a, y, FUSED_132, 4, 5,
                 in_memory(RDX, RAX, -96))); // vfmadd132ps ymm4, ymm5, ymmword ptr [rdx+rax-96]
    IS("6262554898440202",
       asm_fused(a, z, FUSED_132, 24, 5,
                 in_memory(RDX, RAX, 128))); // vfmadd132ps zmm24, zmm5, zmmword ptr [rdx+rax+128]
    IS("c4e269a8cb",
       asm_fused(a, x, FUSED_213, 1, 2, in_register(3))); // vfmadd213ps xmm1, xmm2, xmm3
    IS("c4426da8cd",
       asm_fused(a, y, FUSED_213, 9, 2, in_register(13))); // vfmadd213ps ymm9, ymm2, ymm13
    IS("62e20d40a8df",
       asm_fused(a, z, FUSED_213, 19, 30, in_register(7))); // vfmadd213ps zmm19, zmm30, zmm7
    IS("c4e255a86402a0",
       asm_fused(a, y, FUSED_213, 4, 5,
                 in_memory(RDX, RAX, -96))); // vfmadd213ps ymm4, ymm5, ymmword ptr [rdx+rax-96]
    IS("62625548a8440202",
       asm_fused(a, z, FUSED_213, 24, 5,
                 in_memory(RDX, RAX, 128))); // vfmadd213ps zmm24, zmm5, zmmword ptr [rdx+rax+128]
    IS("c4e269b8cb",
       asm_fused(a, x, FUSED_231, 1, 2, in_register(3))); // vfmadd231ps xmm1, xmm2, xmm3
    IS("c4426db8cd",
       asm_fused(a, y, FUSED_231, 9, 2, in_register(13))); // vfmadd231ps ymm9, ymm2, ymm13
    IS("62e20d40b8df",
       asm_fused(a, z, FUSED_231, 19, 30, in_register(7))); // vfmadd231ps zmm19, zmm30, zmm7
    IS("c4e255b86402a0",
       asm_fused(a, y, FUSED_231, 4, 5,
                 in_memory(RDX, RAX, -96))); // vfmadd231ps ymm4, ymm5, ymmword ptr [rdx+rax-96]
    IS("62625548b8440202",
       asm_fused(a, z, FUSED_231, 24, 5,
                 in_memory(RDX, RAX, 128))); // vfmadd231ps zmm24, zmm5, zmmword ptr [rdx+rax+128]
    IS("0f100f", asm_load(a, sse, 1, in_memory(RDI, NO_REGISTER, 0))); // movups xmm1, [rdi]
    IS("f3450f104804",
       asm_load(a, sse1, 9, in_memory(R8, NO_REGISTER, 4))); // movss xmm9, dword ptr [r8+4]
    IS("440f116710",
       asm_store(a, sse, in_memory(RDI, NO_REGISTER, 16), 12)); // movups [rdi+16], xmm12
    IS("f30f1107",
       asm_store(a, sse1, in_memory(RDI, NO_REGISTER, 0), 0)); // movss dword ptr [rdi], xmm0
    IS("410f28db", asm_move(a, sse, 3, 11));                   // movaps xmm3, xmm11
    IS("c5fc1017",
       asm_load(a, y, 2, in_memory(RDI, NO_REGISTER, 0))); // vmovups ymm2, ymmword ptr [rdi]
    IS("62e17c481037",
       asm_load(a, z, 22, in_memory(RDI, NO_REGISTER, 0))); // vmovups zmm22, zmmword ptr [rdi]
    IS("c57c1137",
       asm_store(a, y, in_memory(RDI, NO_REGISTER, 0), 14)); // vmovups ymmword ptr [rdi], ymm14
    IS("62617c48113f",
       asm_store(a, z, in_memory(RDI, NO_REGISTER, 0), 31)); // vmovups zmmword ptr [rdi], zmm31
    IS("c5fc10540620",
       asm_load(a, y, 2, in_memory(RSI, RAX, 32))); // vmovups ymm2, ymmword ptr [rsi+rax+32]
    IS("62e17c4810b40620000000",
       asm_load(a, z, 22, in_memory(RSI, RAX, 32))); // vmovups zmm22, zmmword ptr [rsi+rax+32]
    IS("c57c11740620",
       asm_store(a, y, in_memory(RSI, RAX, 32), 14)); // vmovups ymmword ptr [rsi+rax+32], ymm14
    IS("62617c4811bc0620000000",
       asm_store(a, z, in_memory(RSI, RAX, 32), 31)); // vmovups zmmword ptr [rsi+rax+32], zmm31
    IS("c4817c109411a0860100",
       asm_load(a, y, 2, in_memory(R9, R10, 100000))); // vmovups ymm2, ymmword ptr [r9+r10+100000]
    IS("62817c4810b411a0860100",
       asm_load(a, z, 22,
                in_memory(R9, R10, 100000))); // vmovups zmm22, zmmword ptr [r9+r10+100000]
    IS("c4017c11b411a0860100", asm_store(a, y, in_memory(R9, R10, 100000),
                                         14)); // vmovups ymmword ptr [r9+r10+100000], ymm14
    IS("62017c4811bc11a0860100", asm_store(a, z, in_memory(R9, R10, 100000),
                                           31)); // vmovups zmmword ptr [r9+r10+100000], zmm31
    IS("c5fc101424",
       asm_load(a, y, 2, in_memory(RSP, NO_REGISTER, 0))); // vmovups ymm2, ymmword ptr [rsp]
    IS("62e17c48103424",
       asm_load(a, z, 22, in_memory(RSP, NO_REGISTER, 0))); // vmovups zmm22, zmmword ptr [rsp]
    IS("c57c113424",
       asm_store(a, y, in_memory(RSP, NO_REGISTER, 0), 14)); // vmovups ymmword ptr [rsp], ymm14
    IS("62617c48113c24",
       asm_store(a, z, in_memory(RSP, NO_REGISTER, 0), 31)); // vmovups zmmword ptr [rsp], zmm31
    IS("c4c17c10542408",
       asm_load(a, y, 2, in_memory(R12, NO_REGISTER, 8))); // vmovups ymm2, ymmword ptr [r12+8]
    IS("62c17c4810b42408000000",
       asm_load(a, z, 22, in_memory(R12, NO_REGISTER, 8))); // vmovups zmm22, zmmword ptr [r12+8]
    IS("c4417c11742408",
       asm_store(a, y, in_memory(R12, NO_REGISTER, 8), 14)); // vmovups ymmword ptr [r12+8], ymm14
    IS("62417c4811bc2408000000",
       asm_store(a, z, in_memory(R12, NO_REGISTER, 8), 31)); // vmovups zmmword ptr [r12+8], zmm31
    IS("c4c17c105500",
       asm_load(a, y, 2, in_memory(R13, NO_REGISTER, 0))); // vmovups ymm2, ymmword ptr [r13]
    IS("62c17c48107500",
       asm_load(a, z, 22, in_memory(R13, NO_REGISTER, 0))); // vmovups zmm22, zmmword ptr [r13]
    IS("c4417c117500",
       asm_store(a, y, in_memory(R13, NO_REGISTER, 0), 14)); // vmovups ymmword ptr [r13], ymm14
    IS("62417c48117d00",
       asm_store(a, z, in_memory(R13, NO_REGISTER, 0), 31)); // vmovups zmmword ptr [r13], zmm31
    IS("c5fc10540d00",
       asm_load(a, y, 2, in_memory(RBP, RCX, 0))); // vmovups ymm2, ymmword ptr [rbp+rcx]
    IS("62e17c4810740d00",
       asm_load(a, z, 22, in_memory(RBP, RCX, 0))); // vmovups zmm22, zmmword ptr [rbp+rcx]
    IS("c57c11740d00",
       asm_store(a, y, in_memory(RBP, RCX, 0), 14)); // vmovups ymmword ptr [rbp+rcx], ymm14
    IS("62617c48117c0d00",
       asm_store(a, z, in_memory(RBP, RCX, 0), 31)); // vmovups zmmword ptr [rbp+rcx], zmm31
    IS("c5fc109700200000",
       asm_load(a, y, 2,
                in_memory(RDI, NO_REGISTER, 8192))); // vmovups ymm2, ymmword ptr [rdi+8192]
    IS("62e17c4810b700200000",
       asm_load(a, z, 22,
                in_memory(RDI, NO_REGISTER, 8192))); // vmovups zmm22, zmmword ptr [rdi+8192]
    IS("c57c11b700200000", asm_store(a, y, in_memory(RDI, NO_REGISTER, 8192),
                                     14)); // vmovups ymmword ptr [rdi+8192], ymm14
    IS("62617c4811bf00200000", asm_store(a, z, in_memory(RDI, NO_REGISTER, 8192),
                                         31)); // vmovups zmmword ptr [rdi+8192], zmm31
    IS("c5fc1097c01f0000",
       asm_load(a, y, 2,
                in_memory(RDI, NO_REGISTER, 8128))); // vmovups ymm2, ymmword ptr [rdi+8128]
    IS("62e17c4810777f",
       asm_load(a, z, 22,
                in_memory(RDI, NO_REGISTER, 8128))); // vmovups zmm22, zmmword ptr [rdi+8128]
    IS("c57c11b7c01f0000", asm_store(a, y, in_memory(RDI, NO_REGISTER, 8128),
                                     14)); // vmovups ymmword ptr [rdi+8128], ymm14
    IS("62617c48117f7f", asm_store(a, z, in_memory(RDI, NO_REGISTER, 8128),
                                   31)); // vmovups zmmword ptr [rdi+8128], zmm31
    IS("c5fc109700e0ffff",
       asm_load(a, y, 2,
                in_memory(RDI, NO_REGISTER, -8192))); // vmovups ymm2, ymmword ptr [rdi-8192]
    IS("62e17c48107780",
       asm_load(a, z, 22,
                in_memory(RDI, NO_REGISTER, -8192))); // vmovups zmm22, zmmword ptr [rdi-8192]
    IS("c57c11b700e0ffff", asm_store(a, y, in_memory(RDI, NO_REGISTER, -8192),
                                     14)); // vmovups ymmword ptr [rdi-8192], ymm14
    IS("62617c48117f80", asm_store(a, z, in_memory(RDI, NO_REGISTER, -8192),
                                   31)); // vmovups zmmword ptr [rdi-8192], zmm31
    IS("62f17cc9105601",
       asm_load(a, zeroed, 2,
                in_memory(RSI, NO_REGISTER, 64))); // vmovups zmm2{k1}{z}, zmmword ptr [rsi+64]
    IS("62617c49118e04000000", asm_store(a, masked, in_memory(RSI, NO_REGISTER, 4),
                                         25)); // vmovups zmmword ptr [rsi+4]{k1}, zmm25
    IS("c5fa1009",
       asm_load(a, one, 1, in_memory(RCX, NO_REGISTER, 0))); // vmovss xmm1, dword ptr [rcx]
    IS("c57a110c01",
       asm_store(a, one, in_memory(RCX, RAX, 0), 9));         // vmovss dword ptr [rcx+rax], xmm9
    IS("c5f828ca", asm_move(a, x, 1, 2));                     // vmovaps xmm1, xmm2
    IS("c4417c28ca", asm_move(a, y, 9, 10));                  // vmovaps ymm9, ymm10
    IS("62817c4828c7", asm_move(a, z, 16, 31));               // vmovaps zmm16, zmm31
    IS("62b17cc928f4", asm_move(a, zeroed, 6, 20));           // vmovaps zmm6{k1}{z}, zmm20
    IS("c4e27d18d8", asm_broadcast(a, y, 3, in_register(0))); // vbroadcastss ymm3, xmm0
    IS("c4627d186f04",
       asm_broadcast(a, y, 13,
                     in_memory(RDI, NO_REGISTER, 4))); // vbroadcastss ymm13, dword ptr [rdi+4]
    IS("62627d4818f8", asm_broadcast(a, z, 31, in_register(0))); // vbroadcastss zmm31, xmm0
    IS("62f27d48185f01",
       asm_broadcast(a, z, 3,
                     in_memory(RDI, NO_REGISTER, 4)));       // vbroadcastss zmm3, dword ptr [rdi+4]
    IS("c4c37d04dcb1", asm_swap_neighbours(a, y, 3, 12));    // vpermilps ymm3, ymm12, 0xb1
    IS("62c37d4804fcb1", asm_swap_neighbours(a, z, 23, 12)); // vpermilps zmm23, zmm12, 0xb1
    IS("c4c16572f417", asm_shift_left(a, y, 3, 12, 23));     // vpslld ymm3, ymm12, 23
    IS("c59572f217", asm_shift_left(a, y, 13, 2, 23));       // vpslld ymm13, ymm2, 23
    IS("6291454072f617", asm_shift_left(a, z, 23, 30, 23));  // vpslld zmm23, zmm30, 23
    IS("c59dfed9", asm_add_integers(a, y, 3, 12, in_register(1)));      // vpaddd ymm3, ymm12, ymm1
    IS("62b11d48fedd", asm_add_integers(a, z, 3, 12, in_register(21))); // vpaddd zmm3, zmm12, zmm21
    IS("66410ffedc", asm_add_integers(a, sse, 3, 3, in_register(12)));  // paddd xmm3, xmm12
    IS("410fc2dc02", asm_compare(a, sse, 3, 3, in_register(12)));       // cmpps xmm3, xmm12, 2
    IS("c59cc2d91d", asm_compare(a, y, 3, 12, in_register(1))); // vcmpps ymm3, ymm12, ymm1, 0x1d
    IS("62b11c48c2d11d",
       asm_compare_to_mask(a, z, 2, 12, in_register(17))); // vcmpps k2, zmm12, zmm17, 0x1d
    IS("c4e2352c4f20",
       asm_load_masked(
           a, y, 1, 9,
           in_memory(RDI, NO_REGISTER, 32))); // vmaskmovps ymm1, ymm9, ymmword ptr [rdi+32]
    IS("c4c2352e1402", asm_store_masked(a, y, in_memory(R10, RAX, 0), 9,
                                        2));        // vmaskmovps ymmword ptr [r10+rax], ymm9, ymm2
    IS("c4637d19c901", asm_upper_half(a, y, 1, 9)); // vextractf128 xmm1, ymm9, 1
    IS("62737d481bc901", asm_upper_half(a, z, 1, 9)); // vextractf32x8 ymm1, zmm9, 1
    IS("c5e812cb", asm_high_to_low(a, x, 1, 2, 3));   // vmovhlps xmm1, xmm2, xmm3
    IS("c4c17a16c9", asm_odd_to_even(a, x, 1, 9));    // vmovshdup xmm1, xmm9
}

static void loops_are_aligned_by_long_nops(void **state)
{
    (void)state;
    static const char *const want[9] = {
        "",           "90",           "6690",           "0f1f00",          "0f1f4000",
        "0f1f440000", "660f1f440000", "0f1f8000000000", "0f1f840000000000"};
    for (size_t gap = 0; gap <= 8; gap++) {
        begin();
        for (size_t i = 0; i < 64 - gap && gap; i++) {
            asm_return(a);
        }
        asm_align(a, 64);
        assert_int_equal(a->used % 64, 0);
        if (gap) { // compare what was added
            memmove(code, code + 64 - gap, gap);
            a->used = gap;
        }
        is_bytes(want[gap], "align");
    }
}

static void jumps_go_back_near_and_far(void **state)
{
    (void)state;
    begin();
    asm_jump_back_if_not_equal(a, 0);
    is_bytes("75fe", "to itself");
    begin();
    for (int i = 0; i < 126; i++) {
        asm_return(a);
    }
    asm_jump_back_if_not_equal(a, 0);
    assert_int_equal(a->used, 128); // -128 just fits
    assert_memory_equal(code + 126, "\x75\x80", 2);
    asm_jump_back_if_not_equal(a, 0);
    assert_int_equal(a->used, 134);
    assert_memory_equal(code + 128, "\x0f\x85\x7a\xff\xff\xff", 6);
}

// The distance counts from the instruction's end, so an immediate behind it matters.
static void constants_stand_behind_the_code(void **state)
{
    (void)state;
    begin();
    int first = asm_number(a, 1.0f), second = asm_number(a, -2.0f);
    assert_int_equal(asm_number(a, 1.0f), first);
    asm_arithmetic(a, y, OP_ADD, 1, 2, a_constant(second)); // 8 bytes
    asm_compare(a, y, 3, 4, a_constant(first));             // 9 bytes
    asm_lanes(a, 3);
    asm_load(a, y, 5, (struct operand){.kind = OPERAND_LANES}); // 8 bytes
    assert_true(asm_finish(a));
    assert_int_equal(a->used, 64 + 3 * 32);
    int32_t at[3];
    memcpy(&at[0], code + 4, 4);
    memcpy(&at[1], code + 8 + 4, 4);
    memcpy(&at[2], code + 17 + 4, 4);
    assert_int_equal(at[0], 64 + 32 - 8);
    assert_int_equal(at[1], 64 - 17);
    assert_int_equal(at[2], 64 + 64 - 25);
    float f[16];
    memcpy(f, code + 64, 64);
    assert_true(f[0] == 1 && f[7] == 1 && f[8] == -2 && f[15] == -2);
    uint32_t lanes[8];
    memcpy(lanes, code + 128, 32);
    assert_true(lanes[2] == 0xffffffff && lanes[3] == 0);
    // EVEX reads one float for all lanes: the broadcast bit, and four bytes a constant.
    asm_begin(a, code, sizeof code, 4);
    first = asm_number(a, 1.0f);
    second = asm_number(a, 2.0f);
    asm_arithmetic(a, z, OP_ADD, 17, 2, a_constant(second));
    is_bytes("62e16c58580d00000000", "vaddps zmm17, zmm2, [rip]{1to16}");
    assert_true(asm_finish(a));
    assert_int_equal(a->used, 64 + 8);
    assert_int_equal(code[6], 64 + 4 - 10);
}

static void what_does_not_fit_is_told(void **state)
{
    (void)state;
    asm_begin(a, code, 3, 32);
    asm_move_immediate(a, RAX, 1);
    assert_true(a->full);
    assert_false(asm_finish(a));
    asm_begin(a, code, 70, 32); // the code fits, its constants do not
    asm_arithmetic(a, y, OP_ADD, 1, 2, a_constant(asm_number(a, 1)));
    assert_false(a->full);
    assert_false(asm_finish(a));
    begin();
    for (int i = 0; i <= ASM_MAX_CONSTANTS; i++) {
        asm_constant(a, (uint32_t)i);
    }
    assert_true(a->full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(general_instructions),
        cmocka_unit_test(arithmetic),
        cmocka_unit_test(fused_moves_and_the_rest),
        cmocka_unit_test(loops_are_aligned_by_long_nops),
        cmocka_unit_test(jumps_go_back_near_and_far),
        cmocka_unit_test(constants_stand_behind_the_code),
        cmocka_unit_test(what_does_not_fit_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
