// Disks that are full, and data that is damaged: what serves goes on serving, and what is said.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/running_server.h"
#include "tests/support/files.h"
#include "vexact/v1/snapshots.grpc.pb.h"

namespace vexact::testing {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

using ::grpc::StatusCode;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

// For what happens by itself after a while; nothing is decided by it.
constexpr auto kSoon = 60s;
constexpr auto kPause = 50ms;

std::vector<std::string> In(const fs::path& data_dir) { return {"--data-dir", data_dir.string()}; }

size_t Occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++count;
  return count;
}

// ---- a full disk

// A file system of its own, of a few MiB.
class SmallDisk {
 public:
  explicit SmallDisk(const std::string& size) {
    if (mount("tmpfs", path().c_str(), "tmpfs", 0, ("size=" + size).c_str()) != 0) {
      error_ = std::string("a small file system cannot be mounted: ") + std::strerror(errno);
    }
  }
  ~SmallDisk() { umount2(path().c_str(), MNT_DETACH); }

  // Why there is none; empty when there is.
  const std::string& error() const { return error_; }
  fs::path path() const { return folder_.path(); }

 private:
  TempDir folder_;
  std::string error_;
};

constexpr uint32_t kWide = 1024;
constexpr uint64_t kBlockRows = 256;  // 1 MiB

v1::UpsertRequest WideBlock(uint64_t number) {
  std::vector<std::vector<float>> rows(kBlockRows, std::vector<float>(kWide, 1));
  for (uint64_t i = 0; i < kBlockRows; ++i) rows[i][0] = static_cast<float>(number * 1000 + i);
  return Block("docs", number * kBlockRows, rows);
}

TEST(FullDiskTest, WritesAreRefusedSearchesGoOnAndWritesResumeByThemselves) {
  const SmallDisk disk("80m");
  if (!disk.error().empty()) GTEST_SKIP() << disk.error();
  const fs::path data_dir = disk.path() / "data", ballast = disk.path() / "ballast";
  std::ofstream(ballast, std::ios::binary) << std::string(45 << 20, 'b');
  std::string contents;
  {
    RunningServer server(In(data_dir));
    server.Create("docs", kWide, v1::METRIC_L2);
    uint64_t blocks = 0;
    grpc::Status status;
    while (blocks < 80 && (status = server.Upsert(WideBlock(blocks))).ok()) ++blocks;
    ASSERT_THAT(status, IsRefusal(StatusCode::RESOURCE_EXHAUSTED,
                                  AllOf(HasSubstr("disk"), HasSubstr(data_dir.string()))));
    ASSERT_GT(blocks, 0u);
    for (int i = 0; i < 3; ++i) {
      EXPECT_THAT(server.Upsert(WideBlock(blocks)),
                  IsRefusal(StatusCode::RESOURCE_EXHAUSTED, HasSubstr("disk")));
    }
    // Of what was refused nothing is there, and what was acknowledged is found.
    v1::SearchResponse found;
    std::vector<float> last(kWide, 1);
    last[0] = static_cast<float>((blocks - 1) * 1000 + kBlockRows - 1);
    EXPECT_THAT(server.Search(MakeSearch("docs", 1, {ByVector(last)}), &found), IsOk());
    EXPECT_EQ(found.rows_compared(), blocks * kBlockRows);
    EXPECT_EQ(found.results(0).hits(0).id().number(), blocks * kBlockRows - 1);
    EXPECT_EQ(found.results(0).hits(0).score(), 0);
    // Once, not for each request.
    EXPECT_EQ(Occurrences(server.process.log(), "error storage_failing "), 1u)
        << server.process.log();
    EXPECT_THAT(server.process.log(), Not(HasSubstr("storage_recovered")));

    fs::remove(ballast);
    const auto deadline = std::chrono::steady_clock::now() + kSoon;
    while (!(status = server.Upsert(WideBlock(blocks))).ok()) {
      ASSERT_THAT(status, IsRefusal(StatusCode::RESOURCE_EXHAUSTED, HasSubstr("disk")));
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << server.process.log();
      std::this_thread::sleep_for(kPause);
    }
    EXPECT_EQ(Occurrences(server.process.log(), "info storage_recovered "), 1u);
    contents = server.Contents();
    server.process.Signal(SIGKILL);
    server.process.Wait();
  }
  RunningServer server(In(data_dir));
  EXPECT_EQ(server.Contents(), contents);
}

