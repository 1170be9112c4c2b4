"""Hourly readings of three airports: days summed up, gales warned of, and history replayed when there was a mistake."""
