"""Run the program without the command line: `python -m examples.github_webhooks --format json`."""

import argparse
import asyncio
import gzip
import sys
from pathlib import Path

from examples.github_webhooks.app import build
from examples.github_webhooks.organs.reporter import Reporter
from examples.github_webhooks.outbox import Outbox
from examples.github_webhooks.render import FORMATS, Format
from necrostack import Event, RunReport

FEED = Path(__file__).parent / "deliveries.ndjson.gz"


async def run(form: Format) -> RunReport:
    """Hand every delivery to the Spine, and name on stderr what could not be read."""
    with gzip.open(FEED) as lines:
        deliveries = [Event.from_json(line) for line in lines]
    async with build(Reporter(sys.stdout, form), Outbox()) as spine:
        report = await spine.run_until_idle(*deliveries)
        async for letter in spine.backend.admin.dead_letters():
            print(f"dead letter of {letter.organ}: {letter.error}", file=sys.stderr)
    return report


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m examples.github_webhooks", description=__doc__)
    parser.add_argument("--format", choices=FORMATS, default="table", help="how the report is written")
    report = asyncio.run(run(parser.parse_args().format))
    counts = f"{report.handled} handled, {report.retried} retried, {report.dead_lettered} dead-lettered"
    print(counts, file=sys.stderr)


if __name__ == "__main__":
    main()
