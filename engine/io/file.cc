#include "engine/io/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <new>
#include <system_error>
#include <utility>

#include "kernels/core/error.h"

namespace densetree {
namespace {

namespace fs = std::filesystem;

std::string reason(int error) {
  return std::generic_category().message(error);
}

// A file descriptor that closes itself.
class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags) : number_(::open(path.c_str(), flags | O_CLOEXEC)) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }
  bool ok() const { return number_ >= 0; }

 private:
  int number_;
};

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

// Room for this many bytes at least.
void make_room(std::string& text, std::uint64_t bytes, const fs::path& path) {
  try {
    if (bytes > text.capacity()) text.reserve(bytes);
  } catch (const std::bad_alloc&) {
    fail("cannot read {}: no memory for {} bytes", path.string(), bytes);
  }
}

std::string read_raw(const fs::path& path, std::uint64_t max_bytes) {
  const Descriptor file(path, O_RDONLY);
  check(file.ok(), "cannot open {}: {}", path.string(), SystemReason{});
  std::string text;
  struct stat status {};
  if (::fstat(file.number(), &status) == 0 && S_ISREG(status.st_mode)) {
    const auto bytes = static_cast<std::uint64_t>(status.st_size);
    check(bytes <= max_bytes, "cannot read {}: it has {} bytes; at most {} are read", path.string(), bytes, max_bytes);
    make_room(text, bytes + 1, path);  // one more: the end is seen without growing
  }
  for (;;) {
    const std::size_t had = text.size();
    if (had == text.capacity()) make_room(text, had + 65536, path);
    text.resize(text.capacity());
    const ssize_t got = ::read(file.number(), text.data() + had, text.size() - had);
    const int error = errno;
    text.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    check(text.size() <= max_bytes, "cannot read {}: it has more than {} bytes", path.string(), max_bytes);
    if (got == 0) return text;
    check(got > 0 || error == EINTR, "cannot read {}: {}", path.string(), reason(error));
  }
}

// Whether the open file has this name, relative to an open folder or to the current one (AT_FDCWD).
bool is_named(int file, int folder, const fs::path& name) {
  struct stat ours {
  }, named{};
  return ::fstat(file, &ours) == 0 && ::fstatat(folder, name.c_str(), &named, 0) == 0 && ours.st_ino == named.st_ino &&
         ours.st_dev == named.st_dev;
}

// Locks an open file, unless somebody else has it or it has lost its name to another file meanwhile. Where a file
// system knows no locks, there is none.
bool take_lock(int file, const Folder& folder, const std::string& name) {
  return (::flock(file, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) && is_named(file, folder.descriptor(), name);
}

// Whether something that is no regular file has this name.
bool is_irregular(const Folder& folder, const std::string& name) {
  struct stat status {};
  return ::fstatat(folder.descriptor(), name.c_str(), &status, 0) == 0 && !S_ISREG(status.st_mode);
}

// Unpacks one or several gzip members.
std::string unpack_gzip(const std::string& packed, const fs::path& path, std::uint64_t max_bytes) {
  z_stream stream{};
  check(inflateInit2(&stream, 15 + 16) == Z_OK, "cannot unpack {}: zlib did not start", path.string());
  const std::unique_ptr<z_stream, int (*)(z_stream*)> guard(&stream, inflateEnd);
  const char* next = packed.data();
  std::size_t left = packed.size();
  std::string text;
  int state = Z_OK;
  do {
    if (state == Z_STREAM_END) inflateReset(&stream);
    do {
      const uInt given = static_cast<uInt>(std::min<std::size_t>(left, 1u << 30));
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(next));
      stream.avail_in = given;
      const std::size_t had = text.size();
      make_room(text, had + 262144, path);
      text.resize(text.capacity());
      const uInt room = static_cast<uInt>(std::min<std::size_t>(text.size() - had, 1u << 30));
      stream.next_out = reinterpret_cast<Bytef*>(text.data() + had);
      stream.avail_out = room;
      state = inflate(&stream, Z_NO_FLUSH);
      next += given - stream.avail_in, left -= given - stream.avail_in;
      text.resize(had + room - stream.avail_out);
      check(text.size() <= max_bytes, "cannot unpack {}: it has more than {} bytes", path.string(), max_bytes);
      check(state == Z_OK || state == Z_STREAM_END, "cannot unpack {}: {}; it must be a whole gzip file", path.string(),
            state == Z_BUF_ERROR ? "it is cut short"
            : stream.msg         ? stream.msg
                                 : "not gzip");
    } while (state != Z_STREAM_END);
  } while (left > 0);
  return text;
}

}  // namespace

std::string SystemReason::describe() const {
  return reason(errno);
}

