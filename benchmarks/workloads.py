"""Every workload, in the order in which they run: a new one takes its place here and nowhere else."""

from typing import Final

from benchmarks.case import Workload
from benchmarks.durable.workload import CHAIN as W3
from benchmarks.durable.workload import CONSUME as W2
from benchmarks.durable.workload import LATENCY as W4
from benchmarks.fanning.workload import WORKLOAD as W3F
from benchmarks.in_process.workload import WORKLOAD as W1
from benchmarks.lasting.workload import WORKLOAD as W8
from benchmarks.publishing.workload import WORKLOAD as W2P
from benchmarks.queued.workload import WORKLOAD as W1G
from benchmarks.starting.workload import WORKLOAD as W5
from benchmarks.workers.workload import IDLE as W6
from benchmarks.workers.workload import SCALING as W7

WORKLOADS: Final[tuple[Workload, ...]] = (W1, W1G, W2, W2P, W3, W3F, W4, W5, W6, W7, W8)
