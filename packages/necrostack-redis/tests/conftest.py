"""What all tests of the Redis backend share. None of them needs a server: those are in tests-integration."""

from __future__ import annotations

from hypothesis import settings

# The same examples in every run, and no time limit for one: machines differ.
settings.register_profile("necrostack", derandomize=True, deadline=None)
settings.load_profile("necrostack")
