"""What the program keeps: in memory for one process, in a file for several workers."""

import os
from pathlib import Path

from examples.database import Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS tallies (
    event_id TEXT PRIMARY KEY, repository TEXT, section TEXT, figure TEXT, amount INTEGER
);
CREATE TABLE IF NOT EXISTS states (
    repository TEXT, section TEXT, number INTEGER, moment TEXT, is_open INTEGER, was_open INTEGER,
    PRIMARY KEY (repository, section, number)
);
CREATE TABLE IF NOT EXISTS workers (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS sent (key TEXT PRIMARY KEY, message TEXT);
CREATE TABLE IF NOT EXISTS places (key TEXT PRIMARY KEY, moment REAL);
CREATE TABLE IF NOT EXISTS bursts (window_ends REAL, granted INTEGER);
"""


def database_of_the_run() -> Database:
    """Give the database that the workers of one run share; it goes when the run is over."""
    folder = os.environ.get("NECROSTACK_RUN_FOLDER")
    return database_in_memory() if folder is None else Database(Path(folder, "webhooks.sqlite"), SCHEMA)


def database_in_memory() -> Database:
    """Make one that is this process's own."""
    return Database(":memory:", SCHEMA)
