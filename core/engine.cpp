#include "core/engine.h"

namespace vexact {

std::string_view Name(EngineKind kind) {
  switch (kind) {
    case EngineKind::kScan:
      return "scan";
    case EngineKind::kReference:
      return "reference";
    case EngineKind::kFaiss:
      return "faiss";
  }
  return "";
}

std::optional<EngineKind> ParseEngineKind(std::string_view name) {
  for (const EngineKind kind : kEngineKinds) {
    if (Name(kind) == name) return kind;
  }
  return std::nullopt;
}

}  // namespace vexact
