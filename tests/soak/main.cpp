// soak --seconds N: a server under mixed load from many threads; every answer is compared, bit for
// bit, with that of a model.
//
// In rounds: for about a second all threads make calls; then the server is asked how far each
// collection has come, and while the next round is under way, all that was answered in this one is
// gone through with the model. The server is a process of its own, of the same build: what its
// sanitizer finds is in its log and in its exit status.
#include <algorithm>
#include <chrono>
#include <exception>
#include <future>
#include <iostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>

#include "tests/crash/text.h"
#include "tests/soak/caller.h"
#include "tests/soak/saver.h"
#include "tests/soak/session.h"
#include "tests/support/files.h"

namespace vexact::soak {
namespace {

using crash::Text;
using testing::IsOk;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kRound{1};

struct Options {
  uint32_t seconds = 10;
  uint32_t threads = 5;  // and one more, for snapshots
  uint64_t seed = std::random_device()();
};

class Soak {
 public:
  Soak(const Options& options, const std::string& data_dir)
      : options_(options), session_({"--data-dir", data_dir, "--durability", "async"}) {
    for (const Plan& plan : Plans()) models_.emplace_back(plan.spec);
    for (uint32_t t = 0; t < options.threads; ++t)
      callers_.emplace_back(session_, options.seed + t);
  }

  // Whether all was right.
  bool Run() {
    Create();
    callers_[0].Load();
    EndRound();
    const Clock::time_point end = Clock::now() + std::chrono::seconds(options_.seconds);
    while (Clock::now() < end) {
      Work(std::min(end, Clock::now() + kRound));
      EndRound();
    }
    for (size_t c = 0; c < Plans().size(); ++c) callers_[0].ScrollAll(c, NameOf(c));
    EndRound();
    verification_.get();
    StopServer();
    std::cout << session_.Counts() << compared_ << " answers compared, " << writes_
              << " writes in order\n";
    return session_.Report() == 0;
  }

 private:
  void Create() {
    for (const Plan& plan : Plans()) {
      session_.Ended("create", session_.client.CreateCollection(plan.spec).status());
    }
  }

  void Work(Clock::time_point until) {
    std::vector<std::jthread> threads;
    for (Caller& caller : callers_) {
      threads.emplace_back([&caller, until] {
        while (Clock::now() < until) caller.Act();
      });
    }
    threads.emplace_back([this, until] {
      while (Clock::now() < until) saver_.Act();
    });
  }

  // The sequence number of each collection, once what was cancelled has had its time.
  std::vector<uint64_t> Settle() {
    std::vector<uint64_t> last;
    for (int tries = 0; tries < 5; ++tries) {
      v1::ListCollectionsResponse list;
      if (!session_.Ended("list", session_.server.List(&list))) break;
      last.assign(Plans().size(), 0);
      bool settled = true;
      for (const v1::Collection& collection : list.collections()) {
        for (size_t c = 0; c < Plans().size(); ++c) {
          if (NameOf(c) != collection.name()) continue;
          last[c] = collection.sequence();
          settled = settled && !session_.ledgers[c].Unsettled(last[c]);
        }
      }
      if (settled) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return last;
  }

  void EndRound() {
    std::vector<Round> rounds;
    const std::vector<uint64_t> last = Settle();
    for (size_t c = 0; c < last.size(); ++c) rounds.push_back(session_.ledgers[c].Take(last[c]));
    if (verification_.valid()) verification_.get();
    verification_ = std::async(std::launch::async, [this, rounds = std::move(rounds)]() mutable {
      for (size_t c = 0; c < rounds.size(); ++c) Verify(c, std::move(rounds[c]));
    });
  }

  void Verify(size_t collection, Round round) {
    compared_ += round.reads.size();
    writes_ += round.writes.size();
    if (round.late_writes > 0) {
      session_.Count("writes", "given up and in effect all the same", round.late_writes);
    }
    for (const std::string& defect : Replay(std::move(round), models_[collection])) {
      session_.Note(NameOf(collection), defect);
    }
  }

  void StopServer() {
    session_.server.process.Signal(SIGTERM);
    const int status = session_.server.process.Wait(std::chrono::minutes(5));
    const std::string log = session_.server.process.log();
    if (status != 0 || log.find("Sanitizer") != std::string::npos) {
      session_.Note("vexactd", Text("it ended with status ", status, " and said:\n", log));
    }
  }

  const Options options_;
  Session session_;
  std::deque<Caller> callers_;
  Saver saver_{session_, options_.seed + 1'000};
  // Those who verify, one after another.
  std::deque<Model> models_;
  uint64_t compared_ = 0, writes_ = 0;
  std::future<void> verification_;
};

int Main(int argc, char** argv) {
  CLI::App app("A server under mixed load; every answer is compared with a model's.", "soak");
  Options options;
  app.add_option("--seconds", options.seconds, "How long")->capture_default_str();
  app.add_option("--threads", options.threads, "Clients, beside one that makes snapshots")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000));
  app.add_option("--seed", options.seed, "What all requests follow from (a random one)");
  app.footer("For example: soak --seconds 600 --seed 7");
  CLI11_PARSE(app, argc, argv);
  std::cout << "seed " << options.seed << ", " << options.seconds << " s, " << options.threads
            << " threads" << std::endl;
  const testing::TempDir folder;
  return Soak(options, folder.path() / "data").Run() ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace vexact::soak

int main(int argc, char** argv) {
  try {
    return vexact::soak::Main(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return EXIT_FAILURE;
  }
}
