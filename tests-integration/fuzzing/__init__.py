"""Fuzzing: whatever bytes come from outside, what reads them answers as documented, soon, and in bounded memory.

`nox -s fuzz` lets atheris look for inputs; `test_fuzz_targets.py` tries the kept ones, and some more, without it.
"""
