// snapshot create, list, delete, download, verify; restore.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/command/command.h"
#include "client/command/format.h"
#include "client/command/interruption.h"
#include "client/command/progress.h"
#include "client/command/table.h"
#include "snapshot/file.h"

namespace vexact::client {
namespace {

struct SnapshotOptions {
  std::string collection, name;
};

struct DownloadCommandOptions {
  std::string collection, name, file;
  bool force = false;
};

struct VerifyOptions {
  std::string file;
};

struct RestoreOptions {
  std::string collection, file, stored;
};

std::string Time(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

Json ToJson(const Snapshot& snapshot) {
  Json json = {
      {"name", snapshot.name}, {"collection", snapshot.collection}, {"bytes", snapshot.bytes}};
  if (!snapshot.error.empty()) {
    json["error"] = snapshot.error;
    return json;
  }
  json.update({{"dimension", snapshot.dimension},
               {"metric", Name(snapshot.metric)},
               {"normalization", Name(snapshot.normalization)},
               {"rows", snapshot.rows},
               {"sequence", snapshot.sequence},
               {"created", Time(snapshot.created)},
               {"checksum", snapshot.checksum}});
  return json;
}

// "docs/monday: 5,000 rows of sequence 4, 7.4 MiB".
std::string Summary(const std::string& name, uint64_t rows, uint64_t sequence, uint64_t bytes) {
  return absl::StrCat(Printable(name), ": ", Rows(rows), " of sequence ", Thousands(sequence), ", ",
                      Bytes(bytes));
}

int RunCreate(const Globals& globals, const SnapshotOptions& options) {
  const auto snapshot =
      globals.client().CreateSnapshot(options.collection, options.name, globals.call());
  if (!snapshot.ok()) return Fail(snapshot.status());
  if (globals.json) {
    Print(ToJson(*snapshot));
  } else {
    std::cout << Summary(snapshot->collection + "/" + snapshot->name, snapshot->rows,
                         snapshot->sequence, snapshot->bytes)
              << '\n';
  }
  return kDone;
}

int RunList(const Globals& globals, const SnapshotOptions& options) {
  const auto list = globals.client().ListSnapshots(options.collection, globals.call());
  if (!list.ok()) return Fail(list.status());
  if (globals.json) {
    Json snapshots = Json::array();
    for (const Snapshot& snapshot : *list) snapshots.push_back(ToJson(snapshot));
    Print({{"snapshots", snapshots}});
    return kDone;
  }
  if (list->empty()) {
    std::cerr << "No snapshots yet. Make one: vexact snapshot create "
              << (options.collection.empty() ? "docs" : Printable(options.collection)) << '\n';
    return kDone;
  }
  Table table({{"collection"},
               {"snapshot"},
               {"rows", Align::kRight},
               {"sequence", Align::kRight},
               {"size", Align::kRight},
               {"created"},
               {"checksum"}});
  for (const Snapshot& snapshot : *list) {
    if (!snapshot.error.empty()) {
      table.Add({snapshot.collection, snapshot.name, "", "", Bytes(snapshot.bytes), "damaged",
                 snapshot.error});
      continue;
    }
    table.Add({snapshot.collection, snapshot.name, Thousands(snapshot.rows),
               Thousands(snapshot.sequence), Bytes(snapshot.bytes), Time(snapshot.created),
               snapshot.checksum});
  }
  std::cout << table.Render();
  return kDone;
}

int RunDelete(const Globals& globals, const SnapshotOptions& options) {
  const auto bytes =
      globals.client().DeleteSnapshot(options.collection, options.name, globals.call());
  if (!bytes.ok()) return Fail(bytes.status());
  if (globals.json) {
    Print({{"collection", options.collection}, {"name", options.name}, {"bytes", *bytes}});
  } else {
    std::cout << options.collection << '/' << options.name << ": deleted, " << Bytes(*bytes)
              << " freed\n";
  }
  return kDone;
}

absl::Status FileError(const char* what, const std::string& path) {
  return absl::InvalidArgumentError(
      absl::StrCat("cannot ", what, " ", path, ": ", std::strerror(errno)));
}

// A file that gets its name when it is whole, and is removed otherwise.
class OutputFile {
 public:
  explicit OutputFile(std::string path) : path_(std::move(path)), temporary_(Unfinished(path_)) {}
  // The path that the file has until it is whole.
  static std::string Unfinished(const std::string& path) { return path + ".part"; }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile() {
    if (fd_ < 0) return;
    close(fd_);
    if (!kept_) (void)unlink(temporary_.c_str());
  }

  absl::Status Create() {
    fd_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    return fd_ < 0 ? FileError("create", temporary_) : absl::OkStatus();
  }
  absl::Status Write(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t written = write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return FileError("write", temporary_);
      bytes.remove_prefix(static_cast<size_t>(written));
    }
    return absl::OkStatus();
  }
  absl::Status Keep() {
    if (fsync(fd_) != 0) return FileError("write", temporary_);
    if (rename(temporary_.c_str(), path_.c_str()) != 0) return FileError("rename", temporary_);
    kept_ = true;
    return absl::OkStatus();
  }

 private:
  const std::string path_, temporary_;
  int fd_ = -1;
  bool kept_ = false;
};

absl::Status CheckInterrupted() {
  return Interrupted() ? absl::CancelledError("interrupted") : absl::OkStatus();
}

// One run of `download`: what comes is written and checked at the same time.
class DownloadRun {
 public:
  DownloadRun(const Globals& globals, const DownloadCommandOptions& options)
      : globals_(globals),
        options_(options),
        path_(Path(options)),
        file_(path_),
        decoder_(
            [this](const snapshot::Header& header) {
              header_ = header;
              return absl::OkStatus();
            },
            nullptr) {}

