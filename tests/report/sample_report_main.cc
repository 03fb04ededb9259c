// Writes a sample report for the test that opens it in a browser.
//   sample_report FILE [TREE.toml]
#include "engine/io/file.h"
#include "tests/report/sample_report.h"

int main(int argc, char** argv) {
  using densetree::tree::LabelTree;
  if (argc < 2) {
    return 2;
  }
  const LabelTree tree = argc > 2 ? LabelTree::read(argv[2]) : LabelTree::of_14_labels();
  densetree::write_file(argv[1], densetree::report::sample_report(tree).html());
}
