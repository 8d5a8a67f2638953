// The calls in which the bytes of a snapshot file come or go.
#pragma once

#include <grpcpp/grpcpp.h>

#include "server/service_context.h"

namespace vexact::server {

// Carries out a DownloadSnapshot call: makes a chunk on a request thread, sends it, makes the next.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartDownload(ServiceContext& context,
                                                          grpc::CallbackServerContext* call,
                                                          const grpc::ByteBuffer& request);

// Carries out a RestoreSnapshot call: reads a chunk, puts its rows into the new collection on a
// request thread, reads the next. A thread is never held while a client is waited for.
grpc::ServerReadReactor<grpc::ByteBuffer>* StartRestore(ServiceContext& context,
                                                        grpc::CallbackServerContext* call,
                                                        grpc::ByteBuffer& response);

}  // namespace vexact::server
