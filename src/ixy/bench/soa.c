/*
 * The second yardstick: C in our layout. The records are those of the driver in Python: records.h
 * is made from its dtypes (yardstick.py). Line by line this is ixy/drivers/intel/rings.py.
 */
#include <stdbool.h>
#include <stdint.h>

#include "records.h"

#define CLEAN_BATCH 32
#define RX_DD 1ull
#define GOOD_MASK (1ull << 0 | 1ull << 1 | 1ull << 29 | 0xF800ull << 32)
#define GOOD (1ull << 0 | 1ull << 1)
#define TX_DD (1u << 0)
#define TX_COMMAND (1u << 24 | 1u << 25 | 1u << 27 | 1u << 29 | 3u << 20)
#define TX_PAYLEN_SHIFT 14

struct rx_descriptor {
	uint64_t buffer;
	uint64_t done; /* written as 0 with the buffer */
};

struct tx_descriptor {
	uint64_t buffer;
	uint32_t command;
	uint32_t offload; /* the status when it is written back */
};

static inline void lock(struct pool *pool)
{
	while (__atomic_exchange_n(&pool->lock, 1, __ATOMIC_ACQUIRE))
		;
}

static inline void unlock(struct pool *pool)
{
	__atomic_store_n(&pool->lock, 0, __ATOMIC_RELEASE);
}

static uint32_t rx_batch(struct rx_queue *queue, uint32_t *bufs, uint32_t count)
{
	struct rx_descriptor *ring = (void *)queue->ring;
	uint32_t index = queue->index;
	if (!(__atomic_load_n(&ring[index].done, __ATOMIC_ACQUIRE) & RX_DD))
		return 0;
	struct pool *pool = (void *)queue->pool;
	lock(pool);
	uint32_t *slots = (void *)queue->bufs;
	uint64_t *addresses = (void *)queue->addresses;
	uint32_t *lengths = (void *)pool->lengths;
	uint32_t *stack = (void *)pool->stack;
	uint32_t mask = queue->mask;
	uint32_t top = pool->top;
	uint32_t limit = count < top ? count : top;
	uint32_t received;
	for (received = 0; received < limit; received++) {
		uint64_t done = __atomic_load_n(&ring[index].done, __ATOMIC_ACQUIRE);
		if ((done & GOOD_MASK) != GOOD)
			break;
		uint32_t buf = slots[index];
		lengths[buf] = done >> 32;
		bufs[received] = buf;
		uint32_t fresh = stack[--top];
		slots[index] = fresh;
		ring[index].buffer = addresses[fresh];
		ring[index].done = 0;
		index = (index + 1) & mask;
	}
	pool->top = top;
	unlock(pool);
	queue->index = index;
	__atomic_store_n((uint32_t *)queue->doorbell, (index - 1) & mask, __ATOMIC_RELEASE);
	return received;
}

static void free_batch(struct pool *pool, const uint32_t *bufs, uint32_t count)
{
	lock(pool);
	uint32_t *stack = (uint32_t *)pool->stack + pool->top;
	for (uint32_t i = 0; i < count; i++)
		stack[i] = bufs[i];
	pool->top += count;
	unlock(pool);
}

static void reclaim(struct tx_queue *queue)
{
	struct tx_descriptor *ring = (void *)queue->ring;
	uint32_t *slots = (void *)queue->bufs;
	while (((queue->index - queue->clean) & queue->mask) >= CLEAN_BATCH) {
		uint32_t *status = &ring[queue->clean + CLEAN_BATCH - 1].offload;
		if (!(__atomic_load_n(status, __ATOMIC_ACQUIRE) & TX_DD))
			break;
		free_batch((void *)queue->pool, slots + queue->clean, CLEAN_BATCH);
		queue->clean = (queue->clean + CLEAN_BATCH) & queue->mask;
	}
}

static uint32_t tx_batch(struct tx_queue *queue, const uint32_t *bufs, uint32_t count)
{
	reclaim(queue);
	struct tx_descriptor *ring = (void *)queue->ring;
	struct pool *pool = (void *)queue->pool;
	uint32_t *slots = (void *)queue->bufs;
	uint64_t *addresses = (void *)queue->addresses;
	uint32_t *lengths = (void *)pool->lengths;
	uint32_t mask = queue->mask;
	uint32_t index = queue->index;
	uint32_t free_slots = (queue->clean - index - 1) & mask;
	uint32_t room = count < free_slots ? count : free_slots;
	for (uint32_t i = 0; i < room; i++) {
		uint32_t buf = bufs[i];
		uint32_t size = lengths[buf];
		slots[index] = buf;
		ring[index] = (struct tx_descriptor){
			addresses[buf], TX_COMMAND | size, size << TX_PAYLEN_SHIFT};
		index = (index + 1) & mask;
	}
	queue->index = index;
	__atomic_store_n((uint32_t *)queue->doorbell, index, __ATOMIC_RELEASE);
	return room;
}

__attribute__((visibility("default"))) void forward(struct job *job)
{
	uint32_t *bufs = (void *)job->bufs;
	struct rx_queue *rx = (void *)job->rx;
	uint32_t received = rx_batch(rx, bufs, job->batch);
	struct pool *pool = (void *)rx->pool;
	struct packet_buffer *packets = (void *)pool->packets;
	if (job->writes) {
		for (uint32_t i = 0; i < received; i++)
			packets[bufs[i]].bytes[1]++;
	} else {
		uint64_t seen = job->seen;
		for (uint32_t i = 0; i < received; i++)
			seen += packets[bufs[i]].bytes[1];
		job->seen = seen;
	}
	uint32_t sent = tx_batch((void *)job->tx, bufs, received);
	if (sent < received)
		free_batch(pool, bufs + sent, received - sent);
}
