// A new collection, made of the bytes of a snapshot file.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/catalog.h"
#include "core/restored_rows.h"
#include "snapshot/file.h"

namespace vexact {

// Rows go into the collection as their bytes come, but nobody sees it before Finish, and nothing
// stays of it without: the destructor drops it, the next start when the process dies.
//
// Errors: as the decoder's and RestoredRows'; INVALID_ARGUMENT for a bad name, ALREADY_EXISTS,
// RESOURCE_EXHAUSTED, UNAVAILABLE; Admit's. After one only the destructor may be called.
//
// Use from one thread at a time.
class Restoration {
 public:
  // Whether a collection of so many rows may be made; told before any of them is read.
  using Admit = std::function<absl::Status(const snapshot::Header& header)>;

  // `catalog` must outlive it.
  Restoration(Catalog& catalog, std::string name, Admit admit = nullptr);
  Restoration(const Restoration&) = delete;
  Restoration& operator=(const Restoration&) = delete;
  ~Restoration();

  // What Add would say of the name, before anything has come.
  absl::Status CheckName() const { return catalog_.CheckNew(name_); }

  snapshot::Decoder& decoder() { return decoder_; }

  struct Restored {
    std::shared_ptr<Collection> collection;
    snapshot::Header header;
    snapshot::Footer footer;
  };
  // After all bytes went to the decoder.
  absl::StatusOr<Restored> Finish();

 private:
  absl::Status Begin(const snapshot::Header& header);
  absl::Status Add(std::span<const snapshot::Row> rows);

  Catalog& catalog_;
  const std::string name_;
  const Admit admit_;
  snapshot::Decoder decoder_;
  snapshot::Header header_;
  std::shared_ptr<Collection> collection_;  // until it is published, which only this knows
  std::optional<RestoredRows> rows_;
  std::vector<PointView> views_;
};

}  // namespace vexact
