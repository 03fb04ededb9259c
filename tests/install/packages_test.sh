#!/usr/bin/env bash
# The Debian packages: what is in them, what they need, and that the program runs from them.
#   packages_test.sh DENSETREE CPACK BUILD
source "$(dirname "${BASH_SOURCE[0]}")/../tools/harness.sh"
cpack=$2 build=$3
for tool in dpkg-shlibdeps dpkg-deb file; do  # as CPack wants them
  command -v "$tool" > /dev/null || { echo "$tool is not installed (Debian: dpkg-dev and file)"; exit 77; }
done

(cd "$build" && "$cpack" -G DEB -B "$work/packages" > "$work/log" 2>&1) || { fail "cpack"; tail -20 "$work/log" >&2; }
runs 0 --version
version="$(sed -n 's/^densetree //p' "$work/out")"
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || { fail "no version: $(cat "$work/out")"; finish; }
names=(densetree densetree-dev)
[[ ! -e $build/lib/densetree/libdensetree_cuda.so ]] || names+=(densetree-cuda)
for name in "${names[@]}"; do
  file="$work/packages/${name}_${version}_amd64.deb"
  there "$file"
  dpkg-deb -x "$file" "$work/root"
done
[[ $(find "$work/packages" -maxdepth 1 -name '*.deb' | wc -l) == "${#names[@]}" ]] || fail "there are other packages than ${names[*]}"

# field PACKAGE FIELD
field() { dpkg-deb -f "$work/packages/$1_${version}_amd64.deb" "$2"; }
for library in libc6 libstdc++6 libgomp1 libdnnl libfmt libpng libjpeg libtomlplusplus libxxhash; do
  [[ "$(field densetree Depends)" == *"$library"* ]] || fail "densetree does not depend on $library: $(field densetree Depends)"
done
[[ "$(field densetree-dev Depends)" == "densetree (= $version), libfmt-dev, libdnnl-dev,"* ]] || fail "densetree-dev depends on $(field densetree-dev Depends)"

# Every file of an installation is in one of them.
(cd "$work" && "${cpack%cpack}cmake" --install "$build" --prefix "$work/prefix" > "$work/log" 2>&1) || fail "cmake --install"
diff <(cd "$work/prefix" && find . ! -type d | sort) <(cd "$work/root/usr" && find . ! -type d | sort) > "$work/diff" ||
  fail "packaged is other than installed: $(head -5 "$work/diff")"

densetree="$work/root/usr/bin/densetree"
runs 0 devices
grep -q '^cpu ' "$work/out" || fail "the packaged program lists no cpu"
[[ ${#names[@]} == 2 ]] || ! grep -q 'libdensetree_cuda.so is not in' "$work/out" || fail "its plugin is not found: $(cat "$work/out")"
finish
