/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instruction semantics against hand-written cases, and the completeness of the
 * mnemonic table.
 *
 * A case names tainted bytes before and after: "rax:0-3 flags mem:1". mem is
 * what the instruction loads, st what it stores. After it, exactly the bytes
 * named are tainted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugin/core/insn_internal.h"
#include "test_insn.h"

#define MEM_MAX 64u
#define MEM_AT 0x7000u
#define STORE_AT 0x9000u
#define PIECE 16u
#define ANY_LEN 8u /* bytes told where the instruction does not say how many */

struct golden {
	const char *what;
	const char *code; /* hex; in front "32:" for 32-bit code, "user:" for user mode */
	const char *before, *after;
};

static const struct golden cases[] = {
	/* moves */
	{"mov rax, rbx", "4889d8", "rbx:0 rbx:7 rax:3", "rbx:0 rbx:7 rax:0 rax:7"},
	{"mov eax, ebx clears the upper half", "89d8", "rbx:1 rbx:5 rax:4-7", "rbx:1 rbx:5 rax:1"},
	{"mov ax, bx keeps the rest", "6689d8", "rbx:0-7 rax:4", "rbx:0-7 rax:0-1 rax:4"},
	{"mov al, bl keeps the rest", "88d8", "rax:0-7", "rax:1-7"},
	{"mov ah, bl", "88dc", "rbx:0", "rbx:0 rax:1"},
	{"mov bl, ah", "88e3", "rax:0-1", "rax:0-1 rbx:0"},
	{"mov sil, al", "4088c6", "rax:0", "rax:0 rsi:0"},
	{"mov rax, imm", "48c7c001000000", "rax:0-7", ""},
	{"mov eax, [rbx]", "8b03", "mem:2 rax:7 rbx:0", "rax:2 rbx:0"},
	{"mov [rbx], eax", "8903", "rax:0 rax:5", "rax:0 rax:5 st:0"},
	{"mov byte [rbx], imm", "c60301", "rax:0", "rax:0"},
	{"mov eax, ds", "8cd8", "rax:0-7", ""},
	{"mov ds, eax", "8ed8", "rax:0", "rax:0"},
	{"movzx eax, byte [rbx]", "0fb603", "mem:0 rax:1-7", "rax:0"},
	{"movzx eax, ah", "0fb6c4", "rax:1 rax:6", "rax:0"},
	{"movsx rax, byte [rbx]", "480fbe03", "mem:0", "rax:0-7"},
	{"movsxd rax, ebx", "4863c3", "rbx:3", "rbx:3 rax:3-7"},
	{"movsxd rax, ebx, low byte", "4863c3", "rbx:0 rbx:4", "rbx:0 rbx:4 rax:0"},
	{"movbe eax, [rbx]", "0f38f003", "mem:0", "rax:3"},
	{"movbe [rbx], eax", "0f38f103", "rax:0", "rax:0 st:3"},
	{"bswap rax", "480fc8", "rax:1", "rax:6"},
	{"bswap eax", "0fc8", "rax:0 rax:6", "rax:3"},
	{"lea rax, [rbx]", "488d03", "rbx:2 mem:0", "rbx:2 rax:2"},
	{"lea rax, [rbx+8]", "488d4308", "rbx:2", "rbx:2 rax:2-7"},
	{"lea rax, [rbx+rcx*4]", "488d048b", "rcx:6", "rcx:6 rax:6-7"},
	{"lea rax, [rax+rax]", "488d0400", "rax:5", "rax:5-7"},
	{"lea rcx, [rbx+rcx]", "488d0c0b", "rbx:3 rcx:6", "rbx:3 rcx:3-7"},
	{"lea eax, [rbx+1]", "8d4301", "rbx:1 rbx:4 rax:7", "rbx:1 rbx:4 rax:1-3"},
	{"lea rax, [ebx+1]", "67488d4301", "rbx:2", "rbx:2 rax:2-3"},
	{"lea rax, [rip]", "488d0500000000", "rax:0-7", ""},
	{"xchg rax, rbx", "4893", "rax:0 rbx:7", "rax:7 rbx:0"},
	{"xchg eax, ebx clears both upper halves", "93", "rax:0 rax:4 rbx:6", "rbx:0"},
	{"xchg [rbx], rcx", "48870b", "mem:1 rcx:2", "rcx:1 st:2"},
	{"xlat", "d7", "rax:0 rbx:0", "rbx:0"},
	{"xlat of tainted table", "d7", "mem:0", "rax:0"},
	/* look-ups in tables */
	{"mov eax, [rbx+rcx*4], kernel", "8b048b", "rcx:2", "rcx:2"},
	{"mov eax, [rbx+rcx*4], user", "user:8b048b", "rcx:2", "rcx:2 rax:0-3"},
	{"mov eax, [rax] looks at rax before it is gone", "user:8b00", "rax:6", "rax:0-3"},
	{"mov rax, [rbx] is a pointer", "user:488b03", "rbx:0", "rbx:0"},
	{"movzx eax, byte [rbx+rcx]", "user:0fb6040b", "rbx:1 rax:7", "rbx:1 rax:0"},
	{"movsx rax, byte [rbx+rcx]", "user:480fbe040b", "rbx:1", "rbx:1 rax:0-7"},
	{"movsxd rax, [rbx+rcx*4] is a jump's offset", "user:4863048b", "rcx:0", "rcx:0"},
	{"movbe ax, [rcx]", "user:660f38f001", "rcx:0 rax:3", "rcx:0 rax:0-1 rax:3"},
	{"add al, [rbx+rcx]", "user:02040b", "rcx:0", "rcx:0 rax:0 flags"},
	{"add [rbx+rcx], al is no load into a register", "user:00040b", "rcx:0", "rcx:0"},
	{"mov eax, [rsp+rcx]", "user:8b040c", "rcx:0 rsp:0", "rcx:0 rsp:0 rax:0-3"},
	{"mov eax, [rsp]", "user:8b0424", "rsp:0", "rsp:0"},
	{"mov eax, [ebx] looks at four bytes", "user:678b03", "rbx:4", "rbx:4"},
	{"mov eax, [ebx], 32-bit", "user:32:8b03", "rbx:3", "rbx:3 rax:0-3"},
	{"xlat, user", "user:d7", "rax:0 rbx:7", "rax:0 rbx:7"},
	{"xlat, user, by rbx", "user:d7", "rbx:7 rax:1", "rbx:7 rax:0-1"},
	{"xlat looks at al only", "user:d7", "rax:1", "rax:1"},
	{"lodsb, user", "user:ac", "rsi:0", "rsi:0"},
	{"pop rax, user", "user:58", "rsp:0", "rsp:0"},
	{"movd xmm0, [rax] is no general register", "user:660f6e00", "rax:0", "rax:0"},
	{"vpgatherdd xmm0, [rax+xmm1*4], xmm2", "user:c4e269900488", "xmm1:5", "xmm1:5 xmm0:0-15 xmm2:0-15"},
	{"vpgatherdd, kernel", "c4e269900488", "xmm1:5", "xmm1:5"},
	{"vpgatherdq has 8-byte elements", "user:c4e2e9900488", "xmm1:5", "xmm1:5"},
	/* arithmetic and logic */
	{"add rax, rbx", "4801d8", "rbx:3 rax:1", "rbx:3 rax:1-7 flags"},
	{"add eax, ebx", "01d8", "rbx:2 rax:4-7", "rbx:2 rax:2-3 flags"},
	{"add rax, imm", "4883c001", "rax:5", "rax:5-7 flags"},
	{"add of clean cleans the flags", "4801d8", "flags", ""},
	{"add [rbx], eax", "0103", "mem:1", "st:1-3 flags"},
	{"add [rbx], eax from register", "0103", "rax:3", "rax:3 st:3 flags"},
	{"add eax, [rbx]", "0303", "mem:3", "rax:3 flags"},
	{"adc does not take the flags", "4811d8", "flags", "flags"},
	{"adc rax, rbx", "4811d8", "rbx:6", "rbx:6 rax:6-7 flags"},
	{"sub rax, rax is 0", "4829c0", "rax:0-7 flags", ""},
	{"sbb rax, rax is the carry", "4819c0", "rax:0-7", ""},
	{"xor eax, eax is 0", "31c0", "rax:0-7 flags", ""},
	{"xor rax, rbx", "4831d8", "rbx:3", "rbx:3 rax:3 flags"},
	{"and eax, 0xff", "25ff000000", "rax:0-3", "rax:0 flags"},
	{"and eax, 0xff00ff00", "2500ff00ff", "rax:0-7", "rax:1 rax:3 flags"},
	{"and rax, -16", "4883e0f0", "rax:0-7", "rax:0-7 flags"},
	{"and al, 0", "2400", "rax:0-1", "rax:1"},
	{"or rax, -1", "4883c8ff", "rax:0-7", ""},
	{"or eax, 0xff", "0dff000000", "rax:0-3", "rax:1-3 flags"},
	{"test eax, eax", "85c0", "rax:2", "rax:2 flags"},
	{"cmp al, [rbx]", "3a03", "mem:0", "flags"},
	{"inc keeps the carry", "48ffc0", "flags", "flags"},
	{"inc rax", "48ffc0", "rax:6", "rax:6-7 flags"},
	{"neg rax", "48f7d8", "rax:7", "rax:7 flags"},
	{"not rax", "48f7d0", "rax:7", "rax:7"},
	{"not dword [rbx]", "f713", "mem:1", "st:1"},
	{"xadd rax, rbx", "480fc1d8", "rax:2", "rax:2-7 rbx:2 flags"},
	{"xadd [rcx], rbx", "480fc119", "mem:2 rbx:5", "rbx:2 st:2-7 flags"},
	{"cmpxchg [rbx], ecx", "0fb10b", "mem:0 rcx:1", "rcx:1 rax:0 st:0-1 flags"},
	{"cmpxchg16b [rsi]", "480fc70e", "mem:9 rbx:1 rcx:2", "rbx:1 rcx:2 rdx:1 st:1 st:9-10 flags"},
	{"mul rbx", "48f7e3", "rax:5", "rax:5-7 rdx:0-7 flags"},
	{"mul bl", "f6e3", "rbx:0 rax:7", "rbx:0 rax:0-1 rax:7 flags"},
	{"imul rax, rbx", "480fafc3", "rbx:5", "rbx:5 rax:5-7 flags"},
	{"imul eax, ebx, 3", "6bc303", "rbx:1 rax:0 rax:7", "rbx:1 rax:1-3 flags"},
	{"div ebx", "f7f3", "rdx:0 rax:6", "rdx:0-3 rax:0-3 flags"},
	/* shifts */
	{"shl rax, 8", "48c1e008", "rax:1", "rax:2 flags"},
	{"shl rax, 4", "48c1e004", "rax:1", "rax:1-2 flags"},
	{"shl eax, 24", "c1e018", "rax:0-3", "rax:3 flags"},
	{"shr rax, 56", "48c1e838", "rax:7", "rax:0 flags"},
	{"shr rax, 56 of the rest", "48c1e838", "rax:0-6", "flags"},
	{"shr eax, 0 is a move", "c1e800", "rax:0 rax:4", "rax:0"},
	{"sar eax, 16", "c1f810", "rax:3", "rax:1-3 flags"},
	{"sar eax, 16, low", "c1f810", "rax:2", "rax:0 flags"},
	{"rol eax, 8", "c1c008", "rax:3", "rax:0 flags"},
	{"ror rax, 12", "48c1c80c", "rax:0", "rax:6-7 flags"},
	{"rorx eax, ebx, 16", "c4e37bf0c310", "rbx:0", "rbx:0 rax:2"},
	{"shl rax, cl", "48d3e0", "rax:3", "rax:0-7 flags"},
	{"shl rax, cl by tainted", "48d3e0", "rcx:0", "rcx:0 rax:0-7 flags"},
	{"shr byte [rbx], 1", "d02b", "mem:0", "st:0 flags"},
	{"shld eax, ebx, 4", "0fa4d804", "rbx:3 rax:7", "rbx:3 rax:0 flags"},
	{"shld eax, ebx, 4, high", "0fa4d804", "rax:1", "rax:1-2 flags"},
	{"shrd rax, rbx, 8", "480facd808", "rbx:0 rax:3", "rbx:0 rax:2 rax:7 flags"},
	{"shld eax, ebx, cl", "0fa5d8", "rbx:3 rax:7", "rbx:3 rax:0-3 flags"},
	{"rcl takes the carry", "d1d0", "flags", "flags rax:0-3"},
	/* bits */
	{"bt eax, ecx", "0fa3c8", "rax:1", "rax:1 flags"},
	{"bts eax, 3", "0fbae803", "rax:1 rax:5", "rax:1 flags"},
	{"bsf eax, ebx", "0fbcc3", "rbx:1", "rbx:1 rax:0-7 flags"},
	{"tzcnt eax, ebx", "f30fbcc3", "rbx:1 rax:2", "rbx:1 rax:0 flags"},
	{"popcnt rax, [rbx]", "f3480fb803", "mem:7", "rax:0 flags"},
	{"andn eax, ebx, ecx", "c4e260f2c1", "rbx:1 rcx:2", "rbx:1 rcx:2 rax:1-2 flags"},
	{"blsr rax, rbx", "c4e2f8f3cb", "rbx:6", "rbx:6 rax:6-7 flags"},
	{"crc32 eax, bl", "f20f38f0c3", "rbx:0", "rbx:0 rax:0-3"},
	/* conditions */
	{"setz al", "0f94c0", "flags rax:0-1", "flags rax:0-1"},
	{"setz al, clean", "0f94c0", "rax:0-1", "rax:1"},
	{"setz [rbx]", "0f9403", "flags", "flags st:0"},
	{"cmovz eax, ebx", "0f44c3", "rbx:1 rax:2 rax:6 flags", "rbx:1 rax:1-2 flags"},
	{"lahf", "9f", "flags", "flags rax:1"},
	{"sahf", "9e", "rax:1", "rax:1 flags"},
	{"jz", "7402", "flags", "flags"},
	{"loop", "e2fe", "rcx:1", "rcx:1-7"},
	/* sign extension */
	{"cdqe", "4898", "rax:3", "rax:3-7"},
	{"cwde", "98", "rax:0 rax:6", "rax:0"},
	{"cdq", "99", "rax:3 rdx:4-7", "rax:3 rdx:0-3"},
	{"cdq of the rest", "99", "rax:0-2 rdx:0-7", "rax:0-2"},
	{"cqo", "4899", "rax:7", "rax:7 rdx:0-7"},
	/* stack */
	{"push rax", "50", "rax:3", "rax:3 st:3"},
	{"push imm", "6a01", "rsp:0", "rsp:0"},
	{"push [rbx]", "ff33", "mem:4", "st:4"},
	{"push fs", "0fa0", "rax:0", "rax:0"},
	{"pop rbx", "5b", "mem:7 rsp:0", "rbx:7 rsp:0"},
	{"pop rsp", "5c", "mem:7", "rsp:7"},
	{"pop [rbx]", "8f03", "mem:7", "st:7"},
	{"call stores a clean address", "e800000000", "rax:0", "rax:0"},
	{"call [rbx]", "ff13", "mem:0", ""},
	{"ret", "c3", "mem:0-7", ""},
	{"leave", "c9", "mem:1 rbp:2", "rbp:1 rsp:2"},
	{"enter 8, 0", "c8080000", "rbp:1 rsp:2", "rbp:2 rsp:2 st:1"},
	{"pushfq", "9c", "flags", "flags st:0-1"},
	{"popfq", "9d", "mem:1", "flags"},
	{"push eax", "32:50", "rax:3 rax:4", "rax:3 rax:4 st:3"},
	{"pusha", "32:60", "rbx:0", "rbx:0 st:0-7"},
	{"popa", "32:61", "mem:0", "rax:0-3 rcx:0-3 rdx:0-3 rbx:0-3 rbp:0-3 rsi:0-3 rdi:0-3"},
	{"inc eax", "32:40", "rax:2", "rax:2-3 flags"},
	/* strings */
	{"movsb", "a4", "mem:0", "st:0"},
	{"movsq", "48a5", "mem:6", "st:6"},
	{"stosd", "ab", "rax:2 rax:5", "rax:2 rax:5 st:2"},
	{"lodsd", "ad", "mem:1 rax:0 rax:7", "rax:1"},
	{"lodsb", "ac", "mem:0 rax:7", "rax:0 rax:7"},
	{"scasb", "ae", "mem:0", "flags"},
	{"cmpsb", "a6", "mem:0", "flags"},
	{"movsd, the string one", "a5", "mem:3", "st:3"},
	{"cmpsd, the string one", "a7", "mem:0", "flags"},
	/* the processor's own */
	{"cpuid", "0fa2", "rax:0-7 rbx:0-7 rcx:1 rdx:7", ""},
	{"rdtsc", "0f31", "rax:0 rdx:4", ""},
	{"syscall", "0f05", "rcx:0-7 r11:0 rdi:0", "rdi:0"},
	{"in al, dx", "ec", "rax:0-1", "rax:1"},
	{"nop [rax]", "0f1f00", "rax:0", "rax:0"},
	/* vector moves */
	{"movdqa xmm0, xmm1", "660f6fc1", "xmm1:9 xmm0:1 xmm0:20", "xmm1:9 xmm0:9 xmm0:20"},
	{"vmovdqa xmm0, xmm1 clears the upper half", "c5f96fc1", "xmm1:9 xmm0:20 xmm1:20", "xmm1:9 xmm1:20 xmm0:9"},
	{"vmovdqu ymm0, [rax]", "c5fe6f00", "mem:31 xmm0:0", "xmm0:31"},
	{"vmovdqu [rax], ymm0", "c5fe7f00", "xmm0:17", "xmm0:17 st:17"},
	{"movups [rax], xmm3", "0f1118", "xmm3:15", "xmm3:15 st:15"},
	{"movd xmm0, eax", "660f6ec0", "rax:1 rax:5 xmm0:9", "rax:1 rax:5 xmm0:1"},
	{"movq rax, xmm0", "66480f7ec0", "xmm0:7-8", "xmm0:7-8 rax:7"},
	{"movd eax, xmm0", "660f7ec0", "xmm0:4 rax:0-7", "xmm0:4"},
	{"movq xmm0, xmm1", "f30f7ec1", "xmm1:7-8 xmm0:12", "xmm1:7-8 xmm0:7"},
	{"movss xmm0, [rax]", "f30f1000", "mem:0 xmm0:5", "xmm0:0"},
	{"movss xmm0, xmm1", "f30f10c1", "xmm1:0 xmm0:5", "xmm1:0 xmm0:0 xmm0:5"},
	{"vmovss xmm0, xmm1, xmm0", "c5f210c0", "xmm0:1 xmm1:0 xmm1:9", "xmm0:1 xmm0:9 xmm1:0 xmm1:9"},
	{"movsd [rax], xmm0", "f20f1100", "xmm0:7-8", "xmm0:7-8 st:7"},
	{"movhps xmm0, [rax]", "0f1600", "mem:1 xmm0:0 xmm0:10", "xmm0:0 xmm0:9"},
	{"movhps [rax], xmm0", "0f1700", "xmm0:9", "xmm0:9 st:1"},
	{"movlps xmm0, [rax]", "0f1200", "mem:1 xmm0:0 xmm0:10", "xmm0:1 xmm0:10"},
	{"movhlps xmm0, xmm1", "0f12c1", "xmm1:8 xmm0:1 xmm0:9", "xmm1:8 xmm0:0 xmm0:9"},
	{"movlhps xmm0, xmm1", "0f16c1", "xmm1:1 xmm0:1 xmm0:9", "xmm1:1 xmm0:1 xmm0:9"},
	{"movq mm0, [rax]", "0f6f00", "mem:3", "mm0:3"},
	{"movq [rax], mm0", "0f7f00", "mm0:3", "mm0:3 st:3"},
	{"movq2dq xmm0, mm1", "f30fd6c1", "mm1:3 xmm0:9", "mm1:3 xmm0:3"},
	{"vzeroupper", "c5f877", "xmm0:15-16 xmm15:31", "xmm0:15"},
	{"vzeroall", "c5fc77", "xmm0:15-16 xmm15:31", ""},
	/* vector bytes moved around */
	{"pshufd xmm0, xmm1, 0x1b", "660f70c11b", "xmm1:1", "xmm1:1 xmm0:13"},
	{"pshuflw xmm0, xmm1, 0x1b", "f20f70c11b", "xmm1:1 xmm1:8", "xmm1:1 xmm1:8 xmm0:7-8"},
	{"shufps xmm0, xmm1, 0xe4", "0fc6c1e4", "xmm1:8 xmm0:1 xmm0:12", "xmm1:8 xmm0:1 xmm0:8"},
	{"punpcklbw xmm0, xmm1", "660f60c1", "xmm0:1 xmm1:2 xmm1:8", "xmm1:2 xmm1:8 xmm0:2 xmm0:5"},
	{"punpckhqdq xmm0, [rax]", "660f6d00", "mem:9 xmm0:8", "xmm0:0 xmm0:9"},
	{"vpunpcklwd ymm0, ymm1, ymm0", "c5f561c0", "xmm0:18 xmm1:0", "xmm1:0 xmm0:0 xmm0:22"},
	{"palignr xmm0, xmm1, 4", "660f3a0fc104", "xmm1:4 xmm0:3", "xmm1:4 xmm0:0 xmm0:15"},
	{"pslldq xmm0, 3", "660f73f803", "xmm0:1 xmm0:14", "xmm0:4"},
	{"vpsrldq ymm0, ymm1, 3", "c5fd73d903", "xmm1:19 xmm1:2", "xmm1:19 xmm1:2 xmm0:16"},
	{"vpermq ymm0, ymm1, 0x4e", "c4e3fd00c14e", "xmm1:0", "xmm1:0 xmm0:16"},
	{"vperm2i128 ymm0, ymm1, ymm2, 0x83", "c4e37546c283", "xmm2:17", "xmm2:17 xmm0:1"},
	{"vpbroadcastb ymm0, [rax]", "c4e27d7800", "mem:0", "xmm0:0-31"},
	{"vpbroadcastd xmm0, xmm1", "c4e27958c1", "xmm1:1", "xmm1:1 xmm0:1 xmm0:5 xmm0:9 xmm0:13"},
	{"vinserti128 ymm0, ymm1, xmm0, 1", "c4e37538c001", "xmm0:2 xmm1:3", "xmm1:3 xmm0:3 xmm0:18"},
	{"vextracti128 [rax], ymm0, 1", "c4e37d390001", "xmm0:17", "xmm0:17 st:1"},
	{"pinsrw xmm0, [rax], 2", "660fc40002", "mem:1 xmm0:4", "xmm0:5"},
	{"pextrb eax, xmm0, 3", "660f3a14c003", "xmm0:3-4 rax:7", "xmm0:3-4 rax:0"},
	{"pmovzxbw xmm0, [rax]", "660f383000", "mem:1", "xmm0:2"},
	{"pmovsxbw xmm0, [rax]", "660f382000", "mem:1", "xmm0:2-3"},
	{"pblendw xmm0, xmm1, 1", "660f3a0ec101", "xmm1:0 xmm1:2 xmm0:1", "xmm1:0 xmm1:2 xmm0:0"},
	/* vector arithmetic */
	{"pxor xmm0, xmm0 is 0", "660fefc0", "xmm0:0-15 xmm0:20", "xmm0:20"},
	{"vpxor xmm0, xmm1, xmm1 is 0", "c5f1efc1", "xmm1:0 xmm0:0-31", "xmm1:0"},
	{"pcmpeqd xmm0, xmm0 is all ones", "660f76c0", "xmm0:0-15", ""},
	{"pand xmm0, [rax]", "660fdb00", "mem:3 xmm0:4", "xmm0:3-4"},
	{"vpor ymm0, ymm1, ymm0", "c5f5ebc0", "xmm0:3 xmm1:30", "xmm1:30 xmm0:3 xmm0:30"},
	{"pcmpeqb xmm0, xmm1", "660f74c1", "xmm1:3", "xmm1:3 xmm0:3"},
	{"pcmpeqw xmm0, xmm1", "660f75c1", "xmm1:3", "xmm1:3 xmm0:2-3"},
	{"pminub xmm0, xmm1", "660fdac1", "xmm1:3", "xmm1:3 xmm0:3"},
	{"paddd xmm0, xmm1", "660ffec1", "xmm1:5", "xmm1:5 xmm0:4-7"},
	{"psubq xmm0, xmm1", "660ffbc1", "xmm1:5", "xmm1:5 xmm0:0-7"},
	{"vpdpbusd xmm0, xmm1, xmm2", "c4e27150c2", "xmm2:5 xmm0:20", "xmm2:5 xmm0:4-7"},
	{"vmaskmovps xmm0, xmm1, [rax] clears the upper half", "c4e2712c00", "xmm0:16-31", ""},
	{"pmovmskb eax, xmm0", "660fd7c0", "xmm0:15 rax:2-7", "xmm0:15 rax:0-1"},
	{"ptest xmm0, xmm1", "660f3817c1", "xmm1:15", "xmm1:15 flags"},
	{"psllw xmm0, xmm1", "660ff1c1", "xmm1:0", "xmm1:0 xmm0:0-15"},
	{"psrld xmm0, 3", "660f72d003", "xmm0:5", "xmm0:4-5"},
	{"psrld xmm0, 32", "660f72d020", "xmm0:0-15", ""},
	{"psllq xmm0, 12", "660f73f00c", "xmm0:8", "xmm0:9-10"},
	{"vpsraw ymm0, ymm1, 20", "c5fd71e114", "xmm1:16-17 xmm0:0", "xmm1:16-17 xmm0:16-17"},
	{"psrad xmm0, 24", "660f72e018", "xmm0:3", "xmm0:0-3"},
	{"psrad xmm0, 24 of the rest", "660f72e018", "xmm0:0-2", ""},
	{"pshufb xmm0, xmm1", "660f3800c1", "xmm1:0", "xmm1:0 xmm0:0-15"},
	{"vpshufb ymm0, ymm1, ymm2 in lanes", "c4e27500c2", "xmm2:16", "xmm2:16 xmm0:16-31"},
	{"addss xmm0, xmm1", "f30f58c1", "xmm1:1 xmm0:9", "xmm1:1 xmm0:0-3 xmm0:9"},
	{"vaddsd xmm0, xmm1, xmm2", "c5f358c2", "xmm1:9 xmm2:0 xmm0:20", "xmm1:9 xmm2:0 xmm0:0-7 xmm0:9"},
	{"mulpd xmm0, xmm1", "660f59c1", "xmm1:9", "xmm1:9 xmm0:8-15"},
	{"cvtsi2sd xmm0, eax", "f20f2ac0", "rax:0 xmm0:1 xmm0:9", "rax:0 xmm0:0-7 xmm0:9"},
	{"cvttsd2si rax, xmm0", "f2480f2cc0", "xmm0:7", "xmm0:7 rax:0-7"},
	{"comisd xmm0, xmm1", "660f2fc1", "xmm1:7", "xmm1:7 flags"},
	{"comisd looks at the low half", "660f2fc1", "xmm1:8", "xmm1:8"},
	{"aesenc xmm0, xmm1", "660f38dcc1", "xmm1:7", "xmm1:7 xmm0:0-15"},
	{"maskmovdqu xmm0, xmm1", "660ff7c1", "xmm0:3", "xmm0:3 st:0-7"},
	{"vmaskmovps xmm0, xmm1, [rax]", "c4e2712c00", "mem:0", "xmm0:0-15"},
	/* x87: all of the stack together */
	{"fld qword [rax]", "dd00", "mem:0", "mm0:0-15 mm1:0-15 mm2:0-15 mm3:0-15 mm4:0-15 mm5:0-15 mm6:0-15 mm7:0-15"},
	{"fstp qword [rax]", "dd18", "mm5:2",
	 "st:0-7 mm0:0-15 mm1:0-15 mm2:0-15 mm3:0-15 mm4:0-15 mm5:0-15 mm6:0-15 mm7:0-15"},
	{"fninit leaves the registers", "dbe3", "mm5:2", "mm5:2"},
	{"fld1 leaves the other registers", "d9e8", "mm5:2", "mm5:2"},
	{"packsswb mm0, mm1", "0f63c1", "mm1:7", "mm1:7 mm0:0-7"},
	/* refused: outputs clean */
	{"vaddps zmm1, zmm1, zmm2", "62f1744858ca", "rax:0 xmm1:0", "rax:0"},
};

