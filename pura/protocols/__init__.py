"""The two engines, as rounds without I/O."""
