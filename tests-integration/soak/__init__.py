"""The soak: a constant load for an hour, with deaths. Does anything grow, does anything get slower, is it exact?

`nox -s soak -- --minutes 60` runs it. What it finds is written as JSON, Markdown and one picture.
"""
