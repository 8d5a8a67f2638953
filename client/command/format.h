// Numbers, sizes, times and foreign text, as people read them.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace vexact::client {

// 153770 as "153,770".
std::string Thousands(uint64_t number);

// "153,770 rows", "1 row".
std::string Rows(uint64_t rows);

// "0 B", "12 KiB", "225 MiB", "1.4 GiB": three digits or fewer.
std::string Bytes(uint64_t bytes);

// A share of 1 without its sign: "100", "77", "1.3", "0.81", "0.0065", "0".
std::string Percent(double share);

// "0.6 ms", "85 ms", "2.1 s", "3 min 4 s".
std::string Elapsed(absl::Duration time);

// "0:07", "12:05", "1:02:03".
std::string Clock(absl::Duration time);

// The fewest digits that read back as the same double: "11", "0.6415330278717848".
std::string Shortest(double number);

// A score with six decimals where that says enough, and with nine significant digits where it does
// not.
std::string Score(double score);

// Safe on one line of a terminal: control characters and bytes that are no UTF-8 become \n, \t or
// \xNN.
std::string Printable(std::string_view text);

// "0.1, 0.2, 0.3, 0.4, 0.5, 0.6, … (384 components; all with --json)".
std::string FirstComponents(std::span<const float> vector);

// A server's message in which "row 3" or the like counts from the start of a request: every such
// number that follows `unit` is replaced, with the unit, by what `name` makes of it.
std::string Renumber(std::string_view message, std::string_view unit,
                     const std::function<std::string(uint64_t)>& name);

}  // namespace vexact::client