  // Where the snapshot is to go.
  static std::string Path(const DownloadCommandOptions& options) {
    if (!options.file.empty()) return options.file;
    const std::string name = options.name.empty() ? "" : "-" + options.name;
    return absl::StrCat(options.collection, name, ".vxsnap");
  }

  int Run() {
    std::error_code error;
    if (!options_.force && std::filesystem::exists(path_, error)) {
      return BadInput(Printable(path_) + " exists; --force replaces it, -o names another file");
    }
    if (local_ = file_.Create(); !local_.ok()) return BadInput(Said(local_));
    const auto done = globals_.client().DownloadSnapshot(
        options_.collection,
        [this](std::string_view bytes, uint64_t total) { return Take(bytes, total); },
        {.name = options_.name}, globals_.call());
    progress_.Clear();
    if (Interrupted()) {
      std::cerr << "interrupted: nothing was kept\n";
      return kInterrupted;
    }
    if (!local_.ok()) return BadInput(Said(local_));
    if (!done.ok()) return Fail(done.status());
    return Finish(*done);
  }

 private:
  static std::string Said(const absl::Status& status) {
    return absl::StrCat(Printable(std::string(status.message())), ". Nothing was kept.");
  }

  absl::Status Take(std::string_view bytes, uint64_t total) {
    if (absl::Status status = CheckInterrupted(); !status.ok()) return status;
    if (absl::Status status = decoder_.Add(bytes); !status.ok()) return status;
    if (local_ = file_.Write(bytes); !local_.ok()) return local_;
    bytes_ += bytes.size();
    progress_.Show(TransferState{.name = options_.collection,
                                 .bytes = bytes_,
                                 .total = total == 0 ? std::nullopt : std::optional(total),
                                 .elapsed = absl::Now() - begin_});
    return absl::OkStatus();
  }

  int Finish(const Downloaded& done) {
    const auto footer = decoder_.Finish();
    if (!footer.ok()) return Fail(footer.status());
    if (footer->checksum != done.checksum) {
      return Fail(
          absl::DataLossError(absl::StrCat("the server says that the checksum is ", done.checksum,
                                           "; what came has ", footer->checksum)));
    }
    if (absl::Status status = file_.Keep(); !status.ok()) return BadInput(Said(status));
    const absl::Duration time = absl::Now() - begin_;
    if (globals_.json) {
      Print({{"file", path_},
             {"collection", header_.collection},
             {"rows", header_.rows},
             {"sequence", header_.sequence},
             {"bytes", footer->bytes},
             {"checksum", footer->checksum},
             {"time_s", absl::ToDoubleSeconds(time)}});
    } else {
      std::cout << Summary(path_, header_.rows, header_.sequence, footer->bytes) << " ("
                << Elapsed(time) << ")\n";
    }
    return kDone;
  }

