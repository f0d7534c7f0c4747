/* libpcap's own interpreter of filters, bpf_filter(3PCAP), called as a capture program would. */
#include <stdint.h>

#define EXPORTED __attribute__((visibility("default")))

typedef unsigned int interpreter(const void *program, const uint8_t *packet, unsigned int length,
				 unsigned int captured);

EXPORTED uint64_t filter_all(interpreter *bpf_filter, const void *program,
			     const uint8_t *const *packets, const uint32_t *lengths,
			     uint64_t count, uint64_t rounds)
{
	uint64_t passed = 0;
	for (uint64_t round = 0; round < rounds; round++)
		for (uint64_t i = 0; i < count; i++)
			passed += bpf_filter(program, packets[i], lengths[i], lengths[i]) != 0;
	return passed;
}
