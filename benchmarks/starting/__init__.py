"""W5: what it costs to start: the import, the memory, and what is installed for it."""
