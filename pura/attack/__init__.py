"""Published attacks on face matching, replayed against oracles."""
