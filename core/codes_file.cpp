#include "core/codes_file.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/strings/str_format.h"
#include "core/checked_file.h"

namespace vexact {
namespace {

using Magic = std::array<char, 8>;
constexpr Magic kLayoutMagic = {'V', 'X', 'L', 'A', 'Y', 'O', 'U', 'T'};
constexpr Magic kCodesMagic = {'V', 'X', 'C', 'O', 'D', 'E', 'S', 0};

struct LayoutHeader {
  Magic magic = kLayoutMagic;
  uint32_t version = kCodesVersion, zero = 0;
};

struct CodesHeader {
  Magic magic = kCodesMagic;
  uint32_t version = kCodesVersion, dimension = 0, rows = 0, zero = 0;
  uint64_t layout = 0;
};

uint32_t WholeGroups(uint32_t rows) {
  return rows / static_cast<uint32_t>(kGroupRows) * static_cast<uint32_t>(kGroupRows);
}

// Calls visit(member) for each member, in their order. The bindings name every member, so that this
// does not compile when there is another one.
template <typename LayoutType, typename Visit>
void VisitLayout(LayoutType& layout, const Visit& visit) {
  auto& [dimension, first_width, center, center_norm, basis_rows, basis, defect, projection_error,
         weights, sketch_reach, longest] = layout;
  visit(dimension), visit(first_width), visit(center), visit(center_norm), visit(basis_rows);
  visit(basis), visit(defect), visit(projection_error), visit(weights), visit(sketch_reach);
  visit(longest);
}

template <typename RecordType, typename Visit>
void VisitRecord(RecordType& record, const Visit& visit) {
  auto& [trained, weighed_rows, generation] = record;
  auto& [layout, trained_rows, energy, forecast] = trained;
  auto& [passed, scored, batch_passed, bytes_per_row, bytes_per_query, alone_nanoseconds,
         batch_nanoseconds] = forecast;
  visit(trained_rows), visit(energy), visit(passed), visit(scored), visit(batch_passed);
  visit(bytes_per_row), visit(bytes_per_query), visit(alone_nanoseconds), visit(batch_nanoseconds);
  visit(weighed_rows), visit(generation);
}

template <typename T>
constexpr bool kIsVector = false;
template <typename T>
constexpr bool kIsVector<std::vector<T>> = true;

// Writes members, until one fails.
class MemberWriter {
 public:
  MemberWriter(CheckedFileWriter& file, absl::Status& status) : file_(file), status_(status) {}

  template <typename T>
  void operator()(const T& member) const {
    if constexpr (kIsVector<T>) {
      (*this)(uint64_t{member.size()});
      if (status_.ok()) status_ = file_.Append(std::span(std::as_const(member)));
    } else {
      if (status_.ok()) status_ = file_.Append(std::span(&member, 1));
    }
  }

 private:
  CheckedFileWriter& file_;
  absl::Status& status_;
};

class MemberReader {
 public:
  MemberReader(CheckedFileReader& file, absl::Status& status) : file_(file), status_(status) {}

  template <typename T>
  void operator()(T& member) const {
    if constexpr (kIsVector<T>) {
      uint64_t size = 0;
      (*this)(size);
      if (!status_.ok()) return;
      if (size > file_.left() / sizeof(member[0])) {
        status_ = file_.Damaged("it is cut off");
        return;
      }
      member.resize(size);
      status_ = file_.Read(std::span(member));
    } else {
      if (status_.ok()) status_ = file_.Read(std::span(&member, 1));
    }
  }

 private:
  CheckedFileReader& file_;
  absl::Status& status_;
};

class MemberHasher {
 public:
  explicit MemberHasher(std::vector<uint64_t>& hashes) : hashes_(hashes) {}

  template <typename T>
  void operator()(const T& member) const {
    if constexpr (kIsVector<T>) {
      hashes_.push_back(member.size());
      hashes_.push_back(Hash(std::as_bytes(std::span(member))));
    } else {
      hashes_.push_back(Hash(std::as_bytes(std::span(&member, 1))));
    }
  }

