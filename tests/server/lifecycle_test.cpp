// Starting, stopping, and what is said about both.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <thread>

#include "tests/server/long_search.h"
#include "tests/server/running_server.h"
#include "tests/support/files.h"

namespace vexact::testing {
namespace {

using ::grpc::StatusCode;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

TEST(StartTest, SaysItIsReadyInOneLineWithItsConfiguration) {
  ServerProcess server({"--threads", "3"});
  EXPECT_THAT(
      server.log(),
      MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{3}Z info ready "
                   "version=[0-9.]+ isa=[a-z0-9]+ listen=127\\.0\\.0\\.1:[0-9]+ threads=3 "
                   "engine=scan max_message_bytes=67108864 drain_seconds=10 "
                   "log_level=info config=none storage=memory collections=0 damaged=0 rows=0 "
                   "seconds=[0-9]+\\.[0-9]{3}\n"));
}

TEST(StartTest, ReadsFileThenEnvironmentThenFlags) {
  const TempDir folder;
  const std::string file = folder.path() / "vexactd.toml";
  std::ofstream(file) << "listen = \"nowhere:1\"\nthreads = 2\ndrain_seconds = 2\n"
                         "max_message_bytes = 4096\n";
  ServerProcess server({"--config", file, "--threads", "4"},
                       {{"VEXACT_THREADS", "3"}, {"VEXACT_DRAIN_SECONDS", "3"}});
  EXPECT_THAT(server.log(), HasSubstr(" threads=4 engine=scan max_message_bytes=4096 "
                                      "drain_seconds=3 log_level=info config=" +
                                      file + " "));
}

TEST(StartTest, WarnsOfAVariableThatNoOptionHas) {
  ServerProcess server({}, {{"VEXACT_THREAD", "3"}});
  EXPECT_THAT(server.log(), HasSubstr("warning unknown_variable name=VEXACT_THREAD "));
}

TEST(StartTest, RefusesWhatItCannotDoInOneLine) {
  const RunningServer other;
  const struct {
    std::vector<std::string> arguments;
    Environment environment;
    int status;
    std::string message;
  } cases[] = {
      {{"--listen", other.process.address()},
       {},
       1,
       "error: " + other.process.address() +
           " is in use by another process; choose another with --listen\n"},
      {{"--listen", "192.0.2.1:7700", "--insecure"},
       {},
       1,
       "error: cannot listen on 192.0.2.1:7700: Cannot assign requested address; choose another "
       "with --listen\n"},
      {{"--threads", "0"}, {}, 2, "error: --threads: \"0\" is not a whole number from 1 to 1024\n"},
      {{},
       {{"VEXACT_ENGINE", "fast"}},
       2,
       "error: VEXACT_ENGINE: \"fast\" is not an engine; there are scan, reference and faiss\n"},
      {{"--config", "/no/such.toml"},
       {},
       2,
       "error: /no/such.toml: there is no such configuration file\n"},
      {{"--fast"},
       {},
       2,
       "error: The following argument was not expected: --fast; vexactd --help lists the "
       "options\n"},
  };
  for (const auto& [arguments, environment, status, message] : cases) {
    std::vector<std::string> argv = {ServerBinary()};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    const Finished finished = vexact::testing::Run(argv, environment);
    EXPECT_EQ(finished.status, status) << message;
    EXPECT_EQ(finished.err, message);
    EXPECT_EQ(finished.out, "");
  }
  // The one that was there first is none the worse for it.
  PatientContext context;
  v1::GetInfoResponse info;
  EXPECT_THAT(other.server->GetInfo(&context, v1::GetInfoRequest(), &info), IsOk());
}

TEST(StartTest, PrintsHelpAndVersionToStdout) {
  const Finished version = vexact::testing::Run({ServerBinary(), "--version"});
  EXPECT_EQ(version.status, 0);
  EXPECT_THAT(
      version.out,
      MatchesRegex("vexactd [0-9.]+\ncommit +[0-9a-z]+\ncompiler +.+\nkernels +[a-z0-9]+\n"));
  const Finished help = vexact::testing::Run({ServerBinary(), "--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_THAT(help.out, HasSubstr("Examples:\n"));
  EXPECT_EQ(help.err, "");
}

// A service manager, as systemd is one: it listens where NOTIFY_SOCKET says.
TEST(StartTest, TellsTheServiceManagerWhenItServesAndWhenItStops) {
  const TempDir folder;
  const std::string path = folder.path() / "notify";
  const int listener = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  ASSERT_LT(path.size(), sizeof address.sun_path);
  path.copy(address.sun_path, path.size());
  ASSERT_EQ(bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  const auto next = [&] {
    std::array<char, 64> state;
    pollfd readable{.fd = listener, .events = POLLIN, .revents = 0};
    if (poll(&readable, 1, 30'000) != 1) return std::string("nothing");
    const ssize_t size = recv(listener, state.data(), state.size(), 0);
    return std::string(state.data(), static_cast<size_t>(size));
  };
  ServerProcess server({}, {{"NOTIFY_SOCKET", path}});
  EXPECT_EQ(next(), "READY=1");
  server.Signal(SIGTERM);
  EXPECT_EQ(next(), "STOPPING=1");
  EXPECT_EQ(server.Wait(), 0);
  close(listener);
}

TEST(StopTest, EndsAtOnceWhenNothingRuns) {
  for (const int signal : {SIGTERM, SIGINT}) {
    ServerProcess server({"--drain-seconds", "3600"});
    server.Signal(signal);
    EXPECT_EQ(server.Wait(), 0);
    EXPECT_THAT(server.log(), ContainsRegex(std::string("info stopping signal=") +
                                            (signal == SIGINT ? "SIGINT" : "SIGTERM") +
                                            " running=0 drain_seconds=3600\n"));
    EXPECT_THAT(server.log(), ContainsRegex("info stopped drained=0 cancelled=0\n$"));
  }
}

// A server with a search under way, whose status is known once it is joined.
class RunningSearch {
 public:
  RunningSearch(RunningServer& server, uint64_t rows)
      : slow_(server, rows), caller_([&server, this] {
          PatientContext context;
          status_ = server.search->Search(&context, slow_.request(), &response_);
        }) {
    slow_.WaitUntilItRuns();
  }
  ~RunningSearch() {
    if (caller_.joinable()) caller_.join();
  }

  grpc::Status Join() {
    caller_.join();
    return status_;
  }
  const v1::SearchRequest& request() const { return slow_.request(); }
  const v1::SearchResponse& response() const { return response_; }

 private:
  LongSearch slow_;
  grpc::Status status_;
  v1::SearchResponse response_;
  std::thread caller_;
};

TEST(StopTest, FinishesTheSearchThatRunsAndLetsNobodyElseIn) {
  RunningServer server({"--drain-seconds", "3600"});
  EXPECT_EQ(server.Health(), 1);
  RunningSearch search(server, LongSearch::kLong);
  server.process.Signal(SIGTERM);
  ASSERT_TRUE(server.process.WaitForLog("info stopping signal=SIGTERM running=1 "));
  PatientContext context;
  v1::GetInfoResponse info;
  EXPECT_THAT(server.server->GetInfo(&context, v1::GetInfoRequest(), &info),
              IsRefusal(StatusCode::UNAVAILABLE, "the server is stopping"));
  EXPECT_EQ(server.Health(), 2);
  EXPECT_THAT(search.Join(), IsOk());
  EXPECT_EQ(search.response().results_size(), search.request().queries_size());
  EXPECT_EQ(server.process.Wait(), 0);
  EXPECT_THAT(server.process.log(), ContainsRegex("info stopped drained=1 cancelled=0\n$"));
}

TEST(StopTest, CancelsWhatOutlivesTheDrain) {
  RunningServer server({"--drain-seconds", "0"});
  RunningSearch search(server, LongSearch::kLonger);
  server.process.Signal(SIGINT);
  EXPECT_EQ(server.process.Wait(), 0);
  EXPECT_FALSE(search.Join().ok());
  EXPECT_THAT(server.process.log(), ContainsRegex("info stopped drained=0 cancelled=1\n$"));
}

TEST(StopTest, EndsAtOnceAtTheSecondSignal) {
  RunningServer server({"--drain-seconds", "3600"});
  RunningSearch search(server, LongSearch::kLonger);
  server.process.Signal(SIGTERM);
  ASSERT_TRUE(server.process.WaitForLog("info stopping "));
  server.process.Signal(SIGTERM);
  EXPECT_EQ(server.process.Wait(), 128 + SIGTERM);
  EXPECT_THAT(search.Join(), IsRefusal(StatusCode::UNAVAILABLE, ::testing::_));
}

TEST(StopTest, AnOpenStreamWithNothingToDoDoesNotHoldItUp) {
  RunningServer server({"--drain-seconds", "3600"});
  server.Create("docs", 1);
  PatientContext context;
  const auto stream = server.points->BulkUpsert(&context);
  ASSERT_TRUE(stream->Write(Block("docs", 1, {{1}})));
  v1::BulkUpsertResponse acknowledgement;
  ASSERT_TRUE(stream->Read(&acknowledgement));
  server.process.Signal(SIGTERM);
  EXPECT_EQ(server.process.Wait(), 0);
  EXPECT_FALSE(stream->Read(&acknowledgement));
  EXPECT_THAT(stream->Finish(), IsRefusal(StatusCode::UNAVAILABLE, ::testing::_));
}

}  // namespace
}  // namespace vexact::testing