/* What is tainted, named by one number for each byte: registers, then loaded, then stored bytes. */
#define LOADED TAINT_REG_TMP
#define STORED (LOADED + MEM_MAX)
#define PLACES (STORED + MEM_MAX)

static unsigned place_of(const char *name, size_t n)
{
	static const char *const gprs[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					   "r8",  "r9",	 "r10", "r11", "r12", "r13", "r14", "r15"};

	for (unsigned i = 0; i < 16; i++)
		if (strlen(gprs[i]) == n && !strncmp(gprs[i], name, n))
			return TAINT_REG_GPR + 8 * i;
	if (!strncmp(name, "flags", 5))
		return TAINT_REG_FLAGS;
	if (!strncmp(name, "mem", 3))
		return LOADED;
	if (!strncmp(name, "st", 2))
		return STORED;
	if (!strncmp(name, "xmm", 3))
		return TAINT_REG_YMM + 32 * (unsigned)atoi(name + 3);
	assert_true(!strncmp(name, "mm", 2));
	return TAINT_REG_MM + 16 * (unsigned)atoi(name + 2);
}

static void parse(const char *s, bool *ret)
{
	memset(ret, 0, PLACES);
	for (; *s; s += strspn(s, " ")) {
		size_t n = strcspn(s, " "), name = strcspn(s, ": ");
		unsigned from = 0, to = 0, at = place_of(s, name);

		if (name < n && sscanf(s + name, ":%u-%u", &from, &to) == 1)
			to = from;
		for (unsigned i = from; i <= to; i++)
			ret[at + i] = true;
		s += n;
	}
}

