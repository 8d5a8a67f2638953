// Snapshots of a running server, through raw stubs and through the command.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "tests/client/command_line.h"
#include "tests/server/running_server.h"
#include "tests/support/files.h"
#include "vexact/v1/snapshots.grpc.pb.h"

namespace vexact::testing {
namespace {

namespace fs = std::filesystem;
using ::grpc::StatusCode;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

class SnapshotServiceTest : public ::testing::Test {
 protected:
  SnapshotServiceTest() { Start({"--data-dir", Data()}); }

  std::string Data() const { return (folder_.path() / "data").string(); }
  std::string Path(const std::string& name) const { return (folder_.path() / name).string(); }

  void Start(const std::vector<std::string>& args) {
    server_.reset();
    server_ = std::make_unique<RunningServer>(args);
    stub_ = v1::Snapshots::NewStub(server_->channel);
  }
  void Kill() {
    server_->process.Signal(SIGKILL);
    server_->process.Wait();
  }

  // A collection of some MiB: several chunks.
  void Load(const std::string& name = "docs", size_t rows = 2'000) {
    server_->Create(name, 512, v1::METRIC_L2);
    for (size_t at = 0; at < rows; at += 500) {
      std::vector<std::vector<float>> block(500, std::vector<float>(512));
      for (size_t i = 0; i < block.size(); ++i) {
        for (size_t j = 0; j < 512; ++j) {
          block[i][j] = static_cast<float>((at + i) * 7 + j * j % 31) * 0.37f;
        }
      }
      ASSERT_THAT(server_->Upsert(Block(name, at, block)), IsOk());
    }
  }

  grpc::Status Create(const std::string& collection, const std::string& name,
                      v1::Snapshot* snapshot = nullptr) {
    v1::CreateSnapshotRequest request;
    request.set_collection(collection);
    request.set_name(name);
    v1::CreateSnapshotResponse response;
    PatientContext context;
    const grpc::Status status = stub_->CreateSnapshot(&context, request, &response);
    if (snapshot != nullptr) *snapshot = response.snapshot();
    return status;
  }

  struct Download {
    grpc::Status status;
    std::string bytes, checksum;
    size_t largest = 0;
  };
  Download Bring(const std::string& collection, const std::string& name, uint64_t offset = 0) {
    v1::DownloadSnapshotRequest request;
    request.set_collection(collection);
    request.set_name(name);
    request.set_offset(offset);
    PatientContext context;
    const auto stream = stub_->DownloadSnapshot(&context, request);
    Download download;
    for (v1::DownloadSnapshotResponse message; stream->Read(&message);) {
      EXPECT_EQ(message.offset(), offset + download.bytes.size());
      EXPECT_EQ(download.checksum, "") << "in a message that is not the last";
      download.bytes += message.data();
      download.checksum = message.checksum();
      download.largest = std::max(download.largest, message.data().size());
    }
    download.status = stream->Finish();
    return download;
  }

