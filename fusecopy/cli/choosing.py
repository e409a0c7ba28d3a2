"""Times as people write them on the command line."""

import re
from datetime import datetime, timedelta

from fusecopy.errors import UsageError

AGO = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def moment(text: str) -> datetime:
    """A moment: so long ago, as 10m, or a local time, as 14:30 or 2026-03-01T14:30. Raises UsageError."""
    now = datetime.now().astimezone()
    try:
        if found := AGO.fullmatch(text):
            return now - timedelta(seconds=int(found[1]) * SECONDS[found[2]])
        told = text if "-" in text[1:] or "T" in text else f"{now.date()}T{text}"
        return datetime.fromisoformat(told).astimezone()
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"{text} is not a time", "Give how long ago, as 90s, 10m, 2h or 1d, or a time, as 14:30."
        ) from error
