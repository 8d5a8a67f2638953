#include "server/slow_log.h"

#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>

#include "absl/strings/str_format.h"
#include "server/format.h"
#include "server/log.h"

namespace vexact::server {
namespace {

using std::chrono::nanoseconds;
using std::chrono::steady_clock;

// What is named as the reason, from these on.
constexpr uint64_t kManyPageFaults = 1'000;  // some 4 MiB that came from the disk
constexpr double kLargeShareRefined = 0.1;
constexpr uint32_t kLargeK = 1'000;
constexpr uint64_t kLargeBatch = 64;
constexpr uint64_t kLargeWrite = 10'000;
constexpr uint64_t kLargeAnswerBytes = uint64_t{1} << 20;

constexpr double kMebibyte = 1 << 20;

double Milliseconds(nanoseconds time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

bool IsMost(nanoseconds part, nanoseconds total) { return 2 * part >= total; }

std::string WaitReason(uint64_t ahead) {
  if (ahead == 0) return "waited for a thread: the server was busy with other requests";
  return absl::StrFormat("waited in the queue behind %s %s", Thousands(ahead),
                         ahead == 1 ? "query" : "queries");
}

std::string AnswerReason(const SlowSearch& search) {
  const double mebibytes = static_cast<double>(search.answer_bytes) / kMebibyte;
  if (search.answer_bytes >= kLargeAnswerBytes) {
    return absl::StrFormat("the answer%s takes %.1f MiB",
                           search.with_vectors ? ", with vectors," : "", mebibytes);
  }
  return "reading the request and writing the answer: the machine has more to do than processors";
}

// Why rows had to be read beyond the first slab of their codes.
std::string RefinedReason(const Collection& collection, double share) {
  const std::string refined =
      absl::StrFormat("%.0f %% of rows were read further than their first slab", 100 * share);
  const LayoutInfo layout = collection.layout();
  if (layout.coded_rows < layout.rows) {
    return absl::StrFormat("%s: they are being re-encoded, %s of %s are done", refined,
                           Thousands(layout.coded_rows), Thousands(layout.rows));
  }
  if (layout.trained.layout == nullptr || !layout.trained.layout->has_basis()) {
    return refined + ": no layout is trained for them yet, or none is better";
  }
  return refined + ": near neighbours are many, or the data changed since the layout was trained";
}

std::string ScanReason(const SlowSearch& search) {
  if (search.engine != EngineKind::kScan) {
    return absl::StrFormat(
        "engine %s reads every row in full; the default, scan, gives the same "
        "answers faster",
        Name(search.engine));
  }
  const double pairs = static_cast<double>(search.rows) * static_cast<double>(search.queries);
  const double refined = pairs == 0 ? 0 : static_cast<double>(search.rows_refined) / pairs;
  if (search.k >= kLargeK) {
    return absl::StrFormat("k is %s: %s rows were scored", Thousands(search.k),
                           Thousands(search.rows_rescored));
  }
  if (refined >= kLargeShareRefined && search.collection != nullptr) {
    return RefinedReason(*search.collection, refined);
  }
  if (search.queries >= kLargeBatch) {
    return absl::StrFormat("the request has %s queries", Thousands(search.queries));
  }
  if (search.scanned_queries > 2 * search.queries) {
    return absl::StrFormat("was scanned together with %s queries of others",
                           Thousands(search.scanned_queries - search.queries));
  }
  return absl::StrFormat("%.1f MiB of codes and rows were read to compare %s rows",
                         static_cast<double>(search.bytes_read) / kMebibyte,
                         Thousands(search.rows));
}

uint64_t PageFaultsOfProcess() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_majflt);
}

std::string Line(const SlowSearch& search, const SlowTimes& times) {
  const nanoseconds rest = times.total - times.queue - search.scan;
  return absl::StrFormat(
      "collection=%s queries=%d k=%d rows=%d queue_ms=%.3f scan_ms=%.3f answer_ms=%.3f",
      search.collection == nullptr ? "" : search.collection->name(), search.queries, search.k,
      search.rows, Milliseconds(times.queue), Milliseconds(search.scan),
      Milliseconds(std::max(rest, nanoseconds(0))));
}

std::string Line(const SlowWrite& write, const SlowTimes& times) {
  return absl::StrFormat("collection=%s rows=%d queue_ms=%.3f sync_ms=%.3f",
                         LogValue(write.collection), write.rows, Milliseconds(times.queue),
                         Milliseconds(times.sync));
}

}  // namespace

