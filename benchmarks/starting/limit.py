"""The limit: asyncio, and pydantic with one model defined, which is what makes pydantic load itself."""

import asyncio
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel


class Envelope(BaseModel):
    """One model with fields as an event has them."""

    id: UUID
    timestamp: datetime
    event_type: str


LOADED = (asyncio, Envelope)
