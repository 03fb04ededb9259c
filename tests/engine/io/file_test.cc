#include "engine/io/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

#include <csignal>
#include <fstream>

#include "kernels/core/error.h"
#include "tests/error_of.h"

namespace densetree {
namespace {

namespace fs = std::filesystem;

// A folder of its own for each test, gone afterwards.
class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / ("densetree-file-" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  static void expect_contains(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text << "\nlacks " << part;
  }

  fs::path folder_;
};

TEST_F(FileTest, WritesAsideAndNamesOnCommit) {
  const fs::path path = folder_ / "a.txt";
  {
    AtomicFile file(path);
    file.write("hello ");
    file.write("there");
    EXPECT_FALSE(fs::exists(path));
    file.commit();
    EXPECT_THROW(file.write("more"), Error);
    EXPECT_THROW(file.commit(), Error);
  }
  EXPECT_EQ(read_file(path), "hello there");
  EXPECT_EQ(files(), 1u);
}

TEST_F(FileTest, UncommittedLeavesTheOldFile) {
  const fs::path path = folder_ / "a.txt";
  write_file(path, "old");
  {
    AtomicFile file(path);
    file.write("new");
  }
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(files(), 1u);
}

TEST_F(FileTest, TwoWritersOfOneFileAreKeptApart) {
  const fs::path path = folder_ / "a.txt";
  AtomicFile first(path);
  first.write("first");
  expect_contains(error_of([&] { AtomicFile second(path); }), path.string());
  first.commit();
  write_file(path, "third");
  EXPECT_EQ(read_file(path), "third");
}

TEST_F(FileTest, TakesOverWhatAKilledWriterLeft) {
  const fs::path path = folder_ / "a.txt";
  std::ofstream(folder_ / ".a.txt.partial") << "a long torn text";
  write_file(path, "short");
  EXPECT_EQ(read_file(path), "short");
  EXPECT_EQ(files(), 1u);
}

// A folder that is moved takes the files with it that are being written there; another of its name is left alone.
TEST_F(FileTest, FilesStayInTheirFolder) {
  const fs::path here = folder_ / "here", there = folder_ / "there";
  make_folder(here);
  const Folder folder(here);
  const FileLock lock(folder, "lock", "busy");
  EXPECT_EQ(error_of([&] { FileLock(folder, "lock", "busy"); }), "busy");
  AtomicFile begun(here / "a.txt");
  begun.write("a");
  EXPECT_TRUE(lock.holds());
  fs::rename(here, there);
  EXPECT_FALSE(lock.holds());
  make_folder(here);
  write_file(here / "lock", "");
  EXPECT_FALSE(lock.holds());
  begun.commit();
  AtomicFile later(folder, "b.txt");
  later.commit();
  folder.remove("lock");
  folder.remove("lock");  // it is gone already
  EXPECT_TRUE(fs::exists(here / "lock"));
  EXPECT_EQ(read_file(there / "a.txt"), "a");
  EXPECT_TRUE(fs::exists(there / "b.txt"));
  EXPECT_FALSE(fs::exists(here / "a.txt") || fs::exists(here / "b.txt"));
}

// Another user for the rest of the scope, where that is possible.
class AsNobody {
 public:
  AsNobody() : before_(::geteuid()) { done_ = before_ != 0 || ::seteuid(kNobody) == 0; }
  ~AsNobody() {
    if (done_ && before_ == 0 && ::seteuid(0) != 0) {
      ADD_FAILURE() << "cannot become root again";
    }
  }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;
  static constexpr uid_t kNobody = 65534;

  bool done() const { return done_; }

