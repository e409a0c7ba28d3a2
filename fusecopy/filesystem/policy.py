"""What a mount does with a copy request: the ladder, and what else an experiment may want."""

import errno
from dataclasses import dataclass, replace

from fusecopy.copying.ladder import DEFAULT, Ladder, parse_ladder
from fusecopy.errors import UsageError
from fusecopy.faults import rules
from fusecopy.faults.catalogue import SystemCall
from fusecopy.faults.rules import Rule

DECLINES = {"eopnotsupp": errno.EOPNOTSUPP, "enosys": errno.ENOSYS, "exdev": errno.EXDEV}
"""Answers after which the kernel copies by its own splice; ENOSYS is for good (fs/fuse/file.c, Linux 6.1
to 7.2)."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How copy requests are answered.

    Attributes:
        paths: the ladder.
        strict: answer an error where anything but a reflink would be needed.
        decline: answer so that the kernel copies by its own splice; a key of DECLINES, or empty.
        refuse: answer this errno (its name), for experiments; or empty.
        faults: what some copies are to be answered instead.
    """

    paths: Ladder = DEFAULT
    strict: bool = False
    decline: str = ""
    refuse: str = ""
    faults: tuple[Rule, ...] = ()

    def __str__(self) -> str:
        words = [f"paths={','.join(self.paths)}"]
        words += ["strict"] if self.strict else []
        words += [f"decline={self.decline}"] if self.decline else []
        words += [f"refuse={self.refuse}"] if self.refuse else []
        words += [f"fault={rule}" for rule in self.faults]
        return " ".join(words)


def parse(text: str, base: Policy | None = None) -> Policy:
    """The policy that words such as "paths=reflink,splice strict" describe, over `base` or the default.

    A word sets what it names and leaves the rest as it was; "decline=", "refuse=" and "fault=" without a
    value and "nostrict" take back, "default" begins anew. There may be several faults, each by its own word.

    Raises:
        UsageError: a word is not one of these, or one contradicts another.
    """
    policy = base or Policy()
    for word in text.split():
        policy = _changed(policy, word)
    answers = [name for name in ("strict", "decline", "refuse") if getattr(policy, name)]
    if len(answers) > 1:
        raise UsageError(
            f"{' and '.join(answers)} exclude each other: each is an answer to the same copies",
            "take one back: nostrict, decline= or refuse= without a value",
        )
    if policy.faults and (policy.decline or policy.refuse):
        raise UsageError(
            "a policy that declines or refuses every copy leaves none to faults",
            "take one back: decline=, refuse= or fault= without a value",
        )
    return policy


def _changed(policy: Policy, word: str) -> Policy:
    key, equals, value = word.partition("=")
    if word == "default":
        return Policy()
    if word in ("strict", "nostrict"):
        return replace(policy, strict=word == "strict")
    if key == "paths" and equals:
        return replace(policy, paths=parse_ladder(value))
    if key == "decline" and equals:
        return replace(policy, decline=_one_of(value.lower(), DECLINES, word))
    if key == "refuse" and equals:
        return replace(policy, refuse=_one_of(value.upper(), _refusable(), word))
    if key == "fault" and equals:
        return replace(policy, faults=(*policy.faults, _fault(value)) if value else ())
    raise UsageError(
        f"{word!r} is not a word of a policy",
        "words: paths=reflink,copy_file_range,..., strict, nostrict, decline=eopnotsupp|enosys|exdev,"
        " refuse=ERRNO, fault=NAME, default",
    )


def _fault(text: str) -> Rule:
    rule = rules.parse(text)
    if rule.fault.call is not SystemCall.COPY_FILE_RANGE:
        raise UsageError(
            f"{rule.fault.name}: {rule.fault.call} never comes to a mount's server",
            f"Use fusecopy run --fault {rule.fault.name} -- COMMAND.",
        )
    return rule


def _refusable() -> set[str]:
    """Names of the errnos that refuse. Those that decline are asked for by their own word: as a refusal they
    would be a copy after all."""
    declining = {errno.errorcode[code] for code in DECLINES.values()} | {"ENOTSUP"}
    return set(errno.errorcode.values()) - declining


def _one_of(value: str, known: "set[str] | dict[str, int]", word: str) -> str:
    if value and value not in known:
        names = ", ".join(sorted(known)) if len(known) < 10 else "the name of an errno that refuses, as EIO"
        raise UsageError(f"{word!r}: {value} is not one of them", f"give {names}")
    return value
