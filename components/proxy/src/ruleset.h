// Services as nftables rules. Pure: the same services give the same table.
#pragma once

#include <vector>

#include "services.h"
#include "table.h"

namespace engenho::proxy {

// `hairpin_by_masquerade`: answers between two pods of one bridge do not pass the rules of this host, so that such connections must be masqueraded.
Table make_table(const std::vector<ServicePort>& services, const Ipv4Range& cluster, bool hairpin_by_masquerade);

}  // namespace engenho::proxy
