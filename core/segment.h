// A fixed-capacity block of rows, stored by columns.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/id.h"

namespace vexact {

// When memory is put into huge pages, which are quicker to read. To get one takes up to some
// milliseconds where a hypervisor has to find it first: nothing for a write to wait for.
enum class HugePages {
  kAtOnce,
  kLater,  // when UseHugePages is called
};

// Anonymous pages, zero-filled, 64-byte aligned (in fact page aligned), backed by huge pages where
// the kernel gives them. Memory is taken from the machine only as it is touched.
class Pages {
 public:
  Pages() = default;
  // RESOURCE_EXHAUSTED when the address space cannot be had.
  static absl::StatusOr<Pages> Map(size_t bytes, HugePages huge = HugePages::kAtOnce);
  Pages(Pages&& other) noexcept;
  Pages& operator=(Pages&& other) noexcept;
  ~Pages();

  // Moves what is here into huge pages, unless it is in such: a copy, during which readers of what
  // is moved wait. No two calls at a time.
  void UseHugePages();

  // Takes memory for bytes [begin, end) from the machine at once, which is quicker than page by
  // page as they are touched. Only advice. Any thread.
  void Populate(size_t begin, size_t end);

  template <typename T>
  T* as() const {
    return static_cast<T*>(address_);
  }

 private:
  void* mapping_ = nullptr;
  size_t mapped_bytes_ = 0;
  void* address_ = nullptr;  // the first usable byte of the mapping
  size_t to_move_ = 0;       // bytes from there that UseHugePages is to move
};

// Rows of one dimension with their numbers (store.h), ids, own dot products and tombstones. Rows
// are appended at the end and never change or move; a tombstone is the sequence number of the write
// that ended the row. Their codes are kept apart (segment_codes.h), because they can be replaced.
//
// Thread safety: one writer at a time appends and buries. Readers may read a row at the same time
// once they have learned of it through something that the writer published after appending it
// (collection.h); they see tombstones at any moment.
class Segment {
 public:
  // REQUIRES: dimension and capacity >= 1. The capacity is rounded up to whole groups of codes.
  // RESOURCE_EXHAUSTED when memory cannot be reserved.
  static absl::StatusOr<std::unique_ptr<Segment>> Create(uint32_t dimension, uint32_t capacity,
                                                         HugePages huge = HugePages::kAtOnce);

  uint32_t dimension() const { return dimension_; }
  uint32_t capacity() const { return capacity_; }

  // Writer: rows appended so far. Readers use the count of their snapshot instead.
  uint32_t size() const { return size_; }

  // Writer: copies a row in. REQUIRES: size() < capacity(), vector.size() == dimension(), dot ==
  // Dot(vector, vector).
  void Append(uint64_t number, IdView id, std::span<const float> vector, double dot);

  // Writer: the same of a row whose vector is still to come.
  void Append(uint64_t number, IdView id);

  // Fills in the vector of a row that nobody reads yet; of different rows, from several threads at
  // once. SetNormalized fills in what L2Normalize makes of it, and that one's dot. REQUIRES:
  // vector.size() == dimension(), dot == Dot(vector, vector).
  void SetVector(uint32_t row, std::span<const float> vector, double dot);
  void SetNormalized(uint32_t row, std::span<const float> vector, double dot);
  // Makes ready for the vectors of many rows in a run, [begin, end), which are quicker set then.
  void ExpectVectors(uint32_t begin, uint32_t end);

  // Writer: takes back the rows from `size` on, which no reader has learned of.
  void Truncate(uint32_t size);

  // For a segment that comes back from the store, before anybody reads it: `count` places at the
  // end, dead ones; then, for some of them, who is there (SetVector brings the rest). REQUIRES:
  // room for them.
  void AppendPlaces(uint32_t count);
  void SetRow(uint32_t row, uint64_t number, IdView id);

  // Writer: the row is dead for every snapshot from `sequence` on. REQUIRES: it is live.
  void Bury(uint32_t row, uint64_t sequence) {
    // relaxed: a reader whose snapshot is older sees it alive under either value; a newer one was
    // published after.
    died_.as<std::atomic<uint64_t>>()[row].store(sequence, std::memory_order_relaxed);
    dead_.fetch_add(1, std::memory_order_relaxed);  // a statistic
  }

  // The sequence number that buried the row, 0 while it lives.
  uint64_t died(uint32_t row) const {
    return died_.as<std::atomic<uint64_t>>()[row].load(std::memory_order_relaxed);
  }

  // For a full segment, in the background: as Pages'.
  void UseHugePages();

  // Rows buried so far.
  uint32_t dead() const { return dead_.load(std::memory_order_relaxed); }

  bool IsLive(uint32_t row, uint64_t sequence) const {
    const uint64_t end = died(row);
    return end == 0 || end > sequence;
  }

  // dimension() components, 64-byte aligned for row 0; rows follow one another without padding.
  std::span<const float> vector(uint32_t row) const { return Place(row); }
  // Dot(vector, vector); of consecutive rows, beside one another.
  const double& dot(uint32_t row) const { return dots_.as<double>()[row]; }
  // Valid as long as the segment.
  IdView id(uint32_t row) const;
  uint64_t number(uint32_t row) const { return numbers_.as<uint64_t>()[row]; }

  // Bytes touched by the first `rows` rows (what ids of text form take beside their column is
  // counted whole).
  struct Bytes {
    uint64_t rows = 0, ids = 0, overhead = 0;
  };
  Bytes bytes(uint32_t rows) const;

 private:
  Segment(uint32_t dimension, uint32_t capacity) : dimension_(dimension), capacity_(capacity) {}
  std::span<float> Place(uint32_t row) const {
    return {rows_.as<float>() + size_t{row} * dimension_, dimension_};
  }
  void SetId(uint32_t row, IdView id);
  const char* StoreText(std::string_view text);
  // Gives back the room of `text` and all that were stored after it.
  void FreeTextsFrom(const char* text);

  const uint32_t dimension_;
  const uint32_t capacity_;
  uint32_t size_ = 0;
  Pages rows_;     // float[capacity][dimension]
  Pages dots_;     // double[capacity]
  Pages died_;     // atomic<uint64_t>[capacity], 0 while the row lives
  Pages numbers_;  // uint64_t[capacity]
  Pages ids_;      // uint64_t[capacity]: the number, or the address of the text (2 bytes of length,
                   // then the bytes)
  Pages id_forms_;                              // uint8_t[capacity]: 1 where the id is a text
  std::vector<std::unique_ptr<char[]>> texts_;  // blocks of kTextBlockBytes
  size_t text_room_ = 0;                        // bytes left in texts_.back()
  std::atomic<uint32_t> dead_{0};
  // Written by the writer, read by bytes() from any thread: a statistic, so relaxed.
  std::atomic<uint64_t> text_bytes_{0};
};

// One row of one segment; meaningful while the segment lives.
struct RowRef {
  const Segment* segment = nullptr;
  uint32_t row = 0;

  bool operator==(const RowRef&) const = default;
  std::span<const float> vector() const { return segment->vector(row); }
  double dot() const { return segment->dot(row); }
  IdView id() const { return segment->id(row); }
};

}  // namespace vexact