static void load_all(struct taint_vcpu *v, struct taint_run *run, const struct taint_insn *in, const bool *tainted)
{
	struct taint_label labels[MEM_MAX];
	unsigned len = in->load_len ? in->load_len : ANY_LEN;

	for (unsigned i = 0; i < len; i++)
		labels[i] = (struct taint_label){.origin = tainted[LOADED + i] ? LOADED + i + 1 : 0};
	for (unsigned at = 0; at < len; at += PIECE)
		taint_insn_load(v, run, in, MEM_AT + at, labels + at, len - at < PIECE ? len - at : PIECE);
}

static void store_all(struct taint_vcpu *v, struct taint_run *run, const struct taint_insn *in, bool *ret)
{
	struct taint_label labels[MEM_MAX];
	unsigned len = in->store_len ? in->store_len : ANY_LEN;

	for (unsigned at = 0; at < len; at += PIECE)
		taint_insn_store(v, run, in, STORE_AT + at, labels + at, len - at < PIECE ? len - at : PIECE);
	for (unsigned i = 0; i < len; i++)
		ret[STORED + i] = labels[i].origin != 0;
}

static void run_insn(const struct taint_insn *in, const bool *before, bool *ret)
{
	static struct taint_vcpu v;
	struct taint_run run = {0};
	uint64_t tainted = 0;

	memset(&v, 0, sizeof(v));
	memset(ret, 0, PLACES);
	for (unsigned i = 0; i < TAINT_REG_TMP; i++)
		if (before[i])
			v.reg[i] = i + 1;
	taint_vcpu_any(&v);
	if (in->needs_begin)
		taint_insn_begin(&run);
	if (in->has_load)
		load_all(&v, &run, in, before);
	else if (in->n_ops)
		taint_insn_exec(&v, in);
	if (in->has_store)
		store_all(&v, &run, in, ret);
	for (unsigned i = 0; i < TAINT_REG_TMP; i++) {
		ret[i] = v.reg[i] != 0;
		tainted |= ret[i] ? taint_reg_bits(i, 1) : 0;
	}
	assert_int_equal(v.tainted, tainted);
}

