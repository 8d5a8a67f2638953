#include "tests/soak/saver.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "tests/crash/text.h"

namespace vexact::soak {
namespace {

using crash::Text;

const client::CallOptions kPatient{.timeout = absl::Minutes(5)};

// Of bytes that are there.
client::GiveBytes GiveAll(const std::string& bytes) {
  return [&bytes, at = size_t{0}](size_t limit) mutable -> absl::StatusOr<std::string> {
    const std::string piece = bytes.substr(at, std::min<size_t>(limit, 100'000));
    at += piece.size();
    return piece;
  };
}

}  // namespace

Saver::Saver(Session& session, uint64_t seed)
    : session_(session), reader_(session, seed), dice_(seed + 1) {}

void Saver::Act() {
  const size_t c = dice_.Collection();
  switch (dice_.Below(4)) {
    case 0:
      return TakeOneAlong(c);
    case 1:
      return GiveUpOne(c);
    default:
      return KeepOne(c);
  }
}

std::string Saver::Download(size_t collection, const std::string& name) {
  std::string bytes;
  const auto take = [&bytes](std::string_view piece, uint64_t) {
    bytes += piece;
    return absl::OkStatus();
  };
  const auto downloaded =
      session_.client.DownloadSnapshot(NameOf(collection), take, {.name = name}, kPatient);
  if (!session_.Ended("download", downloaded.status())) return {};
  if (downloaded->bytes != bytes.size()) session_.Note("download", "it has another size");
  return bytes;
}

void Saver::KeepOne(size_t collection) {
  const std::string name = "kept-" + std::to_string(++count_);
  const uint64_t since = session_.ledgers[collection].seen();
  const auto made = session_.client.CreateSnapshot(NameOf(collection), name, kPatient);
  if (!session_.Ended("snapshot", made.status())) return;
  session_.ledgers[collection].Read(made->sequence, since, [made = *made](const Model& model) {
    const std::string defect = model.CheckMetric(made.metric);
    return defect.empty() ? model.CheckRows(made.rows) : defect;
  });
  CheckListed(*made);
  const std::string bytes = Download(collection, name);
  if (bytes.size() != made->bytes) session_.Note("download", "it is not of the size listed");
  Restore(collection, bytes, dice_.OneIn(2) ? name : "");
  const auto freed = session_.client.DeleteSnapshot(NameOf(collection), name, kPatient);
  if (session_.Ended("delete snapshot", freed.status()) && *freed != made->bytes) {
    session_.Note("delete snapshot", Text(*freed, " bytes were freed of ", made->bytes));
  }
}

void Saver::CheckListed(const client::Snapshot& snapshot) {
  const auto list = session_.client.ListSnapshots(snapshot.collection, kPatient);
  if (!session_.Ended("list snapshots", list.status())) return;
  const auto found = std::ranges::find(*list, snapshot.name, &client::Snapshot::name);
  if (found == list->end() || found->sequence != snapshot.sequence ||
      found->checksum != snapshot.checksum || found->rows != snapshot.rows) {
    session_.Note("list snapshots", Text("it says otherwise about ", snapshot.name));
  }
}

void Saver::TakeOneAlong(size_t collection) {
  const std::string bytes = Download(collection, "");
  if (bytes.empty()) return;
  Restore(collection, bytes, "");
  RestoreAltered(bytes);
}

void Saver::GiveUpOne(size_t collection) {
  const std::string name = "given-up-" + std::to_string(++count_);
  const client::CallOptions hasty{.timeout = absl::Microseconds(dice_.Below(8'000))};
  const auto made = session_.client.CreateSnapshot(NameOf(collection), name, hasty);
  session_.Ended("hasty snapshot", made.status(), {grpc::CANCELLED, grpc::DEADLINE_EXCEEDED});
  // It may have been made all the same.
  session_.Ended("delete what was given up",
                 session_.client.DeleteSnapshot(NameOf(collection), name, kPatient).status(),
                 {grpc::NOT_FOUND});
}

void Saver::Restore(size_t collection, const std::string& bytes, const std::string& name) {
  const std::string made = "restored-" + std::to_string(++count_);
  const auto restored =
      name.empty()
          ? session_.client.RestoreSnapshot(made, GiveAll(bytes), kPatient)
          : session_.client.RestoreStoredSnapshot(made, NameOf(collection), name, kPatient);
  if (!session_.Ended(name.empty() ? "restore" : "restore of a kept one", restored.status())) {
    return;
  }
  session_.ledgers[collection].Read(restored->sequence, 0, [told = *restored](const Model& model) {
    const std::string defect = model.CheckMetric(told.metric);
    return defect.empty() ? model.CheckRows(told.rows) : defect;
  });
  session_.set_restored(
      std::make_shared<const Restored>(Restored{made, collection, restored->sequence}));
  reader_.ScrollAll(collection, made);
  session_.set_restored(nullptr);
  const auto rows = session_.client.DeleteCollection(made, kPatient);
  if (session_.Ended("delete what was restored", rows.status()) && *rows != restored->rows) {
    session_.Note(made, "its rows have become others");
  }
}

void Saver::RestoreAltered(std::string bytes) {
  if (dice_.OneIn(2)) {
    bytes.resize(dice_.Below(static_cast<uint32_t>(bytes.size())));
  } else {
    bytes[dice_.Below(static_cast<uint32_t>(bytes.size()))] ^= 16;
  }
  const auto restored = session_.client.RestoreSnapshot("altered", GiveAll(bytes), kPatient);
  if (session_.Ended("restore of altered bytes", restored.status(), {grpc::INVALID_ARGUMENT})) {
    session_.Note("restore of altered bytes", "it succeeded");
  }
}

}  // namespace vexact::soak