TEST(FullDiskTest, AStartServesReadsAndWritesResumeByThemselves) {
  const SmallDisk disk("80m");
  if (!disk.error().empty()) GTEST_SKIP() << disk.error();
  const fs::path data_dir = disk.path() / "data", ballast = disk.path() / "ballast";
  std::string contents;
  {
    RunningServer server(In(data_dir));
    server.Create("docs", kWide, v1::METRIC_L2);
    for (uint64_t block = 0; block < 3; ++block) {
      ASSERT_THAT(server.Upsert(WideBlock(block)), IsOk());
    }
    contents = server.Contents();
    server.process.Signal(SIGKILL);
    server.process.Wait();
  }
  {
    // Small pieces at the end: not a byte is left.
    std::ofstream file(ballast, std::ios::binary);
    const std::string piece(4096, 'b');
    while (file.write(piece.data(), static_cast<std::streamsize>(piece.size())).flush()) {
    }
  }
  RunningServer server(In(data_dir));
  EXPECT_EQ(server.Health(), 1);
  EXPECT_EQ(Occurrences(server.process.log(), "error storage_failing "), 1u);
  EXPECT_EQ(server.Contents(), contents);
  v1::SearchResponse found;
  EXPECT_THAT(server.Search(MakeSearch("docs", 1, {ById(NumberId(kBlockRows))}), &found), IsOk());
  EXPECT_EQ(found.results(0).hits(0).id().number(), kBlockRows);
  grpc::Status status;
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(server.Upsert(WideBlock(3)),
                IsRefusal(StatusCode::RESOURCE_EXHAUSTED,
                          AllOf(HasSubstr("disk"), HasSubstr(data_dir.string()))));
  }
  EXPECT_THAT(server.Drop("docs"), IsRefusal(StatusCode::RESOURCE_EXHAUSTED, HasSubstr("disk")));
  EXPECT_EQ(server.Contents(), contents);
  EXPECT_EQ(Occurrences(server.process.log(), "error storage_failing "), 1u);

  fs::remove(ballast);
  const auto deadline = std::chrono::steady_clock::now() + kSoon;
  while (!(status = server.Upsert(WideBlock(3))).ok()) {
    ASSERT_THAT(status, IsRefusal(StatusCode::RESOURCE_EXHAUSTED, HasSubstr("disk")));
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << server.process.log();
    std::this_thread::sleep_for(kPause);
  }
  EXPECT_TRUE(server.process.WaitForLog("info storage_recovered "));
}

TEST(FullDiskTest, ARestorationWithoutRoomLeavesNothing) {
  constexpr uint64_t kBlocks = 60;  // more than the log has room reserved for
  const SmallDisk disk("400m");
  if (!disk.error().empty()) GTEST_SKIP() << disk.error();
  const fs::path data_dir = disk.path() / "data", ballast = disk.path() / "ballast";
  RunningServer server(In(data_dir));
  server.Create("docs", kWide, v1::METRIC_L2);
  for (uint64_t block = 0; block < kBlocks; ++block) {
    ASSERT_THAT(server.Upsert(WideBlock(block)), IsOk());
  }
  const auto snapshots = v1::Snapshots::NewStub(server.channel);
  {
    PatientContext context;
    v1::CreateSnapshotRequest request;
    v1::CreateSnapshotResponse response;
    request.set_collection("docs");
    request.set_name("monday");
    ASSERT_THAT(snapshots->CreateSnapshot(&context, request, &response), IsOk());
  }
  const uint64_t rows = kBlocks * kBlockRows;
  v1::ListCollectionsResponse before;
  ASSERT_THAT(server.List(&before), IsOk());
  const auto restore = [&] {
    PatientContext context;
    v1::RestoreSnapshotResponse response;
    const auto stream = snapshots->RestoreSnapshot(&context, &response);
    v1::RestoreSnapshotRequest request;
    request.mutable_target()->set_collection("copy");
    request.mutable_target()->mutable_snapshot()->set_collection("docs");
    request.mutable_target()->mutable_snapshot()->set_name("monday");
    stream->Write(request);
    stream->WritesDone();
    return stream->Finish();
  };
  const uintmax_t room = fs::space(disk.path()).available;
  ASSERT_GT(room, 4u << 20);
  std::ofstream(ballast, std::ios::binary) << std::string(room - (4 << 20), 'b');
  EXPECT_THAT(restore(), IsRefusal(StatusCode::RESOURCE_EXHAUSTED, HasSubstr("disk")));
  v1::ListCollectionsResponse after;
  ASSERT_THAT(server.List(&after), IsOk());
  EXPECT_EQ(after.DebugString(), before.DebugString());

  fs::remove(ballast);
  const auto deadline = std::chrono::steady_clock::now() + kSoon;
  for (grpc::Status status; !(status = restore()).ok();) {
    ASSERT_THAT(status, IsRefusal(StatusCode::RESOURCE_EXHAUSTED, HasSubstr("disk")));
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << server.process.log();
    std::this_thread::sleep_for(kPause);
  }
  v1::GetCollectionResponse copy;
  ASSERT_THAT(server.Describe("copy", &copy), IsOk());
  EXPECT_EQ(copy.collection().rows(), rows);
}

