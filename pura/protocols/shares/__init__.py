"""Computing on shares between the two servers: OTs and what is made of them, circuits, choices. For every engine."""
