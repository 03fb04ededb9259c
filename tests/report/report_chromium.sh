#!/usr/bin/env bash
# Opens sample reports in Chromium, 360 and 1200 pixels wide: nothing on the console, nothing that makes the page scroll
# sideways, and it prints. Exit status 77 where there is no Chromium that runs.
#   report_chromium.sh SAMPLE_REPORT
set -uo pipefail
sample_report="$(realpath "$1")"
for name in chromium chromium-browser google-chrome; do
  chromium="$(command -v "$name")" && break
done
[[ -n $chromium ]] || { echo "skipped: no chromium here"; exit 77; }
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
failures=0

fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}

browse() {
  timeout 100 "$chromium" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$work/profile" \
    --hide-scrollbars --allow-file-access-from-files --enable-logging=stderr "$@" 2> "$work/log"
}

echo '<p>it runs</p>' > "$work/hello.html"
browse --dump-dom "file://$work/hello.html" | grep -F "it runs" > /dev/null || { echo "skipped: $chromium does not run here"; exit 77; }

# The report in a frame of that width; what the frame measured becomes the page's only text.
measure() {
  cat > "$work/frame.html" << HTML
<!DOCTYPE html><body><iframe src="$1" style="width:$2px;height:2000px;border:0"></iframe><script>
const frame = document.querySelector("iframe");
frame.onload = () => {
  const page = frame.contentDocument.documentElement;
  const lost = [...page.querySelectorAll("p, li, h1, h2, h3, figure, dl, nav")].filter(
      e => e.getBoundingClientRect().right > $2 + 1);
  document.body.textContent = "measured: " + page.scrollWidth + " wide, " + page.querySelectorAll("svg").length +
      " drawings, " + lost.length + " beyond the edge";
};
</script></body>
HTML
  browse --dump-dom "file://$work/frame.html" | grep -o 'measured: [^<]*'
}

# opens FILE DRAWINGS: the number of drawings shows that the page was read to its end.
opens() {
  local width seen
  for width in 360 1200; do
    seen="$(measure "$1" "$width")"
    [[ $seen == "measured: $width wide, $2 drawings, 0 beyond the edge" ]] || fail "$1 at $width: '$seen'"
    ! grep -F CONSOLE "$work/log" || fail "$1 at $width: words on the console"
  done
  browse --print-to-pdf="$work/printed.pdf" "file://$work/$1"
  [[ -s $work/printed.pdf ]] || fail "$1 does not print"
}

cat > "$work/hostile.toml" << 'TOML'
[labels]
"</style></title><script>console.error('seen')</script>" = ["Mass"]
AnExceedinglyLongNameWithoutAnySpacesThatNoTableColumnOnAPhoneCouldEverHoldInOneLineOfText = ["Hernia"]
"<img src=x onerror=console.error(1)>" = ["Edema"]

[tree]
"Root & \"branch\"" = ["Left'of_it", "<img src=x onerror=console.error(1)>"]
"Left'of_it" = ["</style></title><script>console.error('seen')</script>", "AnExceedinglyLongNameWithoutAnySpacesThatNoTableColumnOnAPhoneCouldEverHoldInOneLineOfText"]
TOML
drawings() { grep -o '<svg' "$1" | wc -l; }
"$sample_report" "$work/report.html" || fail "no report was written"
"$sample_report" "$work/hostile.html" "$work/hostile.toml" || fail "no report of hostile names was written"
opens report.html "$(drawings "$work/report.html")"
opens hostile.html "$(drawings "$work/hostile.html")"

# The measure itself: it has to see a page that is too wide, and words on the console.
echo '<p style="width:500px">wide<script>console.error("seen")</script>' > "$work/bad.html"
[[ $(measure bad.html 360) == "measured: 5"*" 1 beyond the edge" ]] || fail "a page too wide was not seen"
grep -qF CONSOLE "$work/log" || fail "words on the console were not seen"

[[ $failures == 0 ]] || exit 1
echo "all checks passed"
