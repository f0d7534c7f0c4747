/* The 82599's receive and transmit rings (7.1.9, 7.2.3). */
#include <stddef.h>
#include <stdlib.h>

#include "yardstick.h"

#define CLEAN_BATCH 32

#define RX_DD (1u << 0)
#define RX_EOP (1u << 1)
#define RX_RXE (1u << 29)
#define TX_DD (1u << 0)
/* EOP, IFCS, RS, DEXT, data */
#define TX_COMMAND (1u << 24 | 1u << 25 | 1u << 27 | 1u << 29 | 3u << 20)
#define TX_PAYLEN_SHIFT 14

union rx_descriptor {
	struct {
		uint64_t buffer;
		uint64_t header;
	} read;
	struct {
		uint32_t info;
		uint32_t rss;
		uint32_t status;
		uint16_t length;
		uint16_t vlan;
	} write_back;
};

union tx_descriptor {
	struct {
		uint64_t buffer;
		uint32_t command;
		uint32_t offload;
	} read;
	struct {
		uint64_t reserved;
		uint32_t reserved2;
		uint32_t status;
	} write_back;
};

struct rx_queue {
	volatile union rx_descriptor *ring;
	volatile uint32_t *tail;
	struct mempool *pool;
	uint32_t entries;
	uint32_t index;
	struct packet **packets; /* the one in each slot */
};

struct tx_queue {
	volatile union tx_descriptor *ring;
	volatile uint32_t *tail;
	uint32_t entries;
	uint32_t index;
	uint32_t clean; /* the oldest slot whose packet has not been freed */
	struct packet **packets;
};

struct nic {
	struct device device;
	struct rx_queue rx[1];
	struct tx_queue tx[1];
};

static inline struct nic *nic_of(struct device *device)
{
	return (struct nic *)((char *)device - offsetof(struct nic, device));
}

static inline uint32_t next(uint32_t index, uint32_t entries)
{
	return (index + 1) & (entries - 1); /* a power of two */
}

static uint32_t nic_rx_batch(struct device *device, uint16_t number, struct packet *packets[],
			     uint32_t count)
{
	struct rx_queue *queue = &nic_of(device)->rx[number];
	uint32_t index = queue->index;
	uint32_t last = index;
	uint32_t received;
	for (received = 0; received < count; received++) {
		volatile union rx_descriptor *descriptor = &queue->ring[index];
		uint32_t status = descriptor->write_back.status;
		if ((status & (RX_DD | RX_EOP | RX_RXE)) != (RX_DD | RX_EOP))
			break; /* none there, or one that spans descriptors or is damaged */
		struct packet *fresh = packet_alloc(queue->pool);
		if (!fresh)
			break;
		struct packet *packet = queue->packets[index];
		packet->size = descriptor->write_back.length;
		descriptor->read.buffer = fresh->address;
		descriptor->read.header = 0; /* also clears DD */
		queue->packets[index] = fresh;
		packets[received] = packet;
		last = index;
		index = next(index, queue->entries);
	}
	if (received) {
		__atomic_thread_fence(__ATOMIC_RELEASE);
		*queue->tail = last; /* one behind: tail == head would mean an empty ring */
		queue->index = index;
	}
	return received;
}

static void clean(struct tx_queue *queue)
{
	while (((queue->index - queue->clean) & (queue->entries - 1)) >= CLEAN_BATCH) {
		uint32_t last = (queue->clean + CLEAN_BATCH - 1) & (queue->entries - 1);
		if (!(queue->ring[last].write_back.status & TX_DD))
			break;
		for (uint32_t i = queue->clean; i <= last; i++)
			packet_free(queue->packets[i]);
		queue->clean = next(last, queue->entries);
	}
}

static uint32_t nic_tx_batch(struct device *device, uint16_t number, struct packet *packets[],
			     uint32_t count)
{
	struct tx_queue *queue = &nic_of(device)->tx[number];
	clean(queue);
	uint32_t index = queue->index;
	uint32_t sent;
	for (sent = 0; sent < count; sent++) {
		if (next(index, queue->entries) == queue->clean)
			break;
		struct packet *packet = packets[sent];
		volatile union tx_descriptor *descriptor = &queue->ring[index];
		queue->packets[index] = packet;
		descriptor->read.buffer = packet->address;
		descriptor->read.command = TX_COMMAND | packet->size;
		descriptor->read.offload = packet->size << TX_PAYLEN_SHIFT;
		index = next(index, queue->entries);
	}
	queue->index = index;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	*queue->tail = index;
	return sent;
}

/* A NIC with a full receive ring. `memory` has room for `count` packets. */
EXPORTED struct device *nic_create(void *rx_ring, void *tx_ring, uint32_t *rx_tail,
				   uint32_t *tx_tail, uint64_t entries, void *memory,
				   uint64_t count)
{
	struct nic *nic = calloc(1, sizeof(struct nic));
	struct packet **slots = calloc(2 * entries, sizeof(struct packet *));
	struct mempool *pool = mempool_create(memory, count);
	if (!nic || !slots || !pool)
		return NULL;
	nic->device.rx_batch = nic_rx_batch;
	nic->device.tx_batch = nic_tx_batch;
	nic->rx[0] = (struct rx_queue){rx_ring, rx_tail, pool, entries, 0, slots};
	nic->tx[0] = (struct tx_queue){tx_ring, tx_tail, entries, 0, 0, slots + entries};
	for (uint32_t i = 0; i < entries; i++) {
		slots[i] = packet_alloc(pool);
		nic->rx[0].ring[i].read.buffer = slots[i]->address;
	}
	*rx_tail = entries - 1;
	return &nic->device;
}
