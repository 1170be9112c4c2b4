"""What an event costs: NecroStack, its peers, and a hand-written loop that does the same work, side by side.

`python -m benchmarks --help` says how to run it; README.md how to read it.
"""
