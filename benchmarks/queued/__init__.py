"""W1g: what an event costs when many of them wait."""
