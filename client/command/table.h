// Columns of text for people.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vexact::client {

enum class Align { kLeft, kRight };

// Cells are made printable; columns are as wide as their widest cell, two spaces apart.
class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns);

  // REQUIRES: one cell per column.
  void Add(const std::vector<std::string>& cells);

  // The titles and the rows, each line after `indent` and with its line feed.
  std::string Render(std::string_view indent = "") const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// Columns of a terminal that `text` takes, one for each character.
size_t Width(std::string_view text);

}  // namespace vexact::client