  const Globals& globals_;
  const DownloadCommandOptions& options_;
  const std::string path_;
  OutputFile file_;
  snapshot::Decoder decoder_;
  snapshot::Header header_;
  absl::Status local_;  // what went wrong on this side
  Progress progress_;
  const absl::Time begin_ = absl::Now();
  uint64_t bytes_ = 0;
};

int RunDownload(const Globals& globals, const DownloadCommandOptions& options) {
  const InterruptionGuard guard(OutputFile::Unfinished(DownloadRun::Path(options)));
  return DownloadRun(globals, options).Run();
}

int RunVerify(const Globals& globals, const VerifyOptions& options) {
  const InterruptionGuard guard;
  Progress progress;
  const absl::Time begin = absl::Now();
  const auto checked = snapshot::Check(options.file, [&](uint64_t bytes, uint64_t total) {
    progress.Show(TransferState{
        .name = options.file, .bytes = bytes, .total = total, .elapsed = absl::Now() - begin});
    return CheckInterrupted();
  });
  progress.Clear();
  if (Interrupted()) return kInterrupted;
  if (!checked.ok()) {
    const std::string message(checked.status().message());
    if (!absl::IsDataLoss(checked.status())) return BadInput(Printable(message));
    return Fail(absl::DataLossError(absl::StrCat(options.file, " is damaged: ", message)));
  }
  const auto& [header, footer] = *checked;
  // The format's numbers begin with 1.
  const Metric metric = kMetrics[header.metric - 1];
  const Normalization normalization = kNormalizations[header.normalization - 1];
  const absl::Time created = absl::FromUnixMicros(header.created_us);
  if (globals.json) {
    Print({{"file", options.file},
           {"collection", header.collection},
           {"dimension", header.dimension},
           {"metric", Name(metric)},
           {"normalization", Name(normalization)},
           {"rows", header.rows},
           {"sequence", header.sequence},
           {"created", Time(created)},
           {"bytes", footer.bytes},
           {"checksum", footer.checksum}});
    return kDone;
  }
  std::cout << Printable(options.file) << ": whole and unaltered\n"
            << "collection  " << Printable(header.collection) << ", " << Thousands(header.dimension)
            << (header.dimension == 1 ? " dimension, " : " dimensions, ") << Name(metric)
            << ", normalization " << Name(normalization) << '\n'
            << "rows        " << Thousands(header.rows) << ", sequence "
            << Thousands(header.sequence) << '\n'
            << "created     " << Time(created) << '\n'
            << "checksum    " << footer.checksum << " (" << Bytes(footer.bytes) << ")\n";
  return kDone;
}

// The bytes of a file, or of stdin.
class InputFile {
 public:
  ~InputFile() {
    if (fd_ > STDERR_FILENO) close(fd_);
  }

  absl::Status Open(const std::string& path) {
    path_ = path == "-" ? "stdin" : path;
    fd_ = path == "-" ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) return FileError("read", path_);
    struct stat status {};
    if (fstat(fd_, &status) == 0 && S_ISREG(status.st_mode)) {
      size_ = static_cast<uint64_t>(status.st_size);
    }
    return absl::OkStatus();
  }
  const std::optional<uint64_t>& size() const { return size_; }

  // None at the end.
  absl::StatusOr<std::string> Read(size_t limit) const {
    std::string bytes(limit, 0);
    while (true) {
      const ssize_t count = read(fd_, bytes.data(), bytes.size());
      if (Interrupted()) return absl::CancelledError("interrupted");
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return FileError("read", path_);
      bytes.resize(static_cast<size_t>(count));
      return bytes;
    }
  }

