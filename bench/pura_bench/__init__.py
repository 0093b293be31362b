"""Benchmarks: speed, accuracy, peers, security, and their report."""
