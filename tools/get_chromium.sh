#!/usr/bin/env bash
# Debian's Chromium and its driver for the tests in a real browser; without leave to install, say how.
set -euo pipefail
if command -v chromedriver >/dev/null && { command -v chromium >/dev/null || command -v chromium-browser >/dev/null; }; then
  exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-liberation
else
  echo "No Chromium here: the tests in a browser will be skipped. On Debian: sudo apt-get install chromium chromium-driver" >&2
fi
