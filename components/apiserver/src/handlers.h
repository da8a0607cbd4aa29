// The verbs. Each handler runs after authentication and authorization and ends the exchange, or hands it to a watch.
#pragma once

#include <memory>

#include "context.h"
#include "engenho/base/threads.h"
#include "rest.h"

namespace engenho::apiserver {

class WatchManager;

struct Services {
  Rest& rest;
  WatchManager& watches;
};

void handle_get(const std::shared_ptr<Context>& context, Services& services);
void handle_list(const std::shared_ptr<Context>& context, Services& services);
void handle_watch(const std::shared_ptr<Context>& context, Services& services);
void handle_create(const std::shared_ptr<Context>& context, Services& services);
void handle_update(const std::shared_ptr<Context>& context, Services& services);
void handle_patch(const std::shared_ptr<Context>& context, Services& services);
void handle_delete(const std::shared_ptr<Context>& context, Services& services);
void handle_delete_collection(const std::shared_ptr<Context>& context, Services& services);

// What a list and a deletecollection may ask for: resourceVersionMatch with its rules.
Status check_list_options(const Context& context);
// The token with which a list goes on after `last`.
std::string continue_after(const Context& context, Revision revision, const Object& last);

// Whether the request can be answered from memory without waiting: on the I/O thread.
bool is_quick(const Context& context, const Rest& rest);

}  // namespace engenho::apiserver
