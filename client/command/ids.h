// How a person writes an id, and how the command shows one.
//
// One rule wherever a person writes an id: a word of digits that is an unsigned 64-bit integer,
// without a sign or a leading zero, is a number; every other word is a text. On the command line,
// and wherever ids are shown, a text that would read as a number has "text:" before it: text:2019
// is the text "2019". So what is shown can be given back.
#pragma once

#include <string>
#include <string_view>

#include "vexact/types.h"

namespace vexact::client {

// An entry of a file: no prefix there, the line is the id.
Id IdFromEntry(std::string_view entry);

// A word of the command line.
Id IdFromWord(std::string_view word);

// The inverse of IdFromWord.
std::string WordFromId(const Id& id);

}  // namespace vexact::client
