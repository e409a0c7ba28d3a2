"""When a fault strikes: for which programs and files, at which of the calls."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import PurePath

from fusecopy.errors import UsageError
from fusecopy.faults.catalogue import FAULTS, Delay, Effect, Fault, Shorten, SystemCall
from fusecopy.sizes import bytes_of

WORDS = "every=N, call=N, after=SIZE, program=GLOB, path=GLOB, seconds=N"


@dataclass(frozen=True, slots=True)
class Rule:
    """A fault, and the calls that it strikes.

    Attributes:
        fault: which.
        text: as it was asked for.
        after: bytes of the destination before which it does not strike.
        every: one of so many calls that match; 0: all of them.
        call: only this one of the calls that match, counted from 1; 0: all of them.
        program: pattern of the program's name (comm).
        path: pattern of the source's or the destination's path, or of its last component.
    """

    fault: Fault
    text: str
    after: int
    every: int = 0
    call: int = 0
    program: str = "*"
    path: str = "*"

    def __str__(self) -> str:
        return self.text

    @property
    def cause(self) -> str:
        """Why a copy was answered so, for the log."""
        return f"The fault {self.text} was asked for: {self.fault.answer}."


@dataclass(frozen=True, slots=True)
class Attempted:
    """A call that may be struck.

    Attributes:
        call: which.
        program: the program's name.
        paths: of source and destination.
        offset_out, length: of the destination, in bytes.
    """

    call: SystemCall
    program: str
    paths: tuple[str, str]
    offset_out: int
    length: int


@dataclass(frozen=True, slots=True)
class Strike:
    """What becomes of one call, and by which rule."""

    effect: Effect
    rule: Rule


def parse(text: str) -> Rule:
    """A rule such as "ecryptfs-einval,every=3,program=cp". Raises UsageError."""
    name, *words = text.split(",")
    fault = FAULTS.get(name)
    if fault is None:
        raise UsageError(f"{name}: no such fault", "fusecopy faults lists them.")
    rule = Rule(fault, text, fault.after)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in _WORDS:
            raise UsageError(f"{word!r} says nothing of a fault", f"Words: {WORDS}.")
        rule = _WORDS[key](rule, value)
    return rule


def _every(rule: Rule, value: str) -> Rule:
    return replace(rule, every=_count(value))


def _call(rule: Rule, value: str) -> Rule:
    return replace(rule, call=_count(value))


def _after(rule: Rule, value: str) -> Rule:
    if rule.fault.call is SystemCall.FICLONE:
        raise UsageError(f"{rule.fault.name}: FICLONE has no middle", "Leave after= away.")
    return replace(rule, after=bytes_of(value))


def _program(rule: Rule, value: str) -> Rule:
    return replace(rule, program=value)


def _path(rule: Rule, value: str) -> Rule:
    return replace(rule, path=value)


def _seconds(rule: Rule, value: str) -> Rule:
    if not isinstance(rule.fault.effect, Delay):
        raise UsageError(f"{rule.fault.name}: this fault is not late", "Leave seconds= away.")
    return replace(rule, fault=replace(rule.fault, effect=Delay(_count(value))))


_WORDS: dict[str, Callable[[Rule, str], Rule]] = {
    "every": _every,
    "call": _call,
    "after": _after,
    "program": _program,
    "path": _path,
    "seconds": _seconds,
}


def _count(value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 0 < int(value) < 1 << 31:
        raise UsageError(f"{value!r} is not a count", "Give 1 or more.")
    return int(value)


class Faults:
    """The rules that hold, and how often each was met. For any thread."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._lock = threading.Lock()
        self._met = [0] * len(self._rules)
        self._struck = [0] * len(self._rules)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def strike(self, attempted: Attempted) -> Strike | None:
        """What becomes of a call; None: what always would. The first rule that matches decides."""
        for number, rule in enumerate(self._rules):
            if _matches(rule, attempted):
                effect = self._effect(number, rule, attempted)
                return Strike(effect, rule) if effect else None
        return None

    def counts(self) -> list[tuple[Rule, int, int]]:
        """Each rule, how many calls it met, and how many of them it struck."""
        with self._lock:
            return list(zip(self._rules, self._met, self._struck, strict=True))

    def _effect(self, number: int, rule: Rule, attempted: Attempted) -> Effect | None:
        """A call that reaches the place from where on it strikes ends there, and the next is struck."""
        if attempted.offset_out < rule.after:
            left = rule.after - attempted.offset_out
            return Shorten(left) if attempted.length > left else None
        with self._lock:
            self._met[number] += 1
            met = self._met[number]
            strikes = (not rule.every or met % rule.every == 0) and (not rule.call or met == rule.call)
            self._struck[number] += strikes
        return rule.fault.effect if strikes else None


def _matches(rule: Rule, attempted: Attempted) -> bool:
    return (
        rule.fault.call is attempted.call
        and fnmatchcase(attempted.program, rule.program)
        and any(
            fnmatchcase(path, rule.path) or fnmatchcase(PurePath(path).name, rule.path)
            for path in attempted.paths
        )
    )
