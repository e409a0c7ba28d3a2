"""Programs that copy, move, pack and unpack files."""

from fusecopy.survey.program import uses

_OUTSIDE = "head -c 300000 /dev/urandom >$OUTSIDE/file"
_COPIED = "cp ../../source ."

COREUTILS = (
    *uses(
        "cp",
        "cp --version",
        {
            "cp": "cp ../source copy",
            "cp -r": "cp -r ../tree copy",
            "cp --reflink=always": "cp --reflink=always ../source copy || true",
            "cp --reflink=always (fusecopy run)": "fusecopy run cp --reflink=always ../source copy || true",
            "cp --reflink=never": "cp --reflink=never ../source copy",
            "cp --sparse=always": "cp --sparse=always ../source copy",
            "cp -l": "cp -l ../source copy",
            "install": "install ../source copy",
            "cat": "cat ../source >copy",
            "cat of several": "cat ../tree/below/* >copy",
            "tee": "tee copy <../source >/dev/null",
            "head": "head -c 500000 ../source >copy",
            "split": "split -b 400000 ../source part-",
            "sort -o": "sort -o copy ../source",
            "dd": "dd if=../source of=copy status=none",
            "dd bs=1M": "dd if=../source of=copy bs=1M status=none",
            "dd oflag=direct": "dd if=../source of=copy bs=4k count=100 oflag=direct status=none",
        },
    ),
    *uses(
        "cp",
        "cp --version",
        {
            "cp from another filesystem": "cp $OUTSIDE/file copy",
            "mv from another filesystem": "mv $OUTSIDE/file moved",
        },
        _OUTSIDE,
    ),
    *uses("mv", "mv --version", {"mv": "mv $MADE/source moved"}, _COPIED),
    *uses(
        "coreutils",
        "coreutils --help",
        {
            "uutils cp": "coreutils cp ../source copy",
            "uutils cat": "coreutils cat ../source >copy",
            "uutils install": "coreutils install ../source copy",
            "uutils dd": "coreutils dd if=../source of=copy status=none",
        },
    ),
    *uses(
        "busybox",
        "busybox",
        {
            "busybox cp": "busybox cp ../source copy",
            "busybox cat": "busybox cat ../source >copy",
            "busybox dd": "busybox dd if=../source of=copy bs=64k 2>/dev/null",
            "busybox tar | tar": "busybox tar cf - -C .. tree | busybox tar xf -",
        },
    ),
    *uses(
        "busybox",
        "busybox",
        {"busybox mv from another filesystem": "busybox mv $OUTSIDE/file moved"},
        _OUTSIDE,
    ),
)

COPIERS = (
    *uses(
        "rsync",
        "rsync --version",
        {
            "rsync": "rsync -a ../source copy",
            "rsync of a tree": "rsync -a ../tree/ copy/",
            "rsync --inplace": "rsync -a --inplace ../source copy",
            "rsync --preallocate": "rsync -a --preallocate ../source copy",
            "rsync --sparse": "rsync -a --sparse ../source copy",
        },
    ),
    *uses(
        "rclone",
        "rclone version",
        {"rclone copyto": "rclone copyto ../source copy", "rclone copy": "rclone copy ../tree copy"},
    ),
    *uses("gio", "gio version", {"gio copy": "gio copy ../source copy"}),
    *uses("gio", "gio version", {"gio move": "gio move $MADE/source moved"}, _COPIED),
    *uses("pv", "pv --version", {"pv": "pv -q ../source >copy", "cat | pv": "cat ../source | pv -q >copy"}),
    *uses("mbuffer", "mbuffer --version", {"mbuffer": "mbuffer -q -i ../source -o copy"}),
    *uses("unison", "unison -version", {"unison": "unison -batch -silent $PWD/../tree $PWD/copy"}),
    *uses(
        "xfs_io",
        "xfs_io -V",
        {
            "xfs_io copy_range": "xfs_io -f -c 'copy_range ../source' copy",
            "xfs_io sendfile": "xfs_io -f -c 'sendfile -i ../source 0 1m' copy",
            "xfs_io reflink": "xfs_io -f -c 'reflink ../source' copy || true",
            "xfs_io mwrite": "xfs_io -f -c 'truncate 1m' -c 'mmap -rw 0 1m' -c 'mwrite 0 1m' copy",
        },
    ),
    *uses(
        "qemu-img",
        "qemu-img --version",
        {
            "qemu-img convert": "qemu-img convert -f raw -O raw ../source copy",
            "qemu-img convert -C": "qemu-img convert -C -f raw -O raw ../source copy",
            "qemu-img convert -O qcow2": "qemu-img convert -f raw -O qcow2 ../source copy.qcow2",
            "qemu-img dd": "qemu-img dd -f raw -O raw bs=64k if=../source of=copy",
        },
    ),
    *uses(
        "duperemove",
        "duperemove --version",
        {"duperemove -d": "cat ../source >a; cat ../source >b; duperemove -dq a b || true"},
    ),
)

EDITORS = (
    *uses("sed", "sed --version", {"sed -i": "cp -l $MADE/source copy; sed -i s/x/y/ copy"}, _COPIED),
    *uses(
        "emacs",
        "emacs --version",
        {"emacs copy-file": 'emacs -Q --batch --eval \'(copy-file "../source" "copy")\''},
    ),
    *uses("objcopy", "objcopy --version", {"objcopy": "objcopy $(command -v objcopy) copy"}),
    *uses(
        "logrotate",
        "logrotate --version",
        {
            "logrotate copy": "cp $MADE/source log; echo $PWD/log { copy } >$OUTSIDE/conf; "
            "chmod 644 $OUTSIDE/conf; logrotate -f -s $OUTSIDE/state $OUTSIDE/conf"
        },
        _COPIED,
    ),
)

PACKERS = (
    *uses(
        "tar",
        "tar --version",
        {"tar | tar": "tar cf - -C .. tree | tar xf -", "tar c": "tar cf a -C .. tree"},
    ),
    *uses("tar", "tar --version", {"tar x": "tar xf $MADE/a"}, "tar cf a -C ../.. tree"),
    *uses("bsdtar", "bsdtar --version", {"bsdtar | bsdtar": "bsdtar cf - -C .. tree | bsdtar xf -"}),
    *uses(
        "cpio", "cpio --version", {"cpio -p": "here=$PWD; cd ..; find tree -depth | cpio -pd --quiet $here"}
    ),
    *uses("zip unzip", "unzip -v", {"zip": "zip -q -r copy.zip ../tree"}),
    *uses("zip unzip", "unzip -v", {"unzip": "unzip -q $MADE/a.zip"}, "cd ../..; zip -q -r $MADE/a.zip tree"),
    *uses("gzip", "gzip --version", {"gzip": "gzip <../source >copy.gz"}),
    *uses("zstd", "zstd --version", {"zstd": "zstd -q ../source -o copy.zst"}),
    *uses("dar", "dar --version", {"dar": "dar -Q -q -c copy -R ../tree"}),
    *uses(
        "dpkg-deb",
        "dpkg-deb --version",
        {"dpkg-deb -x": "dpkg-deb -x $MADE/p.deb out"},
        "mkdir -p p/DEBIAN; cp -r ../../tree p; printf 'Package: p\\nVersion: 1\\nArchitecture: all\\n"
        "Maintainer: p\\nDescription: p\\n' >p/DEBIAN/control; dpkg-deb -b p p.deb",
    ),
)
