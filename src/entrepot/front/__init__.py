"""The HTTP front: connections, heads, bodies and ends, the same for every protocol."""
