#include "snapshot/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"

namespace vexact::snapshot {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are stored as they are");

constexpr std::string_view kMagic = "VXSNAP\r\n";
constexpr std::string_view kBlockTag = "ROWS";
constexpr std::string_view kFooterTag = "DONE";
constexpr size_t kTagBytes = 4;
constexpr size_t kSumBytes = 8;
constexpr size_t kChecksumBytes = 16;

// Up to the name's first byte.
constexpr size_t kFixedHeaderBytes = 8 + 4 * 4 + 3 * 8 + 4;
constexpr size_t kMaxNameBytes = 128;
constexpr uint32_t kMaxDimension = 65'536;
constexpr uint32_t kMetrics = 3, kNormalizations = 3;

constexpr size_t kBlockHeaderBytes = kTagBytes + 4 + 4;
// Ids and vectors of a block that has several rows.
constexpr size_t kBlockBytes = size_t{1} << 20;
constexpr size_t kNumberBytes = 1 + 8;
constexpr size_t kMaxIdBytes = 1 + 2 + 65'535;

constexpr size_t kReadBytes = size_t{1} << 20;

template <typename T>
void Put(T value, std::string& out) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename T>
T Get(std::string_view bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

uint64_t Sum(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

// Of a stream.
class Hasher {
 public:
  Hasher() { XXH3_128bits_reset(&state_); }
  void Add(std::string_view bytes) { XXH3_128bits_update(&state_, bytes.data(), bytes.size()); }
  std::string Digest() const {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state_));
    return {reinterpret_cast<const char*>(canonical.digest), sizeof canonical.digest};
  }

 private:
  XXH3_state_t state_;
};

Footer ParseFooter(std::string_view bytes) {
  return {.blocks = Get<uint64_t>(bytes, kTagBytes),
          .rows = Get<uint64_t>(bytes, kTagBytes + 8),
          .bytes = Get<uint64_t>(bytes, kTagBytes + 16),
          .checksum = absl::BytesToHexString({bytes.data() + kTagBytes + 24, kChecksumBytes})};
}

absl::Status Damaged(const std::string& what) { return absl::DataLossError(what); }

// The length of the header's name, given its fixed part.
absl::StatusOr<size_t> NameBytes(std::string_view fixed) {
  if (!fixed.starts_with(kMagic)) return Damaged("byte 0: this is no snapshot file");
  if (const auto version = Get<uint32_t>(fixed, 8); version != kVersion) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "byte 8: the snapshot is of version %d; this program reads version %d", version, kVersion));
  }
  const auto bytes = Get<uint32_t>(fixed, kFixedHeaderBytes - 4);
  if (bytes == 0 || bytes > kMaxNameBytes) {
    return Damaged(absl::StrFormat("byte %d: the collection's name has %d bytes; it has 1 to %d",
                                   kFixedHeaderBytes - 4, bytes, kMaxNameBytes));
  }
  return bytes;
}

// REQUIRES: NameBytes is OK, and the header is whole.
absl::StatusOr<Header> ParseHeader(std::string_view bytes) {
  const std::string_view summed = bytes.substr(0, bytes.size() - kSumBytes);
  if (Get<uint64_t>(bytes, summed.size()) != Sum(summed)) {
    return Damaged("byte 0: the header's checksum does not match");
  }
  Header header{.collection = std::string(summed.substr(kFixedHeaderBytes)),
                .dimension = Get<uint32_t>(bytes, 12),
                .metric = Get<uint32_t>(bytes, 16),
                .normalization = Get<uint32_t>(bytes, 20),
                .sequence = Get<uint64_t>(bytes, 24),
                .rows = Get<uint64_t>(bytes, 32),
                .created_us = Get<int64_t>(bytes, 40)};
  if (header.dimension == 0 || header.dimension > kMaxDimension) {
    return Damaged(absl::StrFormat("byte 12: dimension is %d; it must be 1 to %d", header.dimension,
                                   kMaxDimension));
  }
  if (header.metric == 0 || header.metric > kMetrics) {
    return Damaged(absl::StrFormat("byte 16: there is no metric %d", header.metric));
  }
  if (header.normalization == 0 || header.normalization > kNormalizations) {
    return Damaged(absl::StrFormat("byte 20: there is no normalization %d", header.normalization));
  }
  return header;
}

}  // namespace

