#include "data/row_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <system_error>

#include "data/hash.h"
#include "data/npy.h"
#include "engine/io/file.h"
#include "kernels/core/error.h"

namespace densetree::data {
namespace {

namespace fs = std::filesystem;

std::string reason(int error) {
  return std::generic_category().message(error);
}

int open_file(const fs::path& path, int flags) {
  const int file = ::open(path.c_str(), flags | O_RDWR | O_CLOEXEC, 0666);
  check(file >= 0, "cannot write {}: {}", path.string(), SystemReason{});
  return file;
}

void write_all(int file, std::uint64_t offset, const void* data, std::size_t bytes, const fs::path& path) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t wrote = ::pwrite(file, next, bytes, static_cast<off_t>(offset));
    if (wrote < 0 && errno == EINTR) continue;
    check(wrote >= 0, "cannot write {}: {}", path.string(), SystemReason{});
    next += wrote, offset += static_cast<std::uint64_t>(wrote), bytes -= static_cast<std::size_t>(wrote);
  }
}

void read_all(int file, std::uint64_t offset, void* data, std::size_t bytes, const fs::path& path) {
  char* next = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t got = ::pread(file, next, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    check(got > 0, "cannot read {}: {}", path.string(), got == 0 ? "it is cut short" : reason(errno));
    next += got, offset += static_cast<std::uint64_t>(got), bytes -= static_cast<std::size_t>(got);
  }
}

void sync(int file, const fs::path& path) {
  check(::fdatasync(file) == 0, "cannot write {}: {}", path.string(), SystemReason{});
}

}  // namespace