// ---- damage

// Runs `vexactd --verify` or `--repair`.
Finished Check(const std::string& task, const fs::path& data_dir) {
  return Run({ServerBinary(), task, "--data-dir", data_dir.string()});
}

// Two collections on the disk, one of which has lost a bit of one row.
class DamageTest : public ::testing::Test {
 protected:
  static constexpr float kMark = 0x1.abcdep7f;

  void SetUp() override {
    {
      RunningServer server(In(data_dir()));
      server.Create("docs", 4, v1::METRIC_L2);
      server.Create("other", 2, v1::METRIC_L2);
      ASSERT_THAT(server.Upsert(Points("docs", {MakePoint(NumberId(1), Values({1, 2, 3, 4})),
                                                MakePoint(TextId("hit"), Values(marked())),
                                                MakePoint(NumberId(3), Values({5, 6, 7, 8}))})),
                  IsOk());
      ASSERT_THAT(server.Upsert(Block("other", 1, {{1, 2}, {3, 4}})), IsOk());
      server.process.Signal(SIGTERM);  // so that rows go from the log to their files
      ASSERT_EQ(server.process.Wait(), 0);
    }
    const std::vector<float> vector = marked();
    const auto place =
        FindBytes(data_dir() / "store",
                  {reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float)});
    ASSERT_TRUE(place) << "the row's vector lies in no file";
    FlipBit(*place);
  }

  static std::vector<float> marked() { return {kMark, 2 * kMark, 3 * kMark, 5 * kMark}; }
  fs::path data_dir() const { return folder_.path() / "data"; }
  Finished Vexactd(const std::string& task) const { return Check(task, data_dir()); }

 private:
  const TempDir folder_;
};

TEST_F(DamageTest, OneCollectionIsRefusedByNameAndTheOthersServe) {
  RunningServer server(In(data_dir()));
  EXPECT_THAT(server.process.log(),
              AllOf(ContainsRegex("error collection_damaged collection=docs error="),
                    HasSubstr(" collections=1 damaged=1 rows=2 ")));
  EXPECT_EQ(server.Health(), 1);
  v1::SearchResponse found;
  EXPECT_THAT(server.Search(MakeSearch("other", 2, {ByVector({3, 4})}), &found), IsOk());
  EXPECT_EQ(found.results(0).hits(0).id().number(), 2);

  const auto refusal = IsRefusal(
      StatusCode::DATA_LOSS, AllOf(HasSubstr("\"docs\""), HasSubstr("vexactd --repair --data-dir " +
                                                                    data_dir().string())));
  EXPECT_THAT(server.Search(MakeSearch("docs", 1, {ByVector({1, 2, 3, 4})})), refusal);
  EXPECT_THAT(server.Upsert(Block("docs", 9, {{1, 2, 3, 4}})), refusal);
  EXPECT_THAT(server.Describe("docs"), refusal);
  v1::ListCollectionsResponse list;
  ASSERT_THAT(server.List(&list), IsOk());
  ASSERT_EQ(list.collections_size(), 1);
  EXPECT_EQ(list.collections(0).name(), "other");
  ASSERT_EQ(list.damaged_size(), 1);
  EXPECT_EQ(list.damaged(0).name(), "docs");
  EXPECT_THAT(list.damaged(0).error(), HasSubstr("\"docs\""));

  // It can be given up.
  EXPECT_THAT(server.Drop("docs"), IsOk());
  server.Create("docs", 3);
  EXPECT_THAT(server.Upsert(Block("docs", 1, {{1, 2, 3}})), IsOk());
}