struct Encoder::State {
  explicit State(Header header_given) : header(std::move(header_given)) {}

  // Appends to `out`, and counts and hashes what it appends.
  void Emit(std::string_view bytes, std::string& out) {
    hasher.Add(bytes);
    written += bytes.size();
    out.append(bytes);
  }
  void EmitBlock(std::string& out);

  const Header header;
  Hasher hasher;
  uint64_t written = 0, blocks = 0, rows = 0;
  uint32_t block_rows = 0;  // in hand
  std::string ids, vectors;
};

Encoder::Encoder(Header header) : state_(std::make_unique<State>(std::move(header))) {}
Encoder::~Encoder() = default;
Encoder::Encoder(Encoder&&) noexcept = default;
Encoder& Encoder::operator=(Encoder&&) noexcept = default;

void Encoder::Begin(std::string& out) {
  const Header& header = state_->header;
  std::string bytes(kMagic);
  Put(kVersion, bytes);
  Put(header.dimension, bytes);
  Put(header.metric, bytes);
  Put(header.normalization, bytes);
  Put(header.sequence, bytes);
  Put(header.rows, bytes);
  Put(header.created_us, bytes);
  Put(static_cast<uint32_t>(header.collection.size()), bytes);
  bytes += header.collection;
  Put(Sum(bytes), bytes);
  state_->Emit(bytes, out);
}

void Encoder::Add(const Row& row, std::string& out) {
  State& state = *state_;
  const auto* text = std::get_if<std::string_view>(&row.id);
  const size_t id_bytes = text == nullptr ? kNumberBytes : 1 + 2 + text->size();
  const size_t bytes = state.ids.size() + state.vectors.size() + id_bytes + row.vector.size_bytes();
  if (state.block_rows > 0 && bytes > kBlockBytes) state.EmitBlock(out);
  if (text == nullptr) {
    Put(uint8_t{0}, state.ids);
    Put(std::get<uint64_t>(row.id), state.ids);
  } else {
    Put(uint8_t{1}, state.ids);
    Put(static_cast<uint16_t>(text->size()), state.ids);
    state.ids += *text;
  }
  state.vectors.append(reinterpret_cast<const char*>(row.vector.data()), row.vector.size_bytes());
  ++state.block_rows;
}

void Encoder::State::EmitBlock(std::string& out) {
  std::string bytes(kBlockTag);
  bytes.reserve(kBlockHeaderBytes + ids.size() + vectors.size() + kSumBytes);
  Put(block_rows, bytes);
  Put(static_cast<uint32_t>(ids.size()), bytes);
  bytes += ids;
  bytes += vectors;
  Put(Sum(bytes), bytes);
  Emit(bytes, out);
  ++blocks;
  rows += block_rows;
  block_rows = 0;
  ids.clear();
  vectors.clear();
}

Footer Encoder::Finish(std::string& out) {
  State& state = *state_;
  if (state.block_rows > 0) state.EmitBlock(out);
  std::string bytes(kFooterTag);
  Put(state.blocks, bytes);
  Put(state.rows, bytes);
  Put(state.written + kFooterBytes, bytes);
  state.Emit(bytes, out);
  const std::string checksum = state.hasher.Digest();
  out += checksum;
  return ParseFooter(bytes + checksum);
}

// A file is a row of pieces, each of which says near its beginning how long it is.
struct Decoder::State {
  enum Expected { kHeader, kBlock, kDone };

