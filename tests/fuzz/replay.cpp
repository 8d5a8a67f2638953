// For compilers without libFuzzer: tries the seeds of a target, and what becomes of them by changes
// that are the same in every run.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "tests/fuzz/target.h"

namespace vexact::fuzz {
namespace {

constexpr int kMutations = 100;  // of each seed, unless the only argument is another number

// What is tried, in a form that can be pasted into a test.
std::string trying;

void ShowInput(int) { std::fprintf(stderr, "the input was \"%s\"\n", trying.c_str()); }

void TryThis(const std::string& input) {
  trying = absl::CHexEscape(input);
  Try(input);
}

size_t Below(std::mt19937_64& random, size_t end) {
  return std::uniform_int_distribution<size_t>(0, end - 1)(random);
}

// Changes, drops or doubles some bytes, or takes some from another input.
std::string Mutated(std::string input, const std::vector<std::string>& seeds,
                    std::mt19937_64& random) {
  for (size_t changes = 1 + Below(random, 4); changes > 0; --changes) {
    const size_t at = Below(random, input.size() + 1);
    const size_t bytes = Below(random, 1 + std::min<size_t>(16, input.size() - at));
    const std::string& other = seeds[Below(random, seeds.size())];
    switch (Below(random, 5)) {
      case 0:
        if (at < input.size()) input[at] = static_cast<char>(random());
        break;
      case 1:
        if (at < input.size()) input[at] = static_cast<char>(input[at] ^ 1 << Below(random, 8));
        break;
      case 2:
        input.erase(at, bytes);
        break;
      case 3:
        input.insert(at, input.substr(at, bytes));
        break;
      default:
        input.insert(at, other.substr(Below(random, other.size() + 1), bytes + 1));
    }
  }
  return input;
}

}  // namespace
}  // namespace vexact::fuzz

int main(int argc, char** argv) {
  const int mutations = argc == 2 ? std::stoi(argv[1]) : vexact::fuzz::kMutations;
  std::signal(SIGABRT, vexact::fuzz::ShowInput);
  std::mt19937_64 random(1);
  const std::vector<std::string> seeds = vexact::fuzz::Seeds();
  for (const std::string& seed : seeds) {
    vexact::fuzz::TryThis(seed);
    for (int i = 0; i < mutations; ++i) {
      vexact::fuzz::TryThis(vexact::fuzz::Mutated(seed, seeds, random));
    }
  }
  std::printf("%zu seeds, each changed in %d ways\n", seeds.size(), mutations);
}
