#!/bin/bash
# rpmfile 2.2.1 (PyPI): all but one of the names of a hard-linked file are empty.
# In rpm's cpio archive the data stands with the last name only; bsdtar and rpm2cpio | cpio -i give all of them the data.
. "$(dirname "$(readlink -f "$0")")/lib.sh"
need rpmbuild rpm
from_pypi rpmfile==2.2.1
rpmbuild --version

mkdir tree
bytes 3000 1 >tree/one
ln tree/one tree/two
ln tree/one tree/three
cat >it.spec <<SPEC
Name: it
Version: 1
Release: 1
Summary: it
License: it
BuildArch: noarch
%description
it
%install
mkdir -p %{buildroot}/opt
cp -a $FOLDER/tree/. %{buildroot}/opt/
%files
/opt
SPEC
rpmbuild -bb --quiet --define "_topdir $FOLDER/build" it.spec >/dev/null 2>&1
"$PYTHON" - build/RPMS/noarch/*.rpm <<'PYTHON' | seen "sizes 0 0 3000"
import sys
import rpmfile
with rpmfile.open(sys.argv[1]) as archive:
    members = [member for member in archive.getmembers() if "opt/" in member.name]
    print("sizes", *sorted(len(archive.extractfile(member).read()) for member in members))
PYTHON
