# Holds the shape of the house. Reads every source below the root, given as paths relative to it, and prints one line
# for each breach: who may include whom, where vendor headers may stand, what libraries must not call, which files
# comments may name. With citations_only=1 the last alone.

# The folders whose files a folder may include; includes run downward only.
BEGIN {
  may["kernels"] = " kernels "
  may["engine"] = " engine kernels "
  may["data"] = " data engine kernels "
  may["nn"] = " nn data engine kernels "
  may["metrics"] = " metrics data engine kernels "
  may["tree"] = " tree metrics data engine kernels "
  may["report"] = " report tree metrics data engine kernels "
  may["c_api"] = " c_api report tree metrics nn data engine kernels "
  may["tools"] = " tools report tree metrics nn data engine kernels "
  if (ARGC < 2) breach("no files to check")
  for (i = 1; i < ARGC; i++) {
    name = ARGV[i]
    sub(/.*\//, "", name)
    known[name] = known[ARGV[i]] = 1
  }
  for (i = split(house, others, " "); i > 0; i--) {  # sources that are known and not read
    name = others[i]
    sub(/.*\//, "", name)
    known[name] = known[others[i]] = 1
  }
}

function exists(file,  line, status) {
  if (!(file in known)) {
    known[file] = (getline line < file) >= 0
    close(file)
  }
  return known[file]
}

# Whether the file has a heading "## 5. …".
function has_section(file, number,  line, found_it) {
  while ((getline line < file) > 0) {
    if (index(line, "## " number ".") == 1) found_it = 1
  }
  close(file)
  return found_it
}

function breach(what) {
  print (FILENAME ? FILENAME ":" FNR ": " : "") what
  found++
}

FNR == 1 {
  files++
  split(FILENAME, part, "/")
  folder = part[1]
  below = part[1] "/" part[2] "/"
  beside = FILENAME
  sub(/[^\/]*$/, "", beside)
  header = FILENAME ~ /\.(h|cuh)$/
  if (!(folder in may) && !citations_only) breach("this folder has no rule in tests/house/check.awk")
  if (header && !citations_only && $0 !~ /^\/[\/*]/) breach("a header opens with a few sentences on what it is for")
}

# Comments do not count. Block comments are rare here; a line of one starts with a star.
{
  code = $0
  sub(/\/\/.*/, "", code)
  if (code ~ /^ *(\/\*|\*)/) code = ""
}

# A file that a comment names is there, by its path from the root or from beside the comment or, of a source, by its name; so are its sections.
{
  text = $0
  gsub(/"[^"]*"/, "", text)
  text = match(text, /\/\/.*/) ? substr(text, RSTART) : ""
  gsub(/<[a-z0-9_\/]*\.[a-z]*>|https?:\/\/[^ ]*/, "", text)  # others' headers and pages
  while (match(text, /[A-Za-z0-9_.\/-]*[A-Za-z0-9_]\.(md|h|cc|cuh|cu|awk|py|sh)/)) {
    target = substr(text, RSTART, RLENGTH)
    text = substr(text, RSTART + RLENGTH)
    if (text ~ /^[A-Za-z0-9_]/ || text ~ /^\(\)/) continue
    sub(/^\/+/, "", target)
    if (!exists(target) && !exists(beside target)) breach("\"" target "\" is named, and there is no such file")
    else while (match(text, /^(,| to| and|:)? ?\(?§[0-9]+/)) {
      number = substr(text, RSTART, RLENGTH)
      text = substr(text, RSTART + RLENGTH)
      gsub(/[^0-9]/, "", number)
      if (!has_section(target, number)) breach("\"" target "\" has no section " number)
    }
  }
}
citations_only { next }

code ~ /^ *# *include *"/ {
  split(code, quoted, "\"")
  target = quoted[2]
  split(target, piece, "/")
  if (target !~ /\// || target ~ /^\.\.?\//)
    breach("\"" target "\" is named from here; name it from the repository's root")
  else if (index(may[folder], " " piece[1] " ") == 0)
    breach(folder " may not include \"" target "\": it sees" may[folder] "only")
  else if (below == "kernels/core/" && target !~ /^kernels\/core\//)
    breach("kernels/core may not include \"" target "\": it sees itself only")
  else if (below == "kernels/functors/" && target !~ /^kernels\/(core|functors)\//)
    breach("kernels/functors may not include \"" target "\": it sees kernels/core and itself only")
  else if (below == "kernels/cpu/" && target ~ /^kernels\/cuda\//)
    breach("the CPU device may not include \"" target "\"")
  else if (below == "kernels/cuda/" && target ~ /^kernels\/cpu\//)
    breach("the CUDA device may not include \"" target "\"")
}

code ~ /^ *# *include *[<"](oneapi\/dnnl|dnnl)/ && below != "kernels/cpu/" {
  breach("oneDNN stays behind kernels/cpu")
}

code ~ /^ *# *include *[<"](cuda|cublas|cudnn|nccl|nvtx|nvToolsExt|driver_types|device_launch|curand|cub\/|nv\/)/ &&
    below != "kernels/cuda/" {
  breach("CUDA's headers stay behind kernels/cuda")
}

folder != "tools" && code ~ /(^|[^A-Za-z0-9_.>])((std::)?(exit|abort|quick_exit|_Exit|_exit|terminate)|::_?exit) *\(/ {
  breach("libraries throw, they never end the program")
}

folder != "tools" && code ~ /(std::(cout|puts|printf)|(^|[^A-Za-z0-9_:.>])(printf|puts) *\(|fmt::print *\( *["f])/ {
  breach("libraries never write to standard output")
}

END {
  if (!files) { print "no files were read"; found++ }
  print files + 0 " files, " found + 0 " breaches"
  exit found ? 1 : 0
}