  // The length of the next piece; nothing while too little of it is there to know.
  absl::StatusOr<std::optional<size_t>> NextBytes(std::string_view bytes) const;
  absl::StatusOr<std::optional<size_t>> NextBlockBytes(std::string_view bytes) const;
  absl::Status Take(std::string_view piece);
  absl::Status TakeBlock(std::string_view piece);
  absl::Status ReadIds(std::string_view ids, uint32_t count);
  absl::Status TakeFooter(std::string_view piece);

  // An error at a byte of the piece that comes next.
  absl::Status DamagedAt(size_t at, const std::string& what) const {
    const std::string where = expected == kBlock ? absl::StrFormat(" (block %d)", blocks) : "";
    return Damaged(absl::StrFormat("byte %d%s: %s", begin + at, where, what));
  }

  OnHeader on_header;
  OnRows on_rows;
  Expected expected = kHeader;
  std::string buffer;  // what is not yet taken
  uint64_t begin = 0;  // where the buffer begins in the file
  Hasher hasher;
  Header header;
  uint64_t blocks = 0, rows = 0;
  std::vector<Row> block_rows;
  std::vector<float> vectors;
  Footer footer;
};

Decoder::Decoder(OnHeader on_header, OnRows on_rows) : state_(std::make_unique<State>()) {
  state_->on_header = std::move(on_header);
  state_->on_rows = std::move(on_rows);
}
Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;

absl::StatusOr<std::optional<size_t>> Decoder::State::NextBytes(std::string_view bytes) const {
  switch (expected) {
    case kHeader: {
      // At once, for who sends a large file of another kind.
      if (!kMagic.starts_with(bytes.substr(0, kMagic.size()))) {
        return DamagedAt(0, "this is no snapshot file");
      }
      if (bytes.size() < kFixedHeaderBytes) return std::nullopt;
      const auto name = NameBytes(bytes);
      if (!name.ok()) return name.status();
      return kFixedHeaderBytes + *name + kSumBytes;
    }
    case kBlock:
      return NextBlockBytes(bytes);
    case kDone:
      break;
  }
  return DamagedAt(0, "there are bytes behind the snapshot's end");
}

absl::StatusOr<std::optional<size_t>> Decoder::State::NextBlockBytes(std::string_view bytes) const {
  if (bytes.size() < kTagBytes) return std::nullopt;
  const std::string_view tag = bytes.substr(0, kTagBytes);
  if (tag == kFooterTag) return kFooterBytes;
  if (tag != kBlockTag) return DamagedAt(0, "neither a block nor the footer begins here");
  if (bytes.size() < kBlockHeaderBytes) return std::nullopt;
  // As wide as no product of the two can be.
  const uint64_t count = Get<uint32_t>(bytes, kTagBytes);
  const uint64_t id_bytes = Get<uint32_t>(bytes, kTagBytes + 4);
  const uint64_t content = id_bytes + count * header.dimension * sizeof(float);
  const uint64_t limit = count > 1 ? kBlockBytes : kMaxIdBytes + header.dimension * sizeof(float);
  if (count == 0 || content > limit) {
    return DamagedAt(kTagBytes,
                     absl::StrFormat("%d rows with %d bytes of ids are no block", count, id_bytes));
  }
  return kBlockHeaderBytes + content + kSumBytes;
}

absl::Status Decoder::State::Take(std::string_view piece) {
  if (expected == kBlock && piece.starts_with(kFooterTag)) return TakeFooter(piece);
  hasher.Add(piece);
  if (expected == kBlock) return TakeBlock(piece);
  auto parsed = ParseHeader(piece);
  if (!parsed.ok()) return parsed.status();
  header = *std::move(parsed);
  expected = kBlock;
  return on_header ? on_header(header) : absl::OkStatus();
}

