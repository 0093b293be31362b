"""Attacks against running deployments, and the report of what each one leaks."""
