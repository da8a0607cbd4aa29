#include "flags.h"

#include <algorithm>

#include "engenho/base/bytes.h"

namespace engenho {

Result<std::vector<std::string>> parse_flags(const std::vector<Flag>& flags, const std::vector<std::string>& arguments) {
  std::vector<std::string> words;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (!argument.starts_with("--")) {
      words.push_back(argument);
      continue;
    }
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(2, equals == std::string::npos ? std::string::npos : equals - 2);
    const Flag* found = nullptr;
    std::vector<std::string> names;
    for (const Flag& flag : flags) {
      names.push_back(flag.name);
      if (flag.name == name) found = &flag;
    }
    if (found == nullptr) {
      const std::string near = nearest(name, names);
      return err(bad_request("unknown flag --" + name + (near.empty() ? "" : "; did you mean --" + near + "?")));
    }
    std::string value;
    if (equals != std::string::npos) {
      value = argument.substr(equals + 1);
    } else if (!found->value_name.empty()) {
      if (i + 1 >= arguments.size()) return err(bad_request("--" + name + " needs a value (" + found->value_name + ")"));
      value = arguments[++i];
    }
    if (Status status = found->set(value); !status.ok()) return err(status.with_context("--" + name));
  }
  return words;
}

std::string flags_help(const std::vector<Flag>& flags) {
  std::string out;
  for (const Flag& flag : flags) {
    std::string left = "  --" + flag.name + (flag.value_name.empty() ? "" : " " + flag.value_name);
    left.resize(std::max<size_t>(left.size() + 2, 34), ' ');
    out += left + flag.help + "\n";
  }
  return out;
}

std::function<Status(const std::string&)> set_text(std::string& into) {
  return [&into](const std::string& value) -> Status {
    if (value.empty()) return bad_request("expected a text that is not empty");
    into = value;
    return {};
  };
}

std::function<Status(const std::string&)> set_switch(bool& into) {
  return [&into](const std::string& value) -> Status {
    if (!value.empty() && value != "true" && value != "false") return bad_request("invalid value \"" + value + "\": expected true or false");
    into = value != "false";
    return {};
  };
}

std::function<Status(const std::string&)> set_number(int64_t& into, int64_t least) {
  return [&into, least](const std::string& value) -> Status {
    int64_t number = 0;
    if (!parse_int(value, number) || number < least)
      return bad_request("invalid value \"" + value + "\": expected a number from " + std::to_string(least) + " on");
    into = number;
    return {};
  };
}

Result<Duration> parse_duration(const std::string& text) {
  int64_t number = 0, seconds = 0;
  const char unit = text.empty() ? '\0' : text.back();
  seconds = unit == 's' ? 1 : unit == 'm' ? 60 : unit == 'h' ? 3600 : unit == 'd' ? 86400 : 0;
  if (text == "0") return Duration(0);
  if (seconds == 0 || !parse_int(std::string_view(text).substr(0, text.size() - 1), number) || number < 0 || number > 1'000'000)
    return err(bad_request("invalid value \"" + text + "\": expected a time such as 90s, 15m, 6h or 7d, or 0"));
  return Duration(std::chrono::seconds(number * seconds));
}

std::function<Status(const std::string&)> set_duration(Duration& into) {
  return [&into](const std::string& value) -> Status {
    ENGENHO_ASSIGN_OR_RETURN(into, parse_duration(value));
    return {};
  };
}

std::function<Status(const std::string&)> add_text(std::vector<std::string>& into) {
  return [&into](const std::string& value) -> Status {
    for (std::string_view part : split(value, ',')) {
      if (trim(part).empty()) return bad_request("expected a text that is not empty");
      into.emplace_back(trim(part));
    }
    return {};
  };
}

}  // namespace engenho