 private:
  std::vector<uint64_t>& hashes_;
};

// Whether the members of a layout fit together, so that coding under it stays inside them.
bool IsConsistent(const Layout& layout, uint32_t dimension) {
  return layout.dimension == dimension && layout.first_width >= 1 &&
         layout.first_width <= dimension && layout.basis_rows <= dimension &&
         (layout.center.empty() || layout.center.size() == dimension) &&
         (layout.weights.empty() ||
          (layout.weights.size() == layout.first_width && layout.first_width % 8 == 0)) &&
         layout.basis.size() == layout.panels() * dimension * (kPanelRows / 16) &&
         (!layout.has_basis() || layout.first_width <= layout.basis_rows);
}

absl::Status OtherVersion(const CheckedFileReader& file, uint32_t version) {
  return file.Damaged(
      absl::StrFormat("it is of version %d; this program reads %d", version, kCodesVersion));
}

}  // namespace

uint64_t HashRow(std::span<const float> vector) { return Hash(std::as_bytes(vector)); }

uint64_t HashLayout(const Layout& layout) {
  std::vector<uint64_t> hashes;
  VisitLayout(layout, MemberHasher(hashes));
  return Hash(std::as_bytes(std::span(std::as_const(hashes))));
}

absl::Status WriteLayoutFile(const std::string& path, const LayoutRecord& record) {
  auto file = CheckedFileWriter::Create(path);
  if (!file.ok()) return file.status();
  absl::Status status;
  const MemberWriter write(*file, status);
  write(LayoutHeader());
  VisitLayout(*record.trained.layout, write);
  VisitRecord(record, write);
  return status.ok() ? file->Finish() : status;
}

absl::StatusOr<LayoutRecord> ReadLayoutFile(const std::string& path, uint32_t dimension) {
  auto file = CheckedFileReader::Open(path);
  if (!file.ok()) return file.status();
  absl::Status status;
  const MemberReader read(*file, status);
  LayoutHeader header;
  read(header);
  if (!status.ok()) return status;
  if (header.magic != kLayoutMagic) return file->Damaged("it is not a layout");
  if (header.version != kCodesVersion) return OtherVersion(*file, header.version);
  LayoutRecord record;
  auto layout = std::make_shared<Layout>();
  VisitLayout(*layout, read);
  VisitRecord(record, read);
  if (status.ok()) status = file->Finish();
  if (!status.ok()) return status;
  if (!IsConsistent(*layout, dimension)) {
    return file->Damaged(absl::StrFormat("it is not a layout of %d dimensions", dimension));
  }
  record.trained.layout = std::move(layout);
  return record;
}

absl::Status WriteCodesFile(const std::string& path, const Segment& segment,
                            const SegmentCodes& codes, uint32_t rows, uint64_t layout) {
  auto file = CheckedFileWriter::Create(path);
  if (!file.ok()) return file.status();
  std::vector<uint64_t> numbers(rows), hashes(rows);
  for (uint32_t row = 0; row < rows; ++row) {
    numbers[row] = segment.number(row);
    hashes[row] = HashRow(segment.vector(row));
  }
  absl::Status status;
  const auto append = [&](const auto& values) {
    if (status.ok()) status = file->Append(std::as_bytes(std::span(values)));
  };
  append(std::array{CodesHeader{.dimension = segment.dimension(), .rows = rows, .layout = layout}});
  append(numbers);
  append(hashes);
  for (const auto& column : codes.Columns(WholeGroups(rows))) append(column);
  return status.ok() ? file->Finish() : status;
}

absl::StatusOr<StoredCodes> ReadCodesFile(
    const std::string& path, uint32_t dimension,
    const std::function<std::shared_ptr<const Layout>(uint64_t hash)>& find_layout) {
  auto file = CheckedFileReader::Open(path);
  if (!file.ok()) return file.status();
  CodesHeader header;
  if (absl::Status status = file->Read(std::span(&header, 1)); !status.ok()) return status;
  if (header.magic != kCodesMagic) return file->Damaged("it holds no codes");
  if (header.version != kCodesVersion) return OtherVersion(*file, header.version);
  auto layout = find_layout(header.layout);
  if (layout == nullptr || header.dimension != dimension) {
    return file->Damaged("the layout that it refers to is not there");
  }
  const uint32_t coded = WholeGroups(header.rows);
  const uint64_t row_bytes = 2 * sizeof(uint64_t) * header.rows;
  if (row_bytes > file->left()) return file->Damaged("it is cut off");
  StoredCodes stored;
  stored.numbers.resize(header.rows);
  stored.hashes.resize(header.rows);
  auto codes = SegmentCodes::Create(std::move(layout), WholeGroups(header.rows + kGroupRows - 1));
  if (!codes.ok()) return codes.status();
  stored.codes = *std::move(codes);
  absl::Status status = file->Read(std::span(stored.numbers));
  if (status.ok()) status = file->Read(std::span(stored.hashes));
  for (const std::span<std::byte> column : stored.codes->Columns(coded)) {
    if (status.ok()) status = file->Read(column);
  }
  if (status.ok()) status = file->Finish();
  if (!status.ok()) return status;
  return stored;
}

}  // namespace vexact
