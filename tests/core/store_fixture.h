// What tests of the store share: contents to write, and all of a store to compare.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/store.h"
#include "tests/core/harness.h"
#include "tests/support/files.h"

namespace vexact {

struct Row {
  Id id;
  std::vector<float> vector;

  // Bits, not numbers: -0 is not 0 here.
  bool operator==(const Row& other) const {
    return id == other.id && vector.size() == other.vector.size() &&
           std::memcmp(vector.data(), other.vector.data(), vector.size() * sizeof(float)) == 0;
  }
};

struct StoredContents {
  std::string name;
  CollectionConfig config;
  StoredState state;
  std::map<uint64_t, Row> rows;

  bool operator==(const StoredContents&) const = default;
};

// Everything in a store, by number, or why it cannot be read.
inline absl::StatusOr<std::map<CollectionNumber, StoredContents>> ReadAll(const Store& store) {
  std::map<CollectionNumber, StoredContents> all;
  const auto collections = store.Collections();
  if (!collections.ok()) return collections.status();
  for (const StoredCollection& collection : *collections) {
    StoredContents& contents = all[collection.number];
    contents = {collection.name, collection.config, collection.state, {}};
    constexpr uint64_t kEnd = std::numeric_limits<uint64_t>::max();
    absl::Status read = store.VisitIds(collection.number, 0, kEnd, [&](uint64_t row, IdView id) {
      contents.rows[row].id = Own(id);
      return absl::OkStatus();
    });
    if (!read.ok()) return read;
    read = store.VisitRows(collection.number, 0, kEnd,
                           [&](uint64_t row, std::span<const float> vector) {
                             contents.rows[row].vector.assign(vector.begin(), vector.end());
                             return absl::OkStatus();
                           });
    if (!read.ok()) return read;
  }
  return all;
}

// Whether `condition` comes true; timing decides only how long a failure takes.
inline bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

// Undone, there are no rows of these numbers, and the state is `before`.
inline absl::Status PutRows(Store& store, CollectionNumber collection, const StoredState& state,
                            const std::map<uint64_t, Row>& rows, const StoredState& before = {}) {
  StoreBatch batch;
  for (const auto& [number, row] : rows) batch.PutRow(collection, number, View(row.id), row.vector);
  batch.PutState(collection, state);
  return store.Commit(std::move(batch), [&] {
    StoreBatch undo;
    for (const auto& [number, row] : rows) undo.DeleteRow(collection, number);
    undo.PutState(collection, before);
    return undo;
  });
}

// The same, as tables of their own.
inline absl::Status PutTables(Store& store, CollectionNumber collection, const StoredState& state,
                              const std::map<uint64_t, Row>& rows, StoreBatch rest = StoreBatch(),
                              const StoredState& before = {}) {
  std::vector<NewRow> added;
  for (const auto& [number, row] : rows) added.push_back({number, View(row.id), row.vector});
  rest.PutState(collection, state);
  return store.CommitRows(collection, added, std::move(rest), [&] {
    StoreBatch undo;
    for (const auto& [number, row] : rows) undo.DeleteRow(collection, number);
    undo.PutState(collection, before);
    return undo;
  });
}

}  // namespace vexact