  grpc::Status Send(const std::string& collection, const std::string& bytes,
                    v1::RestoreSnapshotResponse* response = nullptr) {
    v1::RestoreSnapshotResponse unused;
    PatientContext context;
    const auto stream = stub_->RestoreSnapshot(&context, response != nullptr ? response : &unused);
    v1::RestoreSnapshotRequest request;
    request.mutable_target()->set_collection(collection);
    bool open = stream->Write(request);
    for (size_t at = 0; open && at < bytes.size(); at += 300'000) {
      request.set_data(bytes.substr(at, 300'000));
      open = stream->Write(request);
    }
    stream->WritesDone();
    return stream->Finish();
  }

  grpc::Status RestoreStored(const std::string& collection, const std::string& from,
                             const std::string& name,
                             v1::RestoreSnapshotResponse* response = nullptr) {
    v1::RestoreSnapshotResponse unused;
    PatientContext context;
    const auto stream = stub_->RestoreSnapshot(&context, response != nullptr ? response : &unused);
    v1::RestoreSnapshotRequest request;
    request.mutable_target()->set_collection(collection);
    request.mutable_target()->mutable_snapshot()->set_collection(from);
    request.mutable_target()->mutable_snapshot()->set_name(name);
    stream->Write(request);
    stream->WritesDone();
    return stream->Finish();
  }

  std::vector<std::string> Files() const {
    std::vector<std::string> files;
    std::error_code missing;
    for (const auto& entry : fs::recursive_directory_iterator(Data() + "/snapshots", missing)) {
      if (entry.is_regular_file()) files.push_back(entry.path().filename().string());
    }
    std::sort(files.begin(), files.end());
    return files;
  }
  std::vector<std::string> Collections() {
    v1::ListCollectionsResponse listed;
    PatientContext context;
    EXPECT_THAT(server_->collections->ListCollections(&context, {}, &listed), IsOk());
    std::vector<std::string> names;
    for (const auto& collection : listed.collections()) names.push_back(collection.name());
    return names;
  }
  // The points of a collection, as text.
  std::string Points(const std::string& collection) {
    std::string points;
    v1::ScrollPointsRequest request;
    request.set_collection(collection);
    request.set_with_vectors(true);
    request.set_page_size(1'000);
    v1::ScrollPointsResponse page;
    do {
      const grpc::Status status = server_->Scroll(request, &page);
      EXPECT_THAT(status, IsOk());
      if (!status.ok()) break;
      for (const auto& point : page.points()) points += point.SerializeAsString();
      request.set_page_token(page.next_page_token());
    } while (!page.next_page_token().empty());
    return points;
  }
  Finished Do(const std::vector<std::string>& args) {
    return Vexact(server_->process.address(), args);
  }

  TempDir folder_;
  std::unique_ptr<RunningServer> server_;
  std::unique_ptr<v1::Snapshots::Stub> stub_;
};

TEST_F(SnapshotServiceTest, ComesBackTheSameBothWays) {
  Load();
  v1::Snapshot made;
  ASSERT_THAT(Create("docs", "monday", &made), IsOk());
  EXPECT_EQ(made.rows(), 2'000);
  EXPECT_EQ(made.sequence(), 4);
  EXPECT_EQ(made.metric(), v1::METRIC_L2);
  const Download download = Bring("docs", "monday");
  ASSERT_THAT(download.status, IsOk());
  EXPECT_EQ(download.bytes.size(), made.bytes());
  EXPECT_EQ(download.checksum, made.checksum());
  EXPECT_LE(download.largest, 1 << 20);
  // From the middle on, and from the end.
  EXPECT_EQ(Bring("docs", "monday", 1'234'567).bytes, download.bytes.substr(1'234'567));
  const Download rest = Bring("docs", "monday", made.bytes());
  EXPECT_EQ(rest.bytes, "");
  EXPECT_EQ(rest.checksum, made.checksum());
  EXPECT_THAT(Bring("docs", "monday", made.bytes() + 1).status,
              IsRefusal(StatusCode::OUT_OF_RANGE, HasSubstr("the snapshot has")));

  v1::RestoreSnapshotResponse sent, stored;
  ASSERT_THAT(Send("sent", download.bytes, &sent), IsOk());
  ASSERT_THAT(RestoreStored("stored", "docs", "monday", &stored), IsOk());
  const std::string points = Points("docs");
  for (const auto& response : {sent, stored}) {
    EXPECT_EQ(response.rows(), 2'000);
    EXPECT_EQ(response.sequence(), 4);
    EXPECT_EQ(response.checksum(), made.checksum());
    EXPECT_EQ(response.snapshot_collection(), "docs");
    EXPECT_EQ(response.snapshot_created_us(), made.created_us());
    EXPECT_EQ(Points(response.collection()), points);
  }
  // What is restored survives, and so do the snapshots.
  Kill();
  Start({"--data-dir", Data()});
  EXPECT_THAT(Collections(), ElementsAre("docs", "sent", "stored"));
  EXPECT_EQ(Points("sent"), points);
  EXPECT_EQ(Points("stored"), points);
  EXPECT_THAT(Files(), ElementsAre("monday.vxsnap"));
}

TEST_F(SnapshotServiceTest, OfNowNeedsNoDataDirectory) {
  Load();
  const Download now = Bring("docs", "");
  ASSERT_THAT(now.status, IsOk());
  EXPECT_LE(now.largest, 1 << 20);
  EXPECT_THAT(Files(), IsEmpty());
  const std::string points = Points("docs");
  EXPECT_THAT(Bring("docs", "", 5).status,
              IsRefusal(StatusCode::INVALID_ARGUMENT, HasSubstr("begins at 0")));
  Start({"--in-memory"});
  ASSERT_THAT(Send("copy", now.bytes), IsOk());
  EXPECT_EQ(Points("copy"), points);
  EXPECT_THAT(Bring("copy", "").status, IsOk());
  const auto refused =
      IsRefusal(StatusCode::FAILED_PRECONDITION, HasSubstr("has no data directory for snapshots"));
  EXPECT_THAT(Create("copy", "x"), refused);
  EXPECT_THAT(Bring("copy", "x").status, refused);
  EXPECT_THAT(RestoreStored("other", "copy", "x"), refused);
  EXPECT_THAT(Collections(), ElementsAre("copy"));
}

TEST_F(SnapshotServiceTest, ThatIsDamagedIsRefusedWhole) {
  Load();
  ASSERT_THAT(Create("docs", "monday"), IsOk());
  const std::string good = Bring("docs", "monday").bytes;
  std::string altered = good;
  altered[altered.size() / 2] ^= 1;
  EXPECT_THAT(
      Send("copy", altered),
      IsRefusal(StatusCode::INVALID_ARGUMENT,
                MatchesRegex("the snapshot sent is damaged; nothing was restored: byte [0-9]+ "
                             "\\(block [0-9]+\\): the block's checksum does not match")));
  for (const size_t length : {size_t{0}, size_t{7}, size_t{300'000}, good.size() - 1}) {
    EXPECT_THAT(Send("copy", good.substr(0, length)),
                IsRefusal(StatusCode::INVALID_ARGUMENT, StartsWith("the snapshot sent is damaged")))
        << length;
  }
  std::ofstream(Data() + "/snapshots/docs/monday.vxsnap", std::ios::binary) << altered;
  EXPECT_THAT(RestoreStored("copy", "docs", "monday"),
              IsRefusal(StatusCode::DATA_LOSS,
                        StartsWith("snapshot \"monday\" of collection \"docs\" is damaged; nothing "
                                   "was restored: byte ")));
  EXPECT_THAT(Collections(), ElementsAre("docs"));
  EXPECT_THAT(Send("docs", good), IsRefusal(StatusCode::ALREADY_EXISTS, HasSubstr("exists")));
  EXPECT_THAT(Send("../x", good), IsRefusal(StatusCode::INVALID_ARGUMENT, HasSubstr("name")));
  EXPECT_THAT(RestoreStored("copy", "docs", "../../store/CURRENT"),
              IsRefusal(StatusCode::INVALID_ARGUMENT, HasSubstr("is not allowed")));
  EXPECT_THAT(Bring("..", "lock").status,
              IsRefusal(StatusCode::INVALID_ARGUMENT, HasSubstr("is not allowed")));
}

TEST_F(SnapshotServiceTest, ThatDoesNotFitIntoTheMemoryAllowedIsRefusedWhole) {
  // One collection of some 6 MB fits, another beside it does not.
  Start({"--data-dir", Data(), "--max-memory-bytes", "10000000"});
  Load();
  const std::string points = Points("docs");
  ASSERT_THAT(Create("docs", "monday"), IsOk());
  const std::string bytes = Bring("docs", "monday").bytes;
  const auto refused = IsRefusal(
      StatusCode::RESOURCE_EXHAUSTED,
      MatchesRegex("nothing was restored: the collections take [0-9]+ bytes of memory, and the "
                   "request's 2000 rows would add about [0-9]+; max_memory_bytes is 10000000; "
                   "delete collections or raise it"));
  EXPECT_THAT(Send("copy", bytes), refused);
  EXPECT_THAT(RestoreStored("copy", "docs", "monday"), refused);
  // The beginning of a file says how many rows there are.
  EXPECT_THAT(Send("copy", bytes.substr(0, 200)), refused);
  EXPECT_THAT(Collections(), ElementsAre("docs"));
  ASSERT_THAT(server_->Drop("docs"), IsOk());
  EXPECT_THAT(RestoreStored("copy", "docs", "monday"), IsOk());
  EXPECT_EQ(Points("copy"), points);
}

TEST_F(SnapshotServiceTest, RefusesMessagesOutOfOrder) {
  v1::RestoreSnapshotResponse response;
  const auto send = [&](std::vector<v1::RestoreSnapshotRequest> requests) {
    PatientContext context;
    const auto stream = stub_->RestoreSnapshot(&context, &response);
    for (const auto& request : requests) {
      if (!stream->Write(request)) break;
    }
    stream->WritesDone();
    return stream->Finish();
  };
  v1::RestoreSnapshotRequest target, data;
  target.mutable_target()->set_collection("copy");
  data.set_data("VX");
  EXPECT_THAT(send({}), IsRefusal(StatusCode::INVALID_ARGUMENT, HasSubstr("first message")));
  EXPECT_THAT(send({data}), IsRefusal(StatusCode::INVALID_ARGUMENT, HasSubstr("has no target")));
  EXPECT_THAT(send({target, target}),
              IsRefusal(StatusCode::INVALID_ARGUMENT, HasSubstr("a later message has a target")));
  EXPECT_THAT(Collections(), IsEmpty());
}

TEST_F(SnapshotServiceTest, ThatIsCancelledOrTooLateLeavesNothing) {
  Load();
  const std::string bytes = Bring("docs", "").bytes;
  {
    grpc::ClientContext context;
    v1::RestoreSnapshotResponse response;
    const auto stream = stub_->RestoreSnapshot(&context, &response);
    v1::RestoreSnapshotRequest request;
    request.mutable_target()->set_collection("copy");
    stream->Write(request);
    request.set_data(bytes);  // all of it, but no end
    stream->Write(request);
    context.TryCancel();
    EXPECT_EQ(stream->Finish().error_code(), StatusCode::CANCELLED);
  }
  {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
    v1::RestoreSnapshotResponse response;
    const auto stream = stub_->RestoreSnapshot(&context, &response);
    v1::RestoreSnapshotRequest request;
    request.mutable_target()->set_collection("copy");
    stream->Write(request);
    request.set_data(bytes);
    stream->Write(request);
    EXPECT_EQ(stream->Finish().error_code(), StatusCode::DEADLINE_EXCEEDED);
  }
  {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() - std::chrono::seconds(1));
    v1::CreateSnapshotRequest request;
    request.set_collection("docs");
    v1::CreateSnapshotResponse response;
    EXPECT_EQ(stub_->CreateSnapshot(&context, request, &response).error_code(),
              StatusCode::DEADLINE_EXCEEDED);
  }
  EXPECT_TRUE(server_->process.WaitForLog("method=Snapshots/RestoreSnapshot code=CANCELLED"));
  EXPECT_THAT(Collections(), ElementsAre("docs"));
  EXPECT_THAT(Files(), IsEmpty());
  // The name is free.
  EXPECT_THAT(Send("copy", bytes), IsOk());
}

TEST_F(SnapshotServiceTest, LeavesNothingHalfDoneWhenTheServerIsKilled) {
  Load("docs", 6'000);
  const std::string points = Points("docs");
  const std::string bytes = Bring("docs", "").bytes;
  {
    // Within a restoration, most of whose rows are in the store.
    grpc::ClientContext context;
    v1::RestoreSnapshotResponse response;
    const auto stream = stub_->RestoreSnapshot(&context, &response);
    v1::RestoreSnapshotRequest request;
    request.mutable_target()->set_collection("copy");
    stream->Write(request);
    request.set_data(bytes.substr(0, bytes.size() - 1));
    stream->Write(request);
    Kill();
    EXPECT_FALSE(stream->Finish().ok());
  }
  Start({"--data-dir", Data()});
  EXPECT_THAT(Collections(), ElementsAre("docs"));
  EXPECT_EQ(Points("docs"), points);
  for (int i = 0; i < 4; ++i) {
    // At some moment of a snapshot, or before, or after.
    const std::string name(1, static_cast<char>('a' + i));
    std::thread creating([&] { (void)Create("docs", name); });
    std::this_thread::sleep_for(std::chrono::milliseconds(3 * i));
    server_->process.Signal(SIGKILL);
    creating.join();
    server_->process.Wait();
    Start({"--data-dir", Data()});
    for (const std::string& file : Files()) EXPECT_THAT(file, ::testing::EndsWith(".vxsnap"));
    v1::ListSnapshotsResponse listed;
    PatientContext context;
    ASSERT_THAT(stub_->ListSnapshots(&context, {}, &listed), IsOk());
    for (const v1::Snapshot& snapshot : listed.snapshots()) {
      EXPECT_EQ(snapshot.error(), "");
      const Download download = Bring("docs", snapshot.name());
      EXPECT_EQ(download.bytes.size(), bytes.size());
      EXPECT_EQ(download.checksum, snapshot.checksum());
    }
  }
  EXPECT_EQ(Points("docs"), points);
}

TEST_F(SnapshotServiceTest, FromTheCommandLine) {
  Load();
  EXPECT_THAT(Do({"snapshot", "list"}).err, HasSubstr("No snapshots yet"));
  const Finished made = Do({"snapshot", "create", "docs", "monday"});
  EXPECT_EQ(made.out, "docs/monday: 2,000 rows of sequence 4, 3.9 MiB\n") << made.err;
  EXPECT_THAT(Do({"snapshot", "list"}).out,
              HasSubstr("docs        monday    2,000         4  3.9 MiB  "));
  const std::string kept = Path("kept.vxsnap"), now = Path("now.vxsnap");
  EXPECT_THAT(Do({"snapshot", "download", "docs", "monday", "-o", kept}).out,
              StartsWith(kept + ": 2,000 rows of sequence 4, 3.9 MiB ("));
  EXPECT_EQ(Do({"snapshot", "download", "docs", "-o", now}).status, 0);
  const Finished exists = Do({"snapshot", "download", "docs", "-o", now});
  EXPECT_EQ(exists.status, 2);
  EXPECT_EQ(exists.err, "error: " + now + " exists; --force replaces it, -o names another file\n");
  EXPECT_EQ(Do({"snapshot", "download", "docs", "-o", now, "--force"}).status, 0);
  EXPECT_THAT(Do({"snapshot", "verify", kept}).out, StartsWith(kept + ": whole and unaltered\n"));
  EXPECT_THAT(Do({"restore", "a", kept}).out, StartsWith("a: 2,000 rows restored, sequence 4; as "
                                                         "docs was at "));
  EXPECT_EQ(Do({"restore", "b", "--from-server", "docs/monday"}).status, 0);
  EXPECT_EQ(Shell(server_->process.address(), "cat " + now + " | $VEXACT restore c -").status, 0);
  const std::string points = Points("docs");
  for (const std::string name : {"a", "b", "c"}) EXPECT_EQ(Points(name), points);

  fs::resize_file(kept, 1'000'000);
  const Finished cut = Do({"snapshot", "verify", kept});
  EXPECT_EQ(cut.status, 1);
  EXPECT_EQ(cut.err,
            "error: " + kept + " is damaged: byte 1000000: the snapshot is cut off here\n");
  EXPECT_EQ(Do({"restore", "d", kept}).status, 1);
  EXPECT_EQ(Do({"restore", "d", Path("nothing")}).status, 2);
  EXPECT_EQ(Do({"restore", "d"}).status, 2);
  EXPECT_EQ(Do({"restore", "d", "--from-server", "docs"}).status, 2);
  // A download that fails leaves no file.
  EXPECT_EQ(Do({"snapshot", "download", "nothing", "-o", Path("x")}).status, 1);
  EXPECT_FALSE(fs::exists(Path("x")));
  EXPECT_FALSE(fs::exists(Path("x.part")));
  EXPECT_THAT(Do({"snapshot", "delete", "docs", "monday"}).out,
              HasSubstr("docs/monday: deleted, 3.9 MiB freed"));
  EXPECT_EQ(Do({"snapshot", "delete", "docs", "monday"}).status, 1);
  EXPECT_THAT(Collections(), ElementsAre("a", "b", "c", "docs"));
}

// A server that stands still, and a first Ctrl-C that waits for it.
TEST_F(SnapshotServiceTest, AnInterruptedDownloadLeavesNoFile) {
  Load();
  for (const bool twice : {false, true}) {
    SCOPED_TRACE(twice);
    const std::string file = Path("docs.vxsnap");
    server_->process.Signal(SIGSTOP);
    RunningVexact download(
        {"snapshot", "download", "docs", "-o", file, "--server", server_->process.address()});
    while (!fs::exists(file + ".part")) usleep(1'000);
    download.Signal(SIGINT);
    if (twice) {
      download.Signal(SIGTERM);  // of two that are the same, the kernel may make one
    } else {
      server_->process.Signal(SIGCONT);
    }
    const Finished finished = download.Wait();
    server_->process.Signal(SIGCONT);
    EXPECT_THAT(finished.status, AnyOf(128 + SIGINT, 128 + SIGTERM));
    EXPECT_EQ(finished.err, twice ? "" : "interrupted: nothing was kept\n");
    EXPECT_FALSE(fs::exists(file));
    EXPECT_FALSE(fs::exists(file + ".part"));
  }
}

TEST_F(SnapshotServiceTest, ARestorationFromThePipeIsInterruptedWithNothingLeft) {
  Load();
  const std::string bytes = Bring("docs", "").bytes;
  RunningVexact restoring({"restore", "copy", "-", "--server", server_->process.address()});
  ASSERT_TRUE(restoring.Write(bytes.substr(0, bytes.size() / 2)));
  ASSERT_TRUE(restoring.WaitUntilRead());
  restoring.Signal(SIGINT);
  const Finished finished = restoring.Wait();
  EXPECT_EQ(finished.status, 130);
  EXPECT_EQ(finished.err, "interrupted: nothing was restored\n");
  EXPECT_TRUE(server_->process.WaitForLog("method=Snapshots/RestoreSnapshot code=CANCELLED"));
  EXPECT_THAT(Collections(), ElementsAre("docs"));
}

}  // namespace
}  // namespace vexact::testing