 private:
  int fd_ = -1;
  std::string path_;
  std::optional<uint64_t> size_;
};

int Tell(const Globals& globals, const absl::StatusOr<Restored>& restored, absl::Duration time) {
  if (!restored.ok()) return Fail(restored.status());
  if (globals.json) {
    Print({{"collection", restored->collection},
           {"dimension", restored->dimension},
           {"metric", Name(restored->metric)},
           {"normalization", Name(restored->normalization)},
           {"rows", restored->rows},
           {"sequence", restored->sequence},
           {"snapshot_collection", restored->snapshot_collection},
           {"snapshot_created", Time(restored->snapshot_created)},
           {"checksum", restored->checksum},
           {"time_s", absl::ToDoubleSeconds(time)}});
  } else {
    std::cout << restored->collection << ": " << Rows(restored->rows) << " restored, sequence "
              << Thousands(restored->sequence) << "; as "
              << Printable(restored->snapshot_collection) << " was at "
              << Time(restored->snapshot_created) << " (" << Elapsed(time) << ")\n";
  }
  return kDone;
}

int RestoreFile(const Globals& globals, const RestoreOptions& options) {
  const InterruptionGuard guard;
  InputFile file;
  if (absl::Status status = file.Open(options.file); !status.ok()) {
    return BadInput(Printable(std::string(status.message())));
  }
  Progress progress;
  const absl::Time begin = absl::Now();
  uint64_t sent = 0;
  absl::Status local;
  const auto give = [&](size_t limit) {
    auto bytes = file.Read(limit);
    local = bytes.status();
    if (bytes.ok()) sent += bytes->size();
    progress.Show(TransferState{.name = options.collection,
                                .bytes = sent,
                                .total = file.size(),
                                .elapsed = absl::Now() - begin});
    return bytes;
  };
  const auto restored = globals.client().RestoreSnapshot(options.collection, give, globals.call());
  progress.Clear();
  if (Interrupted() && !restored.ok()) {
    std::cerr << "interrupted: nothing was restored\n";
    return kInterrupted;
  }
  if (!local.ok()) {
    return BadInput(Printable(std::string(local.message())) + ". Nothing was restored.");
  }
  return Tell(globals, restored, absl::Now() - begin);
}

int RunRestore(const Globals& globals, const RestoreOptions& options) {
  if (options.file.empty() == options.stored.empty()) {
    return BadInput("one of a FILE and --from-server is needed; see: vexact restore --help");
  }
  if (!options.file.empty()) return RestoreFile(globals, options);
  const size_t slash = options.stored.find('/');
  if (slash == std::string::npos) {
    return BadInput("--from-server is \"" + Printable(options.stored) +
                    "\"; it must be COLLECTION/SNAPSHOT, as in docs/monday");
  }
  const absl::Time begin = absl::Now();
  const auto restored =
      globals.client().RestoreStoredSnapshot(options.collection, options.stored.substr(0, slash),
                                             options.stored.substr(slash + 1), globals.call());
  return Tell(globals, restored, absl::Now() - begin);
}

void AddSnapshotArgument(CLI::App* command, std::string* name, const char* description) {
  command->add_option("snapshot", *name, description)->type_name("SNAPSHOT");
}

void AddDownload(Program& program, CLI::App& parent) {
  auto options = std::make_shared<DownloadCommandOptions>();
  CLI::App* download = AddCommand<DownloadCommandOptions>(
      program, parent, "download", "Bring a snapshot here, checked, in one file",
      "  vexact snapshot download docs             # of now, kept only here: docs.vxsnap\n"
      "  vexact snapshot download docs monday      # one that the server keeps\n"
      "  vexact snapshot download docs -o backup/docs.vxsnap --force",
      options, RunDownload);
  AddCollectionArgument(download, &options->collection);
  AddSnapshotArgument(download, &options->name,
                      "One that the server keeps (default: the collection of now)");
  download
      ->add_option("-o,--output", options->file,
                   "The file to write (default: COLLECTION[-SNAPSHOT].vxsnap)")
      ->type_name("FILE");
  download->add_flag("--force", options->force, "Replace a file that exists");
}

void AddVerify(Program& program, CLI::App& parent) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* verify =
      AddCommand<VerifyOptions>(program, parent, "verify", "Check a snapshot file; needs no server",
                                "  vexact snapshot verify docs.vxsnap", options, RunVerify);
  verify->add_option("file", options->file, "The file")->required()->type_name("FILE");
}

void AddRestore(Program& program) {
  auto options = std::make_shared<RestoreOptions>();
  CLI::App* restore =
      AddCommand<RestoreOptions>(program, "restore", "Make a new collection of a snapshot",
                                 "  vexact restore docs docs.vxsnap\n"
                                 "  vexact restore docs-monday --from-server docs/monday\n"
                                 "  ssh backup cat docs.vxsnap | vexact restore docs -",
                                 options, RunRestore);
  AddCollectionArgument(restore, &options->collection);
  restore->add_option("file", options->file, "A snapshot file, - for stdin")->type_name("FILE");
  restore->add_option("--from-server", options->stored, "A snapshot that the server keeps, instead")
      ->type_name("COLLECTION/SNAPSHOT");
}

}  // namespace

void AddSnapshotCommands(Program& program) {
  CLI::App& parent =
      *program.app.add_subcommand("snapshot", "Make, list, bring, check and delete snapshots");
  parent.require_subcommand(1);
  auto create_options = std::make_shared<SnapshotOptions>();
  CLI::App* create = AddCommand<SnapshotOptions>(
      program, parent, "create", "Keep a collection as it is now, on the server",
      "  vexact snapshot create docs\n  vexact snapshot create docs monday", create_options,
      RunCreate);
  AddCollectionArgument(create, &create_options->collection);
  AddSnapshotArgument(create, &create_options->name,
                      "Its name (default: of the time and the sequence number)");
  auto list_options = std::make_shared<SnapshotOptions>();
  CLI::App* list = AddCommand<SnapshotOptions>(
      program, parent, "list", "Show the snapshots that the server keeps",
      "  vexact snapshot list\n  vexact snapshot list docs --json | jq -r '.snapshots[-1].name'",
      list_options, RunList);
  AddCollectionArgument(list, &list_options->collection);
  list->get_option("collection")->required(false);
  auto delete_options = std::make_shared<SnapshotOptions>();
  CLI::App* remove = AddCommand<SnapshotOptions>(
      program, parent, "delete", "Delete a snapshot from the server",
      "  vexact snapshot delete docs monday", delete_options, RunDelete);
  AddCollectionArgument(remove, &delete_options->collection);
  AddSnapshotArgument(remove, &delete_options->name, "Its name");
  remove->get_option("snapshot")->required();
  AddDownload(program, parent);
  AddVerify(program, parent);
  AddRestore(program);
}

}  // namespace vexact::client
