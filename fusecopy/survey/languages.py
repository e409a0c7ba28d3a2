"""What the libraries of languages do when they are told to copy a file."""

from fusecopy.survey.program import Program, built, uses

_GO = """
package main
import ("io"; "os")
func main() {
	in, _ := os.Open("../source")
	out, _ := os.Create("copy")
	if _, err := io.Copy(out, in); err != nil { panic(err) }
	out.Close()
}
"""
_RUST = """
fn main() { std::fs::copy("../source", "copy").unwrap(); }
"""
_RUST_IO = """
use std::{fs::File, io};
fn main() { io::copy(&mut File::open("../source").unwrap(), &mut File::create("copy").unwrap()).unwrap(); }
"""
_CPP = """
#include <filesystem>
int main() { std::filesystem::copy_file("../source", "copy"); }
"""
_ZIG = """
const std = @import("std");
pub fn main(init: std.process.Init) !void {
    const here = std.Io.Dir.cwd();
    try here.copyFile("../source", here, "copy", init.io, .{});
}
"""
_JAVA = """
import java.io.*; import java.nio.channels.*; import java.nio.file.*;
class Copy {
    public static void main(String[] words) throws Exception {
        Path source = Path.of("../source"), copy = Path.of("copy");
        switch (words[0]) {
            case "copy" -> Files.copy(source, copy);
            case "transferTo" -> {
                try (FileChannel in = FileChannel.open(source); FileChannel out = FileChannel.open(copy,
                        StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
                    in.transferTo(0, in.size(), out);
                }
            }
            default -> {
                try (InputStream in = Files.newInputStream(source);
                        OutputStream out = Files.newOutputStream(copy)) {
                    in.transferTo(out);
                }
            }
        }
    }
}
"""


def _python(minor: int) -> tuple[Program, ...]:
    name = f"python3.{minor}"
    lines = {f"{name} shutil.copyfile": "import shutil; shutil.copyfile('../source', 'copy')"}
    if minor >= 14:
        lines[f"{name} Path.copy"] = "import pathlib; pathlib.Path('../source').copy('copy')"
    return uses(name, f"{name} --version", {use: f'{name} -c "{line}"' for use, line in lines.items()})


SCRIPTED = (
    *(program for minor in range(7, 16) for program in _python(minor)),
    *uses(
        "node",
        "node --version",
        {
            "node fs.copyFile": "node -e \"fs.copyFileSync('../source', 'copy')\"",
            "node fs.copyFile FICLONE_FORCE": "node -e \"fs.copyFileSync('../source', 'copy', "
            'fs.constants.COPYFILE_FICLONE_FORCE)" || true',
            "node fs.cp": "node -e \"fs.cpSync('../tree', 'copy', {recursive: true})\"",
            "node streams": "node -e \"fs.createReadStream('../source').pipe(fs.createWriteStream('copy'))\"",
        },
    ),
    *uses(
        "ruby",
        "ruby --version",
        {
            "ruby FileUtils.cp": "ruby -r fileutils -e \"FileUtils.cp('../source', 'copy')\"",
            "ruby IO.copy_stream": "ruby -e \"IO.copy_stream('../source', 'copy')\"",
        },
    ),
    *uses(
        "perl", "perl --version", {"perl File::Copy": 'perl -MFile::Copy -e \'copy("../source", "copy")\''}
    ),
    *uses("php", "php --version", {"php copy": 'php -r \'copy("../source", "copy");\''}),
    *uses(
        "tclsh",
        "echo 'puts $tcl_patchLevel' | tclsh",
        {"tcl file copy": "echo file copy ../source copy | tclsh"},
    ),
)

COMPILED = (
    built("go io.Copy", "go", "go version", "copy.go", _GO, "go build copy.go", "$MADE/copy"),
    built("rust fs::copy", "rustc", "rustc --version", "copy.rs", _RUST, "rustc copy.rs", "$MADE/copy"),
    built("rust io::copy", "rustc", "rustc --version", "copy.rs", _RUST_IO, "rustc copy.rs", "$MADE/copy"),
    built(
        "libstdc++ copy_file",
        "g++",
        "g++ --version",
        "copy.cc",
        _CPP,
        "g++ -std=c++17 -o copy copy.cc",
        "$MADE/copy",
    ),
    built(
        "libc++ copy_file",
        "clang++",
        "clang++ --version",
        "copy.cc",
        _CPP,
        "clang++ -std=c++17 -stdlib=libc++ -o copy copy.cc",
        "$MADE/copy",
    ),
    built(
        "zig copyFile",
        "zig",
        "zig version",
        "copy.zig",
        _ZIG,
        "zig build-exe copy.zig --cache-dir $OUTSIDE --global-cache-dir $OUTSIDE",
        "$MADE/copy",
    ),
    *(
        built(
            f"java {name}",
            "java javac",
            "java --version",
            "Copy.java",
            _JAVA,
            "javac Copy.java",
            f"java -cp $MADE Copy {word}",
        )
        for name, word in (
            ("Files.copy", "copy"),
            ("FileChannel.transferTo", "transferTo"),
            ("InputStream.transferTo", "stream"),
        )
    ),
)
