// The format of a snapshot file: one collection at one moment, in one file that can be carried
// anywhere.
//
// All numbers are little-endian. A file is a header, blocks of rows, and a footer:
//
//   header
//     "VXSNAP\r\n"            8 bytes: a transfer as text breaks them
//     version                 u32, 1
//     dimension               u32, 1 to 65,536
//     metric                  u32, as enum Metric of vexact.v1
//     normalization           u32, as enum Normalization of vexact.v1
//     sequence                u64: the collection's last write that the file holds
//     rows                    u64: of all blocks
//     created                 i64: microseconds since 1970
//     length                  u32: of the collection's name, 1 to 128
//     name                    that many bytes
//     XXH3, 64 bits           u64: of the header up to here
//   block
//     "ROWS"                  4 bytes
//     rows                    u32: at least 1
//     id bytes                u32: of all ids together
//     ids                     a row: 0 and a number (u64), or 1, a length (u16) and a text
//     vectors                 a row: dimension x float32, the bits as they are stored
//     XXH3, 64 bits           u64: of the block up to here
//   footer
//     "DONE"                  4 bytes
//     blocks                  u64
//     rows                    u64: as in the header
//     bytes                   u64: of the whole file
//     XXH3, 128 bits          16 bytes, canonical (big-endian): of all before it
//
// The blocks' own sums say where a file is damaged; the last one says that it is whole, and names
// its content. Rows come in the order in which the collection holds them, not by id: they are read
// and written in the order of memory, nothing has to be sorted or looked up on either side, rows
// that were searched together lie together again, and the writer needs no lock.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vexact::snapshot {

inline constexpr uint32_t kVersion = 1;

struct Header {
  std::string collection = {};
  uint32_t dimension = 0;
  uint32_t metric = 0, normalization = 0;
  uint64_t sequence = 0;
  uint64_t rows = 0;
  int64_t created_us = 0;

  bool operator==(const Header&) const = default;
};

struct Row {
  std::variant<uint64_t, std::string_view> id;
  std::span<const float> vector;
};

// What the footer says.
struct Footer {
  uint64_t blocks = 0, rows = 0, bytes = 0;
  std::string checksum = {};  // 32 hexadecimal digits

  bool operator==(const Footer&) const = default;
};

// Bytes of the footer, which are a file's last.
inline constexpr size_t kFooterBytes = 4 + 3 * 8 + 16;

// Writes a file into a string that its caller empties as it likes. All is appended to `out`.
class Encoder {
 public:
  explicit Encoder(Header header);
  ~Encoder();
  Encoder(Encoder&&) noexcept;
  Encoder& operator=(Encoder&&) noexcept;

  // Call once, before all else.
  void Begin(std::string& out);
  // Appends a block now and then: the rows of about a mebibyte. REQUIRES: the vector has the
  // header's dimension; a text has at most 65,535 bytes.
  void Add(const Row& row, std::string& out);
  // Call once, after all else. REQUIRES: as many rows were added as the header says.
  Footer Finish(std::string& out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Reads a file that comes in pieces of any size. Nothing of it is to be believed before Finish.
//
// Errors: DATA_LOSS when the bytes are no whole and unaltered snapshot, with what is wrong and at
// which byte; FAILED_PRECONDITION when it is of a newer version; what `on_header` or `on_rows`
// returned. After an error only the destructor may be called.
class Decoder {
 public:
  using OnHeader = std::function<absl::Status(const Header&)>;
  // Both the rows and what they refer to are valid during the call only.
  using OnRows = std::function<absl::Status(std::span<const Row>)>;

  Decoder(OnHeader on_header, OnRows on_rows);
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;

  absl::Status Add(std::string_view bytes);
  absl::StatusOr<Footer> Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What the ends of a file say, unchecked but for the header's own sum: for lists. Errors as above,
// and UNAVAILABLE when it cannot be read.
struct Summary {
  Header header;
  Footer footer;
};
absl::StatusOr<Summary> ReadSummary(const std::string& path);

// Reads the file to its end and checks all of it. `progress` is told how many bytes of how many
// are read, and may end it with an error. Errors as above; NOT_FOUND when there is no such file.
absl::StatusOr<Summary> Check(
    const std::string& path,
    const std::function<absl::Status(uint64_t bytes, uint64_t total)>& progress = nullptr);

// Hands the file's bytes to `decoder` in pieces; `progress` as above.
absl::StatusOr<Footer> ReadFile(
    const std::string& path, Decoder& decoder,
    const std::function<absl::Status(uint64_t bytes, uint64_t total)>& progress = nullptr);

}  // namespace vexact::snapshot
