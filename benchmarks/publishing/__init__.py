"""W2p: what it costs to have an event kept by Redis."""
