"""One measurement: prepare, mount, let the client work, unmount, compare."""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benching import client
from benching.commands import BenchError, environment, killed, run
from benching.peers import Kind, Peer
from benching.place import drop_caches, flush, fresh_results
from benching.records import Measurement, Outcome, Program, Reading
from benching.requests import Tracing
from benching.serving import NotServedError, Served, last_words, served
from benching.tools import Tool
from benching.workloads import Job, Workload
from fusecopy.errors import FusecopyError
from fusecopy.interrupts import undisturbed
from fusecopy.observe import opcodes


class HungError(BenchError):
    """A job did not end in time."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and how it is measured.

    Attributes:
        filesystem: btrfs, xfs or ext4.
        backing: the directory that is served.
        scratch: for mount points and logs.
        seconds: after which a job hangs.
        tracing: how requests are counted; None where they cannot be.
    """

    filesystem: str
    backing: Path
    scratch: Path
    seconds: float
    tracing: Tracing | None

    def measure(self, peer: Peer, tool: Tool, workload: Workload, number: int) -> Measurement:
        """One workload by one peer; in round 0 with its requests traced."""
        found = Measurement(
            filesystem=self.filesystem,
            workload=workload.name,
            peer=peer.name,
            round=number,
            outcome=Outcome.OK,
        )
        try:
            fresh_results(self.backing)
            self._prepare(workload)
            self._work(peer, tool, workload, found)
            self._compare(workload, found)
        except HungError as error:
            found.outcome, found.problem = Outcome.HUNG, error.message
        except FusecopyError as error:
            found.outcome, found.problem = Outcome.FAILED, error.message
        return found

    def try_out(self, peer: Peer, tool: Tool) -> Program:
        """Mount a peer once and look into it, which a server that ends right after mounting does not outlive.

        Raises:
            BenchError: it cannot be mounted here, or does not answer.
        """
        if tool.absent:
            raise NotServedError(tool.absent)
        try:
            with served(peer, tool, self.backing, self.scratch) as mount:
                self._client(Job("programs", {"commands": []}), mount, "")
                return Program(peer.name, peer.kind.value, tool.version, mount.memory().get("VmRSS", 0))
        except NotServedError:
            raise
        except BenchError as error:
            said = last_words(self.scratch / "said")
            raise NotServedError(f"{error.message}: {said}") from error

    def _prepare(self, workload: Workload) -> None:
        if workload.prepare:
            run(*workload.prepare, cwd=self.backing)
            flush(self.backing)
        if workload.cold:
            drop_caches()

    def _work(self, peer: Peer, tool: Tool, workload: Workload, found: Measurement) -> None:
        job = workload.native if workload.native and peer.kind is Kind.NATIVE else workload.job
        with served(peer, tool, self.backing, self.scratch) as mount:
            if self.tracing and mount.connection and not found.round:
                with self.tracing.of(mount.connection) as trace:
                    reading = self._client(job, mount, str(trace.path))
                    if trace.lost():
                        raise BenchError("the trace buffer was too small for its requests")
            else:
                reading = self._client(job, mount, "")
            found.server_kib = mount.memory().get("VmHWM", 0)
        _fill(found, reading)
        if workload.count and reading.count != workload.count:
            found.outcome = Outcome.WRONG
            found.problem = f"{reading.count} instead of {workload.count}"

    def _client(self, job: Job, mount: Served, trace: str) -> Reading:
        """Have the job done by a process of its own.

        Raises:
            HungError: it did not end in time; the mount is dead now.
            BenchError: it failed.
        """
        arguments = (
            str(mount.path),
            str(mount.device),
            job.name,
            json.dumps(job.arguments),
            str(mount.pid),
            trace,
        )
        with undisturbed():
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", client.__file__, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=environment(),
                start_new_session=True,
            )
        try:
            printed, said = process.communicate(timeout=self.seconds)
        except subprocess.TimeoutExpired as error:
            raise HungError(f"did not end within {self.seconds:.0f} s") from error
        finally:
            with undisturbed():
                _end(process, mount)
        if process.returncode:
            raise BenchError((said.splitlines() or [f"status {process.returncode}"])[0])
        return msgspec.json.decode(printed, type=Reading)

    def _compare(self, workload: Workload, found: Measurement) -> None:
        """On the backing itself, after the mount has gone."""
        problems = [same.problem(self.backing) for same in workload.same]
        if workload.gone and os.path.lexists(self.backing / workload.gone):
            problems.append(f"{workload.gone} is still there")
        if any(problems):
            found.outcome = Outcome.WRONG
            found.problem = next(filter(None, problems))


def _end(process: "subprocess.Popen[str]", mount: Served) -> None:
    """Free a client that still runs from a server that does not answer, and kill it with all its children."""
    if process.poll() is None:
        mount.abort()
        killed(process)


def _fill(found: Measurement, reading: Reading) -> None:
    """Times of the whole job, or of one call where they were taken one by one."""
    calls = len(reading.samples_ns)
    wall = statistics.fmean(reading.samples_ns) if calls else reading.wall_ns
    found.wall_us = wall / 1000
    if calls > 1:
        percentiles = statistics.quantiles(reading.samples_ns, n=100, method="inclusive")
        found.p50_us, found.p99_us = percentiles[49] / 1000, percentiles[98] / 1000
    found.client_cpu_us = reading.client_cpu_ns / max(calls, 1) / 1000
    found.server_cpu_us = reading.server_cpu_ns / max(calls, 1) / 1000
    found.requests = {opcodes.name(opcode): number for opcode, number in sorted(reading.requests.items())}
