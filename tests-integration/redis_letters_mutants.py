"""Mistakes with dead letters, seeded into the real code. See `redis_mutants`."""

from __future__ import annotations

import redis_letters as checks
from redis_mutants import Mutant, edit

from necrostack_redis import scripts

GOES = "    redis.call('XADD', KEYS[3], '*', unpack(ARGV, at + 2, at + 1 + length))\n"
NOTED = "    redis.call('ZADD', KEYS[2], whole(now), id)\n"

MUTANTS = (
    Mutant(
        "redrives without looking whether it did",
        checks.a_dead_letter_goes_again_once,
        edit(scripts.REDRIVE, (" and not redis.call('ZSCORE', KEYS[2], id) then", " then")),
    ),
    Mutant(
        "notes that a letter went before it goes",
        checks.a_redrive_that_is_refused_costs_no_letter,
        edit(scripts.REDRIVE, (GOES + NOTED, NOTED + GOES)),
    ),
    Mutant(
        "forgets dead letters that wait",
        checks.a_dead_letter_that_waits_is_kept,
        edit(
            scripts.TRIM,
            ("if ARGV[5] ~= '' then\n", "if ARGV[5] ~= '' then\n  redis.call('XTRIM', KEYS[2], 'MAXLEN', 0)\n"),
        ),
    ),
)