RowStore::RowStore(fs::path folder, const std::string& fingerprint, std::size_t rows, int size)
    : folder_(std::move(folder)), rows_(rows), size_(static_cast<std::size_t>(size)), states_(rows) {
  header_ = npy_header("|u1", std::array{rows_, size_, size_});
  make_folder(folder_);
  const fs::path path = folder_ / "journal";
  journal_ = open_file(path, O_CREAT);
  try {
    check(::flock(journal_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK, "another prepare is at work in {}",
          folder_.string());
    const std::string title = fmt::format("densetree-journal 1 {} {} {}\n", fingerprint, rows_, size_);
    if (!take_up(title)) begin(title);
  } catch (...) {
    if (file_ >= 0) ::close(file_);
    ::close(journal_);
    throw;
  }
}

RowStore::~RowStore() {
  try {
    save();  // after an error elsewhere; where the disk is at fault this fails too, and less is kept
  } catch (const Error&) {
  }
  ::close(file_);
  ::close(journal_);
}

std::uint64_t RowStore::row_offset(std::size_t row) const {
  return header_.size() + row * size_ * size_;
}

// Reads the journal where it is of this work and the rows are there. A torn last line is cut off.
bool RowStore::take_up(const std::string& title) {
  const std::string journal = read_file(folder_ / "journal");
  start_ = journal.empty() ? Start::kNew : Start::kAfresh;
  std::error_code error;
  if (!journal.starts_with(title) || fs::file_size(rows_path(), error) != row_offset(rows_) || error) return false;
  for (std::size_t at = title.size(); at < journal.size();) {
    const std::size_t end = journal.find('\n', at);
    if (end == std::string::npos) break;
    std::size_t row = rows_;
    const char* last = journal.data() + end;
    if (std::from_chars(journal.data() + at, last, row).ptr != last || row >= rows_) break;
    states_[row].emplace();
    journal_bytes_ = at = end + 1;
  }
  journal_bytes_ = std::max<std::uint64_t>(journal_bytes_, title.size());
  check(::ftruncate(journal_, static_cast<off_t>(journal_bytes_)) == 0, "cannot write {}: {}",
        (folder_ / "journal").string(), SystemReason{});
  file_ = open_file(rows_path(), 0);
  start_ = Start::kContinued;
  return true;
}

void RowStore::begin(const std::string& title) {
  const fs::path path = folder_ / "journal";
  check(::ftruncate(journal_, 0) == 0, "cannot write {}: {}", path.string(), SystemReason{});
  sync(journal_, path);
  file_ = open_file(rows_path(), O_CREAT | O_TRUNC);
  const int full = ::posix_fallocate(file_, 0, static_cast<off_t>(row_offset(rows_)));
  if (full != 0) {
    ::unlink(rows_path().c_str());
    fail("cannot write {}: {}; {} bytes are needed", rows_path().string(), reason(full), row_offset(rows_));
  }
  write_all(file_, 0, header_.data(), header_.size(), rows_path());
  sync(file_, rows_path());
  write_all(journal_, 0, title.data(), title.size(), path);
  sync(journal_, path);
  journal_bytes_ = title.size();
}

void RowStore::write(std::size_t row, std::span<const std::uint8_t> pixels) {
  check(row < rows_ && pixels.size() == size_ * size_, "row {} of {} bytes does not fit {} rows of {} bytes", row,
        pixels.size(), rows_, size_ * size_);
  write_all(file_, row_offset(row), pixels.data(), pixels.size(), rows_path());
}

void RowStore::finish_row(std::size_t row, std::string rejection) {
  if (rejection.empty()) unsaved_ += fmt::format("{}\n", row);
  states_[row] = std::move(rejection);
}

void RowStore::save() {
  if (unsaved_.empty()) return;
  const fs::path path = folder_ / "journal";
  sync(file_, rows_path());
  write_all(journal_, journal_bytes_, unsaved_.data(), unsaved_.size(), path);
  sync(journal_, path);
  journal_bytes_ += unsaved_.size();
  unsaved_.clear();
}

std::vector<std::uint64_t> RowStore::hashes() const {
  const MappedFile all(rows_path());
  std::vector<std::uint64_t> hashes;
  for (std::size_t row = 0; row < rows_; ++row) {
    if (states_[row] && states_[row]->empty()) {
      hashes.push_back(xxh64(all.bytes().subspan(row_offset(row), size_ * size_)));
    }
  }
  return hashes;
}

void RowStore::finish() {
  save();
  std::size_t taken = 0;
  for (const std::optional<std::string>& state : states_) {
    check(state.has_value(), "{} has unfinished rows", folder_.string());
    taken += state->empty();
  }
  if (taken < rows_) compact(taken);
}

std::uint64_t RowStore::hash() const {
  return xxh64(MappedFile(rows_path()).bytes());
}

void RowStore::publish(const fs::path& images) {
  check(::rename(rows_path().c_str(), images.c_str()) == 0, "cannot name {}: {}", images.string(), SystemReason{});
}

// Moves the taken rows together, in place: a disk may have no room for them twice. A crash on the way means to start
// afresh, for which the journal is emptied first.
void RowStore::compact(std::size_t taken) {
  const fs::path journal = folder_ / "journal";
  check(::ftruncate(journal_, 0) == 0, "cannot write {}: {}", journal.string(), SystemReason{});
  sync(journal_, journal);
  const std::string header = npy_header("|u1", std::array{taken, size_, size_});
  check(header.size() <= header_.size(), "the header of {} rows is longer than that of {}", taken, rows_);
  std::vector<char> pixels(size_ * size_);
  std::uint64_t to = header.size();
  for (std::size_t row = 0; row < rows_; ++row) {
    if (states_[row]->empty()) {
      read_all(file_, row_offset(row), pixels.data(), pixels.size(), rows_path());
      write_all(file_, to, pixels.data(), pixels.size(), rows_path());
      to += pixels.size();
    }
  }
  write_all(file_, 0, header.data(), header.size(), rows_path());
  check(::ftruncate(file_, static_cast<off_t>(to)) == 0, "cannot write {}: {}", rows_path().string(), SystemReason{});
  sync(file_, rows_path());
}

void RowStore::remove() {
  std::error_code error;
  fs::remove_all(folder_, error);
  check(!error, "cannot remove {}: {}", folder_.string(), error.message());
}

}  // namespace densetree::data