 private:
  uid_t before_;
  bool done_;
};

TEST_F(FileTest, FoldersThatMayNotBeListed) {
  fs::permissions(folder_, fs::perms::owner_write | fs::perms::owner_exec);
  if (::geteuid() == 0) {  // who may list every folder
    ASSERT_EQ(::chown(folder_.c_str(), AsNobody::kNobody, static_cast<gid_t>(-1)), 0);
  }
  const AsNobody user;
  if (!user.done() || ::faccessat(AT_FDCWD, folder_.c_str(), X_OK, AT_EACCESS) != 0) {
    GTEST_SKIP() << folder_ << " cannot be reached by any user but root";
  }
  EXPECT_THROW(files(), fs::filesystem_error);
  write_file(folder_ / "a.txt", "a");
  EXPECT_EQ(read_file(folder_ / "a.txt"), "a");
  fs::permissions(folder_, fs::perms::owner_all);
}

// A file size limit behaves as a full disk does: write() fails in the middle.
TEST_F(FileTest, FullDiskIsAnErrorAndLeavesTheOldFile) {
  const fs::path path = folder_ / "a.bin";
  write_file(path, "old");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 4096;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string big(100000, 'x');
  const std::string refusal = error_of([&] { write_file(path, big); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  expect_contains(refusal, path.string());
  expect_contains(refusal, "File too large");
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(files(), 1u);
}

TEST_F(FileTest, UnwritablePlacesAreErrorsThatNameThem) {
  write_file(folder_ / "file", "x");
  const fs::path below_a_file = folder_ / "file" / "a.txt";
  expect_contains(error_of([&] { write_file(below_a_file, "y"); }), below_a_file.string());
  expect_contains(error_of([&] { write_file("/proc/densetree.txt", "y"); }), "/proc/densetree.txt");
  expect_contains(error_of([&] { write_file(folder_ / "absent" / "a", "y"); }), "No such file");
  fs::create_directory(folder_ / "sub");
  expect_contains(error_of([&] { write_file(folder_ / "sub", "y"); }), "no regular file");
  expect_contains(error_of([&] { write_file("/dev/full", "y"); }), "no regular file");
}

TEST_F(FileTest, FoldersAreMadeWithTheirParents) {
  make_folder(folder_ / "a" / "b" / "c");
  EXPECT_TRUE(fs::is_directory(folder_ / "a" / "b" / "c"));
  make_folder(folder_ / "a" / "b" / "c" / "");  // already there
  write_file(folder_ / "file", "x");
  expect_contains(error_of([&] { make_folder(folder_ / "file" / "d" / "e"); }), (folder_ / "file").string());
  EXPECT_THROW(make_folder("/proc/densetree/a"), Error);
}

TEST_F(FileTest, MapsWholeFiles) {
  write_file(folder_ / "a", "content");
  write_file(folder_ / "empty", "");
  MappedFile map(folder_ / "a");
  EXPECT_EQ(map.text(), "content");
  MappedFile moved(std::move(map));
  EXPECT_EQ(moved.text(), "content");
  EXPECT_TRUE(MappedFile(folder_ / "empty").bytes().empty());
  expect_contains(error_of([&] { MappedFile absent(folder_ / "absent"); }), "absent");
  EXPECT_THROW(MappedFile{folder_}, Error);
}

std::string gzipped(const fs::path& path, const std::string& text, const char* mode = "wb") {
  gzFile file = gzopen(path.c_str(), mode);
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
  return text;
}

TEST_F(FileTest, UnpacksGzipByName) {
  std::string text;
  for (int i = 0; i < 200000; ++i) text += std::to_string(i) + '\n';
  const fs::path path = folder_ / "a.csv.gz";
  gzipped(path, text);
  EXPECT_EQ(read_file(path), text);
  gzipped(path, "second member", "ab");
  EXPECT_EQ(read_file(path), text + "second member");
}

TEST_F(FileTest, TornGzipIsAnError) {
  const fs::path path = folder_ / "a.gz";
  gzipped(path, std::string(5000, 'a') + std::string(5000, 'b'));
  fs::resize_file(path, fs::file_size(path) - 6);
  expect_contains(error_of([&] { read_file(path); }), "cut short");
  write_file(path, "Image Index,Patient ID\n");
  expect_contains(error_of([&] { read_file(path); }), path.string());
  write_file(path, "");
  EXPECT_THROW(read_file(path), Error);
}

TEST_F(FileTest, ReadingWhatIsNotThereIsAnError) {
  expect_contains(error_of([&] { read_file(folder_ / "absent"); }), "absent");
  expect_contains(error_of([&] { read_file(folder_); }), folder_.string());
}

TEST_F(FileTest, ReadsNoMoreThanALimit) {
  const fs::path path = folder_ / "a";
  write_file(path, "seven b");
  EXPECT_EQ(read_file(path, 7), "seven b");
  expect_contains(error_of([&] { read_file(path, 6); }), "it has 7 bytes; at most 6 are read");
  expect_contains(error_of([&] { read_file("/dev/zero", 100000); }), "/dev/zero: it has more than 100000 bytes");
  const fs::path packed = folder_ / "a.gz";
  gzipped(packed, std::string(3000000, 'a'));
  EXPECT_EQ(read_file(packed, 3000000).size(), 3000000u);
  expect_contains(error_of([&] { read_file(packed, 2999999); }), "a.gz: it has more than 2999999 bytes");
}

}  // namespace
}  // namespace densetree
