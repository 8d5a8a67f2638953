// top.
#include <algorithm>
#include <iostream>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/command/command.h"
#include "client/command/format.h"
#include "client/command/interruption.h"
#include "client/top/rates.h"
#include "client/top/screen.h"
#include "client/top/view.h"

namespace vexact::client {
namespace {

struct TopOptions {
  double interval_s = 1;
  bool once = false;
};

// A look that takes longer is given up, so that the terminal does not seem dead.
constexpr absl::Duration kPatience = absl::Seconds(2);

// One look after the other.
class Watch {
 public:
  explicit Watch(const Globals& globals) : client_(globals.client()), call_(globals.call()) {
    call_.timeout = std::min(call_.timeout, kPatience);
  }

  absl::Status Look() {
    auto statistics = client_.GetStatistics(call_);
    if (!statistics.ok()) return statistics.status();
    before_ = std::exchange(now_, *std::move(statistics));
    return absl::OkStatus();
  }

  // REQUIRES: Look() succeeded.
  const Statistics& now() const { return *now_; }
  // Since the look before this one, or since the server started.
  Rates rates() const { return RatesBetween(before_.value_or(Statistics()), *now_); }

 private:
  const Client client_;
  CallOptions call_;
  std::optional<Statistics> before_, now_;
};

// False when a signal came first.
bool Pause(absl::Duration time) {
  for (const absl::Time end = absl::Now() + time; absl::Now() < end;) {
    if (Interrupted()) return false;
    absl::SleepFor(std::min(end - absl::Now(), absl::Milliseconds(50)));
  }
  return !Interrupted();
}

// One table, or JSON, once or again and again.
int RunPlain(const Globals& globals, const TopOptions& options) {
  const InterruptionGuard guard;
  Watch watch(globals);
  if (absl::Status status = watch.Look(); !status.ok()) return Fail(status);
  do {
    if (!Pause(absl::Seconds(options.interval_s))) return kInterrupted;
    if (absl::Status status = watch.Look(); !status.ok()) return Fail(status);
    if (globals.json) {
      Print(TopToJson(watch.now(), watch.rates()));
      std::cout.flush();
    } else {
      for (const std::string& line : RenderTop(globals.server, watch.now(), watch.rates(),
                                               std::numeric_limits<size_t>::max())) {
        std::cout << line << '\n';
      }
    }
  } while (globals.json && !options.once && std::cout);
  return kDone;
}

int RunLive(const Globals& globals, const TopOptions& options) {
  const InterruptionGuard guard;
  Watch watch(globals);
  // Whoever is not there from the start is no server to watch.
  if (absl::Status status = watch.Look(); !status.ok()) return Fail(status);
  const Screen screen;
  absl::Status last;
  for (;;) {
    std::vector<std::string> lines =
        RenderTop(globals.server, watch.now(), watch.rates(), screen.columns());
    lines.emplace_back();
    lines.push_back(last.ok() ? "q to quit"
                              : absl::StrCat(Printable(std::string(last.message())),
                                             "; the numbers above are of before"));
    screen.Draw(lines);
    switch (screen.Wait(absl::Seconds(options.interval_s))) {
      case Screen::kQuit:
        return kDone;
      case Screen::kSignal:
        return kInterrupted;
      case Screen::kResize:
        break;
      case Screen::kTime:
        last = watch.Look();
    }
  }
}

int RunTop(const Globals& globals, const TopOptions& options) {
  const bool live = HasScreen() && !options.once && !globals.json;
  return live ? RunLive(globals, options) : RunPlain(globals, options);
}

}  // namespace

void AddTopCommand(Program& program) {
  auto options = std::make_shared<TopOptions>();
  CLI::App* command =
      AddCommand<TopOptions>(program, "top", "Watch what the server does: rates, latencies, load",
                             "  vexact top\n  vexact top --interval 5\n"
                             "  vexact top --once --json | jq .p99_s\n"
                             "Without a terminal, one table and the end; q or Ctrl-C ends it.",
                             options, RunTop);
  command->add_option("--interval", options->interval_s, "Look again after so long (default: 1)")
      ->check(CLI::Range(0.1, 3600.0).description(""))
      ->type_name("SECONDS");
  command->add_flag("--once", options->once,
                    "Show one table, of one interval, and end; with --json one object");
}

}  // namespace vexact::client
