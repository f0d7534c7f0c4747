"""Memory that is shared with a device: ordered accesses, DMA memory, packet buffers."""
