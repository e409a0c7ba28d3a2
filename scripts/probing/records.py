"""What a probe finds, and a kernel's column of it. Standard library only: scripts/lab runs on bare hosts."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Told:
    """What the dispatch log says of a copy: fields of its record. Of a flow, `dispatch` says so."""

    dispatch: str
    path: str
    driver: str
    copied: int | None
    shared: int | None
    rewritten: int | None
    errno: str | None

    def text(self) -> str:
        """In a few words."""
        words = [self.dispatch] if self.path in ("-", "kernel-splice") else [self.dispatch, self.path]
        if self.dispatch in ("fallback", "bypassed", "flow"):
            words = [self.dispatch, self.driver]
        if self.errno:
            words.append(self.errno)
        return " ".join(words)


@dataclass(frozen=True)
class Found:
    """What one probe found.

    Attributes:
        section: what it has in common with its neighbours.
        name: of the probe.
        asked: what was done, in words.
        answer: what the program was given: what the call returned, or the errno's name.
        requests: those that move data, as the server received them, by name.
        log: what the log says of it; empty where there was nothing to say.
    """

    section: str
    name: str
    asked: str
    answer: str
    requests: dict[str, int] = field(default_factory=dict)
    log: list[Told] = field(default_factory=list)

    def text(self) -> str:
        """A cell of the table."""
        requests = ", ".join(f"{count} {name}" for name, count in sorted(self.requests.items()))
        return "; ".join(
            part for part in (self.answer, requests, ", ".join(t.text() for t in self.log)) if part
        )


@dataclass(frozen=True)
class Column:
    """A kernel's column.

    Attributes:
        kernel: its version, as 6.1.192.
        facts: versions, and what the mount and the machine said of themselves.
        found: in the probes' order.
    """

    kernel: str
    facts: dict[str, str]
    found: list[Found]

    def json(self) -> str:
        """As it is kept, a line for each value."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def parse(cls, text: str) -> "Column":
        """From what is kept. Raises ValueError, KeyError or TypeError for something else."""
        kept: dict[str, Any] = json.loads(text)
        found = [Found(**{**one, "log": [Told(**told) for told in one["log"]]}) for one in kept["found"]]
        return cls(kept["kernel"], kept["facts"], found)
