// The metrics of a server, asked for over HTTP and parsed.
#pragma once

#include <map>
#include <string>

#include "tests/support/server_process.h"

namespace vexact::testing {

struct Metrics {
  std::map<std::string, std::string> types;  // by family
  // By series: its name, then its labels by name, as in `a_total{code="OK",method="b"}`.
  std::map<std::string, double> samples;

  // The value of a series; NaN when there is none.
  double operator[](const std::string& series) const;
};

// HOST:PORT where the server, which was started with --metrics-listen, serves them.
std::string MetricsAddress(const ServerProcess& server);

// The body of GET /metrics. Throws std::runtime_error when there is no answer with status 200.
std::string ScrapeText(const std::string& address);

// Throws std::runtime_error, naming the line, at what is not Prometheus's text format: HELP and
// TYPE before the samples of each family, each family and each series once, names and labels as
// they must be, histograms that grow from bucket to bucket, up to +Inf, which is their count.
Metrics ParseMetrics(const std::string& text);

Metrics Scrape(const ServerProcess& server);

}  // namespace vexact::testing
