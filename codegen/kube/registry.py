"""registry.cc: resources, group versions, groups and the kinds that are documents of their own; OpenAPI documents as served."""
import json

from .text import Source, quote

META = "io.k8s.apimachinery.pkg.apis.meta.v1."


def api_version(group, version):
    return f"{group}/{version}" if group else version


def strings(src, pool, values):
    """A named constant array of strings, each list once."""
    values = tuple(values)
    if not values:
        return "{}"
    if values not in pool:
        pool[values] = f"l_{len(pool)}"
        src.add(f"constexpr std::string_view {pool[values]}[] = {{{', '.join(quote(v) for v in values)}}};")
    return pool[values]


def kinds_of(model):
    """(apiVersion, kind) -> Node for every kind that may be a document."""
    kinds = {}
    for node in model.nodes.values():
        for gvk in node.gvks:
            kinds[(api_version(gvk["group"], gvk["version"]), gvk["kind"])] = node
        if node.top_level and not node.gvks:
            package = node.name.rsplit(".", 2)
            group, version = package[0].rsplit(".", 1)[-1], package[1]
            if node.name.startswith(META):
                for av in ("v1", "meta.k8s.io/v1"):
                    kinds.setdefault((av, node.short), node)
                continue
            group = {"core": "", "admission": "admission.k8s.io", "apidiscovery": "apidiscovery.k8s.io",
                     "apiextensions": "apiextensions.k8s.io", "metrics": "metrics.k8s.io"}.get(group, group)
            kinds.setdefault((api_version(group, version), node.short), node)
    options = ("ListOptions", "GetOptions", "CreateOptions", "UpdateOptions", "PatchOptions", "DeleteOptions")
    for name in ("WatchEvent", "Status", "APIResourceList", "APIGroup", "APIGroupList", "APIVersions") + options:
        kinds.setdefault(("v1", name), model.nodes[META + name])
        kinds.setdefault(("meta.k8s.io/v1", name), model.nodes[META + name])
    for gv in model.group_versions:
        for name in options + ("WatchEvent",):
            kinds.setdefault((api_version(gv["group"], gv["version"]), name), model.nodes[META + name])
    return kinds


def served(doc):
    """The document as a client gets it: without our extensions and the schemas that only we need."""
    schemas = {}
    for name, schema in doc["components"]["schemas"].items():
        if not schema.get("x-engenho-internal"):
            schemas[name] = {k: v for k, v in schema.items() if not k.startswith("x-engenho-")}
    return json.dumps({**doc, "components": {**doc["components"], "schemas": schemas}}, sort_keys=True, separators=(",", ":"))


