#include "tests/soak/session.h"

#include <algorithm>
#include <iostream>
#include <utility>

#include "tests/crash/text.h"

namespace vexact::soak {
namespace {

using crash::Text;

constexpr size_t kMostShown = 20;

}  // namespace

const std::vector<Plan>& Plans() {
  using client::Metric;
  using client::Normalization;
  static const auto& plans = *new std::vector<Plan>{
      {{"mixed", 8, Metric::kCosine, Normalization::kNone}, 400, 6},
      {{"unit", 24, Metric::kInnerProduct, Normalization::kL2}, 900, 6},
      {{"wide", 200, Metric::kL2, Normalization::kNone}, 150, 3},
      {{"large", 48, Metric::kL2, Normalization::kNone}, 14'000, 5},
  };
  return plans;
}

Session::Session(const std::vector<std::string>& server_args)
    : server(server_args), client(server.process.address()), ledgers(Plans().size()) {}

bool Session::Ended(std::string_view kind, const grpc::Status& status,
                    std::initializer_list<grpc::StatusCode> allowed) {
  return Ended(
      kind,
      absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message()),
      allowed);
}

bool Session::Ended(std::string_view kind, const absl::Status& status,
                    std::initializer_list<grpc::StatusCode> allowed) {
  Count(kind, absl::StatusCodeToString(status.code()));
  const auto code = static_cast<grpc::StatusCode>(status.code());
  if (!status.ok() && std::ranges::find(allowed, code) == allowed.end()) {
    Note(kind, status.ToString());
  }
  return status.ok();
}

void Session::Count(std::string_view kind, std::string_view outcome, uint64_t count) {
  std::lock_guard lock(mutex_);
  counts_[std::string(kind)][std::string(outcome)] += count;
}

void Session::Note(std::string_view where, const std::string& defect) {
  if (defect.empty()) return;
  std::lock_guard lock(mutex_);
  defects_.push_back(Text(where, ": ", defect));
}

size_t Session::Report() const {
  std::lock_guard lock(mutex_);
  for (size_t i = 0; i < std::min(defects_.size(), kMostShown); ++i) {
    std::cerr << "DEFECT " << defects_[i] << '\n';
  }
  return defects_.size();
}

std::string Session::Counts() const {
  std::lock_guard lock(mutex_);
  std::string lines;
  for (const auto& [kind, outcomes] : counts_) {
    std::string line;
    for (const auto& [outcome, count] : outcomes) {
      line += Text(line.empty() ? "" : ", ", outcome, " ", count);
    }
    lines += Text("  ", kind, ": ", line, "\n");
  }
  return lines;
}

std::shared_ptr<const Restored> Session::restored() const {
  std::lock_guard lock(mutex_);
  return restored_;
}

void Session::set_restored(std::shared_ptr<const Restored> restored) {
  std::lock_guard lock(mutex_);
  restored_ = std::move(restored);
}

}  // namespace vexact::soak
