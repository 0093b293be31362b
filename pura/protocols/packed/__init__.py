"""The packed engine: exact, and each server's view can be simulated."""
