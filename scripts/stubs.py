"""Writes fusecopy/*/_native.pyi, the types of the native modules, from what cffi built of the C headers: a
struct or a function is declared there, and nowhere else. Run by scripts/setup."""

import importlib
import keyword
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinFunctionType, ModuleType

from _cffi_backend import FFI

PACKAGES = ("clone", "copying", "filesystem", "native")
TREE = Path(__file__).parents[1] / "fusecopy"

HEAD = '''\
"""Made by scripts/stubs.py of the C headers; not kept in the repository."""

from collections.abc import Callable, Iterator, Sequence
from mmap import mmap
from typing import Final, Generic, Literal, Protocol, TypeVar, overload

from _cffi_backend import buffer

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])
D = TypeVar("D", bound=CData)
Buffer = bytes | bytearray | memoryview | mmap

class CData:
    """Anything of C."""

    def __int__(self) -> int: ...

class Null(CData):
    """No address."""

class Array(CData, Generic[T]):
    """Items one after another, or a pointer to the first; a struct is one of its kind, too."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[T]: ...
    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Array[T]: ...
    def __setitem__(self, index: int, item: T) -> None: ...

class Chars(Array[bytes]):
    """Bytes in memory."""

    def __add__(self, count: int) -> Chars: ...
'''

FOOT = """\
    def unpack(self, array: Array[T], length: int) -> list[T]: ...
    def string(self, text: Chars) -> bytes: ...
    def buffer(self, data: CData, size: int = -1) -> buffer: ...
    def sizeof(self, of: object) -> int: ...
    def addressof(self, of: D) -> D: ...
    def gc(self, data: D, destructor: Callable[[D], None]) -> D: ...
    def def_extern(self) -> Callable[[F], F]: ...
    NULL: Final[Null]

lib: Final[_Lib]
ffi: Final[_FFI]
"""

SCALARS = ("int", "int32_t", "int64_t", "uint32_t", "uint64_t")


def main() -> None:
    """Write them all."""
    for package in PACKAGES:
        module = importlib.import_module(f"fusecopy.{package}._native")
        text = "\n".join((HEAD, *_structs(module), *_functions(module), *_makers(module), FOOT))
        (TREE / package / "_native.pyi").write_text(text)


def _structs(module: ModuleType) -> Iterator[str]:
    for name in module.ffi.list_types()[1]:
        yield f"class {_class(name)}(Array[{_class(name)}]):"
        fields = _fields(module, f"struct {name}")
        told = [f"    {field}: {_held(of)}" for field, of in fields if not keyword.iskeyword(field)]
        yield from told or ["    ..."]


def _fields(module: ModuleType, struct: str) -> list[tuple[str, FFI.CType]]:
    try:
        module.ffi.sizeof(struct)  # which completes it: before, cffi 2.1 aborts when asked for the fields
    except module.ffi.error:
        return []  # only named
    return [(name, field.type) for name, field in module.ffi.typeof(struct).fields]


def _functions(module: ModuleType) -> Iterator[str]:
    yield "class _Lib:"
    for name in dir(module.lib):
        of = getattr(module.lib, name)
        if isinstance(of, BuiltinFunctionType):
            type_ = module.ffi.typeof(of)
            taken = ", ".join(f"_{number}: {_taken(one)}" for number, one in enumerate(type_.args))
            yield f"    def {name}(self{', ' if taken else ''}{taken}) -> {_held(type_.result)}: ..."
        else:
            yield f"    {name}: {'int' if isinstance(of, int) else 'CData'}"


def _makers(module: ModuleType) -> Iterator[str]:
    """new(), cast() and from_buffer(), by what is declared; for other declarations they give CData."""
    made = {f"{name} *": "Array[int]" for name in SCALARS} | {f"{name}[]": "Array[int]" for name in SCALARS}
    made |= {"char[]": "Chars", "char *": "Chars", "char *[]": "Array[Chars]"}
    for name in module.ffi.list_types()[1]:
        made |= dict.fromkeys((f"struct {name} *", f"struct {name}[]"), _class(name))
        made[f"struct {name} *[]"] = f"Array[{_class(name)}]"
    yield "class _New(Protocol):"
    yield from _overloaded("__call__", made, ", init: object = None")
    yield "class _FFI:"
    yield from _overloaded("new", made, ", init: object = None")
    yield from _overloaded("cast", made, ", value: CData | int")
    yield from _overloaded("from_buffer", made, ", data: Buffer")
    yield "    @overload\n    def from_buffer(self, declaration: Buffer) -> Chars: ..."
    yield "    def new_allocator(self, *, should_clear_after_alloc: bool) -> _New: ..."
    yield "    @overload"
    yield "    def unpack(self, array: Chars, length: int) -> bytes: ...  # type: ignore[overload-overlap]"
    yield "    @overload"


def _overloaded(name: str, made: dict[str, str], arguments: str) -> Iterator[str]:
    for declaration, result in made.items():
        literal = f'Literal["{declaration}"]'
        yield f"    @overload\n    def {name}(self, declaration: {literal}{arguments}) -> {result}: ..."
    yield f"    @overload\n    def {name}(self, declaration: str{arguments}) -> CData: ..."


def _held(of: FFI.CType) -> str:
    """The Python type of a value of C: of a result, or of a member."""
    if of.kind in ("pointer", "array"):
        return _pointed(of.item)
    if of.cname.startswith("struct "):
        return _class(of.cname.removeprefix("struct "))
    if of.kind == "void":
        return "None"
    return {"double": "float", "char": "bytes", "_Bool": "bool"}.get(of.cname, _number(of))


def _class(struct: str) -> str:
    return struct.title().replace("_", "")


def _number(of: FFI.CType) -> str:
    return "int" if of.kind in ("primitive", "enum") else "CData"


def _pointed(item: FFI.CType) -> str:
    held = _held(item)
    if item.cname.startswith("struct ") and item.kind == "struct":
        return held
    return {"bytes": "Chars", "None": "CData"}.get(held, f"Array[{held}]")


def _taken(of: FFI.CType) -> str:
    """The Python type of an argument."""
    held = _held(of)
    if held == "int":
        return "int | CData"
    if held == "Chars":
        return "bytes | Chars | Null"
    if held == "Array[int]":
        return "Array[int] | Sequence[int] | Null"
    if held == "Array[Array[int]]":
        return "CData"
    return f"{held} | Null" if of.kind == "pointer" and held != "CData" else held


if __name__ == "__main__":
    main()
