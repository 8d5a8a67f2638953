#include "tests/server/scrape.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <utility>
#include <vector>

namespace vexact::testing {
namespace {

[[noreturn]] void Fail(const std::string& why, const std::string& line) {
  throw std::runtime_error(why + ": " + line);
}

std::string Ask(const std::string& address) {
  const size_t colon = address.rfind(':');
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(address.substr(0, colon).c_str(), address.substr(colon + 1).c_str(), &hints,
                  &found) != 0) {
    Fail("no such address", address);
  }
  const int fd = socket(found->ai_family, found->ai_socktype, 0);
  const bool connected = connect(fd, found->ai_addr, found->ai_addrlen) == 0;
  freeaddrinfo(found);
  std::string answer;
  const std::string request =
      "GET /metrics HTTP/1.1\r\nHost: " + address + "\r\nConnection: close\r\n\r\n";
  if (connected && write(fd, request.data(), request.size()) > 0) {
    char buffer[4096];
    for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0;) {
      answer.append(buffer, static_cast<size_t>(got));
    }
  }
  close(fd);
  return answer;
}

// The family of a sample: histograms and summaries have several kinds of them.
std::string FamilyOf(const std::string& name, const Metrics& metrics) {
  for (const char* suffix : {"_bucket", "_sum", "_count"}) {
    const std::string ending(suffix);
    if (!name.ends_with(ending)) continue;
    const std::string family = name.substr(0, name.size() - ending.size());
    const auto found = metrics.types.find(family);
    if (found == metrics.types.end()) continue;
    if (found->second == "histogram" || found->second == "summary") return family;
  }
  return name;
}

std::map<std::string, std::string> ParseLabels(std::string text, const std::string& line) {
  static const std::regex label(R"re(^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$))re");
  std::map<std::string, std::string> labels;
  for (std::smatch match; !text.empty(); text = match.suffix()) {
    if (!std::regex_search(text, match, label)) Fail("bad labels", line);
    if (!labels.emplace(match[1], match[2]).second) Fail("a label twice", line);
  }
  return labels;
}

std::string Series(const std::string& name, const std::map<std::string, std::string>& labels) {
  std::string text;
  for (const auto& [label, value] : labels) {
    text += (text.empty() ? "" : ",") + label + "=\"" + value + '"';
  }
  return text.empty() ? name : name + '{' + text + '}';
}

double ParseValue(const std::string& text, const std::string& line) {
  if (text == "+Inf") return std::numeric_limits<double>::infinity();
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0') Fail("bad value", line);
  return value;
}

// Buckets of one histogram, as they come.
struct Buckets {
  std::string series;  // its labels, without le
  double bound = -std::numeric_limits<double>::infinity();
  double count = 0;
};

void CheckBucket(const std::string& name, std::map<std::string, std::string> labels, double value,
                 Buckets& buckets, const std::string& line) {
  if (!labels.contains("le")) Fail("a bucket without a bound", line);
  const double bound = ParseValue(labels.at("le"), line);
  labels.erase("le");
  const std::string series = Series(name, labels);
  if (buckets.series != series) buckets = {.series = series};
  if (bound <= buckets.bound) Fail("bounds that do not ascend", line);
  if (value < buckets.count) Fail("buckets that do not accumulate", line);
  buckets.bound = bound;
  buckets.count = value;
}

}  // namespace

double Metrics::operator[](const std::string& series) const {
  const auto found = samples.find(series);
  return found == samples.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
}

std::string MetricsAddress(const ServerProcess& server) {
  const std::string log = server.log();
  std::smatch match;
  if (!std::regex_search(log, match, std::regex("info metrics url=http://([^/]+)/metrics\n"))) {
    Fail("no metrics are served", log);
  }
  return match[1];
}

std::string ScrapeText(const std::string& address) {
  const std::string answer = Ask(address);
  if (!answer.starts_with("HTTP/1.1 200 ")) Fail("no answer", answer);
  return answer.substr(answer.find("\r\n\r\n") + 4);
}

Metrics ParseMetrics(const std::string& text) {
  static const std::regex comment(R"(# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+))");
  static const std::regex sample(R"(([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^ ]+))");
  Metrics metrics;
  std::string helped, family;
  Buckets buckets;
  std::map<std::string, double> last_buckets;  // by series without le
  std::vector<std::pair<std::string, double>> counts;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_match(line, match, comment)) {
      if (match[1] == "HELP") {
        helped = match[2];
      } else {
        family = match[2];
        if (helped != family) Fail("no HELP before", line);
        if (!metrics.types.emplace(family, match[3]).second) Fail("a family twice", line);
      }
      continue;
    }
    if (!std::regex_match(line, match, sample)) Fail("no sample", line);
    const std::string name = match[1];
    if (FamilyOf(name, metrics) != family) Fail("a sample outside its family", line);
    const auto labels = ParseLabels(match[2], line);
    const double value = ParseValue(match[3], line);
    if (!metrics.samples.emplace(Series(name, labels), value).second) Fail("a series twice", line);
    if (metrics.types.at(family) != "histogram") continue;
    if (name.ends_with("_bucket")) CheckBucket(name, labels, value, buckets, line);
    if (std::isinf(buckets.bound)) last_buckets[buckets.series] = buckets.count;
    if (name.ends_with("_count")) counts.emplace_back(Series(family + "_bucket", labels), value);
  }
  for (const auto& [series, count] : counts) {
    if (!last_buckets.contains(series)) Fail("no bucket +Inf", series);
    if (last_buckets.at(series) != count) Fail("the count is not that of all buckets", series);
  }
  return metrics;
}

Metrics Scrape(const ServerProcess& server) {
  return ParseMetrics(ScrapeText(MetricsAddress(server)));
}

}  // namespace vexact::testing
