/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket of a supervisor: RUNTIME_DIR/NAME.sock (mode 0600, AF_UNIX, SOCK_STREAM).
 * RUNTIME_DIR: $CLOUDER_RUNTIME_DIR, else /run/clouder for root, else $XDG_RUNTIME_DIR/clouder.
 * Beside it NAME.lock: flock'ed by the supervisor for as long as it lives, holds its pid.
 *
 * One JSON object a line each way. Request: {"verb": "status"|"stop"|"events"|"taint"|"checkpoint"|"checkpoints"|"rollback"|"vmi", ...}.
 * Answer: {"ok": true, ...} or {"ok": false, "error": "one line"}. "events": the answer, then one
 * object a line as things happen ({"event": "detected"|"located"|"patched"|"rolled-back"|"recovered"|"failed"|"no-patch"|"contained"|"proposed"|"observed", "incident": {...}}).
 */
#ifndef CLOUDER_CTL_PROTO_H
#define CLOUDER_CTL_PROTO_H

#define CTL_LINE_MAX 65536 /* of a request */
#define CTL_ANSWER_MAX (2 * 1048576) /* of an answer or event */
#define CTL_NAME_MAX 47

#endif