static void test_golden(void **state)
{
	(void)state;
	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		bool before[PLACES], after[PLACES], got[PLACES];
		struct taint_insn in;

		compile_text(cases[c].code, &in);
		parse(cases[c].before, before);
		parse(cases[c].after, after);
		run_insn(&in, before, got);
		for (unsigned i = 0; i < PLACES; i++)
			if (got[i] != after[i])
				fail_msg("%s: byte %u is %stainted", cases[c].what, i, got[i] ? "" : "not ");
	}
}

static void test_shape(void **state)
{
	struct taint_insn in;

	(void)state;
	compile_text("c3", &in);
	assert_true(in.is_ret && in.has_load && in.load_len == 8);
	compile_text("cb", &in);
	assert_true(in.is_ret);
	compile_text("48cf", &in);
	assert_false(in.is_ret);
	compile_text("f3a4", &in);
	assert_true(in.repeats && in.has_load && in.has_store && in.load_len == 1 && in.store_len == 1);
	compile_text("a4", &in);
	assert_false(in.repeats);
	compile_text("c5fe6f00", &in);
	assert_true(in.needs_begin && in.load_len == 32);
	compile_text("0f1000", &in);
	assert_false(in.needs_begin);
	compile_text("0f22d8", &in); /* mov cr3, rax */
	assert_true(in.flushes_tlb);
	compile_text("0f20d8", &in); /* mov rax, cr3 */
	assert_false(in.flushes_tlb);
	compile_text("0f0138", &in); /* invlpg [rax] */
	assert_true(in.flushes_tlb && in.cls == TAINT_INSN_NONE);
	compile_text("0f30", &in); /* wrmsr */
	assert_true(in.flushes_tlb);
	compile_text("48f7f3", &in); /* div rbx */
	assert_true(in.cls == TAINT_INSN_CONSERVATIVE);
	compile_text("90", &in);
	assert_true(in.cls == TAINT_INSN_NONE && !in.has_load && !in.has_store && !in.n_ops);
}

