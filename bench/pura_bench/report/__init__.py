"""The report of all results in one HTML file, and the figures of README."""
