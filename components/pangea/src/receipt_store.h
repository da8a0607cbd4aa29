#pragma once
#include "environment.h"
namespace engenho::pangea {
class ReceiptStore {
 public:
  ReceiptStore(std::shared_ptr<client::Client>, const Options&) {}
};
}