static void test_undecodable(void **state)
{
	static const uint8_t bad[] = {0x06, 0x90}, cut[] = {0x48, 0x8b};
	struct taint_insn in;

	(void)state;
	assert_int_equal(taint_insn_compile(64, false, bad, sizeof(bad), &in), 0);
	assert_int_equal(in.cls, TAINT_INSN_REFUSED);
	assert_false(in.has_load || in.has_store);
	assert_int_equal(taint_insn_compile(64, false, cut, sizeof(cut), &in), 0);
	assert_int_equal(taint_insn_compile(64, false, cut, 0, &in), 0);
	assert_int_equal(taint_insn_compile(32, false, bad, sizeof(bad), &in), 1); /* push es */
	assert_true(in.has_store);
}

static void test_every_mnemonic(void **state)
{
	(void)state;
	for (unsigned m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE; m++)
		if (insn_rule_named(m) != 1)
			fail_msg("%s is named by %u rows", ZydisMnemonicGetString((ZydisMnemonic)m),
				 insn_rule_named(m));
	assert_int_equal(insn_rule_named(ZYDIS_MNEMONIC_MAX_VALUE + 1), 0);
	assert_int_equal(taint_insn_mnemonic_class(ZYDIS_MNEMONIC_MAX_VALUE + 1), TAINT_INSN_REFUSED);
	assert_int_equal(taint_insn_mnemonic_class(ZYDIS_MNEMONIC_DIVSD), TAINT_INSN_PRECISE);
	assert_int_equal(taint_insn_mnemonic_class(ZYDIS_MNEMONIC_JZ), TAINT_INSN_NONE);
	assert_int_equal(taint_insn_mnemonic_class(ZYDIS_MNEMONIC_FADD), TAINT_INSN_CONSERVATIVE);
	assert_int_equal(taint_insn_mnemonic_class(ZYDIS_MNEMONIC_FXSAVE), TAINT_INSN_PRECISE);
	assert_int_equal(taint_insn_mnemonic_class(ZYDIS_MNEMONIC_VPTERNLOGD), TAINT_INSN_REFUSED);
	assert_true(insn_rule_find(ZYDIS_MNEMONIC_DIVSD) != insn_rule_find(ZYDIS_MNEMONIC_MOVSD));
}