MappedFile::MappedFile(const fs::path& path) {
  const Descriptor file(path, O_RDONLY);
  check(file.ok(), "cannot open {}: {}", path.string(), SystemReason{});
  struct stat status {};
  check(::fstat(file.number(), &status) == 0, "cannot examine {}: {}", path.string(), SystemReason{});
  check(S_ISREG(status.st_mode), "cannot map {}: it is not a regular file", path.string());
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;
  void* memory = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.number(), 0);
  check(memory != MAP_FAILED, "cannot map {} ({} bytes): {}", path.string(), size_, SystemReason{});
  data_ = static_cast<const std::byte*>(memory);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Folder::Folder(const fs::path& path) : Folder(path, fmt::format("cannot open the folder {}", path.string())) {}

Folder::Folder(const fs::path& path, std::string_view failure) : path_(path) {
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor_ < 0 && errno == EACCES) {  // one may write in a folder that one may not list
    descriptor_ = ::open(path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  }
  check(descriptor_ >= 0, "{}: {}", failure, SystemReason{});
}

Folder::Folder(const Folder& other) : path_(other.path_), descriptor_(::fcntl(other.descriptor_, F_DUPFD_CLOEXEC, 0)) {
  check(descriptor_ >= 0, "cannot open the folder {} again: {}", path_.string(), SystemReason{});
}

Folder::~Folder() {
  ::close(descriptor_);
}

void Folder::remove(const std::string& name) const {
  check(::unlinkat(descriptor_, name.c_str(), 0) == 0 || errno == ENOENT, "cannot remove {}: {}",
        (path_ / name).string(), SystemReason{});
}

AtomicFile::AtomicFile(const fs::path& path)
    : AtomicFile(Folder(folder_of(path), fmt::format("cannot write {}", path.string())), path.filename().string()) {}

// The aside file has one fixed name, so that a killed process leaves one at most and the next writer takes it over;
// a lock keeps two live writers apart. It is held until after the rename.
AtomicFile::AtomicFile(const Folder& folder, const std::string& name)
    : folder_(folder),
      name_(name),
      aside_(fmt::format(".{}.partial", name)),
      path_((folder.path() / name).lexically_normal()) {
  check(!name.empty(), "cannot write '{}': it is not a file name", path_.string());
  check(!is_irregular(folder, name), "cannot write {}: something that is no regular file has that name",
        path_.string());
  file_ = ::openat(folder_.descriptor(), aside_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  check(file_ >= 0, "cannot write {}: {}", path_.string(), SystemReason{});
  const bool taken = !take_lock(file_, folder_, aside_);
  if (taken || ::ftruncate(file_, 0) != 0) {
    const std::string why = taken ? "another writer is at it" : reason(errno);
    ::close(file_);
    fail("cannot write {}: {}", path_.string(), why);
  }
}

AtomicFile::~AtomicFile() {
  if (!committed_) ::unlinkat(folder_.descriptor(), aside_.c_str(), 0);
  ::close(file_);
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  check(!committed_, "cannot write {}: it is already committed", path_.string());
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t wrote = ::write(file_, next, bytes);
    if (wrote < 0 && errno == EINTR) continue;
    check(wrote >= 0, "cannot write {}: {}", path_.string(), SystemReason{});
    next += wrote, bytes -= static_cast<std::size_t>(wrote);
  }
}

void AtomicFile::commit() {
  check(!committed_, "cannot commit {} twice", path_.string());
  check(::fsync(file_) == 0, "cannot write {}: {}", path_.string(), SystemReason{});
  check(::renameat(folder_.descriptor(), aside_.c_str(), folder_.descriptor(), name_.c_str()) == 0,
        "cannot name {}: {}", path_.string(), SystemReason{});
  committed_ = true;
  check(::fsync(folder_.descriptor()) == 0 || errno == EINVAL || errno == EBADF, "cannot sync the folder of {}: {}",
        path_.string(), SystemReason{});
}

FileLock::FileLock(const Folder& folder, const std::string& name, const std::string& busy)
    : path_(folder.path() / name) {
  file_ = ::openat(folder.descriptor(), name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  check(file_ >= 0, "cannot write {}: {}", path_.string(), SystemReason{});
  if (!take_lock(file_, folder, name)) {
    ::close(file_);
    fail("{}", busy);
  }
}

bool FileLock::holds() const {
  return is_named(file_, AT_FDCWD, path_);
}

FileLock::~FileLock() {
  ::close(file_);
}

void write_file(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

std::string read_file(const fs::path& path, std::uint64_t max_bytes) {
  std::string raw = read_raw(path, max_bytes);
  return path.extension() == ".gz" ? unpack_gzip(raw, path, max_bytes) : raw;
}

void make_folder(const fs::path& path) {
  std::error_code error;
  if (path.empty() || fs::is_directory(path, error)) return;
  if (path.has_parent_path() && path.parent_path() != path) make_folder(path.parent_path());
  fs::create_directory(path, error);
  std::error_code ignored;
  check(fs::is_directory(path, ignored), "cannot make the folder {}: {}", path.string(),
        error ? error.message() : "something else has that name");
}

}  // namespace densetree
