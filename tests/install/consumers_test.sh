#!/usr/bin/env bash
# Installs into a folder and moves it; from there the examples are built by find_package and by pkg-config, in C, C++ and
# Fortran, and say what the program says. The headers compile, and nothing is exported but the interface.
#   consumers_test.sh DENSETREE CMAKE BUILD
source "$(dirname "${BASH_SOURCE[0]}")/../tools/harness.sh"
cmake=$2 build=$3
CMAKE_GENERATOR="$(sed -n 's/^CMAKE_GENERATOR:INTERNAL=//p' "$build/CMakeCache.txt")"  # the system's may not be installed
export CMAKE_GENERATOR

# does WORDS…: must succeed.
does() {
  "$@" > "$work/log" 2>&1 || { fail "$*"; tail -20 "$work/log" >&2; }
}

does "$cmake" --install "$build" --prefix "$work/first"
does mv "$work/first" "$work/prefix"
prefix="$work/prefix"
installed="$prefix/bin/densetree"
library="$(find "$prefix" -name libdensetree.so)"
libraries="$(dirname "$library")"

# ---- What is exported: densetree_… in C, and of C++ the namespace, in versions of their own.
exported="$(nm -D --defined-only -C "$library" | cut -d' ' -f3-)"
strangers="$(grep -vE '^(densetree_[a-z_]+@@DENSETREE_[0-9]+|(vtable for |typeinfo for |typeinfo name for )?densetree::.*@@DENSETREE_CXX_[0-9.]+|DENSETREE_[A-Z0-9_.]+)$' <<< "$exported")"
[[ -z $strangers ]] || fail "exported, and not of the interface: $(head -3 <<< "$strangers")"
grep -q '^densetree::c_api' <<< "$exported" && fail "what is behind the C interface is exported"
declared="$(grep -oE '\bdensetree_[a-z_]+\(' "$prefix/include/densetree.h" | tr -d '(' | sort -u)"
[[ "$(grep -oE '^densetree_[a-z_]+' <<< "$exported" | sort -u)" == "$declared" ]] ||
  fail "exported is not what densetree.h declares: $(diff <(grep -oE '^densetree_[a-z_]+' <<< "$exported" | sort -u) <(echo "$declared") | head -3)"

# ---- The plugin is found where the folder was moved to, and missed where there is none.
densetree=$installed
runs 0 devices
if [[ -e $libraries/densetree/libdensetree_cuda.so ]]; then
  grep -q 'libdensetree_cuda.so is not in' "$work/out" && fail "the CUDA plugin is not found: $(cat "$work/out")"
else
  grep -q "libdensetree_cuda.so is not in $libraries/densetree" "$work/out" || fail "nothing is said of a CUDA plugin"
fi

# ---- A run to work with, by the installed program.
runs 0 synth --out "$work/xrays" --count 60 --size 48 --seed 3
runs 0 prepare --images "$work/xrays/images" --labels "$work/xrays/Data_Entry_2017.csv" --out "$work/data" --size 40
runs 0 train --device cpu --data "$work/data" --out "$work/run" --arch growth=8,blocks=2-4,init=16 --image-size 48 \
  --batch-size 8 --epochs 1
runs 0 calibrate --device cpu --run "$work/run" --data "$work/data" --split train --out "$work/calibration.json" \
  --choose any-false:0.5
mapfile -t images < <(find "$work/xrays/images" -name '*.png' | sort | head -3)
runs 0 predict --device cpu --run "$work/run" --calibration "$work/calibration.json" "${images[@]}"
cp "$work/out" "$work/answers"
runs 0 predict --device cpu --run "$work/run" --json "${images[0]}"
tr ',{' '\n' < "$work/out" | sed -n 's/^"\([A-Za-z_]*\)":\([0-9][0-9.e-]*\)}*$/\1 \2/p' |
  awk '{ printf "  %-20s %.6f\n", $1, $2 }' > "$work/probabilities"
[[ $(wc -l < "$work/probabilities") == 14 ]] || fail "no probabilities of 14 labels to compare with"

