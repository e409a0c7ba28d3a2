"""What was measured, as it stands in the JSON file."""

from enum import Enum

import msgspec

SCHEMA = 1


class Outcome(str, Enum):
    """What became of one measurement."""

    OK = "ok"
    WRONG = "wrong"  # the result is not what it had to be
    FAILED = "failed"  # the program failed, or the mount did
    HUNG = "hung"  # it did not end in time and its connection was aborted


class Reading(msgspec.Struct, kw_only=True):
    """What client.py prints.

    Attributes:
        wall_ns, client_cpu_ns, server_cpu_ns: of the whole measured part, in nanoseconds.
        samples_ns: of each call where calls are taken one by one.
        count: what the job counted, as bytes or files.
        requests: sent by the kernel to the server, by opcode; empty where they were not traced.
    """

    wall_ns: int
    client_cpu_ns: int
    server_cpu_ns: int
    samples_ns: list[int]
    count: int
    requests: dict[int, int]


class Measurement(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One peer, one workload, one round.

    Attributes:
        round: 0 for the first, in which requests are traced and no time is taken.
        outcome: only OK has figures that count.
        problem: what was wrong, failed or hung.
        wall_us: of the job; of one call, the mean, where they are taken one by one.
        p50_us, p99_us: of those calls; 0 where there are none.
        client_cpu_us, server_cpu_us: of the same.
        server_kib: the most memory that the server had until then (VmHWM).
        requests: sent by the kernel to the server, by opcode's name.
    """

    filesystem: str
    workload: str
    peer: str
    round: int
    outcome: Outcome
    problem: str = ""
    wall_us: float = 0.0
    p50_us: float = 0.0
    p99_us: float = 0.0
    client_cpu_us: float = 0.0
    server_cpu_us: float = 0.0
    server_kib: int = 0
    requests: dict[str, int] = {}


class NotMeasured(msgspec.Struct, frozen=True):
    """A peer that did not take part in a workload, and why."""

    filesystem: str
    workload: str
    peer: str
    reason: str


class Program(msgspec.Struct, frozen=True):
    """A peer as it was found: its version, and its memory on a fresh mount in KiB (VmRSS)."""

    peer: str
    kind: str
    version: str
    idle_kib: int = 0


class Told(msgspec.Struct, frozen=True):
    """A workload as it is told to people; units are the files or calls of one job."""

    name: str
    title: str
    units: int


class Run(msgspec.Struct, kw_only=True):
    """One run of the benchmark: the JSON file.

    Attributes:
        machine: kernel, processors and load, by name.
        untraced: why requests were not counted; empty where they were.
    """

    schema: int = SCHEMA
    machine: dict[str, str]
    rounds: int
    untraced: str = ""
    programs: list[Program] = []
    workloads: list[Told] = []
    measurements: list[Measurement] = []
    not_measured: list[NotMeasured] = []
