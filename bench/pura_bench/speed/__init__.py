"""Speed of both engines and of plain integers: processes, network, stages, what follows from the figures."""
