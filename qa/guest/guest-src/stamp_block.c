#include "stamp_block.h"

static const uint64_t STAMP_MAGIC = 0x4e564d6553544d50ull;

enum word { MAGIC, RUN, DEVICE, SLOT, SEQUENCE, TIME_US, CHECKSUM, HEADER_WORDS };

uint64_t stamp_hash(const void *data, size_t bytes)
{
	const unsigned char *byte = data;
	uint64_t hash = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < bytes; i++)
		hash = (hash ^ byte[i]) * 0x100000001b3ull;
	return hash;
}

/* Word by word, the checksum word itself left out: byte by byte is too slow on an emulated processor. */
static uint64_t checksum(const uint64_t *words, size_t count)
{
	uint64_t sum = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < count; i++)
		if (i != CHECKSUM)
			sum = ((sum ^ words[i]) * 0x100000001b3ull) ^ (sum >> 29);
	return sum;
}

void stamp_fill(void *block, size_t block_bytes, const struct stamp_owner *owner, uint64_t slot, uint64_t sequence,
		uint64_t time_us)
{
	uint64_t *words = block;
	size_t count = block_bytes / sizeof(*words);
	uint64_t filler = owner->run ^ (owner->device << 48) ^ (slot << 24) ^ sequence;

	words[MAGIC] = STAMP_MAGIC;
	words[RUN] = owner->run;
	words[DEVICE] = owner->device;
	words[SLOT] = slot;
	words[SEQUENCE] = sequence;
	words[TIME_US] = time_us;
	for (size_t i = HEADER_WORDS; i < count; i++) {
		filler = filler * 6364136223846793005ull + 1442695040888963407ull;
		words[i] = filler;
	}
	words[CHECKSUM] = checksum(words, count);
}

static int all_zero(const uint64_t *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (words[i])
			return 0;
	return 1;
}

enum stamp_verdict stamp_judge(const void *block, size_t block_bytes, const struct stamp_owner *owner,
			       const struct stamp_slot *slot, uint64_t *found)
{
	const uint64_t *words = block;
	size_t count = block_bytes / sizeof(*words);

	*found = 0;
	if (all_zero(words, count))
		return STAMP_OLDER;	/* as if it had never been written */
	if (words[MAGIC] != STAMP_MAGIC || words[CHECKSUM] != checksum(words, count))
		return STAMP_CORRUPT;
	if (words[SLOT] != slot->number || words[DEVICE] != owner->device)
		return STAMP_CORRUPT;
	if (words[RUN] != owner->run)
		return STAMP_OLDER;	/* an earlier run's block in its right place */
	*found = words[SEQUENCE];
	if (*found == slot->acknowledged)
		return STAMP_CURRENT;
	if (*found < slot->acknowledged)
		return STAMP_OLDER;
	return *found <= slot->attempted ? STAMP_UNCERTAIN : STAMP_CORRUPT;
}
