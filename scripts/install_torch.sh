#!/bin/sh
# Installs the torch of requirements-torch.txt.
#   install_torch.sh PYTHON RECORD [INDEX]
# INDEX is the package index to take it from, and so the CPU or the CUDA build; RECORD is the file that
# remembers it. Without an INDEX: the one in RECORD, else PyTorch's CPU index where it answers (on Linux plain
# pip would fetch gigabytes of CUDA), else the index that pip is configured for.
set -eu
python=$1
record=$2
index=${3:-}
cpu_index=https://download.pytorch.org/whl/cpu

recorded=""
[ ! -f "$record" ] || recorded=$(cat "$record")
chosen=${index:-$recorded}

answers() {
    # The outer limit covers name resolution, which the inner one does not.
    timeout 10 "$python" -c "import urllib.request; urllib.request.urlopen('$1/torch/', timeout=5)" \
        >/dev/null 2>&1
}

source_index=$chosen
if [ -z "$source_index" ] && answers "$cpu_index"; then
    source_index=$cpu_index
fi
if [ "$chosen" != "$recorded" ]; then
    # Both builds carry the same version: pip would take the one that is there for the one that is wanted.
    "$python" -m pip uninstall -q -y torch
fi
"$python" -m pip install ${source_index:+--index-url "$source_index"} -r requirements-torch.txt
echo "$chosen" >"$record"
