#include "client/bench/report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/command/format.h"
#include "client/command/table.h"

namespace vexact::client {
namespace {

struct QuantileName {
  double share;
  const char* name;  // in JSON
  const char* title;
};
constexpr std::array kQuantiles = {QuantileName{0.5, "p50", "p50"}, QuantileName{0.9, "p90", "p90"},
                                   QuantileName{0.99, "p99", "p99"},
                                   QuantileName{0.999, "p999", "p99.9"}};

double Milliseconds(double nanoseconds) { return nanoseconds / 1e6; }

// Three significant digits, and none behind the point that would not be one of them.
std::string ShownMilliseconds(double nanoseconds) {
  const double ms = Milliseconds(nanoseconds);
  if (ms >= 99.95) return Thousands(static_cast<uint64_t>(std::llround(ms)));
  if (ms >= 9.995) return absl::StrFormat("%.1f", ms);
  return absl::StrFormat(ms >= 0.9995 ? "%.2f" : "%.3f", ms);
}

std::string ShownRate(double rate) {
  return rate < 99.95 ? absl::StrFormat("%.1f", rate)
                      : Thousands(static_cast<uint64_t>(std::llround(rate)));
}

double PerSecond(uint64_t count, const Measured& measured) {
  return measured.seconds > 0 ? static_cast<double>(count) / measured.seconds : 0;
}

std::string Many(uint64_t count, std::string_view one) {
  return absl::StrCat(Thousands(count), " ", std::string(one), count == 1 ? "" : "s");
}

void AddRow(Table& table, const std::string& name, const LatencyHistogram& latency,
            const std::vector<std::string>& rates) {
  if (latency.count() == 0) return;
  std::vector<std::string> cells = {name, Thousands(latency.count())};
  cells.insert(cells.end(), rates.begin(), rates.end());
  for (const QuantileName& quantile : kQuantiles) {
    cells.push_back(ShownMilliseconds(static_cast<double>(latency.Quantile(quantile.share))));
  }
  cells.push_back(ShownMilliseconds(static_cast<double>(latency.max())));
  table.Add(cells);
}

std::string LatencyTable(const BenchSetting& setting, const Measured& measured) {
  const bool batches = setting.workload.batch > 1;
  std::vector<Table::Column> columns = {
      {"latency in ms"}, {"requests", Align::kRight}, {"requests/s", Align::kRight}};
  if (batches) columns.push_back({"vectors/s", Align::kRight});
  for (const QuantileName& quantile : kQuantiles)
    columns.push_back({quantile.title, Align::kRight});
  columns.push_back({"max", Align::kRight});
  Table table(columns);
  const auto rates = [&](uint64_t count) {
    const double rate = PerSecond(count, measured);
    std::vector<std::string> shown = {ShownRate(rate)};
    if (batches) shown.push_back(ShownRate(rate * setting.workload.batch));
    return shown;
  };
  AddRow(table, "search", measured.searches.latency, rates(measured.searches.in_time));
  AddRow(table, "upsert", measured.upserts.latency, rates(measured.upserts.in_time));
  AddRow(table, "refused", measured.refused, rates(measured.refused.count()));
  const std::vector<std::string> none(batches ? 2 : 1);
  AddRow(table, "sent late", measured.lateness, none);
  return table.Render();
}

std::string MetricName(const BenchSetting& setting) {
  return std::string(Name(setting.workload.search.metric.value_or(setting.collection.metric)));
}

std::string Head(const BenchSetting& setting) {
  const Collection& collection = setting.collection;
  const LoadOptions& load = setting.load;
  std::string head =
      absl::StrCat(Printable(collection.name), ": ", Rows(collection.rows), ", ",
                   Many(collection.dimension, "dimension"), ", ", MetricName(setting), ", k ",
                   Thousands(setting.workload.search.k));
  if (setting.workload.batch > 1) {
    absl::StrAppend(&head, ", ", Thousands(setting.workload.batch), " vectors a request");
  }
  absl::StrAppend(&head, "; ");
  if (load.rate > 0) {
    absl::StrAppend(&head, ShownRate(load.rate), " requests/s (",
                    load.arrivals == Arrivals::kEven ? "even" : "Poisson", "), at most ",
                    Thousands(load.clients), " in flight");
  } else {
    absl::StrAppend(&head, Many(load.clients, "client"));
  }
  return absl::StrCat(head, ", ", Many(setting.connections, "connection"));
}

std::string RecallLine(const Measured& measured) {
  const std::optional<double> recall = Recall(measured);
  if (!recall) return "";
  if (measured.hits_found == measured.hits_expected) return "recall 1: every answer is exact\n";
  return absl::StrFormat("recall %s: %s of %s true hits are missing; AN EXACT SERVER HAS 1\n",
                         Shortest(*recall), Thousands(measured.hits_expected - measured.hits_found),
                         Thousands(measured.hits_expected));
}

Json ToJson(const LatencyHistogram& latency) {
  Json json;
  for (const QuantileName& quantile : kQuantiles) {
    json[quantile.name] = Milliseconds(static_cast<double>(latency.Quantile(quantile.share)));
  }
  json["max"] = Milliseconds(static_cast<double>(latency.max()));
  json["mean"] = Milliseconds(latency.mean());
  return json;
}

Json ToJson(const Answers& answers, const BenchSetting& setting, const Measured& measured) {
  const double rate = PerSecond(answers.in_time, measured);
  return {{"requests", answers.latency.count()},
          {"requests_per_s", rate},
          {"vectors_per_s", rate * setting.workload.batch},
          {"latency_ms", ToJson(answers.latency)}};
}

}  // namespace

std::optional<double> Recall(const Measured& measured) {
  if (measured.hits_expected == 0) return std::nullopt;
  return static_cast<double>(measured.hits_found) / static_cast<double>(measured.hits_expected);
}

uint64_t Answered(const Measured& measured) {
  return measured.searches.latency.count() + measured.upserts.latency.count();
}

std::string RenderBench(const BenchSetting& setting, const Measured& measured) {
  std::string out = absl::StrCat(Head(setting), ", ", absl::StrFormat("%.1f s", measured.seconds),
                                 setting.interrupted ? " (interrupted)\n\n" : "\n\n");
  if (Answered(measured) + measured.refused.count() > 0) {
    absl::StrAppend(&out, LatencyTable(setting, measured), "\n");
  }
  for (const auto& [code, failures] : measured.failures) {
    absl::StrAppend(&out, absl::StatusCodeToString(code), " ", Thousands(failures.count),
                    " times, first: ", Printable(failures.message), "\n");
  }
  if (measured.not_sent > 0) {
    absl::StrAppend(&out, "not sent, because ", Thousands(setting.load.clients),
                    " were in flight: ", Many(measured.not_sent, "request"), "\n");
  }
  if (measured.unanswered > 0) {
    absl::StrAppend(&out, "without an answer when the load was over: ",
                    Many(measured.unanswered, "request"), "\n");
  }
  return out + RecallLine(measured);
}

Json BenchJson(const BenchSetting& setting, const Measured& measured) {
  const LoadOptions& load = setting.load;
  Json json = {{"collection", setting.collection.name},
               {"rows", setting.collection.rows},
               {"dimension", setting.collection.dimension},
               {"metric", MetricName(setting)},
               {"k", setting.workload.search.k},
               {"batch", setting.workload.batch},
               {"loop", load.rate > 0 ? "open" : "closed"},
               {"clients", load.clients},
               {"connections", setting.connections},
               {"seconds", measured.seconds},
               {"interrupted", setting.interrupted}};
  if (load.rate > 0) {
    json["rate"] = load.rate;
    json["arrivals"] = load.arrivals == Arrivals::kEven ? "even" : "poisson";
    json["sent_late_ms"] = ToJson(measured.lateness);
    json["not_sent"] = measured.not_sent.load();
  }
  json["search"] = ToJson(measured.searches, setting, measured);
  json["upsert"] = ToJson(measured.upserts, setting, measured);
  json["refused"] = {{"requests", measured.refused.count()},
                     {"latency_ms", ToJson(measured.refused)}};
  json["unanswered"] = measured.unanswered.load();
  json["failures"] = Json::array();
  for (const auto& [code, failures] : measured.failures) {
    json["failures"].push_back({{"code", absl::StatusCodeToString(code)},
                                {"count", failures.count},
                                {"first", failures.message}});
  }
  const std::optional<double> recall = Recall(measured);
  json["recall"] = recall ? Json(*recall) : Json();
  return json;
}

std::string RenderBenchProgress(const BenchSetting& setting, const Measured& measured,
                                absl::Duration time) {
  const std::string name = Printable(setting.collection.name);
  if (time < absl::ZeroDuration()) return name + "  warming up";
  std::string line = absl::StrCat(name, "  ", Clock(time), " / ", Clock(setting.load.duration));
  const double seconds = absl::ToDoubleSeconds(time);
  const uint64_t answers = measured.searches.in_time + measured.upserts.in_time;
  if (answers == 0 || seconds <= 0) return line;
  const LatencyHistogram& latency =
      measured.searches.latency.count() > 0 ? measured.searches.latency : measured.upserts.latency;
  absl::StrAppend(&line, "   ", ShownRate(static_cast<double>(answers) / seconds),
                  " answers/s   p50 ",
                  ShownMilliseconds(static_cast<double>(latency.Quantile(0.5))), " ms   p99 ",
                  ShownMilliseconds(static_cast<double>(latency.Quantile(0.99))), " ms");
  if (measured.refused.count() > 0) {
    absl::StrAppend(&line, "   ", Thousands(measured.refused.count()), " refused");
  }
  return line;
}

}  // namespace vexact::client
