#!/usr/bin/env bash
# Make the virtual environment that the other targets use, or add to it: make_venv.sh PYTHON FOLDER [GROUP...]
set -euo pipefail
python=$1
venv=$2
shift 2

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "eigenflow needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1 || echo missing)." >&2
  echo "Point to another one with: make setup PYTHON=/path/to/python3.11" >&2
  exit 1
fi

# Debian ships python3 without the part of venv that installs pip.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    apt-get install -y -qq python3-venv
  else
    echo "This Python cannot make virtual environments. On Debian: sudo apt-get install python3-venv" >&2
    exit 1
  fi
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1
log="$venv/setup.log"

# One line a package as pip comes to it; everything else is in the log, and shown if pip fails.
install() {
  if ! "$venv/bin/python" -u -m pip install --progress-bar off "$@" 2>&1 | tee -a "$log" |
    sed -un -e 's/^Processing .*\/\([^/]*\)$/  \1/p' -e 's/^Collecting \([^ (]*\).*/  \1/p' -e 's/^Installing collected packages.*/  ... installing/p'; then
    tail -n 25 "$log" >&2
    echo "Set-up failed; the whole of it is in $log." >&2
    exit 1
  fi
}

groups=()
for group in "$@"; do groups+=(--group "$group"); done
echo "Installing into $venv${*:+ ($*)}: some two minutes; PyTorch's CPU build alone is about 200 MB."
install "pip>=25.1"
install -c constraints.txt -e ".[measure,lab,logs]" "${groups[@]}"
"$venv/bin/python" -c 'import eigenflow; print(f"eigenflow {eigenflow.__version__} is ready in '"$venv"'")'
