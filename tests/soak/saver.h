// One who makes snapshots, and collections of them, while others write.
#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "tests/soak/caller.h"
#include "tests/soak/session.h"

namespace vexact::soak {

class Saver {
 public:
  Saver(Session& session, uint64_t seed);

  // One snapshot from its making to its end.
  void Act();

 private:
  // The bytes of a snapshot; none when it cannot be had.
  std::string Download(size_t collection, const std::string& name);
  void KeepOne(size_t collection);
  // One that the server keeps nowhere.
  void TakeOneAlong(size_t collection);
  // One whose caller goes away.
  void GiveUpOne(size_t collection);
  void CheckListed(const client::Snapshot& snapshot);
  // Makes a collection of them, has it searched, and deletes it. The snapshot's own name may stand
  // for its bytes.
  void Restore(size_t collection, const std::string& bytes, const std::string& name);
  void RestoreAltered(std::string bytes);

  Session& session_;
  Caller reader_;
  Dice dice_;
  uint64_t count_ = 0;
};

}  // namespace vexact::soak
