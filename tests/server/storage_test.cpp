// What outlives the server: restarts, crashes, starting, and data directories that cannot be used.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "tests/server/running_server.h"
#include "tests/support/files.h"

namespace vexact::testing {
namespace {

namespace fs = std::filesystem;

using ::grpc::StatusCode;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

std::vector<std::string> In(const fs::path& data_dir, std::vector<std::string> more = {}) {
  more.insert(more.end(), {"--data-dir", data_dir.string()});
  return more;
}

std::vector<std::vector<float>> RandomRows(size_t count, size_t dimension, uint32_t seed) {
  std::minstd_rand random(seed);
  std::uniform_real_distribution<float> component(-1, 1);
  std::vector<std::vector<float>> rows(count, std::vector<float>(dimension));
  for (std::vector<float>& row : rows) {
    for (float& value : row) value = component(random);
  }
  return rows;
}

// The answers to some queries under every metric, to their last bit.
std::string Answers(RunningServer& server, const std::string& collection, size_t dimension) {
  std::string answers;
  for (const v1::Metric metric : {v1::METRIC_INNER_PRODUCT, v1::METRIC_COSINE, v1::METRIC_L2}) {
    v1::SearchRequest request = MakeSearch(collection, 20, {});
    for (const std::vector<float>& query : RandomRows(5, dimension, 9)) {
      *request.add_queries() = ByVector(query);
    }
    request.set_metric(metric);
    v1::SearchResponse response;
    EXPECT_THAT(server.Search(request, &response), IsOk());
    for (const v1::SearchResult& result : response.results()) answers += result.DebugString();
    EXPECT_EQ(response.results_size(), 5);
  }
  return answers;
}

// All that was acknowledged: collections with metric and sequence number, ids and vectors. Without
// what is the server's own affair, the dead rows that it still keeps.
std::string Acknowledged(RunningServer& server) {
  std::string contents = server.Contents();
  for (size_t at; (at = contents.find("  dead_rows: ")) != std::string::npos;) {
    contents.erase(at, contents.find('\n', at) + 1 - at);
  }
  return contents;
}

// Every kind of write, on two collections.
void Fill(RunningServer& server) {
  server.Create("docs", 24, v1::METRIC_L2);
  server.Create("unit", 2, v1::METRIC_COSINE, v1::NORMALIZATION_L2);
  ASSERT_THAT(server.Upsert(Block("docs", 0, RandomRows(3'000, 24, 1))), IsOk());
  ASSERT_THAT(server.Upsert(Block("docs", 100, RandomRows(50, 24, 2))), IsOk());  // replaced
  ASSERT_THAT(server.Upsert(Points(
                  "docs", {MakePoint(TextId("vim"), Values(std::vector<float>(24, -0.0f)))})),
              IsOk());
  v1::DeletePointsRequest request;
  request.set_collection("docs");
  *request.add_ids() = NumberId(7);
  ASSERT_THAT(server.Delete(request), IsOk());
  ASSERT_THAT(server.SetMetric("docs", v1::METRIC_INNER_PRODUCT), IsOk());
  *request.mutable_ids(0) = TextId("vim");  // which has no direction, as cosine wants it
  ASSERT_THAT(server.Delete(request), IsOk());
  ASSERT_THAT(server.Upsert(Points("unit", {MakePoint(TextId("ø"), Values({3, 4}))})), IsOk());
}

struct End {
  const char* name;
  const char* durability;
  int signal;
};
class RestartTest : public ::testing::TestWithParam<End> {};

TEST_P(RestartTest, GivesBackAllThatWasAcknowledged) {
  const TempDir folder;
  const fs::path data_dir = folder.path() / "data";  // made by the server
  const std::vector<std::string> args = In(data_dir, {"--durability", GetParam().durability});
  std::string contents, answers;
  {
    RunningServer server(args);
    EXPECT_THAT(server.process.log(), HasSubstr(" storage=disk data_dir=" + data_dir.string() +
                                                " durability=" + GetParam().durability +
                                                " collections=0 damaged=0 rows=0 seconds="));
    Fill(server);
    contents = Acknowledged(server);
    answers = Answers(server, "docs", 24) + Answers(server, "unit", 2);
    server.process.Signal(GetParam().signal);
    EXPECT_EQ(server.process.Wait(), GetParam().signal == SIGKILL ? 128 + SIGKILL : 0);
  }
  RunningServer server(args);
  EXPECT_THAT(server.process.log(), HasSubstr(" collections=2 damaged=0 rows=3000 seconds="));
  EXPECT_THAT(server.process.log(), Not(HasSubstr("warning")));
  EXPECT_EQ(Acknowledged(server), contents);
  EXPECT_EQ(Answers(server, "docs", 24) + Answers(server, "unit", 2), answers);
  // Sequence numbers and writes go on from there.
  v1::GetCollectionResponse before;
  ASSERT_THAT(server.Describe("docs", &before), IsOk());
  EXPECT_EQ(before.collection().metric(), v1::METRIC_INNER_PRODUCT);
  v1::UpsertResponse written;
  ASSERT_THAT(server.Upsert(Block("docs", 7, RandomRows(2, 24, 3)), &written), IsOk());
  EXPECT_EQ(written.added(), 1);
  EXPECT_EQ(written.replaced(), 1);
  EXPECT_EQ(written.sequence(), before.collection().sequence() + 1);
}
INSTANTIATE_TEST_SUITE_P(Ends, RestartTest,
                         ::testing::Values(End{"FsyncStopped", "fsync", SIGTERM},
                                           End{"FsyncKilled", "fsync", SIGKILL},
                                           End{"AsyncStopped", "async", SIGTERM},
                                           End{"AsyncKilled", "async", SIGKILL}),
                         [](const auto& end) { return end.param.name; });

TEST(StorageTest, ADroppedCollectionStaysDropped) {
  const TempDir folder;
  {
    RunningServer server(In(folder.path()));
    server.Create("docs", 2);
    ASSERT_THAT(server.Upsert(Block("docs", 1, {{1, 2}})), IsOk());
    ASSERT_THAT(server.Drop("docs"), IsOk());
    server.Create("docs", 3);
  }
  RunningServer server(In(folder.path()));
  v1::GetCollectionResponse docs;
  ASSERT_THAT(server.Describe("docs", &docs), IsOk());
  EXPECT_EQ(docs.collection().dimension(), 3);
  EXPECT_EQ(docs.collection().rows(), 0);
}

TEST(StorageTest, SaysWhereItIsAndWhatItWrote) {
  const TempDir folder;
  RunningServer server(In(folder.path()));
  server.Create("docs", 100);
  constexpr uint64_t kRequests = 20, kRows = 100;
  for (uint64_t i = 0; i < kRequests; ++i) {
    ASSERT_THAT(server.Upsert(Block("docs", i * kRows, RandomRows(kRows, 100, 1))), IsOk());
  }
  v1::GetInfoResponse info;
  ASSERT_THAT(server.Info(&info), IsOk());
  const v1::Storage& storage = info.storage();
  EXPECT_EQ(storage.durability(), v1::DURABILITY_FSYNC);
  EXPECT_EQ(storage.data_dir(), folder.path().string());
  EXPECT_EQ(storage.commits(), kRequests);
  EXPECT_GE(storage.syncs(), kRequests);
  EXPECT_EQ(storage.received_bytes(), kRequests * kRows * (100 * sizeof(float) + 8));
  EXPECT_GE(storage.written_bytes(), storage.received_bytes());
  EXPECT_GE(storage.store_bytes(), storage.received_bytes());

  RunningServer memory;
  ASSERT_THAT(memory.Info(&info), IsOk());
  EXPECT_EQ(info.storage().durability(), v1::DURABILITY_NONE);
  EXPECT_EQ(info.storage().data_dir(), "");
}

// Runs in a folder, and comes back.
class WorkingFolder {
 public:
  explicit WorkingFolder(const fs::path& folder) : before_(fs::current_path()) {
    fs::current_path(folder);
  }
  ~WorkingFolder() { fs::current_path(before_); }

 private:
  const fs::path before_;
};

TEST(StorageTest, MemoryAloneLeavesNoFiles) {
  const TempDir folder;
  const WorkingFolder working(folder.path());
  {
    RunningServer server({"--in-memory"});
    EXPECT_THAT(server.process.log(), HasSubstr(" storage=memory "));
    Fill(server);
    server.process.Signal(SIGTERM);
    EXPECT_EQ(server.process.Wait(), 0);
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
  RunningServer server({"--in-memory"});
  EXPECT_EQ(server.Contents(), "");
}

TEST(StorageTest, DataIsKeptInTheWorkingFolderUnlessToldOtherwise) {
  const TempDir folder;
  const WorkingFolder working(folder.path());
  {
    ServerProcess server({}, {{"VEXACT_IN_MEMORY", "false"}});
    EXPECT_THAT(server.log(),
                HasSubstr(" storage=disk data_dir=" +
                          (fs::current_path() / "vexact-data").string() + " durability=fsync "));
  }
  EXPECT_TRUE(fs::exists(folder.path() / "vexact-data" / "store" / "CURRENT"));
}

// ---- starting

std::string FreeAddress() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(fd);
  return "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
}

// A data directory whose second collection takes as long to open as a test wants: a pipe lies in
// the place of a file of its codes, and whoever reads that waits until it is opened for writing.
class SlowDirectory {
 public:
  SlowDirectory() {
    {
      RunningServer server(In(path()));
      server.Create("first", 2);
      server.Create("second", 2);
      EXPECT_THAT(server.Upsert(Block("first", 1, {{1, 2}, {2, 3}, {3, 4}})), IsOk());
      EXPECT_THAT(server.Upsert(Block("second", 1, {{5, 6}})), IsOk());
    }
    // Collections are numbered from 1.
    fs::create_directories(folder_.path() / "codes" / "2");
    EXPECT_EQ(mkfifo(pipe().c_str(), 0600), 0);
  }

  fs::path path() const { return folder_.path(); }
  // Once the server has come that far, it goes on: it finds nothing in the pipe.
  void LetGo() const { const std::ofstream nothing(pipe()); }

 private:
  fs::path pipe() const { return folder_.path() / "codes" / "2" / "0.codes"; }

  TempDir folder_;
};

TEST(StartingTest, TurnsRequestsAwayUntilAllRowsAreThere) {
  const SlowDirectory directory;
  RunningServer server(In(directory.path()), FreeAddress());
  EXPECT_EQ(server.Health(), 2);
  const std::string kLoaded = "starting: 3 of 3 rows of a collection are loaded; try again";
  v1::GetInfoResponse info;
  grpc::Status status = server.Info(&info);
  while (status.error_message() != kLoaded) {
    ASSERT_THAT(status, IsRefusal(StatusCode::UNAVAILABLE, HasSubstr("starting: ")));
    status = server.Info(&info);
  }
  // That one as well which is there already.
  EXPECT_THAT(server.Search(MakeSearch("first", 1, {ByVector({1, 1})})),
              IsRefusal(StatusCode::UNAVAILABLE, kLoaded));
  EXPECT_THAT(server.Upsert(Block("first", 1, {{1, 2}})),
              IsRefusal(StatusCode::UNAVAILABLE, kLoaded));
  PatientContext context;
  const auto stream = server.points->BulkUpsert(&context);
  EXPECT_THAT(stream->Finish(), IsRefusal(StatusCode::UNAVAILABLE, kLoaded));
  EXPECT_EQ(server.Health(), 2);
  EXPECT_THAT(server.process.log(), Not(HasSubstr(" ready ")));

  directory.LetGo();
  ASSERT_TRUE(server.process.WaitForLog(" info ready "));
  EXPECT_EQ(server.Health(), 1);
  v1::SearchResponse found;
  EXPECT_THAT(server.Search(MakeSearch("second", 1, {ByVector({1, 1})}), &found), IsOk());
  EXPECT_EQ(found.rows_compared(), 1);
  // What lay there was no file of codes, and the log says what came of it.
  EXPECT_THAT(server.process.log(),
              ContainsRegex("warning codes_rebuilt collection=second rows=1 reason=.*0\\.codes"));
}

TEST(StartingTest, StopsWhileItStarts) {
  const SlowDirectory directory;
  std::string contents;
  {
    RunningServer server(In(directory.path()), FreeAddress());
    EXPECT_EQ(server.Health(), 2);
    server.process.Signal(SIGTERM);
    ASSERT_TRUE(server.process.WaitForLog("info stopping signal=SIGTERM running=0 "));
    directory.LetGo();
    EXPECT_EQ(server.process.Wait(), 0);
    EXPECT_THAT(server.process.log(), AllOf(HasSubstr("info stopped drained=0 cancelled=0\n"),
                                            Not(HasSubstr(" ready ")), Not(HasSubstr("error"))));
  }
  RunningServer server(In(directory.path()));
  EXPECT_THAT(server.process.log(), HasSubstr(" collections=2 damaged=0 rows=4 "));
}

// ---- directories that cannot be used

// `vexactd` with these arguments, run by `wrapper` if there is one, must end by itself with exit
// status 1 and one line.
std::string StartError(const std::vector<std::string>& args,
                       const std::vector<std::string>& wrapper = {}) {
  std::vector<std::string> argv = wrapper;
  argv.insert(argv.end(), {ServerBinary(), "--listen", "127.0.0.1:0"});
  argv.insert(argv.end(), args.begin(), args.end());
  const Finished finished = vexact::testing::Run(argv);
  EXPECT_EQ(finished.status, 1) << finished.err;
  EXPECT_EQ(finished.out, "");
  EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << finished.err;
  return finished.err;
}

TEST(DirectoryTest, IsOfOneProcessAtATime) {
  const TempDir folder;
  RunningServer server(In(folder.path()));
  server.Create("docs", 1);
  EXPECT_THAT(StartError(In(folder.path())),
              HasSubstr("error: data directory " + folder.path().string() +
                        " is in use by process " + std::to_string(server.process.pid())));
  // The first is none the worse for it; and once it is killed, the directory is free.
  EXPECT_THAT(server.Upsert(Block("docs", 1, {{1}})), IsOk());
  server.process.Signal(SIGKILL);
  server.process.Wait();
  RunningServer next(In(folder.path()));
  EXPECT_THAT(next.process.log(), HasSubstr(" rows=1 "));
}

TEST(DirectoryTest, APortThatIsInUseIsFoundBeforeTheDirectoryIsTouched) {
  const RunningServer other;
  const TempDir folder;
  EXPECT_THAT(StartError(In(folder.path() / "data", {"--listen", other.process.address()})),
              HasSubstr(other.process.address() + " is in use by another process"));
  EXPECT_FALSE(fs::exists(folder.path() / "data"));
}

TEST(DirectoryTest, RefusesWhatIsNoDataDirectory) {
  const TempDir folder;
  const fs::path file = folder.path() / "file", other = folder.path() / "other";
  std::ofstream(file) << "hello";
  EXPECT_EQ(StartError(In(file)),
            "error: data directory " + file.string() + " is a file, not a directory\n");
  fs::create_directory(other);
  std::ofstream(other / "letter.txt") << "hello";
  EXPECT_THAT(StartError(In(other)),
              AllOf(HasSubstr("data directory " + other.string()), HasSubstr("letter.txt"),
                    HasSubstr("name an empty or a new directory")));
  EXPECT_EQ(std::distance(fs::directory_iterator(other), fs::directory_iterator()), 1);
  EXPECT_THAT(StartError(In(folder.path() / "no" / "such")),
              AllOf(HasSubstr("No such file or directory"), HasSubstr("--data-dir")));
  EXPECT_FALSE(fs::exists(folder.path() / "no"));
}

TEST(DirectoryTest, RefusesWhatItMayNotWrite) {
  std::vector<std::string> as_nobody;
  if (geteuid() == 0) {  // which may write everywhere
    as_nobody = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
    std::vector<std::string> argv = as_nobody;
    argv.insert(argv.end(), {ServerBinary(), "--version"});
    const Finished version = vexact::testing::Run(argv);
    if (version.status != 0) GTEST_SKIP() << "nobody cannot run vexactd: " << version.err;
  }
  const TempDir folder;
  fs::permissions(folder.path(), fs::perms::owner_read | fs::perms::owner_exec |
                                     fs::perms::others_read | fs::perms::others_exec);
  EXPECT_THAT(StartError(In(folder.path()), as_nobody),
              AllOf(HasSubstr("Permission denied"), HasSubstr("choose another with --data-dir")));
  EXPECT_THAT(StartError(In(folder.path() / "new"), as_nobody),
              AllOf(HasSubstr("cannot create"), HasSubstr("Permission denied")));
  fs::permissions(folder.path(), fs::perms::owner_all);
}

}  // namespace
}  // namespace vexact::testing
