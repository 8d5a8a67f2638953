// What the services of one server share.
#pragma once

#include "absl/time/time.h"
#include "core/catalog.h"
#include "core/workers.h"
#include "server/access.h"
#include "server/admission.h"
#include "server/config.h"
#include "server/memory_quota.h"
#include "server/metrics.h"
#include "server/request_threads.h"
#include "server/scheduler.h"
#include "server/slow_log.h"
#include "server/storage.h"

namespace vexact::server {

// Everything outlives the services.
struct ServiceContext {
  const Config& config;
  Workers& workers;
  Storage& storage;
  const Access& access;
  Admission& admission;
  RequestThreads& threads;
  Scheduler& scheduler;
  MemoryQuota& memory_quota;
  Metrics& metrics;
  SlowLog& slow_log;
  absl::Time started;

  // REQUIRES: the request was let in.
  Catalog& catalog() const { return storage.catalog(); }
};

}  // namespace vexact::server
