#!/bin/sh
# Make .venv and install requirements.txt into it; do nothing when no file that decides its content has changed.
# PYTHON=/path/to/python names an interpreter; otherwise the first suitable one on the PATH is taken.
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/.installed
wanted="$(pwd) $(cat requirements.txt constraints.txt pyproject.toml | cksum)"
again="then run make again"

stop() { printf 'make: %s\n' "$@" >&2; exit 1; }
supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }
healthy() { supported .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; }
moved() { [ -f $stamp ] && case "$(cat $stamp)" in "$(pwd) "*) false ;; *) true ;; esac; }

find_python() {
    seen="" no_venv=""
    set -- python3 python3.13 python3.12 python3.11 python
    [ -z "${PYTHON:-}" ] || set -- "$PYTHON"
    for candidate; do
        if supported "$candidate"; then
            if "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
                echo "$candidate"
                return
            fi
            no_venv="$candidate"
        elif version=$("$candidate" --version 2>/dev/null); then
            seen="$seen, found $candidate ($version)"
        fi
    done
    if [ -n "$no_venv" ]; then
        minor=$("$no_venv" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
        stop "$no_venv cannot make virtual environments: its venv module is not installed." \
            "Get it with: apt-get install python$minor-venv (Debian, Ubuntu); $again."
    fi
    stop "needs Python 3.11, 3.12 or 3.13${seen:-, found none}." \
        "Get it with: apt-get install python3 python3-venv (Debian, Ubuntu), brew install python@3.13 (macOS)," \
        "or from https://www.python.org/downloads; $again, or name it: PYTHON=/path/to/python make book."
}

[ -f $stamp ] && [ "$(cat $stamp)" = "$wanted" ] && healthy && exit 0

if moved || ! healthy; then
    python=$(find_python)
    echo "Making .venv with $("$python" --version) ..."
    "$python" -m venv --clear .venv || stop "$python could not make .venv: see above; is the disk full?"
fi
echo "Installing requirements.txt (once; some minutes, the one step that needs a network) ..."
.venv/bin/python -m pip install --disable-pip-version-check --quiet --requirement requirements.txt ||
    stop "the install failed: see above. Check the network and the free disk space; $again."
echo "$wanted" >$stamp
