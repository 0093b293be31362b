"""The prepared engine: everything dear is made ahead of the question; each server's view can be simulated."""
