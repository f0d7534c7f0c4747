"""The virtio network driver: split and packed rings, over PCI and vhost-user."""
