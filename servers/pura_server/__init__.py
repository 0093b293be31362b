"""The server of either role."""
