/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an incident says: the finding, the patch and the connection, as text and numbers. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "daemon/vm_internal.h"
#include "plugin/core/detector.h"

static void hex(char *ret, size_t size, const uint8_t *bytes, size_t n, const char *between)
{
	size_t at = 0;

	*ret = 0;
	for (size_t i = 0; i < n && at + 4 < size; i++)
		at += (size_t)snprintf(ret + at, size - at, "%s%02x", i ? between : "", bytes[i]);
}

/* First and last origin among the object's tainted bytes; how many there are. */
static uint32_t origin_range(const struct taint_msg_detect *d, uint32_t *ret_first, uint32_t *ret_last)
{
	uint32_t n = 0;

	*ret_first = *ret_last = 0;
	for (uint32_t i = 0; i < d->object_len; i++) {
		uint32_t o = d->label[i].origin & TAINT_POSITION;

		if (!o)
			continue;
		if (!n++)
			*ret_first = *ret_last = o;
		if (taint_origin_before(o, *ret_first))
			*ret_first = o;
		if (taint_origin_before(*ret_last, o))
			*ret_last = o;
	}
	return n;
}

static void describe_origin(const struct vm *vm, uint32_t first, uint32_t last, char *ret, size_t size)
{
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];
	struct net_origin o;
	int family;

	if (!net_find_origin(vm->net, first, &o)) {
		snprintf(ret, size, "network input no longer in the log");
		return;
	}
	family = o.ip_version == 6 ? AF_INET6 : AF_INET;
	inet_ntop(family, o.src, src, sizeof(src));
	inet_ntop(family, o.dst, dst, sizeof(dst));
	snprintf(ret, size, "%s %s:%u -> %s:%u, frame %llu, payload bytes %u to %u", o.ip_proto == 6 ? "TCP" : "UDP",
		 src, o.src_port, dst, o.dst_port, (unsigned long long)o.seq, o.payload_offset,
		 o.payload_offset + (last - first));
}

void describe_detection(const struct vm *vm, const struct taint_msg_detect *d, struct incident *in)
{
	uint32_t first, last;

	snprintf(in->detector, sizeof(in->detector), "%s", taint_detector_name(d->detector));
	in->detect_pc = d->pc;
	in->object_address = d->object_gva;
	in->object_len = d->object_len;
	if (!d->object_gva ||
	    !gmem_read(vm->gmem, gpa(d->object_gpa), &in->object_value,
		       d->object_len < sizeof(in->object_value) ? d->object_len : sizeof(in->object_value)))
		in->object_value = 0;
	in->tainted_bytes = origin_range(d, &first, &last);
	describe_origin(vm, first, last, in->origin, sizeof(in->origin));
}

static const char *bound_name(enum bound_kind k)
{
	static const char *const names[] = {[BOUND_FRAME] = "frame",
					    [BOUND_CALLER] = "caller",
					    [BOUND_MODULE] = "module",
					    [BOUND_CHUNK] = "chunk",
					    [BOUND_ARGUMENT] = "argument"};

	return (unsigned)k < sizeof(names) / sizeof(names[0]) ? names[k] : "unknown";
}

void describe_finding(const struct finding *f, struct incident *in)
{
	snprintf(in->module, sizeof(in->module), "%s", f->module.path);
	hex(in->build_id, sizeof(in->build_id), f->module.build_id, f->module.build_id_len, "");
	in->culprit = f->culprit.v;
	in->culprit_offset = f->culprit_file_offset;
	hex(in->culprit_bytes, sizeof(in->culprit_bytes), f->culprit_bytes, f->culprit_len, " ");
	snprintf(in->culprit_text, sizeof(in->culprit_text), "%s", f->culprit_text);
	in->function = f->function.v;
	in->start_address = f->start_address.v;
	in->error_address = f->error_address.v;
	in->run_length = f->run_length;
	in->start_offset = f->start_offset;
	in->end_offset = f->end_offset;
	snprintf(in->bound, sizeof(in->bound), "%s", bound_name(f->bound));
	snprintf(in->object_text, sizeof(in->object_text), "%s", f->object_text);
	in->confidence = f->confidence;
}

void describe_patch(const struct patch *p, struct incident *in)
{
	size_t n;

	snprintf(in->strategy, sizeof(in->strategy), "%s", p->strategy);
	snprintf(in->home, sizeof(in->home), "%s", p->home);
	in->site = p->site.v;
	in->guard_at = p->guard_at.v;
	in->site_offset = p->site_offset;
	in->guard_offset = p->is_private ? 0 : p->guard_offset;
	in->bug_len = p->site_len;
	in->guard_len = p->guard_len;
	hex(in->before, sizeof(in->before), p->site_before, p->site_len, " ");
	hex(in->after, sizeof(in->after), p->site_after, p->site_len, " ");
	hex(in->guard_hex, sizeof(in->guard_hex), p->guard, p->guard_len, "");
	patch_disassemble(p->is_32bit, p->site_before, p->site_len, p->site.v, in->before_text,
			  sizeof(in->before_text));
	n = patch_disassemble(p->is_32bit, p->guard, p->guard_len, p->guard_at.v, in->guard_text,
			      sizeof(in->guard_text));
	patch_disassemble(p->is_32bit, p->routine, p->routine_len, p->guard_at.v + p->routine_offset - p->guard_offset,
			  in->guard_text + n, sizeof(in->guard_text) - n);
}
