"""schema_tables_<n>.cc: the type model as constant data."""
import json

from .text import Source, quote

PARTS = 4


def default_text(field):
    return "" if field.default is None else json.dumps(field.default, sort_keys=True, separators=(",", ":"))


def bools(**flags):
    return "".join(f", .{k} = true" for k, v in flags.items() if v)


def emit(model, out):
    nodes = list(model.nodes.values()) + list(model.anonymous.values())
    header = Source("schema_tables.h")
    header.add("#pragma once", '#include "engenho/schema/schema.h"', "", "namespace engenho::catalog::tables {", "using schema::Schema;")
    for node in nodes:
        header.add(f"extern const Schema {node.key};")
    header.add("}  // namespace engenho::catalog::tables")
    out.write(header)

    keysets = {}
    for part in range(PARTS):
        src = Source(f"schema_tables_{part}.cc")
        src.add('#include "schema_tables.h"', "", "namespace engenho::catalog::tables {", "using namespace schema;", "namespace {")
        keysets.clear()
        protos = set()
        mine = [n for i, n in enumerate(nodes) if i % PARTS == part]
        for node in mine:
            if node.keys and node.keys not in keysets:
                keysets[node.keys] = f"k_{len(keysets)}"
                src.add(f"constexpr std::string_view {keysets[node.keys]}[] = {{{', '.join(quote(k) for k in node.keys)}}};")
        for node in mine:
            if node.fields:
                src.add(f"constinit const Field F_{node.key}[] = {{")
                for f in node.fields:
                    text = default_text(f)
                    src.add(f"  {{.name = {quote(f.name)}, .schema = &{f.node.key}"
                            + (f", .default_json = {quote(text)}" if text else "")
                            + (f", .merge_key = {quote(f.merge_key)}" if f.merge_key else "")
                            + f", .go_order = {f.order}" + (f", .proto = {f.proto}" if f.proto else "")
                            + (f", .patch = PatchStrategy::{f.patch}" if f.patch != "kReplace" else "")
                            + bools(required=f.required, pointer=f.pointer, omit_empty=f.omit_empty, omit_zero=f.omit_zero, atomic=f.atomic)
                            + "},")
                src.add("};")
            if node.embedded:
                src.add(f"constinit const Embedded E_{node.key}[] = {{"
                        + ", ".join(f"{{{number}, &{message.key}}}" for number, message in node.embedded) + "};")
            numbers = [(f.proto, f"&F_{node.key}[{i}], nullptr") for i, f in enumerate(node.fields) if f.proto]
            numbers += [(number, f"nullptr, &{message.key}") for number, message in node.embedded if number]
            if numbers:
                src.add(f"constinit const ProtoField P_{node.key}[] = {{"
                        + ", ".join(f"{{{number}, {text}}}" for number, text in sorted(numbers)) + "};")
                protos.add(node.key)
        src.add("}  // namespace")
        for node in mine:
            src.add(f"constinit const Schema {node.key} = {{.kind = Kind::{node.kind}"
                    + (f", .list_type = ListType::{node.list_type}" if node.list_type != "kNone" else "")
                    + bools(atomic=node.atomic, proto_wrapped=node.wrapped, has_proto=node.has_proto, top_level=node.top_level)
                    + (f", .name = {quote(node.name)}" if node.name else "") + f", .go_type = {quote(node.go_type)}"
                    + (f", .fields = F_{node.key}" if node.fields else "") + (f", .embedded = E_{node.key}" if node.embedded else "")
                    + (f", .proto_fields = P_{node.key}" if node.key in protos else "")
                    + (f", .element = &{node.element.key}" if node.element else "")
                    + (f", .list_keys = {keysets[node.keys]}" if node.keys else "") + "};")
        src.add("}  // namespace engenho::catalog::tables")
        out.write(src)
