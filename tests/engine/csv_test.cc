#include "engine/io/csv.h"

#include <gtest/gtest.h>

#include "kernels/core/error.h"
#include "tests/error_of.h"

namespace densetree {
namespace {

using Fields = std::vector<std::string>;

std::string message(std::string_view text) {
  SCOPED_TRACE(text);
  return error_of([&] { CsvTable::parse(text, "t.csv"); });
}

TEST(Csv, ReadsPlainRows) {
  const CsvTable table = CsvTable::parse("a,b\n1,2\n3,\n", "t.csv");
  EXPECT_EQ(table.header(), (Fields{"a", "b"}));
  ASSERT_EQ(table.rows(), 2u);
  EXPECT_EQ(table.row(1), (Fields{"3", ""}));
  EXPECT_EQ(table.line(1), 3u);
  EXPECT_EQ(table.column("b"), 1u);
  EXPECT_TRUE(table.has_column("a"));
  EXPECT_FALSE(table.has_column("A"));
}

TEST(Csv, ReadsQuotesCrLfByteOrderMarkAndEmptyLines) {
  const CsvTable table =
      CsvTable::parse("\xEF\xBB\xBF\"a\",b\r\n\r\n\"x, \"\"y\"\"\",\"two\r\nlines\"\r\nlast,\"\"", "t.csv");
  EXPECT_EQ(table.header(), (Fields{"a", "b"}));
  ASSERT_EQ(table.rows(), 2u);
  EXPECT_EQ(table.row(0), (Fields{"x, \"y\"", "two\r\nlines"}));
  EXPECT_EQ(table.line(0), 3u);
  EXPECT_EQ(table.row(1), (Fields{"last", ""}));
  EXPECT_EQ(table.line(1), 5u);
  EXPECT_EQ(CsvTable::parse("a,b\n1,", "t.csv").row(0), (Fields{"1", ""}));
  EXPECT_EQ(CsvTable::parse("a,b\n1,2\r", "t.csv").row(0), (Fields{"1", "2"}));
}

TEST(Csv, NamesTheLineOfWhatIsWrong) {
  EXPECT_EQ(message(""), "t.csv: is empty; the first line must name the columns");
  EXPECT_EQ(message("\n\n"), "t.csv: is empty; the first line must name the columns");
  EXPECT_EQ(message("a,b\n\"x\ny\",2\n3\n"), "t.csv:4: has 1 fields; the header has 2");
  EXPECT_EQ(message("a,b\n1,2\n3,\"4\n5,6\n"), "t.csv:3: a quote is opened and never closed");
  EXPECT_EQ(message("a,b\n\"1\"2,3\n"), "t.csv:2: text after a closing quote; write a quote inside quotes twice");
}

TEST(Csv, MissingAndDoubleColumnsAreErrors) {
  const CsvTable table = CsvTable::parse("a,b,b\n", "t.csv");
  try {
    table.column("c");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "t.csv: has no column 'c'; its columns are: a, b, b");
  }
  EXPECT_THROW(table.column("b"), Error);
}

TEST(Csv, WhatIsWrittenReadsBack) {
  const std::vector<Fields> rows = {
      {"plain", "", "x y"}, {"a,b", "\"", "\r"}, {"\n", "\"\"", "é"}, {"", "", ""}, {"a\"b", " ", ","}};
  std::string text = csv_row(Fields{"one", "two", "three"});
  for (const Fields& row : rows) text += csv_row(row);
  const CsvTable table = CsvTable::parse(text, "t.csv");
  ASSERT_EQ(table.rows(), rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(table.row(i), rows[i]);
  EXPECT_EQ(CsvTable::parse("a\n" + csv_row(Fields{""}), "t.csv").row(0), Fields{""});
}

}  // namespace
}  // namespace densetree
