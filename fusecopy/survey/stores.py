"""Programs that keep files in a store of their own: versions, backups, databases, packages."""

from fusecopy.survey.program import uses

_GIT = "cp ../../source .; git init -q; git add .; git -c user.name=s -c user.email=s commit -qm s"
_HG = "cp ../../source .; hg init; hg add -q source; hg commit -u s -m s"
_SQLITE = "sqlite3 db 'create table t(x); insert into t values (randomblob(300000));'"
_RESTIC = "export RESTIC_PASSWORD=s; restic -q -r repo init; restic -q -r repo backup"
_WHEEL = """python3 - <<'END'
import zipfile
with zipfile.ZipFile("s-1-py3-none-any.whl", "w") as wheel:
    wheel.write("../../source", "s/data")
    wheel.writestr("s-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: s\\nVersion: 1\\n")
    wheel.writestr("s-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr("s-1.dist-info/RECORD", "")
END
"""
_UV = (
    "uv pip install -q --offline --cache-dir $MADE/cache --target out $MADE/s-1-py3-none-any.whl --link-mode"
)

VERSIONS = (
    *uses(
        "git",
        "git --version",
        {
            "git clone": "git clone -q $MADE clone",
            "git clone --no-hardlinks": "git clone -q --no-hardlinks $MADE clone",
            "git worktree add": "git -C $MADE worktree add -q $PWD/tree",
        },
        _GIT,
    ),
    *uses(
        "hg",
        "hg --version",
        {"hg clone": "hg clone -q $MADE clone", "hg clone --pull": "hg clone -q --pull $MADE clone"},
        _HG,
    ),
    *uses(
        "svn svnadmin",
        "svn --version",
        {"svn checkout": "svn checkout -q file://$MADE/repo copy"},
        "svnadmin create repo; svn import -q -m s ../../tree file://$PWD/repo/tree",
    ),
    *uses(
        "ostree",
        "ostree --version",
        {"ostree commit": "ostree --repo=. init --mode=bare-user; ostree --repo=. commit -b s ../tree"},
    ),
    *uses(
        "ostree",
        "ostree --version",
        {
            "ostree checkout": "ostree --repo=$MADE checkout -U s copy",
            "ostree checkout -C": "ostree --repo=$MADE checkout -U -C s copy",
        },
        "ostree --repo=. init --mode=bare-user; ostree --repo=. commit -b s ../../tree",
    ),
)

BACKUPS = (
    *uses("borg", "borg --version", {"borg create": "borg init -e none repo; borg create repo::a ../tree"}),
    *uses(
        "borg",
        "borg --version",
        {"borg extract": "borg extract $MADE/repo::a"},
        "borg init -e none repo; borg create repo::a ../../tree",
    ),
    *uses("restic", "restic version", {"restic backup": f"{_RESTIC} ../tree"}),
    *uses(
        "restic",
        "restic version",
        {"restic restore": "RESTIC_PASSWORD=s restic -q -r $MADE/repo restore latest --target copy"},
        f"{_RESTIC} ../../tree",
    ),
    *uses(
        "casync",
        "casync --version",
        {
            "casync extract": "casync extract --store=$MADE/s.castr $MADE/t.caidx copy",
            "casync extract --seed": "casync extract --store=$MADE/s.castr --seed=../tree $MADE/t.caidx copy",
        },
        "casync make --store=s.castr t.caidx ../../tree",
    ),
    *uses(
        "rdiff-backup",
        "rdiff-backup --version",
        {"rdiff-backup": "rdiff-backup backup ../tree copy"},
    ),
)

DATABASES = uses(
    "sqlite3",
    "sqlite3 --version",
    {
        "sqlite3 .backup": "sqlite3 $MADE/db '.backup copy'",
        "sqlite3 vacuum into": "sqlite3 $MADE/db \"vacuum into 'copy'\"",
    },
    _SQLITE,
)

PACKAGES = (
    *uses(
        "uv",
        "uv --version",
        {f"uv pip install --link-mode {mode}": f"{_UV} {mode}" for mode in ("clone", "copy", "hardlink")},
        _WHEEL,
    ),
    *uses(
        "python3",
        "python3 -m pip --version",
        {"pip install": "python3 -m pip install -q --no-index --target out $MADE/s-1-py3-none-any.whl"},
        _WHEEL,
    ),
    *uses(
        "npm",
        "npm --version",
        {"npm install of a directory": "npm install --silent --offline --no-audit --install-links $MADE/p"},
        'mkdir p; cp ../../source p; echo \'{"name": "p", "version": "1.0.0"}\' >p/package.json',
    ),
)
