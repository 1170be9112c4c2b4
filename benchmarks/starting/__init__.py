"""import: how long a process waits for `import necrostack`, beside what no pydantic program can do without."""
