// The GetStatistics call: what the server has counted, and what it holds now.
#pragma once

#include <functional>
#include <string_view>

#include "server/service_context.h"
#include "vexact/v1/statistics.pb.h"

namespace vexact::server {

// Which collections are told of, by name.
using SeesCollection = std::function<bool(std::string_view)>;

// Without `sees` nothing is said of collections and the store. REQUIRES with it: the request was
// let in (Admission).
v1::GetStatisticsResponse ReadStatistics(const ServiceContext& context, const SeesCollection& sees);

}  // namespace vexact::server
