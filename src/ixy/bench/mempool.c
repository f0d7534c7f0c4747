/* Packet buffers: a stack of free ones. The last one freed, still in the cache, is used next. */
#include <stdlib.h>

#include "yardstick.h"

static inline struct packet *at(struct mempool *pool, uint32_t index)
{
	return (struct packet *)(pool->packets + (uint64_t)index * PACKET_SIZE);
}

struct mempool *mempool_create(void *memory, uint32_t count)
{
	struct mempool *pool = malloc(sizeof(struct mempool) + count * sizeof(uint32_t));
	if (!pool)
		return NULL;
	pool->packets = memory;
	pool->count = count;
	pool->top = count;
	for (uint32_t i = 0; i < count; i++) {
		struct packet *packet = at(pool, i);
		packet->address = (uintptr_t)packet->data;
		packet->pool = pool;
		packet->index = i;
		packet->size = 0;
		pool->stack[i] = i;
	}
	return pool;
}

struct packet *packet_alloc(struct mempool *pool)
{
	if (pool->top == 0)
		return NULL;
	uint32_t index = pool->stack[--pool->top];
	return at(pool, index);
}

void packet_free(struct packet *packet)
{
	struct mempool *pool = packet->pool;
	pool->stack[pool->top++] = packet->index;
}
