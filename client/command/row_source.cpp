#include "client/command/row_source.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/command/format.h"
#include "client/command/ids_reader.h"
#include "client/command/json_lines_reader.h"
#include "client/command/npy_reader.h"

namespace vexact::client {
namespace {

class NpyRows : public RowSource {
 public:
  NpyRows(NpyReader vectors, std::optional<IdsReader> ids, std::string ids_name)
      : vectors_(std::move(vectors)), ids_(std::move(ids)), ids_name_(std::move(ids_name)) {}

  std::optional<uint64_t> rows() const override { return vectors_.rows(); }
  std::optional<uint64_t> dimension() const override { return vectors_.dimension(); }
  std::string_view unit() const override { return "row"; }

  absl::StatusOr<bool> Next(Row* row) override {
    if (next_ == vectors_.rows()) return CheckEnd();
    row->id = Id(next_);
    if (ids_) {
      absl::StatusOr<std::optional<Id>> id = ids_->Next();
      if (!id.ok()) return id.status();
      if (!*id) return Uneven(next_);
      row->id = **std::move(id);
    }
    const absl::StatusOr<std::span<const float>> vector = vectors_.Next();
    if (!vector.ok()) return vector.status();
    row->vector = *vector;
    row->place = next_++;
    return true;
  }

  absl::Status Uneven(uint64_t ids) const {
    return absl::InvalidArgumentError(
        absl::StrCat(ids_name_, " has ", Thousands(ids), " ids for ", Rows(vectors_.rows())));
  }

 private:
  absl::StatusOr<bool> CheckEnd() {
    if (!ids_ || ids_->count()) return false;
    const absl::StatusOr<std::optional<Id>> id = ids_->Next();
    if (!id.ok()) return id.status();
    if (!*id) return false;
    return absl::InvalidArgumentError(
        absl::StrCat(ids_name_, " has more ids than the ", Rows(vectors_.rows())));
  }

  NpyReader vectors_;
  std::optional<IdsReader> ids_;
  std::string ids_name_;
  uint64_t next_ = 0;
};

class JsonRows : public RowSource {
 public:
  explicit JsonRows(JsonLinesReader lines) : lines_(std::move(lines)) {}

  std::optional<uint64_t> rows() const override { return std::nullopt; }
  std::optional<uint64_t> dimension() const override { return std::nullopt; }
  std::string_view unit() const override { return "line"; }

  absl::StatusOr<bool> Next(Row* row) override {
    absl::StatusOr<bool> more = lines_.Next(&point_);
    if (!more.ok() || !*more) return more;
    row->id = point_.id;
    row->vector = point_.vector;
    row->place = lines_.line();
    return true;
  }

 private:
  JsonLinesReader lines_;
  Point point_;
};

absl::StatusOr<std::unique_ptr<RowSource>> OpenNpy(const RowSourceOptions& options) {
  absl::StatusOr<NpyReader> vectors = NpyReader::Open(options.path);
  if (!vectors.ok()) return vectors.status();
  if (options.ids.empty()) {
    return std::make_unique<NpyRows>(*std::move(vectors), std::nullopt, "");
  }
  const IdsFile file = ParseIdsFile(options.ids);
  absl::StatusOr<IdsReader> ids = IdsReader::Open(file, options.text_ids);
  if (!ids.ok()) return ids.status();
  const std::optional<uint64_t> count = ids->count();
  auto rows = std::make_unique<NpyRows>(*std::move(vectors), *std::move(ids), file.path);
  if (count && *count != *rows->rows()) return rows->Uneven(*count);
  return rows;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RowSource>> OpenRows(const RowSourceOptions& options) {
  if (options.path != "-" && IsNpy(options.path)) return OpenNpy(options);
  if (options.path.ends_with(".npy")) return NpyFile::Open(options.path).status();
  absl::StatusOr<JsonLinesReader> lines = JsonLinesReader::Open(options.path);
  if (!lines.ok()) return lines.status();
  if (!options.ids.empty()) {
    return absl::InvalidArgumentError("--ids goes with a .npy file; lines of JSON have their own");
  }
  return std::make_unique<JsonRows>(*std::move(lines));
}

}  // namespace vexact::client
