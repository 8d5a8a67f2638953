#include "core/store_log.h"

#include <rocksdb/env.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/crc32c.h"

// The format, from RocksDB's db/log_format.h: blocks of 32 KiB, filled with fragments that never
// cross into the next block; fewer than seven bytes at a block's end are left as zeros. A fragment:
// masked CRC-32C of all that follows (4 bytes, little-endian), length of the payload (2), type (1),
// payload. A record is one kFull fragment, or kFirst, kMiddle..., kLast. Its first bytes are the
// sequence number of its first change (8) and how many changes it has (4).
namespace vexact {
namespace {

constexpr size_t kBlockBytes = 32'768;
constexpr size_t kHeaderBytes = 7;
constexpr size_t kSectorBytes = 512;  // what a disk writes whole or not at all
constexpr size_t kSequenceBytes = 12;

enum FragmentType : uint8_t { kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

struct Fragment {
  FragmentType type;
  std::string_view payload;
};

// The fragment that starts at `offset`, if it is whole.
std::optional<Fragment> ReadFragment(std::string_view log, size_t offset) {
  const size_t block_end = std::min(log.size(), (offset / kBlockBytes + 1) * kBlockBytes);
  if (offset + kHeaderBytes > block_end) return std::nullopt;
  const size_t length = ReadLittleEndian(log.substr(offset + 4, 2));
  const auto type = static_cast<uint8_t>(log[offset + 6]);
  if (type < kFull || type > kLast || offset + kHeaderBytes + length > block_end) {
    return std::nullopt;
  }
  const auto sum = static_cast<uint32_t>(ReadLittleEndian(log.substr(offset, 4)));
  if (Crc32c(log.substr(offset + 6, length + 1)) != UnmaskCrc(sum)) return std::nullopt;
  return Fragment{static_cast<FragmentType>(type), log.substr(offset + kHeaderBytes, length)};
}

bool AllZeros(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char byte) { return byte == 0; });
}

// Whether the bytes from `begin` on, which should be a fragment, look like a write that stopped:
// the file ends within them, or they lack a sector.
bool LooksTorn(std::string_view log, size_t begin) {
  const size_t block_end = (begin / kBlockBytes + 1) * kBlockBytes;
  size_t end = begin + kHeaderBytes;
  if (end <= log.size()) {
    const std::string_view header = log.substr(begin, kHeaderBytes);
    if (AllZeros(header)) return true;
    end += ReadLittleEndian(header.substr(4, 2));
  }
  // Nothing is written after a record that was not written to its end.
  const auto type = begin + kHeaderBytes <= log.size() ? static_cast<uint8_t>(log[begin + 6]) : 0;
  const bool ends = type == kFull || type == kLast;
  if (ends && end < log.size() && !AllZeros(log.substr(end))) return false;
  // A length that no fragment can have is itself damage, unless part of the header is missing.
  if (end > log.size()) return end <= block_end || log.size() < begin + kHeaderBytes;
  for (size_t at = begin; at < std::min(end, block_end);) {
    const size_t sector_end = std::min({(at / kSectorBytes + 1) * kSectorBytes, end, log.size()});
    if (AllZeros(log.substr(at, sector_end - at))) return true;
    at = sector_end;
  }
  return false;
}

// Where a whole first fragment of a record lies after a bad place. Within the bad place's block
// nothing says where fragments begin, so every byte is tried.
std::optional<size_t> NextRecord(std::string_view log, size_t bad) {
  const size_t next_block = (bad / kBlockBytes + 1) * kBlockBytes;
  for (size_t at = bad + 1; at < log.size(); ++at) {
    if (const auto fragment = ReadFragment(log, at)) {
      if (fragment->type == kFull || fragment->type == kFirst) return at;
      if (at >= next_block) at += kHeaderBytes + fragment->payload.size() - 1;
    } else if (at >= next_block) {
      at = (at / kBlockBytes + 1) * kBlockBytes - 1;
    }
  }
  return std::nullopt;
}

struct LogContents {
  // Of the log of writes: of the changes in whole records; next is one more than the last one's.
  std::optional<uint64_t> first_sequence, next_sequence;
  std::optional<size_t> bad;  // where whole records end, if not at the file's end
};

LogContents ReadLog(std::string_view log) {
  LogContents contents;
  size_t at = 0;
  std::string start;  // the first bytes of the record that is being read
  bool within = false;
  const auto bad = [&](size_t place) {
    contents.bad = place;
    return contents;
  };
  while (at < log.size()) {
    const size_t left = kBlockBytes - at % kBlockBytes;
    if (left < kHeaderBytes) {
      if (!AllZeros(log.substr(at, left))) return bad(at);
      at += left;
      continue;
    }
    const auto fragment = ReadFragment(log, at);
    if (!fragment) return bad(at);
    const bool begins = fragment->type == kFull || fragment->type == kFirst;
    // RocksDB may leave a first fragment without payload at a block's end and begin anew.
    if (begins == within && !(begins && start.empty())) return bad(at);
    if (begins) start.clear();
    if (start.size() < kSequenceBytes) {
      start.append(fragment->payload.substr(0, kSequenceBytes - start.size()));
    }
    within = fragment->type == kFirst || fragment->type == kMiddle;
    at += kHeaderBytes + fragment->payload.size();
    if (within) continue;
    if (start.size() < kSequenceBytes) continue;  // of the manifest
    const uint64_t sequence = ReadLittleEndian(std::string_view(start).substr(0, 8));
    const uint64_t changes = ReadLittleEndian(std::string_view(start).substr(8));
    if (changes == 0) continue;  // an opening that did not come to its end leaves such a record
    if (!contents.first_sequence) contents.first_sequence = sequence;
    contents.next_sequence = sequence + changes;
  }
  if (within) contents.bad = log.size();
  return contents;
}

absl::StatusOr<std::map<uint64_t, std::string>> LogFiles(rocksdb::Env& env,
                                                         const std::string& database) {
  std::vector<std::string> names;
  const rocksdb::Status listed = env.GetChildren(database, &names);
  std::map<uint64_t, std::string> logs;
  if (listed.IsNotFound()) return logs;
  if (!listed.ok()) {
    return absl::UnavailableError(
        absl::StrFormat("cannot read %s: %s", database, listed.ToString()));
  }
  for (const std::string& name : names) {
    uint64_t number;
    if (name.ends_with(".log") && absl::SimpleAtoi(name.substr(0, name.size() - 4), &number)) {
      logs.emplace(number, absl::StrCat(database, "/", name));
    }
  }
  return logs;
}

absl::Status Damaged(std::string_view file, size_t offset, std::string_view what) {
  return absl::DataLossError(
      absl::StrFormat("the write-ahead log %s is damaged at byte %d: %s", file, offset, what));
}

}  // namespace

