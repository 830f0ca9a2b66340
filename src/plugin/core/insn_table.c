/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which rule each mnemonic follows. Names, not numbers: the numbers differ
 * between versions of Zydis, and a name that the installed one does not know
 * costs nothing. A test walks the installed enumeration: every mnemonic must be
 * named exactly once, so nothing is conservative or refused by accident.
 */
#include "plugin/core/insn_internal.h"

#include <pthread.h>
#include <string.h>

#define P TAINT_INSN_PRECISE
#define C TAINT_INSN_CONSERVATIVE
#define R TAINT_INSN_REFUSED
#define N TAINT_INSN_NONE
#define SAME RULE_SAME_CLEAN
#define PIECES RULE_PIECES
#define UPPER RULE_UPPER
#define FLAGS_IN RULE_FLAGS_IN
#define TLB RULE_TLB
#define UNARY RULE_UNARY
#define KEEP_UPPER RULE_KEEP_UPPER
#define WILD RULE_WILD

const struct insn_rule insn_rules[] = {
	/* touches no data; far pointers, tables and control registers are not followed */
	{rule_none, N, 0, 0, 0,
	 "nop pause clc stc cmc cld std cli sti clac stac clui stui testui endbr32 endbr64 fnop fwait"
	 " fdisi8087_nop feni8087_nop fsetpm287_nop fnclex fldcw ldmxcsr vldmxcsr emms femms ffree ffreep"
	 " fincstp fdecstp fninit hlt mwait mwaitx monitor monitorx umonitor tpause umwait serialize lfence"
	 " mfence sfence prefetch prefetchnta prefetcht0 prefetcht1 prefetcht2 prefetchw prefetchwt1"
	 " prefetchit0 prefetchit1 cldemote clflush clflushopt clwb pcommit invd wbinvd jb jbe jcxz jecxz"
	 " jl jle jmp jnb jnbe jnl jnle jno jnp jns jnz jo jp jrcxz js jz int int1 int3 into ud0 ud1 ud2"
	 " bound out outsb outsd outsw lgdt lidt lldt ltr lmsw clts swapgs wrfsbase wrgsbase wrpkru xsetbv"
	 " xabort xbegin xend clgi stgi skinit vmsave vmmcall vmcall vmfunc ptwrite sysenter"},
	{rule_none, N, 0, 0, TLB,
	 "invlpg invlpga invlpgb invpcid tlbsync wrmsr wrmsrns wrmsrlist rsm vmrun vmload vmlaunch"
	 " vmresume"},
	/* what is written comes from the processor or a device */
	{rule_clean, P, 0, 0, 0,
	 "cpuid rdtsc rdtscp rdpmc rdmsr rdpid rdpkru rdpru rdrand rdseed rdfsbase rdgsbase xgetbv in smsw"
	 " str sldt sgdt sidt syscall stmxcsr vstmxcsr fnstcw xtest rdsspd rdsspq clzero"},
	/* stores clean data */
	{rule_none, P, 0, 0, 0, "call insb insd insw"},
	{rule_ret, P, 0, 0, 0, "ret"},
	{rule_mov, P, 0, 0, 0,
	 "mov movzx ?movd ?movq ?movaps ?movapd ?movups ?movupd ?movdqa ?movdqu ?lddqu ?movntdq ?movntdqa"
	 " ?movntpd ?movntps movntq movnti movntsd movntss movdiri movq2dq movdq2q"},
	{rule_movsx, P, 0, 0, 0, "movsx movsxd"},
	{rule_movbe, P, 0, 0, 0, "movbe"},
	{rule_bswap, P, 0, 0, 0, "bswap"},
	{rule_lea, P, 0, 0, 0, "lea"},
	{rule_push, P, 0, 0, 0, "push"},
	{rule_pop, P, 0, 0, 0, "pop"},
	{rule_xchg, P, 0, 0, 0, "xchg"},
	{rule_xadd, P, 0, 0, 0, "xadd"},
	{rule_cmpxchg, P, 0, 0, 0, "cmpxchg"},
	{rule_cmpxchg16, P, 0, 0, 0, "cmpxchg8b cmpxchg16b"},
	{rule_arith, P, 0, 0, SAME, "sub sbb"},
	{rule_arith, P, 0, 0, 0, "add adc adcx adox"},
	{rule_and, P, 0, 0, 0, "and"},
	{rule_or, P, 0, 0, 0, "or"},
	{rule_xor, P, 0, 0, SAME, "xor"},
	{rule_carry1, P, 0, 0, 0, "inc dec neg"},
	{rule_keep, P, 0, 0, 0, "not"},
	{rule_shift, P, 0, 0, 0, "shl"},
	{rule_shift, P, 1, 0, 0, "shr"},
	{rule_shift, P, 2, 0, 0, "sar"},
	{rule_rotate, P, 0, 0, 0, "rol"},
	{rule_rotate, P, 1, 0, 0, "ror"},
	{rule_rorx, P, 0, 0, 0, "rorx"},
	{rule_mul, P, 0, 0, 0, "mul"},
	{rule_imul, P, 0, 0, 0, "imul"},
	{rule_setcc, P, 0, 0, 0,
	 "setb setbe setl setle setnb setnbe setnl setnle setno setnp setns setnz seto setp sets setz"},
	{rule_cmov, P, 0, 0, UPPER,
	 "cmovb cmovbe cmovl cmovle cmovnb cmovnbe cmovnl cmovnle cmovno cmovnp cmovns cmovnz cmovo cmovp"
	 " cmovs cmovz"},
	{rule_cmp, P, 0, 0, SAME, "cmp"},
	{rule_cmp, P, 0, 0, 0, "test ?comisd ?comiss ?ucomisd ?ucomiss ?ptest vtestpd vtestps verr verw"},
	{rule_bt, P, 0, 0, 0, "bt"},
	{rule_bt, P, 1, 0, 0, "btc btr bts"},
	{rule_bitcount, P, 0, 0, 0, "popcnt lzcnt tzcnt"},
	{rule_bitscan, P, 0, 0, KEEP_UPPER, "bsf bsr"},
	{rule_sext, P, 1, 0, 0, "cbw"},
	{rule_sext, P, 2, 0, 0, "cwde"},
	{rule_sext, P, 4, 0, 0, "cdqe"},
	{rule_signs, P, 2, 0, 0, "cwd"},
	{rule_signs, P, 4, 0, 0, "cdq"},
	{rule_signs, P, 8, 0, 0, "cqo"},
	{rule_andn, P, 0, 0, 0, "andn"},
	{rule_bls, P, 0, 0, 0, "blsi blsmsk blsr"},
	{rule_leave, P, 0, 0, 0, "leave"},
	{rule_enter, P, 0, 0, 0, "enter"},
	{rule_movs, P, 0, 0, 0, "movsb movsw movsq"},
	{rule_stos, P, 0, 0, 0, "stosb stosw stosd stosq"},
	{rule_lods, P, 0, 0, UPPER, "lodsb lodsw lodsd lodsq"},
	{rule_scas, P, 0, 0, 0, "scasb scasw scasd scasq"},
	{rule_cmps, P, 0, 0, 0, "cmpsb cmpsw cmpsq"},
	{rule_pushf, P, 0, 0, 0, "pushf pushfd pushfq"},
	{rule_popf, P, 0, 0, 0, "popf popfd popfq"},
	{rule_lahf, P, 0, 0, 0, "lahf"},
	{rule_sahf, P, 0, 0, 0, "sahf"},
	{rule_sysret, P, 0, 0, 0, "sysret"},
	{rule_sysexit, P, 0, 0, 0, "sysexit"},
	{rule_xlat, P, 0, 0, WILD, "xlat"},
	{rule_counter, P, 0, 0, 0, "loop loope loopne"},
	{rule_union, C, 0, 0, 0,
	 "div idiv shlx shrx sarx mulx bextr bzhi pdep pext crc32 aaa aad aam aas daa das arpl lar lsl"},
	{rule_union, C, 0, 0, FLAGS_IN, "rcl rcr salc"},
	{rule_double_shift, P, 0, 0, UPPER, "shld"},
	{rule_double_shift, P, 1, 0, UPPER, "shrd"},
	/* several accesses, whose order is the emulator's affair */
	{rule_union, C, 0, 0, PIECES | WILD, "pusha pushad popa popad iret iretd iretq lds les lfs lgs lss"},
	{rule_mov_scalar, P, 4, 0, 0, "?movss"},
	{rule_mov_scalar, P, 8, 0, 0, "?movsd"},
	{rule_mov_half, P, 0, 0, 0, "?movlps ?movlpd"},
	{rule_mov_half, P, 8, 0, 0, "?movhps ?movhpd"},
	{rule_movhlps, P, 0, 0, 0, "?movhlps"},
	{rule_movlhps, P, 0, 0, 0, "?movlhps"},
	{rule_dup, P, 8, 0, 0, "?movddup"},
	{rule_dup, P, 4, 0, 0, "?movsldup"},
	{rule_dup, P, 4, 1, 0, "?movshdup"},
	{rule_elem, P, 1, 0, SAME,
	 "?pxor ?xorps ?xorpd ?pandn ?andnps ?andnpd ?psubb ?psubsb ?psubusb ?pcmpeqb ?pcmpgtb"},
	{rule_elem, P, 1, 0, 0,
	 "?pand ?por ?andps ?andpd ?orps ?orpd ?paddb ?paddsb ?paddusb ?pavgb ?pminub ?pminsb ?pmaxub"
	 " ?pmaxsb ?pabsb ?psignb ?pblendvb pavgusb ?gf2p8mulb"},
	{rule_elem, P, 2, 0, SAME, "?psubw ?psubsw ?psubusw ?pcmpeqw ?pcmpgtw"},
	{rule_elem, P, 2, 0, 0,
	 "?paddw ?paddsw ?paddusw ?pavgw ?pminsw ?pminuw ?pmaxsw ?pmaxuw ?pabsw ?psignw ?pmullw ?pmulhw"
	 " ?pmulhuw ?pmulhrsw ?pmaddubsw"},
	{rule_elem, P, 4, 0, SAME, "?psubd ?pcmpeqd ?pcmpgtd"},
	{rule_elem, P, 4, 0, 0,
	 "?paddd ?pminsd ?pminud ?pmaxsd ?pmaxud ?pabsd ?psignd ?pmulld ?pmaddwd vpsllvd vpsrlvd vpsravd"
	 " vpdpbusd vpdpbusds vpdpwssd vpdpwssds"},
	{rule_elem, P, 8, 0, SAME, "?psubq ?pcmpeqq ?pcmpgtq"},
	{rule_elem, P, 8, 0, 0, "?paddq ?pmuludq ?pmuldq ?psadbw vpsllvq vpsrlvq"},
	{rule_elem, P, 4, 0, 0,
	 "?addps ?subps ?mulps ?divps ?minps ?maxps ?cmpps ?addsubps ?blendvps ?sqrtps ?rcpps ?rsqrtps"
	 " ?roundps ?cvtdq2ps ?cvtps2dq ?cvttps2dq"},
	{rule_elem, P, 8, 0, 0,
	 "?addpd ?subpd ?mulpd ?divpd ?minpd ?maxpd ?cmppd ?addsubpd ?blendvpd ?sqrtpd ?roundpd"},
	{rule_elem, P, 4, 0, 0,
	 "vfmadd132ps vfmadd213ps vfmadd231ps vfmsub132ps vfmsub213ps vfmsub231ps vfnmadd132ps"
	 " vfnmadd213ps vfnmadd231ps vfnmsub132ps vfnmsub213ps vfnmsub231ps vfmaddsub132ps vfmaddsub213ps"
	 " vfmaddsub231ps vfmsubadd132ps vfmsubadd213ps vfmsubadd231ps"},
	{rule_elem, P, 8, 0, 0,
	 "vfmadd132pd vfmadd213pd vfmadd231pd vfmsub132pd vfmsub213pd vfmsub231pd vfnmadd132pd"
	 " vfnmadd213pd vfnmadd231pd vfnmsub132pd vfnmsub213pd vfnmsub231pd vfmaddsub132pd vfmaddsub213pd"
	 " vfmaddsub231pd vfmsubadd132pd vfmsubadd213pd vfmsubadd231pd"},
	{rule_fma_scalar, P, 4, 0, 0,
	 "vfmadd132ss vfmadd213ss vfmadd231ss vfmsub132ss vfmsub213ss vfmsub231ss vfnmadd132ss"
	 " vfnmadd213ss vfnmadd231ss vfnmsub132ss vfnmsub213ss vfnmsub231ss"},
	{rule_fma_scalar, P, 8, 0, 0,
	 "vfmadd132sd vfmadd213sd vfmadd231sd vfmsub132sd vfmsub213sd vfmsub231sd vfnmadd132sd"
	 " vfnmadd213sd vfnmadd231sd vfnmsub132sd vfnmsub213sd vfnmsub231sd"},
	{rule_scalar, P, 4, 0, 0, "?addss ?subss ?mulss ?divss ?minss ?maxss ?cmpss"},
	{rule_scalar, P, 8, 0, 0, "?addsd ?subsd ?mulsd ?divsd ?minsd ?maxsd ?cmpsd"},
	{rule_scalar, P, 4, 0, UNARY, "?sqrtss ?rcpss ?rsqrtss ?roundss ?cvtsd2ss ?cvtsi2ss"},
	{rule_scalar, P, 8, 0, UNARY, "?sqrtsd ?roundsd ?cvtss2sd ?cvtsi2sd"},
	/* all of a lane to all of it */
	{rule_elem, C, 16, 0, 0,
	 "?pshufb ?phaddw ?phaddd ?phaddsw ?phsubw ?phsubd ?phsubsw ?haddps ?haddpd ?hsubps ?hsubpd ?dpps"
	 " ?dppd ?mpsadbw ?packssdw ?packsswb ?packusdw ?packuswb ?aesdec ?aesdeclast ?aesenc ?aesenclast"
	 " ?pclmulqdq"},
	{rule_elem, C, 8, 0, 0, "?gf2p8affineqb ?gf2p8affineinvqb"},
	{rule_vshift, P, 2, 0, 0, "?psllw"},
	{rule_vshift, P, 2, 1, 0, "?psrlw"},
	{rule_vshift, P, 2, 2, 0, "?psraw"},
	{rule_vshift, P, 4, 0, 0, "?pslld"},
	{rule_vshift, P, 4, 1, 0, "?psrld"},
	{rule_vshift, P, 4, 2, 0, "?psrad"},
	{rule_vshift, P, 8, 0, 0, "?psllq"},
	{rule_vshift, P, 8, 1, 0, "?psrlq"},
	{rule_movmsk, P, 1, 0, 0, "?pmovmskb"},
	{rule_movmsk, P, 4, 0, 0, "?movmskps"},
	{rule_movmsk, P, 8, 0, 0, "?movmskpd"},
	{rule_insert, P, 1, 0, 0, "?pinsrb"},
	{rule_insert, P, 2, 0, 0, "?pinsrw"},
	{rule_insert, P, 4, 0, 0, "?pinsrd"},
	{rule_insert, P, 8, 0, 0, "?pinsrq"},
	{rule_extract, P, 1, 0, 0, "?pextrb"},
	{rule_extract, P, 2, 0, 0, "?pextrw"},
	{rule_extract, P, 4, 0, 0, "?pextrd ?extractps"},
	{rule_extract, P, 8, 0, 0, "?pextrq"},
	{rule_extract, P, 16, 0, 0, "vextractf128 vextracti128"},
	{rule_unpack_low, P, 1, 0, 0, "?punpcklbw"},
	{rule_unpack_high, P, 1, 0, 0, "?punpckhbw"},
	{rule_unpack_low, P, 2, 0, 0, "?punpcklwd"},
	{rule_unpack_high, P, 2, 0, 0, "?punpckhwd"},
	{rule_unpack_low, P, 4, 0, 0, "?punpckldq ?unpcklps"},
	{rule_unpack_high, P, 4, 0, 0, "?punpckhdq ?unpckhps"},
	{rule_unpack_low, P, 8, 0, 0, "?punpcklqdq ?unpcklpd"},
	{rule_unpack_high, P, 8, 0, 0, "?punpckhqdq ?unpckhpd"},
	{rule_shufps, P, 0, 0, 0, "?shufps"},
	{rule_shufpd, P, 0, 0, 0, "?shufpd"},
	{rule_pshufd, P, 0, 0, 0, "?pshufd"},
	{rule_pshuflw, P, 0, 0, 0, "?pshuflw"},
	{rule_pshufhw, P, 0, 0, 0, "?pshufhw"},
	{rule_pshufw, P, 0, 0, 0, "pshufw"},
	{rule_vpermil_ps, P, 0, 0, 0, "vpermilps"},
	{rule_vpermil_pd, P, 0, 0, 0, "vpermilpd"},
	{rule_vpermq, P, 0, 0, 0, "vpermq vpermpd"},
	{rule_vperm2, P, 0, 0, 0, "vperm2f128 vperm2i128"},
	{rule_palignr, P, 0, 0, 0, "?palignr"},
	{rule_bytes_left, P, 0, 0, 0, "?pslldq"},
	{rule_bytes_right, P, 0, 0, 0, "?psrldq"},
	{rule_blend, P, 2, 0, 0, "?pblendw"},
	{rule_blend, P, 4, 0, 0, "?blendps vpblendd"},
	{rule_blend, P, 8, 0, 0, "?blendpd"},
	{rule_insertps, P, 0, 0, 0, "?insertps"},
	{rule_broadcast, P, 1, 0, 0, "vpbroadcastb"},
	{rule_broadcast, P, 2, 0, 0, "vpbroadcastw"},
	{rule_broadcast, P, 4, 0, 0, "vpbroadcastd vbroadcastss"},
	{rule_broadcast, P, 8, 0, 0, "vpbroadcastq vbroadcastsd"},
	{rule_broadcast, P, 16, 0, 0, "vbroadcastf128 vbroadcasti128"},
	{rule_vinsert, P, 0, 0, 0, "vinsertf128 vinserti128"},
	{rule_pmovzx, P, 1, 2, 0, "?pmovzxbw"},
	{rule_pmovsx, P, 1, 2, 0, "?pmovsxbw"},
	{rule_pmovzx, P, 1, 4, 0, "?pmovzxbd"},
	{rule_pmovsx, P, 1, 4, 0, "?pmovsxbd"},
	{rule_pmovzx, P, 1, 8, 0, "?pmovzxbq"},
	{rule_pmovsx, P, 1, 8, 0, "?pmovsxbq"},
	{rule_pmovzx, P, 2, 4, 0, "?pmovzxwd"},
	{rule_pmovsx, P, 2, 4, 0, "?pmovsxwd"},
	{rule_pmovzx, P, 2, 8, 0, "?pmovzxwq"},
	{rule_pmovsx, P, 2, 8, 0, "?pmovsxwq"},
	{rule_pmovzx, P, 4, 8, 0, "?pmovzxdq"},
	{rule_pmovsx, P, 4, 8, 0, "?pmovsxdq"},
	{rule_vzeroupper, P, 0, 0, 0, "vzeroupper"},
	{rule_vzeroall, P, 0, 0, 0, "vzeroall"},
	{rule_union, C, 0, 0, 0,
	 "?cvtdq2pd ?cvtpd2dq ?cvttpd2dq ?cvtpd2ps ?cvtps2pd ?cvtsd2si ?cvttsd2si ?cvtss2si ?cvttss2si"
	 " vcvtph2ps vcvtps2ph cvtpd2pi cvtpi2pd cvtpi2ps cvtps2pi cvttpd2pi cvttps2pi ?aesimc"
	 " ?aeskeygenassist ?phminposuw ?pcmpestri ?pcmpestrm ?pcmpistri ?pcmpistrm vpermd vpermps"
	 " sha1msg1 sha1msg2 sha1nexte sha1rnds4 sha256msg1 sha256msg2 sha256rnds2"},
	/* which elements are read or written depends on data */
	{rule_union, C, 0, 0, PIECES | WILD,
	 "?maskmovdqu maskmovq vmaskmovpd vmaskmovps vpmaskmovd vpmaskmovq vgatherdpd vgatherdps"
	 " vgatherqpd vgatherqps vpgatherdd vpgatherdq vpgatherqd vpgatherqq"},
	{rule_bit_field, C, 0, 0, 0, "extrq insertq"},
	/* 3DNow! */
	{rule_union, C, 0, 0, 0,
	 "pf2id pf2iw pfacc pfadd pfcmpeq pfcmpge pfcmpgt pfcpit1 pfmax pfmin pfmul pfnacc pfpnacc pfrcp"
	 " pfrcpit2 pfrsqit1 pfsqrt pfsub pfsubr pi2fd pi2fw pmulhrw pswapd"},
	/* x87: one label for the whole register stack */
	{rule_union, C, 0, 0, PIECES,
	 "f2xm1 fabs fadd faddp fbld fbstp fchs fcmovb fcmovbe fcmove fcmovnb fcmovnbe fcmovne fcmovnu"
	 " fcmovu fcom fcomi fcomip fcomp fcompp fcos fdiv fdivp fdivr fdivrp fiadd ficom ficomp fidiv"
	 " fidivr fild fimul fist fistp fisttp fisub fisubr fld fld1 fldl2e fldl2t fldlg2 fldln2 fldpi"
	 " fldz fmul fmulp fpatan fprem fprem1 fptan frndint fscale fsin fsincos fsqrt fst fstp fstpnce"
	 " fsub fsubp fsubr fsubrp ftst fucom fucomi fucomip fucomp fucompp fxam fxch fxtract fyl2x"
	 " fyl2xp1"},
	{rule_fnstsw, C, 0, 0, 0, "fnstsw"},
	/* the emulator does not report these accesses */
	{rule_area, P, TAINT_AREA_SAVE, TAINT_AREA_FX, 0, "fxsave fxsave64"},
	{rule_area, P, TAINT_AREA_RESTORE, TAINT_AREA_FX, 0, "fxrstor fxrstor64"},
	{rule_area, P, TAINT_AREA_SAVE, TAINT_AREA_X, 0,
	 "xsave xsave64 xsavec xsavec64 xsaveopt xsaveopt64 xsaves xsaves64"},
	{rule_area, P, TAINT_AREA_RESTORE, TAINT_AREA_X, 0, "xrstor xrstor64 xrstors xrstors64"},
	{rule_area, C, TAINT_AREA_SAVE, TAINT_AREA_FN, 0, "fnsave"},
	{rule_area, C, TAINT_AREA_RESTORE, TAINT_AREA_FN, 0, "frstor"},
	{rule_area, C, TAINT_AREA_SAVE, TAINT_AREA_ENV, 0, "fnstenv"},
	{rule_area, C, TAINT_AREA_RESTORE, TAINT_AREA_ENV, 0, "fldenv"},
	/* not in the processors that TCG emulates (AVX-512, AMX, APX, KNC, XOP, FMA4, MPX, CET, VMX, SGX, key locker, ...) */
	{rule_clean, R, 0, 0, 0,
	 "aadd aand aesdec128kl aesdec256kl aesdecwide128kl aesdecwide256kl aesenc128kl aesenc256kl"
	 " aesencwide128kl aesencwide256kl aor axor blcfill blci blcic blcmsk blcs blsfill blsic bndcl"
	 " bndcn bndcu bndldx bndmk bndmov bndstx clevict0 clevict1 clrssbsy delay encls enclu enclv"
	 " encodekey128 encodekey256 enqcmd enqcmds getsec hreset incsspd incsspq invalid invept invvpid"
	 " jknzd jkzd kaddb kaddd kaddq kaddw kand kandb kandd kandn kandnb kandnd kandnq kandnr kandnw"
	 " kandq kandw kconcath kconcatl kextract kmerge2l1h kmerge2l1l kmov kmovb kmovd kmovq kmovw knot"
	 " knotb knotd knotq knotw kor korb kord korq kortest kortestb kortestd kortestq kortestw korw"
	 " kshiftlb kshiftld kshiftlq kshiftlw kshiftrb kshiftrd kshiftrq kshiftrw ktestb ktestd ktestq"
	 " ktestw kunpckbw kunpckdq kunpckwd kxnor kxnorb kxnord kxnorq kxnorw kxor kxorb kxord kxorq"
	 " kxorw ldtilecfg llwpcb loadiwkey lwpins lwpval mcommit montmul movdir64b pbndkb pconfig psmash"
	 " pvalidate rdmsrlist rmpadjust rmpupdate rstorssp saveprevssp seamcall seamops seamret senduipi"
	 " setssbsy slwpcb spflt sttilecfg t1mskc tdcall tdpbf16ps tdpbssd tdpbsud tdpbusd tdpbuud"
	 " tdpfp16ps tileloadd tileloaddt1 tilerelease tilestored tilezero tzcnti tzmsk uiret v4fmaddps"
	 " v4fmaddss v4fnmaddps v4fnmaddss vaddnpd vaddnps vaddph vaddsetsps vaddsh valignd valignq"
	 " vbcstnebf162ps vbcstnesh2ps vblendmpd vblendmps vbroadcastf32x2 vbroadcastf32x4 vbroadcastf32x8"
	 " vbroadcastf64x2 vbroadcastf64x4 vbroadcasti32x2 vbroadcasti32x4 vbroadcasti32x8 vbroadcasti64x2"
	 " vbroadcasti64x4 vcmpph vcmpsh vcomish vcompresspd vcompressps vcvtdq2ph vcvtfxpntdq2ps"
	 " vcvtfxpntpd2dq vcvtfxpntpd2udq vcvtfxpntps2dq vcvtfxpntps2udq vcvtfxpntudq2ps vcvtne2ps2bf16"
	 " vcvtneebf162ps vcvtneeph2ps vcvtneobf162ps vcvtneoph2ps vcvtneps2bf16 vcvtpd2ph vcvtpd2qq"
	 " vcvtpd2udq vcvtpd2uqq vcvtph2dq vcvtph2pd vcvtph2psx vcvtph2qq vcvtph2udq vcvtph2uqq vcvtph2uw"
	 " vcvtph2w vcvtps2phx vcvtps2qq vcvtps2udq vcvtps2uqq vcvtqq2pd vcvtqq2ph vcvtqq2ps vcvtsd2sh"
	 " vcvtsd2usi vcvtsh2sd vcvtsh2si vcvtsh2ss vcvtsh2usi vcvtsi2sh vcvtss2sh vcvtss2usi vcvttpd2qq"
	 " vcvttpd2udq vcvttpd2uqq vcvttph2dq vcvttph2qq vcvttph2udq vcvttph2uqq vcvttph2uw vcvttph2w"
	 " vcvttps2qq vcvttps2udq vcvttps2uqq vcvttsd2usi vcvttsh2si vcvttsh2usi vcvttss2usi vcvtudq2pd"
	 " vcvtudq2ph vcvtudq2ps vcvtuqq2pd vcvtuqq2ph vcvtuqq2ps vcvtusi2sd vcvtusi2sh vcvtusi2ss"
	 " vcvtuw2ph vcvtw2ph vdbpsadbw vdivph vdivsh vdpbf16ps vexp223ps vexp2pd vexp2ps vexpandpd"
	 " vexpandps vextractf32x4 vextractf32x8 vextractf64x2 vextractf64x4 vextracti32x4 vextracti32x8"
	 " vextracti64x2 vextracti64x4 vfcmaddcph vfcmaddcsh vfcmulcph vfcmulcsh vfixupimmpd vfixupimmps"
	 " vfixupimmsd vfixupimmss vfixupnanpd vfixupnanps vfmadd132ph vfmadd132sh vfmadd213ph vfmadd213sh"
	 " vfmadd231ph vfmadd231sh vfmadd233ps vfmaddcph vfmaddcsh vfmaddpd vfmaddps vfmaddsd vfmaddss"
	 " vfmaddsub132ph vfmaddsub213ph vfmaddsub231ph vfmaddsubpd vfmaddsubps vfmsub132ph vfmsub132sh"
	 " vfmsub213ph vfmsub213sh vfmsub231ph vfmsub231sh vfmsubadd132ph vfmsubadd213ph vfmsubadd231ph"
	 " vfmsubaddpd vfmsubaddps vfmsubpd vfmsubps vfmsubsd vfmsubss vfmulcph vfmulcsh vfnmadd132ph"
	 " vfnmadd132sh vfnmadd213ph vfnmadd213sh vfnmadd231ph vfnmadd231sh vfnmaddpd vfnmaddps vfnmaddsd"
	 " vfnmaddss vfnmsub132ph vfnmsub132sh vfnmsub213ph vfnmsub213sh vfnmsub231ph vfnmsub231sh"
	 " vfnmsubpd vfnmsubps vfnmsubsd vfnmsubss vfpclasspd vfpclassph vfpclassps vfpclasssd vfpclasssh"
	 " vfpclassss vfrczpd vfrczps vfrczsd vfrczss vgatherpf0dpd vgatherpf0dps vgatherpf0hintdpd"
	 " vgatherpf0hintdps vgatherpf0qpd vgatherpf0qps vgatherpf1dpd vgatherpf1dps vgatherpf1qpd"
	 " vgatherpf1qps vgetexppd vgetexpph vgetexpps vgetexpsd vgetexpsh vgetexpss vgetmantpd vgetmantph"
	 " vgetmantps vgetmantsd vgetmantsh vgetmantss vgmaxabsps vgmaxpd vgmaxps vgminpd vgminps"
	 " vinsertf32x4 vinsertf32x8 vinsertf64x2 vinsertf64x4 vinserti32x4 vinserti32x8 vinserti64x2"
	 " vinserti64x4 vloadunpackhd vloadunpackhpd vloadunpackhps vloadunpackhq vloadunpackld"
	 " vloadunpacklpd vloadunpacklps vloadunpacklq vlog2ps vmaxph vmaxsh vmclear vminph vminsh"
	 " vmovdqa32 vmovdqa64 vmovdqu16 vmovdqu32 vmovdqu64 vmovdqu8 vmovnrapd vmovnraps vmovnrngoapd"
	 " vmovnrngoaps vmovsh vmovw vmptrld vmptrst vmread vmulph vmulsh vmwrite vmxoff vmxon"
	 " vp2intersectd vp2intersectq vp4dpwssd vp4dpwssds vpabsq vpackstorehd vpackstorehpd"
	 " vpackstorehps vpackstorehq vpackstoreld vpackstorelpd vpackstorelps vpackstorelq vpadcd"
	 " vpaddsetcd vpaddsetsd vpandd vpandnd vpandnq vpandq vpblendmb vpblendmd vpblendmq vpblendmw"
	 " vpbroadcastmb2q vpbroadcastmw2d vpcmov vpcmpb vpcmpd vpcmpltd vpcmpq vpcmpub vpcmpud vpcmpuq"
	 " vpcmpuw vpcmpw vpcomb vpcomd vpcompressb vpcompressd vpcompressq vpcompressw vpcomq vpcomub"
	 " vpcomud vpcomuq vpcomuw vpcomw vpconflictd vpconflictq vpdpbssd vpdpbssds vpdpbsud vpdpbsuds"
	 " vpdpbuud vpdpbuuds vpdpwsud vpdpwsuds vpdpwusd vpdpwusds"
	 " vpdpwuud vpdpwuuds vpermb vpermf32x4 vpermi2b vpermi2d vpermi2pd vpermi2ps vpermi2q vpermi2w"
	 " vpermil2pd vpermil2ps vpermt2b vpermt2d vpermt2pd vpermt2ps vpermt2q vpermt2w vpermw vpexpandb"
	 " vpexpandd vpexpandq vpexpandw vphaddbd vphaddbq vphaddbw vphadddq vphaddubd vphaddubq vphaddubw"
	 " vphaddudq vphadduwd vphadduwq vphaddwd vphaddwq vphsubbw vphsubdq vphsubwd vplzcntd vplzcntq"
	 " vpmacsdd vpmacsdqh vpmacsdql vpmacssdd vpmacssdqh vpmacssdql vpmacsswd vpmacssww vpmacswd"
	 " vpmacsww vpmadcsswd vpmadcswd vpmadd231d vpmadd233d vpmadd52huq vpmadd52luq vpmaxsq vpmaxuq"
	 " vpminsq vpminuq vpmovb2m vpmovd2m vpmovdb vpmovdw vpmovm2b vpmovm2d vpmovm2q vpmovm2w vpmovq2m"
	 " vpmovqb vpmovqd vpmovqw vpmovsdb vpmovsdw vpmovsqb vpmovsqd vpmovsqw vpmovswb vpmovusdb"
	 " vpmovusdw vpmovusqb vpmovusqd vpmovusqw vpmovuswb vpmovw2m vpmovwb vpmulhd vpmulhud vpmullq"
	 " vpmultishiftqb vpopcntb vpopcntd vpopcntq vpopcntw vpord vporq vpperm vprefetch0 vprefetch1"
	 " vprefetch2 vprefetche0 vprefetche1 vprefetche2 vprefetchenta vprefetchnta vprold vprolq vprolvd"
	 " vprolvq vprord vprorq vprorvd vprorvq vprotb vprotd vprotq vprotw vpsbbd vpsbbrd vpscatterdd"
	 " vpscatterdq vpscatterqd vpscatterqq vpshab vpshad vpshaq vpshaw vpshlb vpshld vpshldd vpshldq"
	 " vpshldvd vpshldvq vpshldvw vpshldw vpshlq vpshlw vpshrdd vpshrdq vpshrdvd vpshrdvq vpshrdvw"
	 " vpshrdw vpshufbitqmb vpsllvw vpsraq vpsravq vpsravw vpsrlvw vpsubrd vpsubrsetbd vpsubsetbd"
	 " vpternlogd vpternlogq vptestmb vptestmd vptestmq vptestmw vptestnmb vptestnmd vptestnmq"
	 " vptestnmw vpxord vpxorq vrangepd vrangeps vrangesd vrangess vrcp14pd vrcp14ps vrcp14sd vrcp14ss"
	 " vrcp23ps vrcp28pd vrcp28ps vrcp28sd vrcp28ss vrcpph vrcpsh vreducepd vreduceph vreduceps"
	 " vreducesd vreducesh vreducess vrndfxpntpd vrndfxpntps vrndscalepd vrndscaleph vrndscaleps"
	 " vrndscalesd vrndscalesh vrndscaless vrsqrt14pd vrsqrt14ps vrsqrt14sd vrsqrt14ss vrsqrt23ps"
	 " vrsqrt28pd vrsqrt28ps vrsqrt28sd vrsqrt28ss vrsqrtph vrsqrtsh vscalefpd vscalefph vscalefps"
	 " vscalefsd vscalefsh vscalefss vscaleps vscatterdpd vscatterdps vscatterpf0dpd vscatterpf0dps"
	 " vscatterpf0hintdpd vscatterpf0hintdps vscatterpf0qpd vscatterpf0qps vscatterpf1dpd"
	 " vscatterpf1dps vscatterpf1qpd vscatterpf1qps vscatterqpd vscatterqps vsha512msg1 vsha512msg2"
	 " vsha512rnds2 vshuff32x4 vshuff64x2 vshufi32x4 vshufi64x2 vsm3msg1 vsm3msg2 vsm3rnds2 vsm4key4"
	 " vsm4rnds4 vsqrtph vsqrtsh vsubph vsubrpd vsubrps vsubsh vucomish wrssd wrssq wrussd wrussq"
	 " xcrypt_cbc xcrypt_cfb xcrypt_ctr xcrypt_ecb xcrypt_ofb xresldtrk xsha1 xsha256 xstore xsusldtrk"},
};
const unsigned insn_rules_count = sizeof(insn_rules) / sizeof(insn_rules[0]);