# says_the_same PROGRAM: the C example's output is that of the program.
says_the_same() {
  does "$@" "$work/run" "$work/calibration.json" "${images[@]}"
  grep -vE '^  [A-Z][A-Za-z_]* +[0-9.]+$| takes ' "$work/log" > "$work/said"
  same_text "$work/answers" "$work/said" "$1"
  grep -E '^  [A-Z][A-Za-z_]* +[0-9.]+$' "$work/log" | head -14 > "$work/said"
  same_text "$work/probabilities" "$work/said" "$1"
}
# same_text FILE FILE NAME: the same but for blanks.
same_text() {
  diff -w "$1" "$2" > "$work/diff" || { fail "$3 answers otherwise:"; head -5 "$work/diff" >&2; }
}

# ---- find_package
export OMP_WAIT_POLICY=passive
does "$cmake" -S "$prefix/share/densetree/examples" -B "$work/examples" -DCMAKE_PREFIX_PATH="$prefix" \
  -DCMAKE_C_FLAGS="-Wall -Wextra -Wpedantic -Werror" -DCMAKE_CXX_FLAGS="-Wall -Wextra"
does "$cmake" --build "$work/examples"
says_the_same "$work/examples/classify"
does "$work/examples/features" "$work/run" "${images[@]}"
runs 0 embed --device cpu --run "$work/run" --out "$work/features.npy" "${images[@]}"
first="$(od -A n -t f4 -j 128 -N 4 "$work/features.npy" | awk '{ printf "%.4f", $1 }')"
[[ "$(awk -v image="${images[0]}" '$1 == image { printf "%.4f", $2 }' "$work/log")" == "$first" ]] ||
  fail "features says otherwise than embed"
if [[ -e $work/examples/classify_fortran ]]; then
  does "$work/examples/classify_fortran" "$work/run" "${images[0]}"
  same_text "$work/probabilities" "$work/log" classify_fortran
else
  echo "not checked: there is no Fortran compiler"
fi
mkdir "$work/static"
cat > "$work/static/CMakeLists.txt" << 'TEXT'
cmake_minimum_required(VERSION 3.22)
project(static C CXX)
find_package(densetree REQUIRED COMPONENTS static)
add_executable(classify ${EXAMPLES}/classify.c)
target_link_libraries(classify PRIVATE densetree::static)
TEXT
does "$cmake" -S "$work/static" -B "$work/static/build" -DCMAKE_PREFIX_PATH="$prefix" \
  -DEXAMPLES="$prefix/share/densetree/examples"
does "$cmake" --build "$work/static/build"
says_the_same "$work/static/build/classify"
if command -v pkg-config > /dev/null; then
  read -ra flags <<< "$(PKG_CONFIG_PATH="$libraries/pkgconfig" pkg-config --static --cflags --libs densetree)"
  does cc "$prefix/share/densetree/examples/classify.c" "${flags[@]/-ldensetree/$libraries/libdensetree.a}" \
    -o "$work/static/classify"
  says_the_same "$work/static/classify"
fi
ldd "$work/static/build/classify" | grep -q libdensetree && fail "what should be linked statically is not"
mkdir "$work/wrong"
printf 'cmake_minimum_required(VERSION 3.22)\nproject(wrong CXX)\nfind_package(densetree REQUIRED COMPONENTS cx)\n' \
  > "$work/wrong/CMakeLists.txt"
"$cmake" -S "$work/wrong" -B "$work/wrong/build" -DCMAKE_PREFIX_PATH="$prefix" > "$work/log" 2>&1 &&
  fail "a component that does not exist is found"
grep -q "no 'cx'" "$work/log" || fail "a component that does not exist is not named"

# ---- pkg-config
if command -v pkg-config > /dev/null; then
  export PKG_CONFIG_PATH="$libraries/pkgconfig"
  read -ra flags <<< "$(pkg-config --cflags --libs densetree)"
  does cc "$prefix/share/densetree/examples/classify.c" "${flags[@]}" "-Wl,-rpath,$libraries" -o "$work/classify"
  says_the_same "$work/classify"
else
  echo "not checked: pkg-config is not installed"
fi

# ---- The headers of the C++ classes, with nothing but the folder that they were installed into.
(cd "$prefix/include" && find densetree -name '*.h' | sort | sed 's/.*/#include <&>/') > "$work/all.cc"
[[ $(wc -l < "$work/all.cc") -gt 60 ]] || fail "there are no headers"
does c++ -std=c++20 -fsyntax-only -Wall -Wextra -Werror -I "$prefix/include" "$work/all.cc"
finish
