/* Whether two files hold the same bytes. Whoever asks holds both open; they may be written meanwhile. */

#include "contents.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define CHUNK 65536

/* Of so many bytes that differ from the one before them, equal ones are no chance. */
#define RICH 256

/* Reads all of a chunk; 0 where the file ends before, or -errno. */
static ssize_t read_chunk(int fd, char *chunk, size_t size, uint64_t offset)
{
	size_t got = 0;

	while (got < size) {
		ssize_t n = pread(fd, chunk + got, size - got, offset + got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		got += n;
	}
	return got;
}

/* How many bytes differ from the one before, up to RICH. */
static int changes(const char *chunk, size_t size)
{
	int count = 0;

	for (size_t i = 1; i < size && count < RICH; i++)
		count += chunk[i] != chunk[i - 1];
	return count;
}

int fc_same_bytes(int one, uint64_t at_one, int other, uint64_t at_other, uint64_t length)
{
	char a[CHUNK], b[CHUNK];
	int found = 0;

	for (uint64_t done = 0; done < length; done += CHUNK) {
		size_t size = length - done < CHUNK ? length - done : CHUNK;
		ssize_t got = read_chunk(one, a, size, at_one + done);
		if (got > 0)
			got = read_chunk(other, b, size, at_other + done);
		if (got <= 0)
			return got;
		if (memcmp(a, b, size) != 0)
			return FC_DIFFERENT;
		if (found < RICH)
			found += changes(a, size);
	}
	return found < RICH ? FC_SAME_POOR : FC_SAME;
}

int64_t fc_find_bytes(int in, uint64_t from, uint64_t window, int what, uint64_t at, uint64_t length)
{
	char haystack[2 * CHUNK], needle[FC_NEEDLE];
	size_t size = length < FC_NEEDLE ? length : FC_NEEDLE;
	ssize_t there = pread(in, haystack, window < CHUNK ? window + size - 1 : sizeof(haystack), from);
	ssize_t got = there < 0 ? there : read_chunk(what, needle, size, at);
	const char *found;

	if (got < 0)
		return -errno;
	found = got == 0 ? NULL : memmem(haystack, there, needle, size);
	return found ? (int64_t)(from + (found - haystack)) : -ENODATA;
}
