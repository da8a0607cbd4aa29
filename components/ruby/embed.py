"""embed.py FOLDER OUT.cc: the folder's .rb files as a C++ table of (path, text)."""
import pathlib
import sys

root, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])


def literal(data):
    # A compiler need not take more than 64 KiB in one literal: lines, each a literal, are joined by it.
    lines = []
    for line in data.splitlines(keepends=True):
        escaped = "".join(chr(b) if 32 <= b < 127 and b not in (34, 63, 92) else f"\\{b:03o}" for b in line)
        lines.append(f'    "{escaped}"')
    return "\n".join(lines) or '    ""'


files = sorted(root.rglob("*.rb"))
text = ['#include "core_files.h"', "", "namespace engenho::ruby {", "", "const CoreFile kCoreFiles[] = {"]
for path in files:
    data = path.read_bytes()
    text.append(f'  {{"{path.relative_to(root).as_posix()}", std::string_view(\n{literal(data)}, {len(data)})}},')
text += ["};", f"const size_t kCoreFileCount = {len(files)};", "", "}  // namespace engenho::ruby", ""]
out.parent.mkdir(parents=True, exist_ok=True)
out.write_text("\n".join(text))
