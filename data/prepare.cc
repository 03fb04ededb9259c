#include "data/prepare.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <thread>

#include "data/dataset.h"
#include "data/hash.h"
#include "data/prepare_plan.h"
#include "data/resize.h"
#include "data/row_store.h"
#include "engine/io/csv.h"
#include "engine/io/json.h"
#include "kernels/core/error.h"

namespace densetree::data {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Progress = std::function<void(const PrepareProgress&)>;
using Json = nlohmann::ordered_json;

constexpr std::chrono::milliseconds kReportEvery{200}, kSaveEvery{2000};

// Threads that decode the rows still to do, in order, and hand over which are finished. The destructor stops them.
class Decoders {
 public:
  struct Finished {
    std::size_t row;
    std::string rejection;  // "" where it was taken
  };

  Decoders(const PreparePlan& plan, RowStore& store, const PrepareOptions& options)
      : plan_(plan), store_(store), size_(options.size), max_pixels_(options.max_pixels), stop_(options.stop) {
    for (std::size_t row = 0; row < plan.rows.size(); ++row) {
      if (!store.state(row)) todo_.push_back(row);
    }
    const std::size_t wanted =
        options.jobs > 0 ? static_cast<std::size_t>(options.jobs) : std::thread::hardware_concurrency();
    running_ = std::clamp<std::size_t>(wanted, 1, std::max<std::size_t>(todo_.size(), 1));
    for (std::size_t i = 0, count = running_; i < count; ++i) threads_.emplace_back([this] { work(); });
  }
  ~Decoders() { halt_ = true; }  // the threads join as they go

  // Waits until something is finished, at most kReportEvery. False when nothing comes any more. Throws what a
  // thread threw.
  bool take(std::vector<Finished>& finished) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kReportEvery, [&] { return running_ == 0 || failure_; });
    finished.clear();
    finished.swap(finished_);
    if (failure_ && finished.empty()) std::rethrow_exception(failure_);
    return running_ > 0 || !finished.empty();
  }

 private:
  void work() {
    GreyImage small{size_, size_,
                    std::vector<std::uint8_t>(static_cast<std::size_t>(size_) * static_cast<std::size_t>(size_))};
    try {
      for (std::size_t i = next_++; i < todo_.size() && !halt_ && !(stop_ && *stop_); i = next_++) {
        Finished finished{todo_[i], decode(plan_.rows[todo_[i]].file, small)};
        if (finished.rejection.empty()) store_.write(finished.row, small.pixels);
        const std::scoped_lock lock(mutex_);
        finished_.push_back(std::move(finished));
      }
    } catch (...) {
      const std::scoped_lock lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      halt_ = true;
    }
    const std::scoped_lock lock(mutex_);
    --running_;
    changed_.notify_one();
  }

  // Why the file cannot be taken, or "".
  std::string decode(const fs::path& file, GreyImage& small) const {
    try {
      resize_area(decode_image(file, max_pixels_), small.width, small.pixels);
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  }

  const PreparePlan& plan_;
  RowStore& store_;
  const int size_;
  const std::int64_t max_pixels_;
  const std::atomic<bool>* stop_;
  std::vector<std::size_t> todo_;
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> halt_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Finished> finished_;
  std::exception_ptr failure_;
  std::size_t running_ = 0;
  std::vector<std::jthread> threads_;  // last: joined before the rest goes
};

void refuse_rejected(const std::string& image, const std::string& why, std::size_t count) {
  fail("{} is rejected: {}{}; without strict mode the others are packed and rejected images listed in rejected.csv",
       image, why, count > 1 ? fmt::format(" ({} such images so far)", count) : "");
}

// Decodes what is still to do. False when it was told to stop before the end.
bool decode_all(const PrepareOptions& options, const PreparePlan& plan, RowStore& store, PrepareResult& result,
                const Progress& progress) {
  PrepareProgress at;
  at.total = plan.rows.size();
  for (std::size_t row = 0; row < plan.rows.size(); ++row) {
    at.done += store.state(row).has_value();
    at.rejected += store.state(row) && !store.state(row)->empty();
  }
  if (at.done > 0) at.note = fmt::format("continues with {} images done", at.done);
  if (store.start() == RowStore::Start::kAfresh) {
    at.note = "unfinished work with other settings, table or files lay there: starts afresh";
  }
  progress(at);
  at.note.clear();
  Decoders decoders(plan, store, options);
  std::vector<Decoders::Finished> finished;
  Clock::time_point saved = Clock::now();
  while (decoders.take(finished)) {
    for (Decoders::Finished& row : finished) {
      const bool bad = !row.rejection.empty();
      store.finish_row(row.row, std::move(row.rejection));
      ++at.done, ++result.decoded, at.rejected += bad;
      if (bad && options.strict) refuse_rejected(plan.rows[row.row].entry.image, *store.state(row.row), at.rejected);
    }
    if (Clock::now() - saved > kSaveEvery) {
      store.save();
      saved = Clock::now();
    }
    progress(at);
  }
  store.save();
  return at.done == at.total;
}