#define NAME_MAX_LEN 32u
#define HASH_SIZE 8192u /* power of two, well above the number of mnemonics */

/* Row number plus 1 and number of rows that name it, for each mnemonic. */
static uint8_t row_of[ZYDIS_MNEMONIC_MAX_VALUE + 1], named[ZYDIS_MNEMONIC_MAX_VALUE + 1];
static uint16_t by_name[HASH_SIZE];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static_assert(sizeof(insn_rules) / sizeof(insn_rules[0]) < 255, "rows are numbered in a byte");
static_assert(ZYDIS_MNEMONIC_MAX_VALUE < HASH_SIZE / 2, "hash table has room");

static unsigned name_hash(const char *s, size_t n)
{
	unsigned h = 2166136261u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint8_t)s[i]) * 16777619u;
	return h;
}

static void index_names(void)
{
	for (unsigned m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE; m++) {
		const char *s = ZydisMnemonicGetString((ZydisMnemonic)m);
		unsigned h = name_hash(s, strlen(s)) % HASH_SIZE;

		while (by_name[h])
			h = (h + 1) % HASH_SIZE;
		by_name[h] = (uint16_t)(m + 1);
	}
}

/* The mnemonic of that name; -1: this Zydis has none. */
static int name_find(const char *s, size_t n)
{
	for (unsigned h = name_hash(s, n) % HASH_SIZE; by_name[h]; h = (h + 1) % HASH_SIZE) {
		const char *t = ZydisMnemonicGetString((ZydisMnemonic)(by_name[h] - 1));

		if (!strncmp(s, t, n) && !t[n])
			return by_name[h] - 1;
	}
	return -1;
}

