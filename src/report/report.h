/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Incidents as text for people. What came from the guest is escaped (see term.h), whoever reads it. */
#ifndef CLOUDER_REPORT_REPORT_H
#define CLOUDER_REPORT_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "store/incident.h"

/* The whole incident: detection, culprit, object, patch, recovery, and the times beside the paper's. */
void report_incident(FILE *out, const struct incident *in, bool colour);

/* One line: id, time, VM, state, where, what was done. report_incident_heading prints the line above a list. */
void report_incident_heading(FILE *out, bool colour);
void report_incident_line(FILE *out, const struct incident *in, bool colour);

/*
 * One step of an incident as it happens, with the sections of report_incident that have become known by it. event is
 * a name of ctl_proto.h; any other prints its line alone. Flushes out.
 */
void report_event(FILE *out, const char *event, const struct incident *in, bool colour);

#endif
