"""Where a server keeps what it must not lose."""
