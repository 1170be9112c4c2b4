"""memory: what a queued event occupies."""
