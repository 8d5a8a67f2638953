// What tests of collections in a store start from.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/collection.h"
#include "core/store.h"
#include "tests/core/collection_fixture.h"
#include "tests/core/faulty_env.h"
#include "tests/support/files.h"

namespace vexact {

// One store with collections in it, closed and opened again at will.
class DurableTest : public ::testing::Test {
 protected:
  DurableTest() {
    options_.directory = (folder_.path() / "data").string();
    options_.env = files_.env();
    options_.tuning.bulk_bytes = 2'000;  // so that some writes go to tables, and some to the log
    tuning_.segment_rows = 64;
    tuning_.training_rows = 1'000'000;  // only when it is asked for
    OpenStore();
  }

  void OpenStore() {
    auto opened = Store::Open(options_);
    EXPECT_THAT(opened.status(), IsOk());
    store_ = opened.ok() ? *std::move(opened) : nullptr;
  }

  Collection& Create(const std::string& name, const CollectionConfig& config) {
    const auto number = store_->Create(name, config);
    EXPECT_THAT(number.status(), IsOk());
    return *(collections_[name] = std::make_unique<Collection>(
                 name, config, workers_, nullptr, tuning_, StoredIn{store_.get(), *number}));
  }

  // Closes everything and brings it back, as a new process would.
  void Reopen() {
    collections_.clear();
    store_.reset();
    OpenStore();
    const auto stored = store_->Collections();
    ASSERT_THAT(stored.status(), IsOk());
    for (const StoredCollection& one : *stored) {
      auto opened = Collection::Open(one, *store_, workers_, {}, nullptr, tuning_);
      ASSERT_THAT(opened.status(), IsOk());
      collections_[one.name] = *std::move(opened);
    }
  }

  Collection& Of(const std::string& name) { return *collections_.at(name); }

  std::filesystem::path CodesFolderOf(const std::string& name) {
    const auto stored = store_->Collections();
    for (const StoredCollection& one : *stored) {
      if (one.name == name) return CodesPath(store_->directory(), one.number);
    }
    ADD_FAILURE() << "no collection " << name;
    return {};
  }

  // The names of the files there with this ending, sorted.
  static std::vector<std::string> Files(const std::filesystem::path& folder,
                                        const std::string& ending = "") {
    std::vector<std::string> names;
    std::error_code missing;
    for (const auto& entry : std::filesystem::directory_iterator(folder, missing)) {
      std::string name = entry.path().filename().string();
      if (name.ends_with(ending)) names.push_back(std::move(name));
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  testing::TempDir folder_;
  FaultyEnv files_;
  StoreOptions options_;
  CollectionTuning tuning_;
  Workers workers_{2};
  std::unique_ptr<Store> store_;
  std::map<std::string, std::unique_ptr<Collection>> collections_;
};

// All but the dead rows, of which a collection that comes back may have fewer.
inline Observed Lasting(const Collection& collection) {
  Observed observed = Observe(collection);
  observed.dead_rows = 0;
  return observed;
}

}  // namespace vexact
