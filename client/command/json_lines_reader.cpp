#include "client/command/json_lines_reader.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "client/command/format.h"

namespace vexact::client {
namespace {

using Json = nlohmann::json;

constexpr const char* kShape = R"(a line is {"id": 1 or "text", "vector": [numbers]})";

// The least float64 that would round to an infinite float32.
constexpr double kTooLarge = 0x1.ffffffp127;

// The parts of a line; an error names what is wrong in it.
absl::Status ParseId(const Json& json, Id* id) {
  if (json.is_number_unsigned()) {
    *id = Id(json.get<uint64_t>());
  } else if (json.is_string()) {
    *id = Id(json.get<std::string>());
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("the id is ", json.dump(-1, ' ', false, Json::error_handler_t::replace),
                     "; ids are integers from 0 to 18446744073709551615 or strings"));
  }
  return absl::OkStatus();
}

absl::Status ParseVector(const Json& json, std::vector<float>* vector) {
  if (!json.is_array() || json.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the vector is ", json.is_array() ? "empty" : "no array", "; ", kShape));
  }
  vector->clear();
  vector->reserve(json.size());
  for (const Json& component : json) {
    if (!component.is_number()) {
      return absl::InvalidArgumentError(absl::StrCat("component ", vector->size(), " is a ",
                                                     component.type_name(), ", not a number"));
    }
    const auto value = component.get<double>();
    if (std::fabs(value) >= kTooLarge) {
      return absl::InvalidArgumentError(
          absl::StrCat("component ", vector->size(), " is ", Shortest(value),
                       ", beyond the largest float32 (3.4028235e+38)"));
    }
    vector->push_back(static_cast<float>(value));
  }
  return absl::OkStatus();
}

absl::Status ParsePoint(std::string_view line, Point* point) {
  Json json;
  try {
    json = Json::parse(line);
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("it is no JSON: ", error.what()));
  }
  if (!json.is_object() || !json.contains("id") || !json.contains("vector")) {
    return absl::InvalidArgumentError(absl::StrCat("it is not a point; ", kShape));
  }
  for (const auto& [key, value] : json.items()) {
    if (key != "id" && key != "vector") {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", Printable(key), "\" is not part of a point; ", kShape));
    }
  }
  if (absl::Status status = ParseId(json["id"], &point->id); !status.ok()) return status;
  return ParseVector(json["vector"], &point->vector);
}

}  // namespace

absl::StatusOr<JsonLinesReader> JsonLinesReader::Open(const std::string& path) {
  absl::StatusOr<LineReader> lines = LineReader::Open(path);
  if (!lines.ok()) return lines.status();
  return JsonLinesReader(*std::move(lines));
}

absl::StatusOr<bool> JsonLinesReader::Next(Point* point) {
  std::string_view line;
  do {
    absl::StatusOr<bool> more = lines_.Next(&line);
    if (!more.ok() || !*more) return more;
  } while (line.find_first_not_of(" \t") == std::string_view::npos);
  const absl::Status status = ParsePoint(line, point);
  if (status.ok()) return true;
  return absl::InvalidArgumentError(
      absl::StrCat(lines_.name(), ": line ", lines_.number(), ": ", std::string(status.message())));
}

}  // namespace vexact::client
