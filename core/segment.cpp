#include "core/segment.h"

#include <linux/mman.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <utility>

#include "absl/strings/str_format.h"
#include "core/kernel/kernel.h"
#include "core/reference_score.h"

namespace vexact {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;
constexpr size_t kTextBlockBytes = size_t{64} << 10;
// Below this, what Populate saves is not worth its call.
constexpr size_t kPopulateBytes = size_t{64} << 10;

}  // namespace

absl::StatusOr<Pages> Pages::Map(size_t bytes, HugePages huge) {
  // Room to start at a huge page's boundary; untouched pages cost address space only.
  const bool large = bytes >= kHugePageBytes;
  const size_t mapped = bytes + (large ? kHugePageBytes : 0);
  void* address = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("cannot reserve %d bytes of memory: %s", bytes, std::strerror(errno)));
  }
  Pages pages;
  pages.mapping_ = address;
  pages.mapped_bytes_ = mapped;
  pages.address_ = address;
  if (large) {
    const auto start = reinterpret_cast<uintptr_t>(address);
    pages.address_ = reinterpret_cast<void*>((start + kHugePageBytes - 1) & ~(kHugePageBytes - 1));
    if (huge == HugePages::kAtOnce) {
      // Only advice: without huge pages everything works, a little slower.
      (void)madvise(pages.address_, bytes, MADV_HUGEPAGE);
    } else {
      pages.to_move_ = bytes;
    }
  }
  return pages;
}

void Pages::UseHugePages() {
  const size_t bytes = std::exchange(to_move_, 0);
  if (bytes == 0) return;
  // What cannot be moved now is left to the kernel, which goes on looking at what is advised.
  (void)madvise(address_, bytes, MADV_HUGEPAGE);
  (void)madvise(address_, bytes, MADV_COLLAPSE);
}

void Pages::Populate(size_t begin, size_t end) {
  if (end - begin < kPopulateBytes) return;
  constexpr size_t kPageBytes = 4096;
  begin = begin / kPageBytes * kPageBytes;
  (void)madvise(static_cast<std::byte*>(address_) + begin, end - begin, MADV_POPULATE_WRITE);
}

Pages::Pages(Pages&& other) noexcept
    : mapping_(std::exchange(other.mapping_, nullptr)),
      mapped_bytes_(std::exchange(other.mapped_bytes_, 0)),
      address_(std::exchange(other.address_, nullptr)),
      to_move_(std::exchange(other.to_move_, 0)) {}

Pages& Pages::operator=(Pages&& other) noexcept {
  std::swap(mapping_, other.mapping_);
  std::swap(mapped_bytes_, other.mapped_bytes_);
  std::swap(address_, other.address_);
  std::swap(to_move_, other.to_move_);
  return *this;
}

Pages::~Pages() {
  if (mapping_ != nullptr) munmap(mapping_, mapped_bytes_);
}

absl::StatusOr<std::unique_ptr<Segment>> Segment::Create(uint32_t dimension, uint32_t capacity,
                                                         HugePages huge) {
  const auto whole_groups =
      static_cast<uint32_t>((capacity + kGroupRows - 1) / kGroupRows * kGroupRows);
  std::unique_ptr<Segment> segment(new Segment(dimension, whole_groups));
  const std::pair<Pages*, size_t> columns[] = {
      {&segment->rows_, sizeof(float) * dimension},     {&segment->dots_, sizeof(double)},
      {&segment->died_, sizeof(std::atomic<uint64_t>)}, {&segment->ids_, sizeof(uint64_t)},
      {&segment->numbers_, sizeof(uint64_t)},           {&segment->id_forms_, sizeof(uint8_t)},
  };
  for (const auto& [column, row_bytes] : columns) {
    auto pages = Pages::Map(row_bytes * whole_groups, huge);
    if (!pages.ok()) return pages.status();
    *column = *std::move(pages);
  }
  return segment;
}

void Segment::UseHugePages() {
  for (Pages* column : {&rows_, &dots_, &died_, &ids_, &numbers_, &id_forms_}) {
    column->UseHugePages();
  }
}

void Segment::Append(uint64_t number, IdView id, std::span<const float> vector, double dot) {
  Append(number, id);
  SetVector(size_ - 1, vector, dot);
}

