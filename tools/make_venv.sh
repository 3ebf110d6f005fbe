#!/usr/bin/env bash
# Make the virtual environment that every other target uses: make_venv.sh PYTHON FOLDER
set -euo pipefail
python=$1
venv=$2

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
"$venv/bin/python" -m pip install --quiet "pip>=25.1"
echo "Installing into $venv (the CPU build of PyTorch alone is about 200 MB) ..."
"$venv/bin/python" -m pip install --quiet -c constraints.txt -e ".[measure,lab,logs]" --group dev
"$venv/bin/python" -c 'import eigenflow; print(f"eigenflow {eigenflow.__version__} is ready in '"$venv"'")'
