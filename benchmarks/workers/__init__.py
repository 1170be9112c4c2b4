"""W6 and W7: workers as processes of their own, idle, or many beside each other.

An adapter's `consume(url, progress, concurrency)` works until `progress.done`, which the parent says.
"""
