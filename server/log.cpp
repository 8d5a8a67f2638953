#include "server/log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>

#include "absl/strings/str_format.h"

namespace vexact::server {
namespace {

void LogFromGrpc(gpr_log_func_args* message) {
  spdlog::debug("grpc source={}:{} message={}", message->file, message->line,
                LogValue(message->message));
}

void LogFromProtobuf(google::protobuf::LogLevel, const char* file, int line,
                     const std::string& message) {
  spdlog::debug("protobuf source={}:{} message={}", file, line, LogValue(message));
}

bool IsPlain(char c) { return c > ' ' && c < '\x7f' && c != '"' && c != '\\' && c != '='; }

bool IsControl(char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }

}  // namespace

void StartLog(const std::string& level) {
  auto logger = std::make_shared<spdlog::logger>("vexactd",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_level(spdlog::level::from_str(level));
  // The time with milliseconds, then the level: its name is the first word after the time.
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
  logger->flush_on(spdlog::level::trace);
  spdlog::set_default_logger(std::move(logger));
  gpr_set_log_function(LogFromGrpc);
  google::protobuf::SetLogHandler(LogFromProtobuf);
}

void SetLogLevel(const std::string& level) { spdlog::set_level(spdlog::level::from_str(level)); }

std::string LogValue(std::string_view text) {
  if (!text.empty() && std::ranges::all_of(text, IsPlain)) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += {'\\', c};
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (IsControl(c)) {
      quoted += absl::StrFormat("\\x%02x", static_cast<unsigned char>(c));
    } else {
      quoted += c;
    }
  }
  return quoted += '"';
}

std::string LogValue(const absl::Status& status) { return LogValue(std::string(status.message())); }

void LogMaintenance(const Collection& collection, const MaintenanceEvent& event) {
  if (event.kind == MaintenanceEvent::kFailed) {
    spdlog::warn("maintenance_failed collection={} error={}", collection.name(),
                 LogValue(event.status));
    return;
  }
  if (event.kind == MaintenanceEvent::kRebuilt) {
    spdlog::warn("codes_rebuilt collection={} rows={} reason={}", collection.name(), event.rows,
                 LogValue(event.status));
    return;
  }
  const double seconds = absl::ToDoubleSeconds(event.time);
  if (event.kind == MaintenanceEvent::kRecoded) {
    spdlog::info("reencoded collection={} rows={} seconds={:.3f}", collection.name(), event.rows,
                 seconds);
    return;
  }
  const std::shared_ptr<const Layout> layout = collection.layout().trained.layout;
  const char* kind = layout->leading() ? "leading_rotation" : "rotation";
  if (!layout->has_basis()) kind = "identity";
  spdlog::info(
      "trained collection={} rows={} seconds={:.3f} layout={} changed={} directions={} centered={} "
      "first_slab_dimensions={} first_slab_sketch={}",
      collection.name(), event.rows, seconds, kind, event.kind == MaintenanceEvent::kTrained,
      layout->basis_rows, !layout->center.empty(), layout->first_width, layout->has_sketch());
}

}  // namespace vexact::server