void Segment::Append(uint64_t number, IdView id) {
  SetId(size_, id);
  numbers_.as<uint64_t>()[size_] = number;
  ++size_;
}

void Segment::Truncate(uint32_t size) {
  for (uint32_t row = size; row < size_; ++row) {
    if (id_forms_.as<uint8_t>()[row] == 0) continue;
    FreeTextsFrom(reinterpret_cast<const char*>(static_cast<uintptr_t>(ids_.as<uint64_t>()[row])));
    break;
  }
  size_ = size;
}

void Segment::AppendPlaces(uint32_t count) {
  // Dead for every snapshot: there is none of before the first write.
  for (uint32_t row = size_; row < size_ + count; ++row) Bury(row, 1);
  size_ += count;
}

void Segment::SetRow(uint32_t row, uint64_t number, IdView id) {
  SetId(row, id);
  numbers_.as<uint64_t>()[row] = number;
  died_.as<std::atomic<uint64_t>>()[row].store(0, std::memory_order_relaxed);
  dead_.fetch_sub(1, std::memory_order_relaxed);
}

void Segment::SetVector(uint32_t row, std::span<const float> vector, double dot) {
  std::ranges::copy(vector, Place(row).begin());
  dots_.as<double>()[row] = dot;
}

void Segment::SetNormalized(uint32_t row, std::span<const float> vector, double dot) {
  const std::span<float> place = Place(row);
  L2Normalize(vector, dot, place);
  dots_.as<double>()[row] = Dot(place, place);
}

void Segment::ExpectVectors(uint32_t begin, uint32_t end) {
  const size_t row_bytes = sizeof(float) * dimension_;
  rows_.Populate(row_bytes * begin, row_bytes * end);
}

void Segment::SetId(uint32_t row, IdView id) {
  const auto* text = std::get_if<std::string_view>(&id);
  ids_.as<uint64_t>()[row] =
      text != nullptr ? reinterpret_cast<uintptr_t>(StoreText(*text)) : std::get<uint64_t>(id);
  id_forms_.as<uint8_t>()[row] = text != nullptr ? 1 : 0;
}

const char* Segment::StoreText(std::string_view text) {
  const auto length = static_cast<uint16_t>(text.size());
  const size_t bytes = sizeof(length) + text.size();
  if (bytes > text_room_) {
    texts_.push_back(std::make_unique<char[]>(kTextBlockBytes));
    text_room_ = kTextBlockBytes;
    text_bytes_.fetch_add(kTextBlockBytes, std::memory_order_relaxed);
  }
  char* stored = texts_.back().get() + (kTextBlockBytes - text_room_);
  std::memcpy(stored, &length, sizeof(length));
  std::memcpy(stored + sizeof(length), text.data(), text.size());
  text_room_ -= bytes;
  return stored;
}

void Segment::FreeTextsFrom(const char* text) {
  const auto is_in = [&](const char* block) {
    return !std::less<>()(text, block) && std::less<>()(text, block + kTextBlockBytes);
  };
  while (!is_in(texts_.back().get())) {
    texts_.pop_back();
    text_bytes_.fetch_sub(kTextBlockBytes, std::memory_order_relaxed);
  }
  text_room_ = kTextBlockBytes - static_cast<size_t>(text - texts_.back().get());
}

IdView Segment::id(uint32_t row) const {
  const uint64_t value = ids_.as<uint64_t>()[row];
  if (id_forms_.as<uint8_t>()[row] == 0) return value;
  const char* stored = reinterpret_cast<const char*>(static_cast<uintptr_t>(value));
  uint16_t length;
  std::memcpy(&length, stored, sizeof(length));
  return std::string_view(stored + sizeof(length), length);
}

Segment::Bytes Segment::bytes(uint32_t rows) const {
  return {
      .rows = sizeof(float) * dimension_ * rows,
      .ids =
          (sizeof(uint64_t) + sizeof(uint8_t)) * rows + text_bytes_.load(std::memory_order_relaxed),
      .overhead = (sizeof(double) + 2 * sizeof(uint64_t)) * rows,
  };
}

}  // namespace vexact
