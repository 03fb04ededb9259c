// The unfinished images.npy of a data folder, and a journal of the rows that are safely in it.
//
// DATA/.partial/images.npy has its full size from the start, so that a disk that is too small is noticed at once.
// DATA/.partial/journal names the work in its first line and then has the number of each row that was taken, written
// only after the row itself is on the disk. A crash loses what came after the last save, nothing else, except while
// rows are moved together at the end because others were rejected. Rejected rows are not in it: what could not be read
// is tried again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace densetree::data {

class RowStore {
 public:
  enum class Start { kNew, kContinued, kAfresh };  // afresh: what lay there was of other work

  // Opens or makes `folder` for `rows` rows of size×size bytes. `fingerprint` names the work: rows of an earlier run
  // count only where it is the same. Throws Error naming the file: full disk, no permission, another run at work.
  RowStore(std::filesystem::path folder, const std::string& fingerprint, std::size_t rows, int size);
  ~RowStore();
  RowStore(const RowStore&) = delete;
  RowStore& operator=(const RowStore&) = delete;

  Start start() const { return start_; }
  // For a finished row the reason of its rejection, empty where it was taken; none for one still to do.
  const std::optional<std::string>& state(std::size_t row) const { return states_[row]; }

  void write(std::size_t row, std::span<const std::uint8_t> pixels);  // from any thread, different rows
  void finish_row(std::size_t row, std::string rejection = {});       // after its write; one thread
  void save();                                                        // what is finished survives a crash from here on

  // Of the pixels of rows that were taken, in order: their hashes.
  std::vector<std::uint64_t> hashes() const;
  // When every row is finished: removes the rejected ones from the file, in place. A crash meanwhile loses the work.
  void finish();
  std::uint64_t hash() const;                         // of that file, finished
  void publish(const std::filesystem::path& images);  // gives it this name
  void remove();                                      // the folder and all in it

 private:
  bool take_up(const std::string& title);
  void begin(const std::string& title);
  void compact(std::size_t taken);
  std::uint64_t row_offset(std::size_t row) const;
  std::filesystem::path rows_path() const { return folder_ / "images.npy"; }

  std::filesystem::path folder_;
  std::size_t rows_, size_;
  std::string header_, unsaved_;
  std::vector<std::optional<std::string>> states_;
  int journal_ = -1, file_ = -1;
  std::uint64_t journal_bytes_ = 0;
  Start start_ = Start::kNew;
};

}  // namespace densetree::data
