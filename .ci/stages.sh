# shellcheck shell=bash
# Sourced by the scripts beside it: titles with the time.
stage() {
  echo
  echo "==== $* (at ${SECONDS} s)"
}
