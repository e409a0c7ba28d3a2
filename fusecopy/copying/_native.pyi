from typing import Any

class _Lib:
    FIEMAP_FLAG_SYNC: int
    FIEMAP_EXTENT_UNKNOWN: int
    FIEMAP_EXTENT_DELALLOC: int
    FIEMAP_EXTENT_ENCODED: int
    FIEMAP_EXTENT_DATA_INLINE: int
    FIEMAP_EXTENT_UNWRITTEN: int
    FIEMAP_EXTENT_SHARED: int
    FILE_DEDUPE_RANGE_DIFFERS: int
    FS_IMMUTABLE_FL: int
    FS_APPEND_FL: int
    FS_NOCOW_FL: int
    EXTENTS_PER_CALL: int
    FC_SHARED: int
    FC_NOT_SHARED: int
    FC_HOLE: int
    FC_UNPROVABLE: int
    FC_ENCODED: int
    FC_STATES: int
    FC_OWN_STORAGE: int
    FC_TOLD_PLACES: int
    FC_NEEDLE: int
    FC_DIFFERENT: int
    FC_SAME: int
    FC_SAME_POOR: int
    FC_DONE: int
    FC_GONE: int
    FC_REFUSED: int

    def fc_clone_range(
        self, source: int, offset_in: int, length: int, destination: int, offset_out: int
    ) -> int: ...
    def fc_dedupe_range(
        self, source: int, offset_in: int, length: int, destination: int, offset_out: int, deduped: Any
    ) -> int: ...
    def fc_storage(self, fd: int) -> int: ...
    def fc_fiemap(self, fd: int, start: int, length: int, flags: int, extents: Any) -> int: ...
    def fc_begin(
        self,
        walk: Any,
        source: int,
        offset_in: int,
        destination: int,
        offset_out: int,
        length: int,
        fiemap_flags: int,
        equal: bool,
    ) -> None: ...
    def fc_next_part(self, walk: Any, part: Any) -> int: ...
    def fc_totals_of_clones(
        self, source: int, destination: int, ranges: Any, count: int, totals: Any
    ) -> None: ...
    def fc_totals(
        self,
        source: int,
        offset_in: int,
        destination: int,
        offset_out: int,
        length: int,
        fiemap_flags: int,
        equal: bool,
        totals: Any,
    ) -> int: ...
    def fc_same_bytes(self, one: int, at_one: int, other: int, at_other: int, length: int) -> int: ...
    def fc_find_bytes(self, source: int, start: int, window: int, what: int, at: int, length: int) -> int: ...
    def fc_look(self, source: int, destination: int, files: Any) -> int: ...
    def fc_one_filesystem(self, one: int, other: int) -> int: ...
    def fc_mount_id(self, fd: int) -> int: ...
    def fc_punch_hole(self, fd: int, offset: int, length: int) -> int: ...
    def fc_extend(self, fd: int, offset: int, length: int) -> int: ...
    def fc_block_size(self, fd: int) -> int: ...
    def fc_inode_flags(self, fd: int, flags: Any) -> int: ...
    def fc_describe(self, fd: int, e: Any) -> int: ...
    def fc_open_entry(self, directory: int, path: bytes, flags: int, e: Any) -> int: ...
    def fc_create_file(
        self, source: int, directory: int, name: bytes, e: Any, clone: int, cloned: Any
    ) -> int: ...
    def fc_copy_attributes(self, source: int, destination: int, e: Any) -> int: ...
    def fc_drop_acls(self, fd: int) -> int: ...
    def fc_clone_files(
        self,
        source: int,
        destination: int,
        names: bytes,
        count: int,
        largest: int,
        budget_ns: int,
        found: Any,
    ) -> int: ...
    def fc_syncfs(self, fd: int) -> int: ...
    def fc_generation(self, fd: int) -> int: ...

class _FFI:
    def new(self, declaration: str, init: Any = None) -> Any: ...
    def unpack(self, array: Any, length: int) -> list[int]: ...

lib: _Lib
ffi: _FFI
