// A rule's steps as the kernel's expressions, which load values into registers, compare and act.
#pragma once

#include "table.h"

struct nftnl_rule;

namespace engenho::proxy {

void append_expressions(nftnl_rule* rule, const Rule& steps);

}  // namespace engenho::proxy