TEST_F(DamageTest, VerifyNamesWhatIsWrongAndRepairKeepsTheRest) {
  const Finished damaged = Vexactd("--verify");
  EXPECT_EQ(damaged.status, 1) << damaged.err;
  EXPECT_THAT(damaged.out,
              AllOf(ContainsRegex("\"docs\".*\"hit\""), Not(HasSubstr("\"other\"")),
                    HasSubstr("not sound: 1 problem; to keep what is good: vexactd --repair "
                              "--data-dir " +
                              data_dir().string() + "\n")));

  const Finished repaired = Vexactd("--repair");
  EXPECT_EQ(repaired.status, 0) << repaired.err;
  const fs::path kept = data_dir() / "store.damaged";
  EXPECT_THAT(repaired.out, AllOf(ContainsRegex("\"docs\".*\"hit\""),
                                  HasSubstr("repaired: 4 rows kept, 1 row lost; the damaged "
                                            "database is kept in " +
                                            kept.string())));
  EXPECT_TRUE(fs::exists(kept / "CURRENT"));
  EXPECT_EQ(Vexactd("--verify").status, 0);

  RunningServer server(In(data_dir()));
  EXPECT_THAT(server.process.log(), HasSubstr(" collections=2 damaged=0 rows=4 "));
  v1::GetPointsRequest request;
  request.set_collection("docs");
  *request.add_ids() = NumberId(1);
  *request.add_ids() = NumberId(3);
  v1::GetPointsResponse got;
  ASSERT_THAT(server.Get(request, &got), IsOk());
  EXPECT_EQ(got.points(0).vector().packed(), Packed({1, 2, 3, 4}).packed());
  EXPECT_EQ(got.points(1).vector().packed(), Packed({5, 6, 7, 8}).packed());
  *request.mutable_ids(0) = TextId("hit");
  EXPECT_THAT(server.Get(request), IsRefusal(StatusCode::NOT_FOUND, HasSubstr("hit")));
  EXPECT_THAT(server.Upsert(Points("docs", {MakePoint(TextId("hit"), Values(marked()))})), IsOk());
}

TEST_F(DamageTest, VerifyAndRepairWantTheDirectoryForThemselves) {
  const RunningServer server(In(data_dir()));
  for (const char* task : {"--verify", "--repair"}) {
    const Finished finished = Vexactd(task);
    EXPECT_EQ(finished.status, 1);
    EXPECT_EQ(finished.out, "");
    EXPECT_THAT(finished.err,
                HasSubstr("error: data directory " + data_dir().string() +
                          " is in use by process " + std::to_string(server.process.pid())));
  }
}

TEST(CheckTest, ASoundDirectoryIsSaidToBeSound) {
  const TempDir folder;
  const fs::path data_dir = folder.path() / "data";
  std::string contents;
  {
    RunningServer server(In(data_dir));
    server.Create("docs", 2);
    server.Create("empty", 3);
    ASSERT_THAT(server.Upsert(Block("docs", 1, {{1, 2}, {3, 4}})), IsOk());
    contents = server.Contents();
    server.process.Signal(SIGKILL);  // what is in the log alone counts as well
    server.process.Wait();
  }
  for (const char* task : {"--verify", "--repair", "--verify"}) {
    const Finished finished = Check(task, data_dir);
    EXPECT_EQ(finished.status, 0) << finished.err;
    EXPECT_EQ(finished.err, "");
    EXPECT_THAT(finished.out,
                AllOf(ContainsRegex("docs +2 +0 +0\n"), ContainsRegex("empty +0 +0 +0\n"),
                      ContainsRegex(": 2 collections, 2 rows(, 0 snapshots)?\n$")));
    EXPECT_FALSE(fs::exists(data_dir / "store.damaged"));
  }
  RunningServer server(In(data_dir));
  EXPECT_EQ(server.Contents(), contents);
}

TEST(CheckTest, WhatIsNoDataDirectoryIsNotChecked) {
  const TempDir folder;
  for (const char* task : {"--verify", "--repair"}) {
    const Finished missing = Check(task, folder.path() / "none");
    EXPECT_EQ(missing.status, 1);
    EXPECT_EQ(missing.out, "");
    EXPECT_THAT(missing.err, AllOf(HasSubstr("error: "), HasSubstr("No such file or directory"),
                                   HasSubstr("--data-dir")));
    EXPECT_FALSE(fs::exists(folder.path() / "none"));
  }
}

