"""The organs, a row per file: deliveries become facts, facts become tallies, tallies become the report."""
