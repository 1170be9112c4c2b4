"""W8: whether a worker's memory grows with what it has handled."""
