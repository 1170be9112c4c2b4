"""Which database, and which backend: `DATABASE_URL` and `BACKEND_URL` in the environment."""

import os

from examples.box_office.database import Database, open_database
from necrostack import Backend, open_backend


def database_of_environment() -> Database:
    """Open the database, with its tables made."""
    database = open_database(os.environ.get("DATABASE_URL", "sqlite:///box-office.sqlite"))
    database.create_tables()
    return database


def backend_of_environment() -> Backend:
    """Open the backend."""
    return open_backend(os.environ.get("BACKEND_URL", "memory://"))