/* Random bytes: nothing written outside the register file, operations within their bounds. */
static void test_random_bytes(void **state)
{
	uint64_t seed = 1;

	(void)state;
	for (unsigned i = 0; i < 300000; i++) {
		uint8_t bytes[15];
		struct taint_insn in;

		for (unsigned k = 0; k < sizeof(bytes); k++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			bytes[k] = (uint8_t)(seed >> 56);
		}
		taint_insn_compile(i % 3 == 0 ? 16 : i % 3 == 1 ? 32 : 64, i % 2, bytes, sizeof(bytes), &in);
		assert_true(in.n_ops <= TAINT_INSN_OPS && in.load_len <= 128 && in.store_len <= 128);
		assert_true(in.store_src == TAINT_STORE_CLEAN || in.store_src + in.store_len <= TAINT_REG_BYTES);
		for (unsigned k = 0; k < in.n_ops; k++) {
			assert_true(in.op[k].kind < TAINT_OP_KINDS);
			assert_true(in.op[k].dst + in.op[k].dst_len <= TAINT_REG_BYTES && in.op[k].dst_len <= 128);
			assert_true(in.op[k].src + in.op[k].src_len <= TAINT_REG_BYTES && in.op[k].src_len <= 128);
		}
	}
}

static void test_pieces(void **state)
{
	static struct taint_vcpu v;
	struct taint_label tainted[16], clean[16] = {0};
	struct taint_run run = {0};
	struct taint_insn in;

	(void)state;
	for (uint32_t i = 0; i < 16; i++)
		tainted[i] = (struct taint_label){.origin = i + 1};
	memset(&v, 0, sizeof(v));
	compile_text("c5fe6f00", &in); /* vmovdqu ymm0, [rax] */
	taint_insn_begin(&run);
	assert_false(taint_insn_load(&v, &run, &in, 0x1000, clean, 16));
	assert_true(taint_insn_load(&v, &run, &in, 0x1010, tainted, 16));
	assert_int_equal(v.reg[TAINT_REG_YMM + 15], 0);
	assert_int_equal(v.reg[TAINT_REG_YMM + 16], 1);
	assert_int_equal(v.reg[TAINT_REG_YMM + 31], 16);
	/* given up after the first half (a fault), then run again: the half must not count */
	taint_insn_begin(&run);
	taint_insn_load(&v, &run, &in, 0x1000, tainted, 16);
	taint_insn_begin(&run);
	taint_insn_load(&v, &run, &in, 0x1000, clean, 16);
	taint_insn_load(&v, &run, &in, 0x1010, clean, 16);
	assert_int_equal(v.reg[TAINT_REG_YMM], 0);
	assert_int_equal(v.reg[TAINT_REG_YMM + 31], 0);
	assert_false(taint_vcpu_any(&v));
}

