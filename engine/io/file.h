// Files that are whole or absent, and files mapped into memory.
//
// Everything the project writes goes through AtomicFile: the bytes go to a hidden neighbour, are synced, and only
// then take the name. A crash, a full disk or an exception leaves the old file, or none, in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace densetree {

// A read-only memory map. Throws Error naming the file when it cannot be opened or mapped. Movable.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// The system's reason for the call that failed last, asked for when a message is made.
struct SystemReason {
  std::string describe() const;
};

// A folder that is open: files made in it stay in it when it is moved.
class Folder {
 public:
  explicit Folder(const std::filesystem::path& path);  // throws Error naming it
  ~Folder();
  Folder(const Folder& other);
  Folder& operator=(const Folder&) = delete;

  const std::filesystem::path& path() const { return path_; }  // that it was opened by
  int descriptor() const { return descriptor_; }
  void remove(const std::string& name) const;  // a file in it, where there is one; throws Error

 private:
  friend class AtomicFile;
  Folder(const std::filesystem::path& path, std::string_view failure);

  std::filesystem::path path_;
  int descriptor_;
};

// Writes aside, syncs, renames on commit(). The destructor of an uncommitted file removes what was written.
// Every failure (unwritable folder, full disk) is an Error naming the final path and the system's reason.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  AtomicFile(const Folder& folder, const std::string& name);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();  // flush, fsync, rename, fsync the folder
  const std::filesystem::path& path() const { return path_; }

 private:
  Folder folder_;
  std::string name_, aside_;
  std::filesystem::path path_;  // for messages
  int file_ = -1;
  bool committed_ = false;
};

// A lock on a file, which is made where it is missing. The system gives it back when the object or the process goes.
class FileLock {
 public:
  // Throws Error with the text `busy` where somebody else holds it, and one that names the file where it cannot be
  // made.
  FileLock(const Folder& folder, const std::string& name, const std::string& busy);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  bool holds() const;  // the path is still that of the file that is locked

 private:
  std::filesystem::path path_;
  int file_ = -1;
};

void write_file(const std::filesystem::path& path, std::string_view text);  // one AtomicFile, committed
// Whole; *.gz is unpacked. Error where that is more than `max_bytes`, or more than there is memory for.
std::string read_file(const std::filesystem::path& path, std::uint64_t max_bytes = UINT64_MAX);
void make_folder(const std::filesystem::path& path);  // with parents; Error names the one that failed

}  // namespace densetree
