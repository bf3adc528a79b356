"""Comparison of conv2d with everything that one would otherwise use, and with the machine's limits."""
