/* The content of one stamped block: who wrote it, where it belongs, and which write it was.
 *
 * Every 8-byte word of a block depends on the stamp, and a checksum covers the whole block, so a block that was torn,
 * misplaced or mixed from two writes is told apart from one that is merely older than expected.
 */
#ifndef STAMP_BLOCK_H
#define STAMP_BLOCK_H

#include <stddef.h>
#include <stdint.h>

struct stamp_owner {
	uint64_t run;
	uint64_t device;
};

struct stamp_slot {
	uint64_t number;
	uint64_t acknowledged;	/* sequence of the last write that was reported as done; 0 = none */
	uint64_t attempted;	/* sequence of the last write that was sent */
};

enum stamp_verdict {
	STAMP_CURRENT,		/* the acknowledged write */
	STAMP_UNCERTAIN,	/* a later write that was sent but not acknowledged: allowed */
	STAMP_OLDER,		/* something from before the acknowledged write: it was lost */
	STAMP_CORRUPT,		/* torn, of another slot or device, or never written by anyone */
};

void stamp_fill(void *block, size_t block_bytes, const struct stamp_owner *owner, uint64_t slot, uint64_t sequence,
		uint64_t time_us);

/* Judges what was read for `slot`. *found is the sequence in the block, 0 where it holds none of this run. */
enum stamp_verdict stamp_judge(const void *block, size_t block_bytes, const struct stamp_owner *owner,
			       const struct stamp_slot *slot, uint64_t *found);

/* A 64-bit name for a text. */
uint64_t stamp_hash(const void *data, size_t bytes);

#endif
