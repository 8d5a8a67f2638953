#include "vexact/types.h"

#include <ostream>
#include <span>

namespace vexact::client {
namespace {

template <typename Value>
std::optional<Value> Parse(std::string_view name, std::span<const Value> values) {
  for (Value value : values) {
    if (Name(value) == name) return value;
  }
  return std::nullopt;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Id& id) {
  return id.is_number() ? out << id.number() : out << id.text();
}

std::string_view Name(Metric metric) {
  switch (metric) {
    case Metric::kInnerProduct:
      return "inner_product";
    case Metric::kCosine:
      return "cosine";
    case Metric::kL2:
      return "l2";
  }
  return "";
}

std::string_view Name(Normalization normalization) {
  switch (normalization) {
    case Normalization::kNone:
      return "none";
    case Normalization::kL2:
      return "l2";
    case Normalization::kRequireUnit:
      return "require_unit";
  }
  return "";
}

std::string_view Name(Engine engine) {
  switch (engine) {
    case Engine::kScan:
      return "scan";
    case Engine::kReference:
      return "reference";
    case Engine::kFaiss:
      return "faiss";
    case Engine::kOther:
      return "other";
  }
  return "";
}

std::string_view Name(LayoutKind kind) {
  switch (kind) {
    case LayoutKind::kIdentity:
      return "identity";
    case LayoutKind::kRotation:
      return "rotation";
    case LayoutKind::kLeadingRotation:
      return "leading_rotation";
    case LayoutKind::kOther:
      return "other";
  }
  return "";
}

std::string_view Name(Durability durability) {
  switch (durability) {
    case Durability::kNone:
      return "none";
    case Durability::kFsync:
      return "fsync";
    case Durability::kAsync:
      return "async";
    case Durability::kOther:
      return "other";
  }
  return "";
}

std::string_view Name(Health health) {
  switch (health) {
    case Health::kUnknown:
      return "UNKNOWN";
    case Health::kServing:
      return "SERVING";
    case Health::kNotServing:
      return "NOT_SERVING";
  }
  return "";
}

std::optional<Metric> ParseMetric(std::string_view name) { return Parse<Metric>(name, kMetrics); }

std::optional<Normalization> ParseNormalization(std::string_view name) {
  return Parse<Normalization>(name, kNormalizations);
}

std::optional<Engine> ParseEngine(std::string_view name) {
  static constexpr Engine kEngines[] = {Engine::kScan, Engine::kReference, Engine::kFaiss};
  return Parse<Engine>(name, kEngines);
}

}  // namespace vexact::client