absl::Status TrimManifest(rocksdb::Env& env, const std::string& database) {
  std::string name, manifest;
  rocksdb::Status read = rocksdb::ReadFileToString(&env, database + "/CURRENT", &name);
  const std::string path = absl::StrCat(database, "/", absl::StripAsciiWhitespace(name));
  if (read.ok()) read = rocksdb::ReadFileToString(&env, path, &manifest);
  // What cannot be read, or is damaged, RocksDB reports when it opens the database.
  if (!read.ok()) return absl::OkStatus();
  const std::optional<size_t> bad = ReadLog(manifest).bad;
  if (!bad || *bad == manifest.size() || NextRecord(manifest, *bad) || !LooksTorn(manifest, *bad)) {
    return absl::OkStatus();
  }
  // In place: on a full disk there is no room for another.
  std::unique_ptr<rocksdb::WritableFile> file;
  rocksdb::Status trimmed = env.ReopenWritableFile(path, &file, {});
  if (trimmed.ok()) trimmed = file->Truncate(*bad);
  if (trimmed.ok()) trimmed = file->Fsync();
  if (trimmed.ok()) trimmed = file->Close();
  if (trimmed.ok()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrFormat("cannot write %s: %s", path, trimmed.ToString()));
}

absl::Status CheckLog(rocksdb::Env& env, const std::string& database, uint64_t first_file) {
  const auto logs = LogFiles(env, database);
  if (!logs.ok()) return logs.status();
  std::optional<uint64_t> next_sequence;
  absl::Status torn;  // what the torn end of an earlier file is if records follow it
  std::string log;
  for (const auto& [number, file] : *logs) {
    if (number < first_file) continue;
    if (const rocksdb::Status read = rocksdb::ReadFileToString(&env, file, &log); !read.ok()) {
      return absl::UnavailableError(absl::StrFormat("cannot read %s: %s", file, read.ToString()));
    }
    const LogContents contents = ReadLog(log);
    if (contents.first_sequence) {
      // A torn end that an earlier opening has dropped: what came later continues before it.
      if (!torn.ok() && contents.first_sequence != next_sequence) return torn;
      torn = absl::OkStatus();
      next_sequence = contents.next_sequence;
    }
    if (!contents.bad) continue;
    const size_t bad = *contents.bad;
    if (const auto next = NextRecord(log, bad)) {
      return Damaged(file, bad, absl::StrFormat("a whole record follows at byte %d", *next));
    }
    if (bad < log.size() && !LooksTorn(log, bad)) {
      return Damaged(file, bad, "its last bytes are there, but are no whole record");
    }
    torn = Damaged(file, bad, "later files of the log continue after what is missing here");
  }
  return absl::OkStatus();
}

}  // namespace vexact
