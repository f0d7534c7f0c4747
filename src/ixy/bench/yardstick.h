/*
 * A yardstick for `ixy bench driver`: what a driver in C costs in the layout that C ixy and DPDK
 * have. The metadata of each packet is in front of its data, a pool is a stack of indices, a driver
 * is reached through a table of functions.
 */
#ifndef YARDSTICK_H
#define YARDSTICK_H

#include <stdbool.h>
#include <stdint.h>

#define EXPORTED __attribute__((visibility("default")))
#define PACKET_SIZE 2048

struct device;
struct mempool;

struct packet {
	uint64_t address; /* where the device finds the data */
	struct mempool *pool;
	uint32_t index; /* in the pool */
	uint32_t size;
	uint8_t headroom[40];
	uint8_t data[] __attribute__((aligned(64)));
};

struct mempool {
	uint8_t *packets;
	uint32_t count;
	uint32_t top; /* height of the stack */
	uint32_t stack[]; /* indices of free packets */
};

struct mempool *mempool_create(void *memory, uint32_t count);
struct packet *packet_alloc(struct mempool *pool); /* NULL if the pool is empty */
void packet_free(struct packet *packet);

/* Receives or sends up to `count` packets; returns how many. */
typedef uint32_t batch_function(struct device *device, uint16_t queue, struct packet *packets[],
				uint32_t count);

struct device {
	batch_function *rx_batch;
	batch_function *tx_batch;
};

static inline uint32_t rx_batch(struct device *device, uint16_t queue, struct packet *packets[],
				uint32_t count)
{
	return device->rx_batch(device, queue, packets, count);
}

static inline uint32_t tx_batch(struct device *device, uint16_t queue, struct packet *packets[],
				uint32_t count)
{
	return device->tx_batch(device, queue, packets, count);
}

/* What bench/nic.py gives to a step. */
struct job {
	struct device *rx;
	struct device *tx;
	void *bufs;
	uint64_t batch;
	uint64_t writes; /* how packets are touched: a byte is incremented, or only read */
	uint64_t seen;
};

#endif