absl::Status Decoder::State::TakeBlock(std::string_view piece) {
  const std::string_view summed = piece.substr(0, piece.size() - kSumBytes);
  if (Get<uint64_t>(piece, summed.size()) != Sum(summed)) {
    return DamagedAt(0, "the block's checksum does not match");
  }
  const auto count = Get<uint32_t>(piece, kTagBytes);
  const auto id_bytes = Get<uint32_t>(piece, kTagBytes + 4);
  if (count > header.rows - rows) {
    return DamagedAt(kTagBytes, absl::StrFormat("there are more rows than the %d that the header "
                                                "says",
                                                header.rows));
  }
  const std::string_view content = summed.substr(kBlockHeaderBytes);
  if (absl::Status status = ReadIds(content.substr(0, id_bytes), count); !status.ok()) {
    return status;
  }
  // Copied to where floats may lie.
  vectors.resize(size_t{count} * header.dimension);
  std::memcpy(vectors.data(), content.data() + id_bytes, vectors.size() * sizeof(float));
  for (uint32_t row = 0; row < count; ++row) {
    block_rows[row].vector = {vectors.data() + size_t{row} * header.dimension, header.dimension};
  }
  ++blocks;
  rows += count;
  return on_rows ? on_rows(block_rows) : absl::OkStatus();
}

absl::Status Decoder::State::ReadIds(std::string_view ids, uint32_t count) {
  block_rows.assign(count, {});
  size_t at = 0;
  for (Row& row : block_rows) {
    const bool is_text = at < ids.size() && ids[at] == 1;
    size_t bytes = is_text ? 1 + 2 : kNumberBytes;
    if (is_text && at + bytes <= ids.size()) bytes += Get<uint16_t>(ids, at + 1);
    if (at + bytes > ids.size() || (!is_text && ids[at] != 0)) {
      return DamagedAt(kBlockHeaderBytes + at, "there is no id here");
    }
    if (is_text) {
      row.id = ids.substr(at + 3, bytes - 3);
    } else {
      row.id = Get<uint64_t>(ids, at + 1);
    }
    at += bytes;
  }
  if (at == ids.size()) return absl::OkStatus();
  return DamagedAt(kBlockHeaderBytes + at, "the ids are longer than the rows' ids");
}

absl::Status Decoder::State::TakeFooter(std::string_view piece) {
  hasher.Add(piece.substr(0, kFooterBytes - kChecksumBytes));
  footer = ParseFooter(piece);
  const Footer read{.blocks = blocks,
                    .rows = rows,
                    .bytes = begin + kFooterBytes,
                    .checksum = absl::BytesToHexString(hasher.Digest())};
  expected = kDone;
  if (footer.checksum != read.checksum) {
    return DamagedAt(kFooterBytes - kChecksumBytes,
                     absl::StrFormat("the snapshot's checksum is %s; its bytes have %s",
                                     footer.checksum, read.checksum));
  }
  if (footer != read || rows != header.rows) {
    return DamagedAt(0, absl::StrFormat("%d rows in %d blocks came; there should be %d in %d", rows,
                                        blocks, header.rows, footer.blocks));
  }
  return absl::OkStatus();
}

absl::Status Decoder::Add(std::string_view bytes) {
  State& state = *state_;
  state.buffer.append(bytes);
  size_t taken = 0;
  while (taken < state.buffer.size()) {
    const std::string_view rest = std::string_view(state.buffer).substr(taken);
    const auto next = state.NextBytes(rest);
    if (!next.ok()) return next.status();
    if (!next->has_value() || rest.size() < **next) break;
    const std::string_view piece = rest.substr(0, **next);
    if (absl::Status status = state.Take(piece); !status.ok()) return status;
    taken += piece.size();
    state.begin += piece.size();
  }
  state.buffer.erase(0, taken);
  return absl::OkStatus();
}

absl::StatusOr<Footer> Decoder::Finish() {
  State& state = *state_;
  if (state.expected == State::kDone) return state.footer;
  const uint64_t end = state.begin + state.buffer.size();
  if (end == 0) return Damaged("byte 0: the snapshot is empty");
  return Damaged(absl::StrFormat("byte %d: the snapshot is cut off here", end));
}

