"""The one table of all programs that a survey runs."""

from fusecopy.survey import languages, stores, tools
from fusecopy.survey.program import Program

PROGRAMS: tuple[Program, ...] = (
    *tools.COREUTILS,
    *tools.COPIERS,
    *tools.EDITORS,
    *tools.PACKERS,
    *languages.SCRIPTED,
    *languages.COMPILED,
    *stores.VERSIONS,
    *stores.BACKUPS,
    *stores.DATABASES,
    *stores.PACKAGES,
)
