"""The client: enrol, identify, verify, in Python and on the command line."""
