// The engine at the end of a pipe, so that a program in another language can measure it beside its
// peers (scripts/bench does).
//
// Requests come in on standard input; each gets one reply on standard output, in order. All numbers
// are little-endian, fields follow one another without padding, and vectors are row-major.
//
//     request   uint64 bytes that follow; uint32 command; its fields
//     reply     uint64 bytes that follow; uint32 0; the fields below
//               uint64 bytes that follow; uint32 1; a message for people, in UTF-8
//
//     command        fields                                          reply
//     0 ping         none                                            none
//     1 create       uint32 dimension, uint32 metric                 none
//     2 add          uint64 first id, uint64 n, uint32 d,            none
//                    float32[n][d]
//     3 settle       none                                            float64 seconds
//     4 search       uint32 engine, uint32 k, uint64 n, uint32 d,    float64 seconds, uint64 hits,
//                    float32[n][d]                                   uint64 ids[n][hits],
//                                                                    float64 scores[n][hits]
//     5 fp32_scan    uint32 k, uint32 d, float32[d]                  float64 seconds, uint64 hits,
//                                                                    uint64 ids[hits]
//     6 describe     none                                            a JSON object in UTF-8
//
// `metric` and `engine` count from 0 in the order of kMetrics and kEngineKinds. There is one
// collection: `create` makes it, in place of the one before; `add` stores rows under the ids first
// id, first id + 1, ...; `settle` returns when nothing goes on in the background any more. `hits`
// is k, or the number of rows when there are fewer. `seconds` is what the engine itself took,
// without the pipe. A refused request changes nothing.
#pragma once

namespace vexact::bench {

// Serves until standard input ends, searching with `threads` threads. Returns the process's exit
// status: 1 when the input ended within a request, or a request was longer than can be meant.
int RunEnginePipe(int threads);

}  // namespace vexact::bench
