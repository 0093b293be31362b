"""Clients that want to take S1's time and memory, beside one that wants an answer."""
