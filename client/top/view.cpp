#include "client/top/view.h"

#include <algorithm>
#include <cmath>
#include <ranges>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "client/command/format.h"
#include "client/command/table.h"

namespace vexact::client {
namespace {

constexpr size_t kLongestName = 32;

// "0", "0.3", "12", "1,234".
std::string Count(double rate) {
  if (rate == 0) return "0";
  if (rate < 9.95) return absl::StrFormat("%.1f", rate);
  return Thousands(static_cast<uint64_t>(std::llround(rate)));
}

std::string ByteRate(double rate) {
  return absl::StrCat(Bytes(static_cast<uint64_t>(std::llround(std::max(rate, 0.0)))), "/s");
}

std::string Time(std::optional<double> seconds) {
  if (!seconds) return "-";
  return *seconds < 0.00095 ? absl::StrFormat("%.2f ms", *seconds * 1e3)
                            : Elapsed(absl::Seconds(*seconds));
}

// At most `columns` characters of UTF-8, the last of them … where something is cut off.
std::string Cut(std::string text, size_t columns) {
  if (Width(text) <= columns) return text;
  if (columns == 0) return "";
  size_t end = 0;
  for (size_t seen = 0; end < text.size(); ++end) {
    const bool starts = (text[end] & '\xC0') != '\x80';
    if (starts && seen++ == columns - 1) break;
  }
  return text.substr(0, end) + "…";
}

std::string ServerLine(std::string_view address, const Statistics& now, const Rates& rates) {
  return absl::StrCat("vexactd ", Printable(now.version), " at ", Printable(address), "   up ",
                      Clock(now.uptime), "   ", Bytes(now.resident_bytes), " memory   ",
                      absl::StrFormat("%.1f", rates.processors), " of ", now.threads,
                      now.threads == 1 ? " thread" : " threads", " busy   ",
                      Thousands(now.waiting_queries), " queued");
}

std::string CallsLine(const Rates& rates) {
  return absl::StrCat("calls     ", Count(rates.calls), "/s   p50 ", Time(rates.p50), "   p99 ",
                      Time(rates.p99), "   ", Count(rates.failed), "/s failed   ",
                      Count(rates.refused), "/s refused");
}

std::string SearchesLine(const Rates& rates) {
  std::string line = absl::StrCat("searches  ", Count(rates.queries), " queries/s");
  if (rates.batch) {
    absl::StrAppend(&line, "   ", absl::StrFormat("%.1f", *rates.batch), " a scan");
  }
  if (rates.wait_p99) absl::StrAppend(&line, "   queue p99 ", Time(rates.wait_p99));
  return line;
}

std::string StoreLine(const Rates& rates) {
  std::string line = absl::StrCat("writes    ", Count(rates.writes), "/s");
  if (!rates.store) return line + "   in memory alone";
  const StoreRates& store = *rates.store;
  absl::StrAppend(&line, "   ", Count(store.syncs), " syncs/s");
  if (store.sync_seconds) absl::StrAppend(&line, " of ", Time(store.sync_seconds));
  absl::StrAppend(&line, "   ", ByteRate(store.written_bytes), " to the disk");
  if (store.compactions > 0) {
    absl::StrAppend(&line, "   ", store.compactions,
                    store.compactions == 1 ? " compaction, " : " compactions, ",
                    Bytes(store.compactions_pending_bytes), " to rewrite");
  }
  return line;
}

struct Column {
  Table::Column head;
  std::string (*cell)(const CollectionRates&);
};

// Those that matter most come first.
const std::vector<Column>& Columns() {
  using C = const CollectionRates&;
  static const auto& columns = *new std::vector<Column>{
      {{"collection"}, [](C c) { return Cut(Printable(c.name), kLongestName); }},
      {{"queries/s", Align::kRight}, [](C c) { return Count(c.queries); }},
      {{"rows", Align::kRight}, [](C c) { return Thousands(c.rows); }},
      {{"scanned", Align::kRight}, [](C c) { return ByteRate(c.scanned_bytes); }},
      {{"writes/s", Align::kRight}, [](C c) { return Count(c.writes); }},
      {{"refined", Align::kRight},
       [](C c) { return c.refined ? absl::StrCat(Percent(*c.refined), " %") : std::string("-"); }},
      {{"re-encoded", Align::kRight},
       [](C c) {
         return c.coded >= 1 ? std::string("done") : absl::StrCat(Percent(c.coded), " %");
       }},
      {{"memory", Align::kRight}, [](C c) { return Bytes(c.memory_bytes); }},
  };
  return columns;
}

// With the first `count` columns.
std::vector<std::string> TableLines(const std::vector<CollectionRates>& collections, size_t count) {
  std::vector<Table::Column> heads;
  for (size_t i = 0; i < count; ++i) heads.push_back(Columns()[i].head);
  Table table(std::move(heads));
  for (const CollectionRates& collection : collections) {
    std::vector<std::string> cells;
    for (size_t i = 0; i < count; ++i) cells.push_back(Columns()[i].cell(collection));
    table.Add(cells);
  }
  std::vector<std::string> lines = absl::StrSplit(table.Render(), '\n');
  lines.pop_back();  // what follows the last line feed
  return lines;
}

std::vector<std::string> FittingTable(const std::vector<CollectionRates>& collections,
                                      size_t columns) {
  constexpr size_t kLeast = 2;
  for (size_t count = Columns().size();; --count) {
    std::vector<std::string> lines = TableLines(collections, count);
    const size_t width = std::ranges::max(lines | std::views::transform(Width));
    if (width <= columns || count == kLeast) return lines;
  }
}

Json OrNull(std::optional<double> value) { return value ? Json(*value) : Json(); }

Json ToJson(const CollectionRates& rates) {
  return {{"name", rates.name},
          {"rows", rates.rows},
          {"memory_bytes", rates.memory_bytes},
          {"queries_per_s", rates.queries},
          {"scanned_bytes_per_s", rates.scanned_bytes},
          {"writes_per_s", rates.writes},
          {"refined", OrNull(rates.refined)},
          {"reencoded", rates.coded}};
}

Json ToJson(const StoreRates& store) {
  return {{"commits_per_s", store.commits},
          {"syncs_per_s", store.syncs},
          {"sync_s", OrNull(store.sync_seconds)},
          {"written_bytes_per_s", store.written_bytes},
          {"compactions", store.compactions},
          {"compactions_pending_bytes", store.compactions_pending_bytes},
          {"failure", store.failure.empty() ? Json() : Json(store.failure)}};
}

}  // namespace

std::vector<std::string> RenderTop(std::string_view address, const Statistics& now,
                                   const Rates& rates, size_t columns) {
  std::vector<std::string> lines = {ServerLine(address, now, rates), CallsLine(rates),
                                    SearchesLine(rates), StoreLine(rates)};
  if (rates.store && !rates.store->failure.empty()) {
    lines.push_back("the disk fails: " + Printable(rates.store->failure));
  }
  if (now.damaged_collections > 0) {
    lines.push_back(
        absl::StrCat(now.damaged_collections, " damaged: vexact list says which, and why"));
  }
  lines.emplace_back();
  if (rates.collections.empty()) {
    lines.push_back("no collections");
  } else {
    std::ranges::copy(FittingTable(rates.collections, columns), std::back_inserter(lines));
  }
  for (std::string& line : lines) line = Cut(std::move(line), columns);
  return lines;
}

Json TopToJson(const Statistics& now, const Rates& rates) {
  Json collections = Json::array();
  for (const CollectionRates& collection : rates.collections) {
    collections.push_back(ToJson(collection));
  }
  return {{"version", now.version},
          {"uptime_s", absl::ToDoubleSeconds(now.uptime)},
          {"interval_s", absl::ToDoubleSeconds(rates.interval)},
          {"memory_bytes", now.resident_bytes},
          {"threads", now.threads},
          {"processors_busy", rates.processors},
          {"queued_queries", now.waiting_queries},
          {"calls_per_s", rates.calls},
          {"failed_per_s", rates.failed},
          {"refused_per_s", rates.refused},
          {"p50_s", OrNull(rates.p50)},
          {"p99_s", OrNull(rates.p99)},
          {"queries_per_s", rates.queries},
          {"scans_per_s", rates.scans},
          {"queries_a_scan", OrNull(rates.batch)},
          {"queue_p99_s", OrNull(rates.wait_p99)},
          {"writes_per_s", rates.writes},
          {"damaged_collections", now.damaged_collections},
          {"collections", std::move(collections)},
          {"store", rates.store ? ToJson(*rates.store) : Json()}};
}

}  // namespace vexact::client
