"""The commands, one in each file: `add_arguments` declares, `execute` does."""
