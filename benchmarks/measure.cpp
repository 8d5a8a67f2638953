#include "benchmarks/measure.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace vexact::bench {

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::vector<std::vector<double>> Interleave(std::span<const Contender> contenders, size_t rounds) {
  constexpr size_t kWarmUp = 2;
  std::vector<std::vector<double>> seconds(contenders.size());
  for (size_t round = 0; round < rounds + kWarmUp; ++round) {
    for (size_t c = 0; c < contenders.size(); ++c) {
      const double start = Seconds();
      contenders[c].run(round);
      if (round >= kWarmUp) seconds[c].push_back(Seconds() - start);
    }
  }
  return seconds;
}

double Quantile(std::vector<double> values, double q) {
  const auto at = static_cast<ptrdiff_t>(q * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<size_t>(at)];
}

void PrintTimes(const std::string& name, const std::vector<double>& seconds) {
  std::printf("  %-34s median %9.3f ms   min %9.3f   p99 %9.3f   n %zu\n", name.c_str(),
              Median(seconds) * 1e3, Quantile(seconds, 0) * 1e3, Quantile(seconds, 0.99) * 1e3,
              seconds.size());
  std::fflush(stdout);
}

void PrintRatio(const std::string& name, double value) {
  std::printf("RATIO %s %.2f\n", name.c_str(), value);
  std::fflush(stdout);
}

}  // namespace vexact::bench
