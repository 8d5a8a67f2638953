// One client of many: makes calls of every kind at random, and notes what must be compared.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/soak/dice.h"
#include "tests/soak/session.h"

namespace vexact::soak {

class Caller {
 public:
  Caller(Session& session, uint64_t seed);

  // One call, or some that belong together.
  void Act();

  // Rows up to half the ids of each collection.
  void Load();
  // All pages of the collection, or of what was made of its snapshot, to be compared with it.
  void ScrollAll(size_t collection, const std::string& name);

 private:
  void Search();
  void SearchHastily();
  void SearchRestored();
  void Upsert();
  void BulkUpsert();
  void Delete();
  void WriteHastily();
  void BulkUpsertHastily();
  void SetMetric();
  void Get();
  void ScrollTwoPages();
  void Describe();
  void Compare();
  void BeRefused();
  void AskServer();

  grpc::Status Send(grpc::ClientContext& context, Write& write);
  void Done(const Write& write, uint64_t since);
  // Sends the writes over one stream and notes those that are acknowledged; gives how many.
  size_t Stream(grpc::ClientContext& context, std::vector<Write>& writes, size_t cancel_after,
                grpc::Status& status);

  v1::ScrollPointsRequest ScrollRequest(const std::string& name, uint32_t page_size);
  // Whether there is a page after it.
  bool ScrollPage(size_t collection, v1::ScrollPointsRequest& request,
                  std::optional<client::Id>& after);

  Session& session_;
  testing::RunningServer& server_;
  Dice dice_;
};

}  // namespace vexact::soak
