// Interleaved measurement: every contender runs once per round, so that a noisy moment meets all of
// them.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace vexact::bench {

struct Contender {
  std::string name;
  std::function<void(size_t round)> run;  // the round says which query to use
};

// Seconds of each contender's counted rounds, in the contenders' order. Two further rounds warm up
// first.
std::vector<std::vector<double>> Interleave(std::span<const Contender> contenders, size_t rounds);

double Seconds();  // monotonic
double Quantile(std::vector<double> values, double q);
inline double Median(const std::vector<double>& values) { return Quantile(values, 0.5); }

// "  name            median 0.123 ms   min 0.120   p99 0.150   n 20".
void PrintTimes(const std::string& name, const std::vector<double>& seconds);

// "RATIO name value".
void PrintRatio(const std::string& name, double value);

}  // namespace vexact::bench