std::string index_text(const std::vector<const PlannedRow*>& taken, const std::vector<std::uint64_t>& pixels) {
  std::vector<DataRow> rows;
  for (const PlannedRow* row : taken) {
    rows.push_back({row->entry.image, row->entry.patient, row->entry.findings, row->side, pixels[rows.size()]});
  }
  return data_index_csv(rows);
}

std::string rejected_text(const std::map<std::string, std::string>& rejected) {
  std::string text = "Image Index,reason\n";
  for (const auto& [image, why] : rejected) text += csv_row(std::array{image, why});
  return text;
}

// Images and patients of each side; `of(i)` gives side and patient of image i.
template <class Of>
std::array<SideCount, 3> count_sides(std::size_t images, Of of) {
  std::array<SideCount, 3> counts;
  std::array<std::set<std::int64_t>, 3> patients;
  for (std::size_t i = 0; i < images; ++i) {
    const auto [side, patient] = of(i);
    ++counts[static_cast<std::size_t>(side)].images;
    patients[static_cast<std::size_t>(side)].insert(patient);
  }
  for (std::size_t i = 0; i < counts.size(); ++i) counts[i].patients = patients[i].size();
  return counts;
}

std::string manifest_text(const PrepareOptions& options, const PreparePlan& plan, const PrepareResult& result,
                          std::uint64_t images_hash, std::uint64_t index_hash) {
  Json manifest = {{"format", kDataFormat},
                   {"version", kDataVersion},
                   {"images", result.images},
                   {"image_size", options.size},
                   {"rejected", result.rejected}};
  for (const Side side : kSides) {
    const SideCount& count = result.sides[static_cast<std::size_t>(side)];
    manifest["splits"][std::string(name_of(side))] = {{"images", count.images}, {"patients", count.patients}};
  }
  manifest["images_xxh64"] = hash_text(images_hash);
  manifest["index_xxh64"] = hash_text(index_hash);
  for (const fs::path& folder : options.images) manifest["sources"]["images"].push_back(folder.string());
  manifest["sources"]["labels"] = options.labels.string();
  if (options.split.test_list.empty()) {
    manifest["settings"]["test_fraction"] = options.split.test_fraction;
  } else {
    manifest["sources"]["train_val_list"] = options.split.train_val_list.string();
    manifest["sources"]["test_list"] = options.split.test_list.string();
  }
  manifest["settings"]["val_fraction"] = options.split.val_fraction;
  manifest["settings"]["split_seed"] = options.split.seed;
  manifest["settings"]["max_pixels"] = options.max_pixels;
  manifest["fingerprint"] = plan.fingerprint;
  return json_text(manifest, 2) + "\n";
}

// A manifest that waits for images.npy to get its name.
fs::path pending_manifest(const fs::path& out) {
  return out / ".partial" / "manifest.json";
}

void publish_manifest(const fs::path& out) {
  std::error_code error;
  fs::rename(pending_manifest(out), out / "manifest.json", error);
  check(!error, "cannot name {}: {}", (out / "manifest.json").string(), error.message());
}

// Gives everything its final name, the manifest last. A finished data set that is replaced loses its manifest first, so
// that at no moment old and new files pass for one whole.
void publish(const PrepareOptions& options, PreparePlan& plan, RowStore& store, PrepareResult& result) {
  std::vector<const PlannedRow*> taken;
  for (std::size_t row = 0; row < plan.rows.size(); ++row) {
    if (store.state(row)->empty()) {
      taken.push_back(&plan.rows[row]);
    } else {
      plan.rejected[plan.rows[row].entry.image] = *store.state(row);
    }
  }
  check(!taken.empty(), "none of the {} images can be read; the first: {}", plan.rows.size(), *store.state(0));
  result.images = taken.size(), result.rejected = plan.rejected.size();
  result.sides =
      count_sides(taken.size(), [&](std::size_t i) { return std::pair(taken[i]->side, taken[i]->entry.patient); });

  const fs::path manifest = options.out / "manifest.json";
  std::error_code error;
  fs::remove(manifest, error);
  check(!error, "cannot replace {}: {}", manifest.string(), error.message());
  const std::string index = index_text(taken, store.hashes());
  write_file(options.out / "rejected.csv", rejected_text(plan.rejected));
  write_file(options.out / "index.csv", index);
  store.finish();
  write_file(pending_manifest(options.out), manifest_text(options, plan, result, store.hash(), xxh64(index)));
  store.publish(options.out / "images.npy");
  publish_manifest(options.out);
  store.remove();
}

