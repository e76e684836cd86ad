"""Measurements of inference on this machine, each beside what it is compared with and beside the machine's limits."""