def emit(model, out):
    kinds = kinds_of(model)
    src, pool = Source("registry.cc"), {}
    src.add('#include "registry.h"', '#include "schema_tables.h"', "", "namespace engenho::catalog::tables {", "namespace {")
    rows, gvs = [], []
    for gi, gv in enumerate(model.group_versions):
        av = api_version(gv["group"], gv["version"])
        rows = []
        for ri, r in enumerate(gv["resources"]):
            node = kinds[(av, r["kind"])]
            list_node = kinds.get((av, r["kind"] + "List"))
            subs = []
            for s in r["subresources"]:
                body = kinds.get((api_version(s["group"], s["version"]), s["kind"]))
                subs.append(f'  {{{quote(s["name"])}, {quote(s["group"])}, {quote(s["version"])}, {quote(s["kind"])}, '
                            f'{strings(src, pool, s["verbs"])}, {"&" + body.key if body else "nullptr"}}},')
            if subs:
                src.add(f"constinit const Subresource sub_{gi}_{ri}[] = {{", *subs, "};")
            if r["columns"]:
                src.add(f"constexpr PrinterColumn col_{gi}_{ri}[] = {{",
                        *(f"  {{{quote(n)}, {quote(t)}, {quote(f)}, {p}}}," for n, t, f, p in r["columns"]), "};")
            rows.append(
                f'  {{.group = {quote(gv["group"])}, .version = {quote(gv["version"])}, .plural = {quote(r["plural"])}, '
                f'.singular = {quote(r["singular"])}, .kind = {quote(r["kind"])}, .list_kind = {quote(list_node.short) if list_node else quote("")}, '
                f'.namespaced = {"true" if r["namespaced"] else "false"}, .verbs = {strings(src, pool, r["verbs"])}, '
                f'.short_names = {strings(src, pool, r["shortNames"])}, .categories = {strings(src, pool, r["categories"])}, '
                f'.subresources = {f"sub_{gi}_{ri}" if subs else "{}"}, .columns = {f"col_{gi}_{ri}" if r["columns"] else "{}"}, '
                f'.storage_group = {quote(r["storageGroup"])}, .storage_version = {quote(r["storageVersion"])}, '
                f'.schema = &{node.key}, .list_schema = {"&" + list_node.key if list_node else "nullptr"}, .api_version_ = {quote(av)}}},')
        src.add(f"constinit const Resource res_{gi}[] = {{", *rows, "};")
        gvs.append((gv["group"], f'  {{{quote(gv["group"])}, {quote(gv["version"])}, {quote(av)}, res_{gi}{", true" if gv.get("declared") else ""}}},'))
    src.add("constinit const GroupVersion gvs[] = {", *(line for _, line in gvs), "};")
    src.add("constinit const Group group_list[] = {")
    start = 0
    while start < len(gvs):
        end = start
        while end < len(gvs) and gvs[end][0] == gvs[start][0]:
            end += 1
        src.add(f"  {{{quote(gvs[start][0])}, std::span<const GroupVersion>(gvs + {start}, {end - start})}},")
        start = end
    src.add("};", "constinit const KindEntry kind_list[] = {  // sorted by apiVersion, then kind")
    src.add(*(f"  {{{quote(av)}, {quote(kind)}, &{node.key}}}," for (av, kind), node in sorted(kinds.items())), "};")
    src.add("constinit const Schema* const schema_list[] = {  // named ones, sorted by name")
    src.add(*(f"  &{node.key}," for name, node in sorted(model.nodes.items()) if not node.internal), "};")
    src.add("}  // namespace", "const std::span<const Group> kGroups = group_list;", "const std::span<const GroupVersion> kGroupVersions = gvs;",
            "const std::span<const KindEntry> kKinds = kind_list;", "const std::span<const Schema* const> kSchemas = schema_list;",
            "}  // namespace engenho::catalog::tables")
    out.write(src)

    # OpenAPI documents: included by the assembler, which takes megabytes in no time.
    docs = Source("openapi_documents.cc")
    docs.add('#include "registry.h"', "")
    table = []
    out.write_text("openapi/declared.json", json.dumps(model.definitions, sort_keys=True, separators=(",", ":")))
    docs.add('asm(".section .rodata\\n.global engenho_declared\\nengenho_declared:\\n.incbin \\"openapi/declared.json\\"\\n"',
             '    ".global engenho_declared_end\\nengenho_declared_end:\\n.byte 0\\n.previous\\n");')
    for i, gv in enumerate(model.group_versions):
        if gv.get("declared"):
            continue    # made from the definition at run time
        name = f"openapi/{gv['group'] or 'core'}_{gv['version']}.json"
        out.write_text(name, served(model.documents[(gv["group"], gv["version"])]))
        docs.add(f'asm(".section .rodata\\n.global engenho_openapi_{i}\\nengenho_openapi_{i}:\\n.incbin \\"{name}\\"\\n"',
                 f'    ".global engenho_openapi_end_{i}\\nengenho_openapi_end_{i}:\\n.byte 0\\n.previous\\n");')
        table.append((i, gv))
    docs.add('extern "C" {', 'extern const char engenho_declared[] __attribute__((visibility("hidden")));',
             'extern const char engenho_declared_end[] __attribute__((visibility("hidden")));')
    for i, _ in table:
        docs.add(f'extern const char engenho_openapi_{i}[] __attribute__((visibility("hidden")));',
                 f'extern const char engenho_openapi_end_{i}[] __attribute__((visibility("hidden")));')
    docs.add("}", "namespace engenho::catalog::tables {", "namespace {", "constinit const OpenApiDocument list[] = {")
    for i, gv in table:
        docs.add(f'  {{{quote(gv["group"])}, {quote(gv["version"])}, engenho_openapi_{i}, engenho_openapi_end_{i}}},')
    docs.add("};", "}  // namespace", "const std::span<const OpenApiDocument> kOpenApi = list;",
             "const std::string_view kDeclared(engenho_declared, engenho_declared_end - engenho_declared);", "}  // namespace engenho::catalog::tables")
    out.write(docs)