// An entry of a manifest, "" where there is none or it is no text.
std::string text_of(const Json& manifest, const char* name) {
  const auto entry = manifest.find(name);
  return entry != manifest.end() && entry->is_string() ? entry->get<std::string>() : "";
}

// Throws Error where `out` holds another data set than this, or files that are of none.
void check_free(const fs::path& out, const std::string& fingerprint) {
  constexpr const char* kInsist = "name another folder with --out, or insist with --replace";
  const fs::path path = out / "manifest.json";
  if (fs::exists(path)) {
    const Json manifest = Json::parse(read_file(path), nullptr, false);
    check(manifest.is_object() && text_of(manifest, "format") == kDataFormat,
          "{}: is there already and is no manifest of a data set; {}", path.string(), kInsist);
    check(text_of(manifest, "fingerprint") == fingerprint,
          "{}: holds a finished data set already, of other settings, table or files; {}", out.string(), kInsist);
    return;
  }
  for (const fs::path& file : data_files(out)) {
    check(!fs::exists(file) || fs::exists(out / ".partial"),
          "{}: is there already and of no data set that `densetree prepare` made; {}", file.string(), kInsist);
  }
}

// The result where `out` holds this very data set already, whole. `note` says why not where it should.
std::optional<PrepareResult> find_finished(const fs::path& out, const std::string& fingerprint, std::string& note) {
  const fs::path path = out / "manifest.json";
  if (fs::exists(pending_manifest(out)) && !fs::exists(out / ".partial" / "images.npy")) {
    publish_manifest(out);  // an earlier call ended just before
  }
  const Json manifest = fs::exists(path) ? Json::parse(read_file(path), nullptr, false) : Json();
  if (!manifest.is_object() || text_of(manifest, "fingerprint") != fingerprint) return std::nullopt;
  try {
    const Dataset there(out);
    there.verify();
    PrepareResult result;
    result.outcome = PrepareResult::Outcome::kAlreadyDone;
    result.images = static_cast<std::size_t>(there.size()), result.rejected = manifest.at("rejected");
    result.sides = count_sides(result.images, [&](std::size_t i) {
      const DataRow& row = there.row(static_cast<std::int64_t>(i));
      return std::pair(row.side, row.patient);
    });
    return result;
  } catch (const Error& fault) {
    note = fmt::format("makes the data set there anew, which cannot be used ({})", fault.what());
  } catch (const Json::exception& fault) {
    note = fmt::format("makes the data set there anew, which cannot be used ({}: {})", path.string(), fault.what());
  }
  return std::nullopt;
}

}  // namespace

std::vector<fs::path> data_files(const fs::path& data) {
  return {data / "images.npy", data / "index.csv", data / "rejected.csv", data / "manifest.json"};
}

PrepareResult prepare(const PrepareOptions& options, const Progress& progress) {
  check_settings(options);
  check(options.jobs >= 0, "the number of jobs is {}; it must be 1 or more, or 0 for one per core", options.jobs);
  check(!options.out.empty(), "no output folder is given");
  const Progress tell = progress ? progress : [](const PrepareProgress&) {};
  PreparePlan plan =
      plan_prepare(options.images, read_label_table(options.labels), options.split, options.size, options.max_pixels);
  if (options.strict && !plan.rejected.empty()) {
    const auto& [image, why] = *plan.rejected.begin();
    refuse_rejected(image, why, plan.rejected.size());
  }
  if (options.strict && !plan.notes.empty()) fail("{}; without strict mode they are left out", plan.notes.front());
  for (const std::string& text : plan.notes) tell({0, plan.rows.size(), 0, text});
  if (!options.replace) check_free(options.out, plan.fingerprint);
  std::string note;
  if (std::optional<PrepareResult> finished = find_finished(options.out, plan.fingerprint, note)) return *finished;
  if (!note.empty()) tell({0, plan.rows.size(), 0, note});

  make_folder(options.out);
  RowStore store(options.out / ".partial", plan.fingerprint, plan.rows.size(), options.size);
  PrepareResult result;
  if (decode_all(options, plan, store, result, tell)) {
    publish(options, plan, store, result);
  } else {
    result.outcome = PrepareResult::Outcome::kStopped;
  }
  return result;
}

}  // namespace densetree::data
