#!/usr/bin/env bash
# Shows that check.sh sees each kind of breach, and is silent on a house that has none.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(mktemp -d)"
trap 'rm -rf "$root"' EXIT
failures=0

# A small house in order.
clean_house() {
  rm -rf "${root:?}"/*
  mkdir -p "$root"/{kernels/{core,functors,cpu,cuda},engine/io,data,nn,metrics,tree,report,tools}
  mkdir "$root/docs" && printf '## 5. Posterior\n' >"$root/docs/method.md"
  printf '// A view (docs/method.md §5; tree.cc).\n#pragma once\n#include <cstdint>\n' >"$root/kernels/core/view.h"
  printf '// Arithmetic.\n#include "kernels/core/view.h"\n' >"$root/kernels/functors/relu.h"
  printf '#include "kernels/functors/relu.h"\n#include <dnnl.h>\n' >"$root/kernels/cpu/cpu.cc"
  printf '#include "kernels/functors/relu.h"\n#include <cuda_runtime.h>\n' >"$root/kernels/cuda/cuda.cu"
  printf '// Never exit() here, nor <cuda_bf16.h>; https://example.org/a.md\\nconst char* url = "https://example.org/b.md";\n// exit.cc() is no file.\n#include "kernels/core/view.h"\n' >"$root/engine/io/file.h"
  printf '#include "engine/io/file.h"\nint f() { return exit_code(1) + s.exit(2); }\n' >"$root/nn/net.cc"
  printf '// An X-ray.\n#include "engine/io/file.h"\n' >"$root/data/image.h"
  printf '// AUROC.\n#include "data/image.h"\n' >"$root/metrics/ranking.h"
  printf '#include "engine/io/file.h"\n#include "metrics/ranking.h"\n' >"$root/tree/tree.cc"
  printf '#include "tree/tree.h"\n' >"$root/report/page.cc"
  printf '#include <iostream>\n#include "nn/net.h"\n#include "report/page.h"\nint main() { std::cout << 1; exit(0); }\n' \
    >"$root/tools/main.cc"
}

# expect_breach FILE LINE TEXT: adding LINE to FILE must be reported with TEXT.
expect_breach() {
  clean_house
  printf '%s\n' "$2" >>"$root/$1"
  local output
  if output="$("$here/check.sh" "$root")"; then
    echo "not seen: '$2' in $1"
    failures=$((failures + 1))
  elif [[ "$output" != *"$1:"*"$3"* ]]; then
    echo "seen, but not told as '$3': '$2' in $1"
    echo "$output"
    failures=$((failures + 1))
  fi
}

clean_house
if ! "$here/check.sh" "$root"; then
  echo "a clean house was refused"
  failures=$((failures + 1))
fi

expect_breach tree/tree.cc '#include "nn/net.h"' 'tree may not include'
expect_breach nn/net.cc '#include "tree/tree.h"' 'nn may not include'
expect_breach nn/net.cc '#include "tools/commands.h"' 'nn may not include'
expect_breach tree/tree.cc '#include "report/page.h"' 'tree may not include'
expect_breach metrics/ranking.h '#include "tree/tree.h"' 'metrics may not include'
expect_breach report/page.cc '#include "nn/net.h"' 'report may not include'
expect_breach data/image.h '#include "nn/net.h"' 'data may not include'
expect_breach engine/io/file.h '#include "data/image.h"' 'engine may not include'
expect_breach engine/io/file.h '#include "nn/net.h"' 'engine may not include'
expect_breach engine/io/file.h '#include "tree/tree.h"' 'engine may not include'
expect_breach kernels/cpu/cpu.cc '#include "engine/io/file.h"' 'kernels may not include'
expect_breach kernels/cpu/cpu.cc '#  include "kernels/cuda/cuda.h"' 'the CPU device may not'
expect_breach kernels/cuda/cuda.cu '#include "kernels/cpu/cpu.h"' 'the CUDA device may not'
expect_breach kernels/core/view.h '#include "kernels/functors/relu.h"' 'kernels/core may not'
expect_breach kernels/functors/relu.h '#include "kernels/cpu/cpu.h"' 'kernels/functors may not'
expect_breach kernels/functors/relu.h '#include <cuda_runtime.h>' "CUDA's headers"
expect_breach kernels/core/view.h '#include <cuda_bf16.h>' "CUDA's headers"
expect_breach engine/io/file.h '#include <cublasLt.h>' "CUDA's headers"
expect_breach nn/net.cc '#include <dnnl.hpp>' 'oneDNN stays'
expect_breach tools/main.cc '#include "oneapi/dnnl/dnnl.hpp"' 'oneDNN stays'
expect_breach tools/main.cc '#include "commands.h"' 'from the repository'
expect_breach tools/main.cc '#include "../nn/net.h"' 'from the repository'
expect_breach tools/main.cc '#include "bench/bench.h"' 'tools may not include'
expect_breach tree/tree.cc '// As METHOD.md says.' 'there is no such file'
expect_breach tree/tree.cc '// The other half is in gone.cc, and' 'there is no such file'
expect_breach tree/tree.cc '// Thresholds: docs/method.md §9.' 'has no section 9'
expect_breach tree/tree.cc '// Thresholds: docs/method.md §5 to §8.' 'has no section 8'
expect_breach tree/tree.cc 'f("//"); // As in gone.cc (3).' 'there is no such file'
expect_breach nn/net.cc '  std::exit(1);' 'never end the program'
expect_breach nn/net.cc 'if (bad) exit(1);' 'never end the program'
expect_breach kernels/cpu/cpu.cc 'abort();' 'never end the program'
expect_breach tree/tree.cc '::_exit(3);' 'never end the program'
expect_breach tree/tree.cc 'std::terminate();' 'never end the program'
expect_breach tree/tree.cc 'std::cout << 1;' 'standard output'
expect_breach engine/io/file.h 'printf("%d", 1);' 'standard output'
expect_breach engine/io/file.h 'fmt::print("{}", 1);' 'standard output'

clean_house
printf '#pragma once\n' >"$root/nn/bare.h"
if "$here/check.sh" "$root" >/dev/null; then
  echo "a header without an opening sentence was not seen"
  failures=$((failures + 1))
fi
rm -rf "${root:?}"/*
mkdir "$root"/{kernels,engine,data,nn,metrics,tree,report,tools}
if "$here/check.sh" "$root" >/dev/null; then
  echo "a house without files passed"
  failures=$((failures + 1))
fi
[[ $failures -eq 0 ]] && echo "every breach was seen" || exit 1
