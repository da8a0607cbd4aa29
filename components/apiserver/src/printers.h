// kubectl's columns: meta.k8s.io Table rows of every kind. Columns come from the catalog, cells from here.
#pragma once

#include "engenho/base/clock.h"
#include "engenho/base/json.h"
#include "resource_table.h"

namespace engenho::apiserver {

// metav1.Table column definitions.
json::Value table_columns(const ResourceDef& resource);
// How long ago, as kubectl shows it ("5m", "2d3h"); "<unknown>" for what is no time.
std::string human_age(WallTime now, std::string_view created);
// The cells of one object (in the served version), as many as columns.
json::Array table_cells(const ResourceDef& resource, const json::Value& object, WallTime now);

}  // namespace engenho::apiserver