std::string LikelyReason(const SlowSearch& search, const SlowTimes& times) {
  if (IsMost(times.queue, times.total)) return WaitReason(search.ahead);
  if (IsMost(times.total - times.queue - search.scan, times.total)) return AnswerReason(search);
  if (times.page_faults >= kManyPageFaults) {
    return absl::StrFormat(
        "%s pages had to be read from the disk: the rows, with all else that "
        "runs here, do not fit into memory",
        Thousands(times.page_faults));
  }
  return ScanReason(search);
}

std::string LikelyReason(const SlowWrite& write, const SlowTimes& times) {
  if (IsMost(times.queue, times.total)) return WaitReason(0);
  if (IsMost(times.sync, times.total)) {
    return absl::StrFormat("the disk took %.0f ms to sync", Milliseconds(times.sync));
  }
  if (times.page_faults >= kManyPageFaults) {
    return absl::StrFormat("%s pages had to be read from the disk: too little memory",
                           Thousands(times.page_faults));
  }
  if (write.rows >= kLargeWrite) {
    return absl::StrFormat("the request has %s rows", Thousands(write.rows));
  }
  return "waited for other writes, or the processors had more to do";
}

SlowLog::SlowLog(const Metrics& metrics, std::chrono::milliseconds threshold)
    : metrics_(metrics), threshold_ns_(nanoseconds(threshold).count()) {}

void SlowLog::SetThreshold(std::chrono::milliseconds threshold) {
  // relaxed: nothing else depends on it.
  threshold_ns_.store(nanoseconds(threshold).count(), std::memory_order_relaxed);
}

SlowLog::Mark SlowLog::Take(steady_clock::time_point now) {
  constexpr int64_t kSampleEveryNs = 1'000'000'000;
  const int64_t now_ns = nanoseconds(now.time_since_epoch()).count();
  // relaxed throughout: an old sample does, and so does one more than was needed.
  if (now_ns - sampled_at_ns_.load(std::memory_order_relaxed) > kSampleEveryNs) {
    sampled_at_ns_.store(now_ns, std::memory_order_relaxed);
    page_faults_.store(PageFaultsOfProcess(), std::memory_order_relaxed);
  }
  return {metrics_.sync_time(), page_faults_.load(std::memory_order_relaxed)};
}

bool SlowLog::IsSlow(nanoseconds total) const {
  const int64_t threshold = threshold_ns_.load(std::memory_order_relaxed);
  return threshold > 0 && total.count() >= threshold;
}

void SlowLog::Write(const Request& request, const SlowWork& work) {
  const nanoseconds total = request.end - request.arrival;
  if (std::holds_alternative<std::monostate>(work)) return;
  uint64_t left_out = 0;
  if (!MayWrite(request.end, left_out)) return;
  SlowTimes times{.total = total,
                  .queue = request.begin - request.arrival,
                  .sync = metrics_.sync_time() - request.mark.sync,
                  .page_faults = PageFaultsOfProcess() - request.mark.page_faults};
  if (const auto* search = std::get_if<SlowSearch>(&work)) times.queue += search->wait;
  std::string line, reason;
  std::visit(
      [&](const auto& done) {
        if constexpr (!std::is_same_v<std::decay_t<decltype(done)>, std::monostate>) {
          line = Line(done, times);
          reason = LikelyReason(done, times);
        }
      },
      work);
  if (left_out > 0) line += absl::StrFormat(" left_out=%d", left_out);
  spdlog::warn("slow method={} ms={:.3f} request_id={}{} {} reason={}", request.method,
               Milliseconds(total), LogValue(request.id), request.who, line, LogValue(reason));
}

bool SlowLog::MayWrite(steady_clock::time_point now, uint64_t& left_out) {
  const std::lock_guard lock(mutex_);
  if (now - window_ >= std::chrono::seconds(1)) {
    window_ = now;
    lines_ = 0;
  }
  if (lines_ == kMostLines) {
    ++left_out_;
    return false;
  }
  ++lines_;
  left_out = std::exchange(left_out_, 0);
  return true;
}

}  // namespace vexact::server
