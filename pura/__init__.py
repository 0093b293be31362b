"""Pura: encrypted face matching between two servers that do not collude."""