TEST(CheckTest, DamagedSnapshotsAreNamed) {
  const TempDir folder;
  const fs::path data_dir = folder.path() / "data";
  {
    RunningServer server(In(data_dir));
    server.Create("docs", 2);
    ASSERT_THAT(server.Upsert(Block("docs", 1, {{1, 2}, {3, 4}})), IsOk());
    const auto snapshots = v1::Snapshots::NewStub(server.channel);
    for (const char* name : {"monday", "tuesday", "friday"}) {
      PatientContext context;
      v1::CreateSnapshotRequest request;
      v1::CreateSnapshotResponse response;
      request.set_collection("docs");
      request.set_name(name);
      ASSERT_THAT(snapshots->CreateSnapshot(&context, request, &response), IsOk());
    }
    server.process.Signal(SIGTERM);
    ASSERT_EQ(server.process.Wait(), 0);
  }
  const Finished sound = Check("--verify", data_dir);
  EXPECT_EQ(sound.status, 0) << sound.out;
  EXPECT_THAT(sound.out, HasSubstr("sound: 1 collection, 2 rows, 3 snapshots\n"));

  const fs::path files = data_dir / "snapshots" / "docs";
  FlipBit({files / "monday.vxsnap", fs::file_size(files / "monday.vxsnap") / 2});
  fs::resize_file(files / "friday.vxsnap", fs::file_size(files / "friday.vxsnap") - 1);
  const std::string half = files / "half.vxsnap.tmp";
  std::ofstream(half) << "half";
  const Finished damaged = Check("--verify", data_dir);
  EXPECT_EQ(damaged.status, 1);
  EXPECT_THAT(
      damaged.out,
      AllOf(ContainsRegex("collection \"docs\": snapshot " + (files / "monday.vxsnap").string() +
                          ": .*; delete it"),
            ContainsRegex("collection \"docs\": snapshot " + (files / "friday.vxsnap").string() +
                          ": .*; delete it"),
            Not(HasSubstr("tuesday")), HasSubstr("docs  "), HasSubstr("not sound: 2 problems\n")));
  EXPECT_TRUE(fs::exists(half)) << "verifying changes nothing";
}

// A full segment's codes lie on the disk some time after the last write.
TEST(CheckTest, DamagedCodesAreNamedAndMadeAnewWithoutAnyChangeInAnswers) {
  const TempDir folder;
  const fs::path data_dir = folder.path() / "data";
  constexpr uint32_t kDimension = 32;
  std::vector<std::vector<float>> rows(1'100, std::vector<float>(kDimension));
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t j = 0; j < kDimension; ++j) {
      rows[i][j] = static_cast<float>((i * 31 + j * 17) % 101) - 50;
    }
  }
  v1::SearchRequest request = MakeSearch("docs", 10, {ByVector(rows[5]), ByVector(rows[777])});
  v1::SearchResponse before, after;
  fs::path file;
  {
    RunningServer server(In(data_dir));
    server.Create("docs", kDimension);
    ASSERT_THAT(server.Upsert(Block("docs", 0, rows)), IsOk());
    ASSERT_THAT(server.Search(request, &before), IsOk());
    const auto deadline = std::chrono::steady_clock::now() + kSoon;
    while (file.empty()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "no codes are written";
      std::this_thread::sleep_for(kPause);
      std::error_code none;
      for (const auto& entry : fs::recursive_directory_iterator(data_dir / "codes", none)) {
        if (entry.path().extension() == ".codes") file = entry.path();
      }
    }
  }
  const auto verify = [&] { return Check("--verify", data_dir); };
  EXPECT_EQ(verify().status, 0);
  EXPECT_THAT(verify().out, ContainsRegex("docs +1,100 +1 +1,024\n"));
  FlipBit({file, fs::file_size(file) / 2});
  EXPECT_EQ(verify().status, 1);
  EXPECT_THAT(verify().out, AllOf(HasSubstr("collection \"docs\": codes file " + file.string() +
                                            " is damaged: its checksum does not match; it is made "
                                            "anew at the next start\n"),
                                  HasSubstr("not sound: 1 problem;")));
  RunningServer server(In(data_dir));
  EXPECT_THAT(server.process.log(),
              ContainsRegex("warning codes_rebuilt collection=docs rows=1100 reason=.*checksum"));
  ASSERT_THAT(server.Search(request, &after), IsOk());
  ASSERT_EQ(after.results_size(), before.results_size());
  for (int i = 0; i < after.results_size(); ++i) {
    EXPECT_EQ(after.results(i).SerializeAsString(), before.results(i).SerializeAsString());
  }
}

}  // namespace
}  // namespace vexact::testing
