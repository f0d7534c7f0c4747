/* The application: what arrives at one port leaves by the other. */
#include "yardstick.h"

#define MOST 256

EXPORTED void forward(struct job *job)
{
	struct packet *packets[MOST];
	uint32_t received = rx_batch(job->rx, 0, packets, job->batch);
	if (job->writes) {
		for (uint32_t i = 0; i < received; i++)
			packets[i]->data[1]++;
	} else {
		uint64_t seen = job->seen;
		for (uint32_t i = 0; i < received; i++)
			seen += packets[i]->data[1];
		job->seen = seen;
	}
	uint32_t sent = tx_batch(job->tx, 0, packets, received);
	for (uint32_t i = sent; i < received; i++)
		packet_free(packets[i]);
}
