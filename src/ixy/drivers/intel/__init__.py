"""What drivers of Intel's cards have in common."""
