// What the command line says: for people, and as terraform's machine-readable lines.
#pragma once

#include <string>

#include "engenho/magma/engine.h"

namespace engenho::magma {

std::string plan_text(const Plan& plan);
std::string result_text(const ApplyResult& result);
std::string outputs_text(const json::Object& outputs);
std::string progress_text(const Progress& progress);
// A state document of show_state(); `address`: only that instance, empty text when it is not there.
std::string state_text(const json::Value& document, const std::string& address);

json::Value progress_event(const Progress& progress);
json::Value diagnostic_event(const Message& message);
json::Array plan_events(const Plan& plan);
json::Array result_events(const ApplyResult& result);
json::Value validation_document(const Validation& validation);

}  // namespace engenho::magma