static void test_any(void **state)
{
	static struct taint_vcpu v;
	struct taint_label one = {.origin = 9}, four[4] = {{.origin = 9}}, out[4];
	struct taint_run run = {0};
	struct taint_insn load, copy, move, clear;

	(void)state;
	memset(&v, 0, sizeof(v));
	compile_text("8b03", &load); /* mov eax, [rbx] */
	compile_text("a4", &move); /* movsb */
	compile_text("8903", &copy); /* mov [rbx], eax */
	compile_text("31c0", &clear); /* xor eax, eax */
	assert_false(taint_insn_load(&v, &run, &move, 0, &one, 1)); /* through scratch only */
	assert_int_equal(v.tainted, 0);
	assert_true(taint_insn_store(&v, &run, &move, 0, out, 1));
	assert_int_equal(out[0].origin, 9);
	assert_false(taint_insn_store(&v, &run, &move, 0, out, 1)); /* used up; the next load was of clean bytes */
	assert_true(taint_insn_load(&v, &run, &load, 0, four, 4));
	assert_int_equal(v.tainted, 1);
	assert_true(taint_insn_store(&v, &run, &copy, 0, out, 4));
	assert_int_equal(out[0].origin, 9);
	assert_false(taint_insn_exec(&v, &clear));
	assert_int_equal(v.tainted, 0);
}

