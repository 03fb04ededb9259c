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

TEST(Csv, LeavesOutRowsOfNothingButCommas) {
  const CsvTable table = CsvTable::parse("a,b\n,\n1,2\n,,,,\n  \n\"\",\n , ,\n3,\n,\n,,,", "t.csv");
  ASSERT_EQ(table.rows(), 3u);
  EXPECT_EQ(table.row(0), (Fields{"1", "2"}));
  EXPECT_EQ(table.row(1), (Fields{"", ""}));  // quotes say that it is meant
  EXPECT_EQ(table.line(1), 6u);
  EXPECT_EQ(table.row(2), (Fields{"3", ""}));
  EXPECT_EQ(table.line(2), 8u);
  EXPECT_EQ(CsvTable::parse(",,\na\n1\n", "t.csv").header(), Fields{"a"});
}

TEST(Csv, ReadsLinesOfOldMacsToo) {
  const CsvTable table = CsvTable::parse("a,b\r1,\"x\ry\"\r\r\"3\",4\n5,6\r\n7,8\r", "t.csv");
  ASSERT_EQ(table.rows(), 4u);
  EXPECT_EQ(table.row(0), (Fields{"1", "x\ry"}));
  EXPECT_EQ(table.row(1), (Fields{"3", "4"}));
  EXPECT_EQ(table.line(1), 5u);
  EXPECT_EQ(table.line(2), 6u);
  EXPECT_EQ(table.row(3), (Fields{"7", "8"}));
  EXPECT_EQ(message("a,b\r1\r"), "t.csv:2: has 1 fields; the header has 2");
}

TEST(Csv, ReadsUtf16) {
  using std::string_literals::operator""s;
  const CsvTable table = CsvTable::parse(
      "\xff\xfe"
      "a\0,\0b\0\r\0\n\0\xe9\0,\0"
      "2\0"s,
      "t.csv");
  ASSERT_EQ(table.rows(), 1u);
  EXPECT_EQ(table.row(0), (Fields{"\xc3\xa9", "2"}));
}

TEST(Csv, TakesBlanksOffColumnNamesOnly) {
  const CsvTable table = CsvTable::parse(" a ,\"b\t\",\n 1 ,2 ,\n", "t.csv");
  EXPECT_EQ(table.header(), (Fields{"a", "b", ""}));
  EXPECT_EQ(table.row(0), (Fields{" 1 ", "2 ", ""}));
  EXPECT_NE(error_of([] { CsvTable::parse("b,b \n", "t.csv").column("b"); }).find("two columns 'b'"),
            std::string::npos);
}

TEST(Csv, SaysWhatSeparatesTheColumnsInstead) {
  const std::string rest = "; they must be by commas, and numbers have a decimal point";
  EXPECT_EQ(message("a;b\n1;2\n"), "t.csv: the columns are separated by ';'" + rest);
  EXPECT_EQ(message("\r\n\"a\";\"b,c,d\";\"e\"\n"), "t.csv: the columns are separated by ';'" + rest);
  EXPECT_EQ(message("a;b[x,y];c\n"), "t.csv: the columns are separated by ';'" + rest);
  EXPECT_EQ(message("sep=;\na;b\n"), "t.csv: the columns are separated by ';'" + rest);
  EXPECT_EQ(message("a\tb\n1\t0,5\n"), "t.csv: the columns are separated by tabs" + rest);
  EXPECT_EQ(message("a|b\n"), "t.csv: the columns are separated by '|'" + rest);
  EXPECT_EQ(CsvTable::parse("a,\"b;c;d\",e|f\n1;1;1;1,2,3\n", "t.csv").rows(), 1u);
}

TEST(Csv, NamesTheLineOfWhatIsWrong) {
  EXPECT_EQ(message(""), "t.csv: is empty; the first line must name the columns");
  EXPECT_EQ(message("\n\n"), "t.csv: is empty; the first line must name the columns");
  EXPECT_EQ(message("a,b\n\"x\ny\",2\n3\n"), "t.csv:4: has 1 fields; the header has 2");
  EXPECT_EQ(message("a,b\n1,2\n3,0,5\n"),
            "t.csv:3: has 3 fields; the header has 2; a field that holds a comma needs quotes, and a number has a "
            "decimal point");
  EXPECT_EQ(message(std::string_view("a,b\n1,\0\n", 8)).find("t.csv:2: has a NUL byte"), 0u);
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
  EXPECT_EQ(error_of([] { CsvTable::parse("image_index,Age\n", "t.csv").column("Image Index"); }),
            "t.csv: has no column 'Image Index'; did you mean 'image_index'?; its columns are: image_index, Age");
}

TEST(Csv, WhatIsWrittenReadsBack) {
  const std::vector<Fields> rows = {{"plain", "", "x y"}, {"a,b", "\"", "\r"}, {"\n", "\"\"", "é"},
                                    {"", "", ""},         {" ", "", "\t"},     {"a\"b", " ", ","}};
  std::string text = csv_row(Fields{"one", "two", "three"});
  for (const Fields& row : rows) text += csv_row(row);
  const CsvTable table = CsvTable::parse(text, "t.csv");
  ASSERT_EQ(table.rows(), rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(table.row(i), rows[i]);
  EXPECT_EQ(CsvTable::parse("a\n" + csv_row(Fields{""}), "t.csv").row(0), Fields{""});
}

}  // namespace
}  // namespace densetree
