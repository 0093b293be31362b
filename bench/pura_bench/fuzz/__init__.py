"""Bytes that nobody should send, for everything that reads bytes from outside."""
