/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parses the uplink's specification: a kind, then key=value options, separated by commas. */
#include "net/uplink_internal.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPEC_MAX 4096
#define DEFAULT_HOST_ADDR "127.0.0.1"
#define DEFAULT_GUEST_ADDR "10.0.2.15"

static const struct uplink_ops *const uplinks[] = {&uplink_user_ops, &uplink_tap_ops};

static int parse_addr(const char *text, const char *fallback, struct in_addr *ret, struct err *e)
{
	if (inet_pton(AF_INET, *text ? text : fallback, ret) != 1)
		return err_set(e, ERR_USAGE, "'%s' is not an IPv4 address", text);
	return 0;
}

static int parse_port(const char *text, uint16_t *ret, struct err *e)
{
	unsigned v = 0;
	size_t n = strspn(text, "0123456789");

	if (n && n <= 5 && !text[n])
		v = (unsigned)strtoul(text, NULL, 10);
	if (!v || v > UINT16_MAX)
		return err_set(e, ERR_USAGE, "'%s' is not a port (1 to 65535)", text);
	*ret = (uint16_t)v;
	return 0;
}

/* "ADDR:PORT", cut in place. */
static int parse_endpoint(char *text, const char *fallback, struct in_addr *ret_addr, uint16_t *ret_port, struct err *e)
{
	char *port = strchr(text, ':');

	if (!port)
		return err_set(e, ERR_USAGE, "'%s' is not ADDR:PORT", text);
	*port++ = '\0';
	if (parse_addr(text, fallback, ret_addr, e) < 0)
		return -1;
	return parse_port(port, ret_port, e);
}

static int parse_hostfwd_parts(char *value, struct uplink_hostfwd *f, struct err *e)
{
	char *host = strchr(value, ':'), *guest = strchr(value, '-');

	if (!host || !guest || guest < host)
		return err_set(e, ERR_USAGE, "not PROTO:HOSTADDR:HOSTPORT-GUESTADDR:GUESTPORT");
	*host++ = '\0';
	*guest++ = '\0';
	if (strcmp(value, "tcp") && strcmp(value, "udp"))
		return err_set(e, ERR_USAGE, "protocol '%s' is neither tcp nor udp", value);
	f->udp = value[0] == 'u';
	if (parse_endpoint(host, DEFAULT_HOST_ADDR, &f->host, &f->host_port, e) < 0)
		return -1;
	return parse_endpoint(guest, DEFAULT_GUEST_ADDR, &f->guest, &f->guest_port, e);
}

static int parse_hostfwd(struct uplink_config *c, char *value, struct err *e)
{
	char whole[128];

	if (c->n_hostfwd == UPLINK_HOSTFWD_MAX)
		return err_set(e, ERR_LIMIT, "more than %d hostfwd options", UPLINK_HOSTFWD_MAX);
	snprintf(whole, sizeof(whole), "%s", value);
	if (parse_hostfwd_parts(value, &c->hostfwd[c->n_hostfwd], e) < 0)
		return err_prefix(e, "hostfwd=%s", whole);
	c->n_hostfwd++;
	return 0;
}

static int parse_restrict(struct uplink_config *c, char *value, struct err *e)
{
	if (strcmp(value, "on") && strcmp(value, "off"))
		return err_set(e, ERR_USAGE, "restrict=%s: neither on nor off", value);
	c->restricted = !strcmp(value, "on");
	return 0;
}

static int parse_ifname(struct uplink_config *c, char *value, struct err *e)
{
	if (!*value || strlen(value) >= IFNAMSIZ)
		return err_set(e, ERR_USAGE, "ifname=%s: an interface name has 1 to %d bytes", value, IFNAMSIZ - 1);
	snprintf(c->ifname, sizeof(c->ifname), "%s", value);
	return 0;
}

static const struct option {
	const struct uplink_ops *uplink;
	const char *key;
	int (*parse)(struct uplink_config *c, char *value, struct err *e);
} options[] = {
	{&uplink_user_ops, "hostfwd", parse_hostfwd},
	{&uplink_user_ops, "restrict", parse_restrict},
	{&uplink_tap_ops, "ifname", parse_ifname},
};

static int parse_option(struct uplink_config *c, char *text, struct err *e)
{
	char *value = strchr(text, '=');

	if (!value)
		return err_set(e, ERR_USAGE, "option '%s' has no value", text);
	*value++ = '\0';
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (options[i].uplink == c->ops && !strcmp(options[i].key, text))
			return options[i].parse(c, value, e);
	return err_set(e, ERR_USAGE, "uplink '%s' has no option '%s'", c->ops->name, text);
}

int uplink_parse(const char *spec, struct uplink_config *ret, struct err *e)
{
	char text[SPEC_MAX], *rest = text, *word;

	memset(ret, 0, sizeof(*ret));
	if (snprintf(text, sizeof(text), "%s", spec) >= (int)sizeof(text))
		return err_set(e, ERR_USAGE, "network specification longer than %d bytes", SPEC_MAX - 1);
	word = strsep(&rest, ",");
	for (size_t i = 0; i < sizeof(uplinks) / sizeof(uplinks[0]); i++)
		if (!strcmp(uplinks[i]->name, word))
			ret->ops = uplinks[i];
	if (!ret->ops)
		return err_set(e, ERR_USAGE, "network uplink '%s' is unknown: user or tap", word);
	while ((word = strsep(&rest, ",")))
		if (parse_option(ret, word, e) < 0)
			return err_prefix(e, "network");
	if (ret->ops == &uplink_tap_ops && !ret->ifname[0])
		return err_set(e, ERR_USAGE, "network: uplink 'tap' needs ifname=NAME");
	return 0;
}
