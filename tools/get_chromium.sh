#!/usr/bin/env bash
# Debian's Chromium and its driver for the tests in a real browser. Where they cannot be installed, those tests are skipped
# and say so.
set -uo pipefail
is_there() {
  command -v chromedriver >/dev/null && { command -v chromium >/dev/null || command -v chromium-browser >/dev/null; }
}
is_there && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-liberation
fi
is_there || echo "NO CHROMIUM HERE: no page will be opened in a browser. On Debian: sudo apt-get install chromium chromium-driver" >&2
exit 0