static void name_row(const char *s, size_t n, unsigned row)
{
	int m = name_find(s, n);

	if (m < 0)
		return;
	row_of[m] = (uint8_t)(row + 1);
	named[m]++;
}

static void index_row(unsigned row)
{
	char vex[NAME_MAX_LEN];

	for (const char *s = insn_rules[row].names; *s; s += strspn(s, " ")) {
		size_t n = strcspn(s, " ");

		assert(n < sizeof(vex));
		if (*s == '?') {
			memcpy(vex, s, n);
			vex[0] = 'v';
			name_row(vex, n, row);
			name_row(s + 1, n - 1, row);
		} else {
			name_row(s, n, row);
		}
		s += n;
	}
}

static void index_table(void)
{
	index_names();
	for (unsigned row = 0; row < insn_rules_count; row++)
		index_row(row);
}

const struct insn_rule *insn_rule_find(unsigned mnemonic)
{
	pthread_once(&table_once, index_table);
	if (mnemonic > ZYDIS_MNEMONIC_MAX_VALUE || !row_of[mnemonic])
		return NULL;
	return &insn_rules[row_of[mnemonic] - 1];
}

unsigned insn_rule_named(unsigned mnemonic)
{
	pthread_once(&table_once, index_table);
	return mnemonic > ZYDIS_MNEMONIC_MAX_VALUE ? 0 : named[mnemonic];
}
