"""Every workload, in the order in which they run: a new one takes its place here and nowhere else."""

from typing import Final

from benchmarks.case import Workload
from benchmarks.durable.workload import CHAIN as W3
from benchmarks.durable.workload import CONSUME as W2
from benchmarks.durable.workload import LATENCY as W4
from benchmarks.in_process.workload import WORKLOAD as W1
from benchmarks.queued.workload import WORKLOAD as W1G
from benchmarks.starting.workload import WORKLOAD as IMPORT

WORKLOADS: Final[tuple[Workload, ...]] = (W1, W1G, W2, W3, W4, IMPORT)
