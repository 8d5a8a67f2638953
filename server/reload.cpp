#include "server/reload.h"

#include <spdlog/spdlog.h>

#include <string>
#include <utility>

#include "server/log.h"
#include "server/options.h"
#include "server/security.h"

namespace vexact::server {
namespace {

// `next` with the options that this server keeps until it stops, as far as security depends on
// them: keys cannot be given up by one that is reached from other machines.
Config Effective(Config next, const Config& started) {
  next.listen = started.listen;
  next.insecure = started.insecure;
  next.tls_cert = started.tls_cert;
  next.tls_key = started.tls_key;
  next.tls_client_ca = started.tls_client_ca;
  return next;
}

void LogFailure(const absl::Status& status) {
  spdlog::error("reload_failed message={} remedy=\"nothing was changed\"", LogValue(status));
}

std::string Shown(const std::string& value) { return value.empty() ? "none" : LogValue(value); }

}  // namespace

void Reload::Run() {
  absl::StatusOr<Config> next = read_();
  if (!next.ok()) return LogFailure(next.status());
  auto security = ReadSecurity(Effective(*next, started_));
  if (!security.ok()) return LogFailure(security.status());
  LogChanges(*next);
  spdlog::info("reloaded config={} api_keys={} tls={}", Shown(next->file), security->keys.size(),
               security->tls ? "on" : "off");
  server_.Apply(*next, *std::move(security));
  current_ = *std::move(next);
}

void Reload::LogChanges(const Config& next) const {
  for (const Option& option : Options()) {
    const bool live = option.effect == Option::kLive;
    const std::string now = option.value.get(live ? current_ : started_);
    const std::string wanted = option.value.get(next);
    if (now == wanted) continue;
    if (live) {
      spdlog::info("option_changed option={} from={} to={}", option.key, Shown(now), Shown(wanted));
    } else {
      spdlog::warn(
          "option_waits option={} now={} wanted={} remedy=\"restart the server to change it\"",
          option.key, Shown(now), Shown(wanted));
    }
  }
}

}  // namespace vexact::server
