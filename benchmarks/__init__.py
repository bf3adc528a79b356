"""Comparison of conv2d with what one would otherwise use, and with the limits of the machine."""