/* Saving the only tainted register and overwriting it at once; then there is nothing left to save. */
static void test_last_taint_is_stored(void **state)
{
	static struct taint_vcpu v;
	struct taint_label out[8];
	struct taint_run run = {0};
	struct taint_insn enter;

	(void)state;
	memset(&v, 0, sizeof(v));
	compile_text("c8400000", &enter); /* enter 0x40, 0 */
	v.reg[TAINT_REG_GPR + 5 * 8] = 7;
	taint_vcpu_any(&v);
	assert_false(taint_insn_exec(&v, &enter));
	assert_true(taint_insn_store(&v, &run, &enter, 0x1000, out, 8));
	assert_int_equal(out[0].origin, 7);
	assert_false(taint_insn_exec(&v, &enter));
	assert_false(taint_insn_store(&v, &run, &enter, 0x1000, out, 8));
}

/* Data that one instruction left in scratch is not another's. */
static void test_scratch_of_another(void **state)
{
	static struct taint_vcpu v;
	struct taint_label tainted[8] = {{.origin = 9}}, out[8];
	struct taint_run run = {0};
	struct taint_insn push, add;

	(void)state;
	memset(&v, 0, sizeof(v));
	compile_text("ff33", &push); /* push [rbx] */
	compile_text("0103", &add); /* add [rbx], eax */
	taint_insn_load(&v, &run, &push, 0, tainted, 8); /* its store faults */
	assert_false(taint_insn_store(&v, &run, &add, 0, out, 4));
	taint_insn_load(&v, &run, &push, 0, tainted, 8);
	assert_true(taint_insn_store(&v, &run, &push, 0, out, 8));
}

static void test_repeats(void **state)
{
	static struct taint_vcpu v;
	struct taint_run run = {0};
	struct taint_insn in;

	(void)state;
	memset(&v, 0, sizeof(v));
	compile_text("f3a4", &in); /* rep movsb */
	for (uint32_t i = 0; i < 8; i++) {
		struct taint_label label = {.origin = i % 2 ? i : 0}, out;

		if (label.origin) /* the caller may leave out clean bytes */
			taint_insn_load(&v, &run, &in, 0x1000 + i, &label, 1);
		assert_int_equal(taint_insn_store(&v, &run, &in, 0x2000 + i, &out, 1), i % 2);
		assert_int_equal(out.origin, label.origin);
	}
}

/* Bytes keep their own origin where they have one. */
static void test_provenance(void **state)
{
	static struct taint_vcpu v;
	struct taint_insn in;

	(void)state;
	memset(&v, 0, sizeof(v));
	for (uint32_t i = 0; i < 4; i++)
		v.reg[TAINT_REG_GPR + i] = 100 + i;
	taint_vcpu_any(&v);
	compile_text("4883c001", &in); /* add rax, 1 */
	taint_insn_exec(&v, &in);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(v.reg[TAINT_REG_GPR + i], 100 + i);
	assert_int_equal(v.reg[TAINT_REG_GPR + 7], 100);
	compile_text("480fc8", &in); /* bswap rax */
	taint_insn_exec(&v, &in);
	assert_int_equal(v.reg[TAINT_REG_GPR + 7], 100);
	assert_int_equal(v.reg[TAINT_REG_GPR + 4], 103);
}

/* Memory's labels and the register's, until it is known which; then the register's alone. */
static void test_exchange(void **state)
{
	static struct taint_vcpu v;
	struct taint_label old[4] = {{.origin = 7}, {.origin = 8}}, out[4];
	struct taint_run run = {0};
	struct taint_insn in;

	(void)state;
	memset(&v, 0, sizeof(v));
	v.reg[TAINT_REG_GPR + 8 + 1] = 100;
	v.reg[TAINT_REG_GPR + 8 + 2] = 101;
	taint_vcpu_any(&v);
	compile_text("f00fb10b", &in); /* lock cmpxchg [rbx], ecx */
	assert_true(in.exchanges);
	taint_insn_load(&v, &run, &in, MEM_AT, old, 4);
	assert_true(taint_insn_store(&v, &run, &in, MEM_AT, out, 4));
	assert_int_equal(out[0].origin, 7);
	assert_int_equal(out[1].origin, 8);
	assert_int_equal(out[2].origin, 101);
	taint_insn_exchanged(&v, &in, out, 4);
	assert_int_equal(out[0].origin, 0);
	assert_int_equal(out[1].origin, 100);
	assert_int_equal(out[2].origin, 101);
	assert_int_equal(out[3].origin, 0);
	compile_text("0fb1d9", &in); /* cmpxchg ecx, ebx */
	assert_false(in.exchanges);
	compile_text("f00fc10b", &in); /* lock xadd [rbx], ecx */
	assert_false(in.exchanges);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_shape),
		cmocka_unit_test(test_undecodable),
		cmocka_unit_test(test_every_mnemonic),
		cmocka_unit_test(test_random_bytes),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_any),
		cmocka_unit_test(test_last_taint_is_stored),
		cmocka_unit_test(test_scratch_of_another),
		cmocka_unit_test(test_repeats),
		cmocka_unit_test(test_provenance),
		cmocka_unit_test(test_exchange),
	};

	return cmocka_run_group_tests_name("insn", tests, NULL, NULL);
}