namespace {

// A file that is read from its beginning.
class Input {
 public:
  static absl::StatusOr<Input> Open(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return absl::NotFoundError("there is no file " + path);
    if (fd < 0) return Failed("open", path);
    Input input(fd, path);
    struct stat status {};
    if (fstat(fd, &status) != 0) return Failed("read", path);
    if (S_ISDIR(status.st_mode)) {
      errno = EISDIR;
      return Failed("read", path);
    }
    input.size_ = static_cast<uint64_t>(status.st_size);
    return input;
  }
  Input(Input&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)), size_(other.size_) {}
  Input& operator=(Input&&) = delete;
  ~Input() {
    if (fd_ >= 0) close(fd_);
  }

  uint64_t size() const { return size_; }

  // As many bytes from `offset` on as there are and `bytes` holds.
  absl::StatusOr<std::string_view> Read(uint64_t offset, std::string& bytes) const {
    size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t count =
          pread(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return Failed("read", path_);
      if (count == 0) break;
      done += static_cast<size_t>(count);
    }
    return std::string_view(bytes).substr(0, done);
  }

 private:
  Input(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  static absl::Status Failed(const char* what, const std::string& path) {
    return absl::UnavailableError(
        absl::StrFormat("cannot %s %s: %s", what, path, std::strerror(errno)));
  }

  int fd_;
  std::string path_;
  uint64_t size_ = 0;
};

}  // namespace

absl::StatusOr<Summary> ReadSummary(const std::string& path) {
  const auto input = Input::Open(path);
  if (!input.ok()) return input.status();
  std::string begin(kFixedHeaderBytes + kMaxNameBytes + kSumBytes, 0), end(kFooterBytes, 0);
  const auto first = input->Read(0, begin);
  if (!first.ok()) return first.status();
  const auto cut_off = [&] {
    return Damaged(absl::StrFormat("byte %d: the snapshot is cut off here", input->size()));
  };
  if (first->size() < kFixedHeaderBytes) return cut_off();
  const auto name = NameBytes(*first);
  if (!name.ok()) return name.status();
  const size_t header_bytes = kFixedHeaderBytes + *name + kSumBytes;
  if (input->size() < header_bytes + kFooterBytes) return cut_off();
  auto header = ParseHeader(first->substr(0, header_bytes));
  if (!header.ok()) return header.status();
  const auto last = input->Read(input->size() - kFooterBytes, end);
  if (!last.ok()) return last.status();
  Summary summary{.header = *std::move(header), .footer = ParseFooter(*last)};
  if (!last->starts_with(kFooterTag) || summary.footer.bytes != input->size()) return cut_off();
  return summary;
}

absl::StatusOr<Footer> ReadFile(
    const std::string& path, Decoder& decoder,
    const std::function<absl::Status(uint64_t bytes, uint64_t total)>& progress) {
  const auto input = Input::Open(path);
  if (!input.ok()) return input.status();
  std::string buffer(kReadBytes, 0);
  for (uint64_t offset = 0;;) {
    const auto bytes = input->Read(offset, buffer);
    if (!bytes.ok()) return bytes.status();
    if (bytes->empty()) break;
    if (absl::Status status = decoder.Add(*bytes); !status.ok()) return status;
    offset += bytes->size();
    if (!progress) continue;
    if (absl::Status status = progress(offset, input->size()); !status.ok()) return status;
  }
  return decoder.Finish();
}

absl::StatusOr<Summary> Check(
    const std::string& path,
    const std::function<absl::Status(uint64_t bytes, uint64_t total)>& progress) {
  Summary summary;
  Decoder decoder(
      [&](const Header& header) {
        summary.header = header;
        return absl::OkStatus();
      },
      nullptr);
  auto footer = ReadFile(path, decoder, progress);
  if (!footer.ok()) return footer.status();
  summary.footer = *std::move(footer);
  return summary;
}

}  // namespace vexact::snapshot
