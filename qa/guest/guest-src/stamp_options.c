#include "stamp_options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *RUN_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.:_-";

static int fail(const char *what)
{
	fprintf(stderr, "stamp_writer: %s\n"
		"usage: stamp_writer DEVICE --run-id TEXT [--slots-mib 8] [--block-bytes 4096] [--depth 2]\n"
		"       [--interval-us 20000] [--device-id N] [--seconds S] [--report FILE] [--status FILE]\n", what);
	return -1;
}

static const char *refusal(const struct options *o)
{
	if (!o->run || !*o->run || o->run[strspn(o->run, RUN_LETTERS)])
		return "--run-id is needed, of letters, digits and .:_-";
	if (o->depth < 1 || o->depth > MAX_DEPTH)
		return "--depth is 1 to 64";
	if (o->block_bytes < 512 || o->block_bytes % 512)
		return "--block-bytes is a multiple of 512";
	if (o->interval_us < 0)
		return "--interval-us cannot be negative";
	if (o->slots_mib * 1048576 / o->block_bytes < (uint64_t)o->depth)
		return "--slots-mib holds fewer blocks than --depth";
	return NULL;
}

int options_read(struct options *o, int count, char **words)
{
	static const struct option known[] = {
		{ "slots-mib", 1, 0, 'm' }, { "block-bytes", 1, 0, 'b' }, { "depth", 1, 0, 'd' },
		{ "interval-us", 1, 0, 'i' }, { "run-id", 1, 0, 'r' }, { "device-id", 1, 0, 'n' },
		{ "seconds", 1, 0, 't' }, { "report", 1, 0, 'R' }, { "status", 1, 0, 'S' }, { 0 } };
	const char *refused;
	int letter;

	*o = (struct options) { .block_bytes = 4096, .slots_mib = 8, .depth = 2, .interval_us = 20000 };
	while ((letter = getopt_long(count, words, "", known, NULL)) != -1) {
		switch (letter) {
		case 'm': o->slots_mib = strtoull(optarg, NULL, 0); break;
		case 'b': o->block_bytes = strtoull(optarg, NULL, 0); break;
		case 'd': o->depth = atol(optarg); break;
		case 'i': o->interval_us = atol(optarg); break;
		case 'r': o->run = optarg; break;
		case 'n': o->device_id = strtoull(optarg, NULL, 0); break;
		case 't': o->seconds = atof(optarg); break;
		case 'R': o->report = optarg; break;
		case 'S': o->status = optarg; break;
		default: return fail("see the line above");
		}
	}
	if (optind + 1 != count)
		return fail("exactly one DEVICE is needed");
	o->device = words[optind];
	refused = refusal(o);
	return refused ? fail(refused) : 0;
}
