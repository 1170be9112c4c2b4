"""`python -m necrostack` is the `necrostack` command."""

from __future__ import annotations

import sys

from necrostack.cli import main

sys.exit(main())
