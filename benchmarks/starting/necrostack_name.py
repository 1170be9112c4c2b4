"""NecroStack by its name alone: what a program has imported before it uses any of it."""

import necrostack

LOADED = necrostack.__all__
