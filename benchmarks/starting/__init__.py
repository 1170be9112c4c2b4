"""import: how long a process waits for `import necrostack`, beside what every pydantic program imports."""
