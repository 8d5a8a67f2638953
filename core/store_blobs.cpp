#include "core/store_blobs.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/crc32c.h"

// The format, from RocksDB's db/blob/blob_log_format.h: a file header of 30 bytes; records; a
// footer of 32 bytes where the file was completed. A record has, little-endian, the lengths of key
// and value and a time (8 bytes each), the masked CRC-32C of these, that of key and value (4 bytes
// each), key, value.
namespace vexact {
namespace {

constexpr size_t kFileHeaderBytes = 30;
constexpr size_t kLengthsBytes = 24;
constexpr size_t kRecordHeaderBytes = 32;
constexpr size_t kKeyBytes = 12;
// What one vector can have at most: 65,536 components.
constexpr uint64_t kMaxValueBytes = uint64_t{65'536} * sizeof(float);

// A file that is read from its beginning to its end.
class BlobFile {
 public:
  explicit BlobFile(std::unique_ptr<rocksdb::SequentialFile> file) : file_(std::move(file)) {}

  // The bytes that follow, `count` of them or all that are left.
  std::string_view Peek(size_t count) {
    if (buffer_.size() - begin_ < count) Fill(count);
    return std::string_view(buffer_).substr(begin_, count);
  }
  // REQUIRES: Peek has returned as many.
  void Skip(size_t count) { begin_ += count; }

 private:
  void Fill(size_t count) {
    constexpr size_t kReadBytes = size_t{1} << 20;
    buffer_.erase(0, begin_);
    begin_ = 0;
    std::string piece(kReadBytes, '\0');
    while (buffer_.size() < count) {
      rocksdb::Slice read;
      // What cannot be read is as good as not there.
      if (!file_->Read(kReadBytes, &read, piece.data()).ok() || read.empty()) return;
      buffer_.append(read.data(), read.size());
    }
  }

  std::unique_ptr<rocksdb::SequentialFile> file_;
  std::string buffer_;
  size_t begin_ = 0;
};

struct BlobHeader {
  uint64_t value_bytes;
  uint32_t crc;
};

std::optional<BlobHeader> ReadHeader(std::string_view bytes) {
  if (bytes.size() < kRecordHeaderBytes) return std::nullopt;
  if (ReadLittleEndian(bytes.substr(0, 8)) != kKeyBytes) return std::nullopt;
  const uint64_t value_bytes = ReadLittleEndian(bytes.substr(8, 8));
  if (value_bytes > kMaxValueBytes) return std::nullopt;
  const auto crc = static_cast<uint32_t>(ReadLittleEndian(bytes.substr(kLengthsBytes, 4)));
  if (Crc32c(bytes.substr(0, kLengthsBytes)) != UnmaskCrc(crc)) return std::nullopt;
  return BlobHeader{value_bytes, static_cast<uint32_t>(ReadLittleEndian(bytes.substr(28, 4)))};
}

absl::Status VisitFile(BlobFile file,
                       const std::function<absl::Status(RowName, std::string_view)>& visit) {
  if (file.Peek(kFileHeaderBytes).size() < kFileHeaderBytes) return absl::OkStatus();
  file.Skip(kFileHeaderBytes);
  while (true) {
    const std::string_view start = file.Peek(kRecordHeaderBytes);
    if (start.size() < kRecordHeaderBytes) return absl::OkStatus();
    const auto header = ReadHeader(start);
    // Behind a damaged header the next record can be anywhere.
    if (!header) {
      file.Skip(1);
      continue;
    }
    const size_t bytes = kRecordHeaderBytes + kKeyBytes + header->value_bytes;
    const std::string_view record = file.Peek(bytes);
    if (record.size() < bytes) {
      file.Skip(1);
      continue;
    }
    const std::string_view contents = record.substr(kRecordHeaderBytes);
    if (Crc32c(contents) == UnmaskCrc(header->crc)) {
      const auto name = DecodeRowKey({contents.data(), kKeyBytes});
      if (absl::Status status = visit(*name, contents.substr(kKeyBytes)); !status.ok()) {
        return status;
      }
    }
    file.Skip(bytes);
  }
}

}  // namespace

absl::Status VisitBlobs(rocksdb::Env& env, const std::string& database,
                        const std::function<absl::Status(RowName, std::string_view)>& visit) {
  std::vector<std::string> names;
  const rocksdb::Status listed = env.GetChildren(database, &names);
  if (!listed.ok()) return ToStatus(listed, database);
  std::map<uint64_t, std::string> files;
  for (const std::string& name : names) {
    constexpr size_t kSuffix = std::string_view(".blob").size();
    uint64_t number;
    if (name.ends_with(".blob") &&
        absl::SimpleAtoi(name.substr(0, name.size() - kSuffix), &number)) {
      files.emplace(number, absl::StrCat(database, "/", name));
    }
  }
  for (const auto& [number, path] : files) {
    std::unique_ptr<rocksdb::SequentialFile> file;
    if (!env.NewSequentialFile(path, &file, {}).ok()) continue;
    if (absl::Status status = VisitFile(BlobFile(std::move(file)), visit); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace vexact
