# What the scripts share. Sourced, never run; expects `set -euo pipefail` and leaves the caller in the repository's root.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

# Every clone of the repository shares ccache's results, debug builds too.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1

# A folder for logs and the like, gone when the script ends, however it ends.
scratch=$(mktemp -d)
at_exit() { :; } # a script that has more to clean up replaces this
trap 'at_exit; rm -rf "$scratch"' EXIT

# fail MESSAGE...: one line on stderr, exit status 1.
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# usage: the comment at the head of the calling script, which is its --help.
usage() {
  sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
}

# duration SECONDS: as people say it, "12 s" or "3 min 40 s".
duration() {
  if (($1 < 60)); then
    printf '%d s' "$1"
  else
    printf '%d min %d s' $(($1 / 60)) $(($1 % 60))
  fi
}

# step LABEL COMMAND...: runs a command under one line, "LABEL … done (12 s)". What it prints goes to a log that is shown
# only when it fails; its exit status is the command's. On a terminal the line follows ninja's "[37/81]" while it runs.
step() {
  local label=$1 log=$scratch/step.log status=0 start=$SECONDS
  shift
  rm -f "$log" "$log.status"
  printf '%s …' "$label"
  { "$@" 2>&1 </dev/null || echo "$?" >"$log.status"; } | tee "$log" | follow "$label"
  if [[ -f $log.status ]]; then
    status=$(<"$log.status")
    printf ' failed (%s)\n' "$(duration $((SECONDS - start)))"
    cat "$log" >&2
  else
    printf ' done (%s)\n' "$(duration $((SECONDS - start)))"
  fi
  return "$status"
}

# follow LABEL: reads a command's output to its end and, on a terminal, keeps ninja's counter beside the label.
follow() {
  local line
  if [[ ! -t 1 ]]; then
    cat >/dev/null
    return
  fi
  while IFS= read -r line; do
    if [[ $line =~ ^(\[[0-9]+/[0-9]+\]) ]]; then
      printf '\r\e[K%s … %s' "$1" "${BASH_REMATCH[1]}"
    fi
  done
  printf '\r\e[K%s …' "$1"
}

# build_jobs: how many compilers to run at once: one a core, but no more than memory holds. The files that include gRPC
# take up to 1.5 GiB each.
build_jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '/^MemAvailable:/ {print int($2 / 1572864)}' /proc/meminfo)
  if ((memory < 1)); then memory=1; fi
  echo $((cores < memory ? cores : memory))
}

# build PRESET LABEL CONFIGURE_OPTIONS -- TARGETS...: configures and builds one preset.
build() {
  local preset=$1 label=$2 options=()
  shift 2
  while [[ $1 != -- ]]; do
    options+=("$1")
    shift
  done
  shift
  step "$label" configure_and_build "$preset" "${options[*]}" "$@"
}

configure_and_build() {
  local preset=$1 options
  read -ra options <<<"$2"
  shift 2
  cmake --preset "$preset" "${options[@]}" && cmake --build --preset "$preset" -j "$(build_jobs)" --target "$@"
}

# print_counts JUNIT_FILE...: "N passed, N failed[, N skipped]" over ctest's reports; fails when a test failed or none ran.
# ctest files a test that it could not start under "skipped" too; it is a failure here.
print_counts() {
  local passed skipped total failed
  total=$(cat "$@" | grep -ac '^\s*<testcase ' || true)
  passed=$(cat "$@" | grep -ac '^\s*<testcase .* status="run"' || true)
  skipped=$(cat "$@" | grep -acE '^\s*<skipped message="SKIP_|^\s*<testcase .* status="disabled"' || true)
  failed=$((total - passed - skipped))
  printf '%d passed, %d failed' "$passed" "$failed"
  if ((skipped > 0)); then printf ', %d skipped' "$skipped"; fi
  printf '\n'
  ((passed > 0 && failed == 0))
}
